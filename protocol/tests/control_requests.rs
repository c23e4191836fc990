//! The body of `POST /control`.

use scope_protocol::{ControlRequest, ControlRequestError};

#[test]
fn reads_what_the_probe_sends() {
    let body = br#"{"AppID":"40a7031ee6466403","Control":"x","ControlArgs":{"a":"b"},"NodeID":"rawhost;\u003chost\u003e"}"#;
    let request = ControlRequest::parse(body).expect("a request");
    assert_eq!(request.app_id, "40a7031ee6466403");
    assert_eq!(request.control, "x");
    assert_eq!(request.node_id, "rawhost;<host>");
    assert_eq!(
        request.control_args.into_iter().collect::<Vec<_>>(),
        [("a".into(), "b".into())]
    );
}

#[test]
fn arguments_may_be_null_or_missing_and_unknown_keys_are_ignored() {
    for body in [
        r#"{"AppID":"","NodeID":"n","Control":"c","ControlArgs":null}"#,
        r#"{"NodeID":"n","Control":"c","New":[1]}"#,
    ] {
        let request = ControlRequest::parse(body.as_bytes()).expect(body);
        assert!(request.control_args.is_empty());
    }
}

#[test]
fn refuses_what_names_no_node_or_control() {
    for (body, want) in [
        (r#"{"NodeID":"","Control":"c"}"#, "empty NodeID"),
        (r#"{"NodeID":"n","Control":""}"#, "empty Control"),
        (r#"{"nodeID":"n","Control":"c"}"#, "missing field `NodeID`"),
        (
            r#"{"NodeID":"n","Control":"c","ControlArgs":{"a":1}}"#,
            "invalid type",
        ),
        (r#"["a"]"#, "cannot be read"),
        ("", "cannot be read"),
    ] {
        let error = ControlRequest::parse(body.as_bytes()).expect_err(body);
        assert!(error.to_string().contains(want), "{body}: {error}");
        assert!(!matches!(error, ControlRequestError::Empty(_)) || want.starts_with("empty"));
    }
}

#[test]
fn a_long_value_is_not_told_back() {
    let body = format!(
        r#"{{"NodeID":"n","Control":"c","ControlArgs":"{}"}}"#,
        "é".repeat(10_000)
    );
    let said = ControlRequest::parse(body.as_bytes())
        .expect_err("no map")
        .to_string();
    assert!(said.len() < 700, "{said}");
    assert!(
        said.contains("invalid type: string \"é") && said.contains("… at line 1 column"),
        "{said}"
    );
}
