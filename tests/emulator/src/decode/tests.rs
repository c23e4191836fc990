use super::*;
use crate::kind::Kind;
use crate::report::Node;

fn now() -> Stamp {
    Stamp::parse_json(b"\"2026-11-22T15:51:05Z\"").unwrap()
}

fn report(json: &str) -> Result<Report, String> {
    decode_report(json.as_bytes(), now()).map_err(|refusal| refusal.to_string())
}

/// Decodes a report with this one host node.
fn node(json: &str) -> Result<Node, String> {
    let report = report(&format!(r#"{{"Host":{{"nodes":{{"h":{json}}}}}}}"#))?;
    Ok(report.node(Kind::Host, "h").expect("the node").clone())
}

fn refusal(json: &str) -> String {
    match report(json) {
        Err(words) => words
            .strip_prefix("decoding error: ")
            .unwrap_or(&words)
            .to_owned(),
        Ok(_) => panic!("accepted: {json}"),
    }
}

const TIME: &str = "\"2026-11-22T15:51:05Z\"";

#[test]
fn starts_from_the_empty_report() {
    let empty = report("{}").unwrap();
    assert_eq!(empty, Report::empty());
    assert_eq!(empty.topology(Kind::Pod).shape, "heptagon");
    assert_eq!(report("null").unwrap(), Report::empty());
    assert_eq!(report(" [] ").unwrap(), Report::empty());
    let nothing = report(r#"{"Pod":null}"#).unwrap();
    assert_eq!(
        nothing.topology(Kind::Pod).shape,
        "",
        "null wipes even the defaults"
    );
}

#[test]
fn keys_are_exact_and_unknown_ones_skipped() {
    let report = report(
        r#"{"plugins":[{"id":"x"}],"Whatever":{"a":[1,"\u00e9",{"b":null}],"c":-1.5e3},
            "Host":{"Nodes":{"h":{}},"nodes":{"h":{"ID":"no","id":"yes"}}}}"#,
    )
    .unwrap();
    assert!(report.plugins.is_empty());
    assert_eq!(report.node(Kind::Host, "h").unwrap().id, "yes");
}

#[test]
fn scalars_pass_for_texts_and_quoted_numbers_for_numbers() {
    let node = node(&format!(
        r#"{{"id":5,"topology":true,"latest":{{"a":{{"timestamp":{TIME},"value":-1.50}},
             "n":{{"value":null}}}},
             "metrics":{{"m":{{"samples":[{{"date":{TIME},"value":"2.5"}}],"min":null,"max":"1e3"}}}},
             "counters":{{"n":"7"}}}}"#
    ))
    .unwrap();
    assert_eq!((node.id.as_str(), node.topology.as_str()), ("5", "true"));
    assert_eq!(node.latest("a"), Some("-1.50"));
    assert_eq!(node.latest("n"), Some(""));
    assert_eq!(node.last_sample("m"), Some(2.5));
    assert_eq!(
        (node.metrics["m"].min, node.metrics["m"].max),
        (0.0, 1000.0)
    );
    assert_eq!(node.latest("count_n"), Some("7"));
    assert_eq!(node.latest["count_n"].stamp, now());
}

#[test]
fn integers_are_literal() {
    let control = |rank: &str| {
        report(&format!(
            r#"{{"Pod":{{"controls":{{"c":{{"rank":{rank}}}}}}}}}"#
        ))
        .map(|report| report.topology(Kind::Pod).controls["c"].rank)
    };
    assert_eq!(control("10"), Ok(10));
    assert_eq!(control("\"-3\""), Ok(-3));
    assert_eq!(control("null"), Ok(0));
    assert_eq!(
        control("1.0").unwrap_err(),
        "decoding error: [pos 35]: json: decode int from 1.0: strconv.ParseInt: parsing \"1.0\": \
         invalid syntax"
    );
    assert!(control("1e3").is_err());
}

#[test]
fn what_comes_after_the_document_is_ignored() {
    assert!(report("{} {]").is_ok());
}

