//! Clicks that come again, and too many of them.

use super::*;

#[tokio::test]
async fn a_click_after_another_one_on_the_node_is_not_the_first_again() {
    const WEB: &str = "5aeb7ae0-1d5a-4f0e;<deployment>";
    let server = operator("Succeeded", "done", Duration::ZERO).await;
    let socket = Socket::of_all(&server.access());
    // One more, one less, and one more: three clicks.
    for control in ["scaleUp", "scaleDown", "scaleUp"] {
        let answer = socket.click(control, WEB).await;
        assert_eq!(answer.get("error"), None, "{answer}");
    }
    let made = || {
        let seen = server.seen();
        let made = seen.iter().filter(|seen| seen.method == "POST");
        made.map(|seen| seen.body["spec"]["control"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(made(), ["ScaleUp", "ScaleDown", "ScaleUp"]);
    // What is done to another node in between changes nothing: this is the third again.
    socket.click("scaleDown", "abc;<statefulset>").await;
    socket.click("scaleUp", WEB).await;
    assert_eq!(made().len(), 4);
    assert_eq!(socket.desk.counts().get("repeated"), Some(&1));
}

#[tokio::test]
async fn a_double_click_is_one_action() {
    let server = operator("Succeeded", "done", Duration::from_millis(100)).await;
    let socket = Socket::new(&server.access());
    let (first, second) = tokio::join!(socket.delete(POD), socket.delete(POD));
    let third = socket.delete(POD).await;
    for answer in [&first, &second, &third] {
        assert_eq!(answer["removedNode"], POD, "{answer}");
        assert_eq!(answer["value"], first["value"]);
    }
    assert_eq!(server.count(|s| s.method == "POST"), 1);
    let other = socket.delete("5aeb7ae0;<pod>").await;
    assert_eq!(other["removedNode"], "5aeb7ae0;<pod>");
    assert_eq!(
        server.count(|s| s.method == "POST"),
        2,
        "another pod is another click"
    );
}

#[tokio::test]
async fn a_second_click_on_a_pending_one_looks_again() {
    let made = Arc::new(Mutex::new(Value::Null));
    let server = ApiServer::start({
        let made = made.clone();
        move |seen| {
            let mut made = made.lock().expect("unpoisoned");
            if seen.is("POST", PATH) {
                *made = created(seen, "a");
                return Reply::Json(201, made.clone());
            }
            if seen.is_watch() {
                return Reply::Never;
            }
            assert!(seen.is("GET", &format!("{PATH}/a")), "{seen:?}");
            Reply::ok(with_status(made.clone(), "Refused", "protected"))
        }
    })
    .await;
    let socket = Socket::new(&server.access());
    assert!(error(&socket.delete(POD).await).starts_with("pending: "));
    assert!(error(&socket.delete(POD).await).starts_with("protected"));
    assert_eq!(server.count(|s| s.method == "POST"), 1);
}

#[tokio::test]
async fn too_many_clicks_at_once_are_refused_in_words() {
    let server = operator("Succeeded", "done", Duration::from_millis(200)).await;
    let socket = Socket::new(&server.access());
    let nodes: Vec<String> = (0..20).map(|n| format!("{n:x};<pod>")).collect();
    let answers = futures::future::join_all(nodes.iter().map(|node| socket.delete(node))).await;
    let (done, refused): (Vec<_>, Vec<_>) = answers
        .iter()
        .partition(|answer| answer.get("error").is_none());
    assert_eq!((done.len(), refused.len()), (8, 12));
    for answer in refused {
        assert!(
            error(answer).contains("8 clicks are being carried out already"),
            "{answer}"
        );
    }
    assert_eq!(server.count(|s| s.method == "POST"), 8);
    // And afterwards there is room again.
    assert_eq!(
        socket.delete(&nodes[19]).await["removedNode"],
        nodes[19].as_str()
    );
}