#[test]
fn broken_documents_get_scopes_words() {
    for (json, words) in [
        ("", "only encoded map or array can be decoded into a struct"),
        (
            "hello",
            "only encoded map or array can be decoded into a struct",
        ),
        (
            "\u{feff}{}",
            "only encoded map or array can be decoded into a struct",
        ),
        (
            "{\"TS\":1}",
            "parsing time \"1\" as \"\\\"2006-01-02T15:04:05Z07:00\\\"\": cannot parse \"1\" as \"\\\"\"",
        ),
        (
            "{\"Window\":1,}",
            "[pos 13]: json: expect char ':' but got char '}'",
        ),
        (
            "{\"Host\":{\"nodes\":[]}}",
            "[pos 18]: json: expect char '{' but got char '['",
        ),
        ("{\"Host\":{\"nodes\":nul", "unexpected EOF"),
        (
            "{\"Host\":{\"nodes\":nulo",
            "[pos 21]: json: expecting ull: got ulo",
        ),
        (
            "{\"Shortcut\":1}",
            "[pos 13]: json: decode bool: got first char 1",
        ),
        (
            "{\"ID\":\"\\x\"}",
            "[pos 10]: json: unsupported escaped value: x",
        ),
        (
            "{\"ID\":\"\\u12\"}",
            "runtime error: index out of range [5] with length 5",
        ),
        (
            "{\"ID\":\"\\ud83dx\"}",
            "[pos 15]: json: unquoteStr: invalid unicode sequence. Expecting \\u",
        ),
        ("{\"ID\":\"abc", "EOF"),
        (
            "{\"ID\":",
            "[pos 6]: json: expect char ',' but got char ':'",
        ),
        (
            "{\"Window\":1",
            "[pos 11]: json: expect char ',' but got char '\0'",
        ),
        (
            "{\"Pod\":{\"table_templates\":{\"t\":{\"columns\":\"x\"}}}}",
            "[pos 43]: only encoded map or array can be decoded into a slice (6)",
        ),
    ] {
        assert_eq!(refusal(json), words, "{json}");
    }
}

#[test]
fn a_time_that_is_none_garbles_what_follows() {
    // Go reads on from the middle of the node, which mostly ends at the next separator.
    for time in [
        "\"2016-07-20T15:51:05Z01:00\"",
        "1234567",
        "\"2016-07-20\"",
        "{}",
    ] {
        let broken = node(&format!(
            r#"{{"latest":{{"a":{{"timestamp":{time},"value":"x"}}}}}}"#
        ));
        let words = broken.unwrap_err();
        assert!(
            words.ends_with("json: expect char ',' but got char '\"'"),
            "{time}: {words}"
        );
    }
}

#[test]
fn where_the_brackets_happen_to_fit_a_broken_node_passes_silently() {
    // The time is the last thing in its object, so the closing brackets are taken for those of
    // everything around the node, and the next node becomes a topology's key.
    let report = report(
        r#"{"Plugins":[{"id":"fx"}],"Host":{"nodes":{"h":{"id":"h","latest":{"a":{"timestamp":"x"}}}}}}"#,
    )
    .unwrap();
    assert_eq!(report.plugins.len(), 1);
    let node = report.node(Kind::Host, "h").unwrap();
    assert_eq!(node.latest("a"), Some(""));
}

#[test]
fn plugins_children_and_sets_swallow_their_errors_too() {
    assert!(refusal(r#"{"Plugins":{"fx":{"id":"fx"}}}"#).contains("expect char ',' but got"));
    let report =
        report(r#"{"Plugins":[{"id":"a"},{"id":"b"},{"id":"a","label":"again"}]}"#).unwrap();
    assert_eq!(
        report.plugins.len(),
        2,
        "a list with one id twice is a map of one"
    );
    assert_eq!(report.plugins["a"].label, "again");
    let kept = self::report(r#"{"Plugins":[{"id":"a"}],"Plugins":null}"#).unwrap();
    assert!(kept.plugins.is_empty());

    let node = node(r#"{"parents":{"pod":["z","a"]},"sets":{"x":null,"y":["a"}}"#).unwrap();
    assert_eq!(node.parents["pod"], ["z", "a"], "not sorted");
    assert_eq!(node.sets["x"], [""; 0]);
    assert_eq!(
        node.sets["y"], [""; 0],
        "a broken list is empty if its brackets happen to fit"
    );
    assert!(self::node(r#"{"sets":{"x":5}}"#).is_err());
}

#[test]
fn duplicates_join_or_replace() {
    let report = report(
        r#"{"Host":{"label":"L","nodes":{"a":{"id":"1","topology":"t"},"a":{"id":"2"}}},
            "Host":{"nodes":{"b":{}}}}"#,
    )
    .unwrap();
    let hosts = report.topology(Kind::Host);
    assert_eq!(hosts.nodes.len(), 2);
    assert_eq!(
        (hosts.label.as_str(), hosts.nodes["a"].id.as_str()),
        ("L", "2")
    );
    assert_eq!(
        hosts.nodes["a"].topology, "",
        "a node given twice is not joined"
    );

    let node = node(&format!(
        r#"{{"latest":{{"k":{{"timestamp":{TIME},"value":"v"}},"k":{{"value":"w"}}}}}}"#
    ))
    .unwrap();
    let entry = &node.latest["k"];
    assert_eq!(
        (entry.value.as_str(), entry.stamp),
        ("w", now()),
        "a key given twice is"
    );
}

#[test]
fn latest_controls_become_one_value() {
    let node = node(
        r#"{"latestControls":{"b":{"timestamp":"2026-01-01T00:00:00Z","value":{"dead":false}},
            "a":{"timestamp":"2026-01-02T00:00:00Z","value":null},
            "c":{"timestamp":"2026-01-03T00:00:00Z","value":{"dead":true}}}}"#,
    )
    .unwrap();
    assert_eq!(node.active_controls(), ["a", "b"]);
    assert_eq!(
        node.latest["active_controls"].stamp.to_string(),
        "2026-01-02T00:00:00Z"
    );
    let none = self::node(r#"{"latestControls":{"c":{"value":{"dead":true}}}}"#).unwrap();
    assert_eq!(none.latest("active_controls"), Some(""));
    assert_eq!(none.latest["active_controls"].stamp, Stamp::ZERO);
}

#[test]
fn structures_may_be_arrays() {
    let report = report(&format!(
        r#"{{"Plugins":[["fx","Fx","d",["reporter"],"1"]],
            "Pod":["s","t","l","p",{{"a":["id","pod",{{}},[],{{"k":[{TIME},"v","surplus"]}}]}}]}}"#
    ))
    .unwrap();
    assert_eq!(report.plugins["fx"].interfaces, ["reporter"]);
    assert_eq!(report.node(Kind::Pod, "a").unwrap().latest("k"), Some("v"));
    // A list, in turn, may be an object.
    let node = node(r#"{"adjacency":{"a":"b","c":"d"}}"#).unwrap();
    assert_eq!(node.adjacency, ["a", "b", "c", "d"]);
}

#[test]
fn a_list_that_ends_after_a_comma_never_ends() {
    for json in [
        r#"{"Pod":{"nodes":{"a":{"adjacency":["x","#,
        r#"{"Plugins":[{"interfaces":["reporter","#,
        r#"{"DNS":{"a":{"forward":["x","#,
    ] {
        let endless = decode_report(json.as_bytes(), now());
        assert_eq!(endless, Err(Refusal::Endless), "{json}");
    }
}

#[test]
fn depth_is_no_danger() {
    let deep = |open: &str, close: &str, levels| open.repeat(levels) + &close.repeat(levels);
    let skipped = format!("{{\"x\":{}}}", deep("[", "]", 1_000_000));
    assert!(report(&skipped).is_ok());
    assert!(refusal(&format!("{{\"x\":{}", "[".repeat(1_000_000))).contains("from empty string"));
    assert!(node(&deep("{\"children\":[", "]}", scanner::MAX_DEPTH / 2)).is_ok());
    // Too deep for the emulator is a broken node, and so goes wrong further on.
    assert!(node(&deep("{\"children\":[", "]}", 100_000)).is_err());
    let value = format!("{{\"value\":{}}}", deep("[", "]", 100_000));
    let words = decode_answer(value.as_bytes(), now())
        .unwrap_err()
        .to_string();
    assert!(words.contains("nested more than 500 levels"), "{words}");
}

#[test]
fn answers_pass_on_what_they_hold() {
    let answer = decode_answer(
        br#"{"value":{"n":1,"f":1e6,"l":[true,null,"<x>"]},"error":null,"removedNode":"p;<pod>",
             "raw_tty":true,"ShortcutReport":{"Plugins":[{"id":"fx"}]},"other":[]}"#,
        now(),
    )
    .unwrap();
    assert_eq!(answer.shortcut, None, "the key is in lower case");
    assert_eq!(
        answer.to_json(),
        r#"{"raw_tty":true,"removedNode":"p;\u003cpod\u003e","value":{"n":1,"f":1E+06,"l":[true,null,"\u003cx\u003e"]}}"#
    );
    let answer = decode_answer(br#"{"shortcutReport":{"Host":{}},"value":null}"#, now()).unwrap();
    let shortcut = answer.shortcut.clone().unwrap();
    assert_eq!(shortcut.topology(Kind::Host).shape, "", "not pre-filled");
    assert_eq!(answer.to_json(), "{}");
    assert_eq!(decode_answer(b"null", now()).unwrap(), Answer::default());
    assert_eq!(
        decode_answer(br#"{"value":{[1]:2}}"#, now())
            .unwrap_err()
            .to_string(),
        "decoding error: runtime error: hash of unhashable type []interface {}"
    );
}
