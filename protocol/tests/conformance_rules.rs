//! Each rule with an answer that keeps it and one that breaks it.

mod answers;

use std::collections::BTreeSet;
use std::time::Duration;

use answers::*;
use scope_protocol::MAX_BODY_BYTES;
use scope_protocol::conformance::{Answer, Rule, Verdict, check_report, check_unanswered};

/// Rule, an answer that keeps it (and all others), an answer that breaks it.
fn pairs() -> Vec<(Rule, Verdict, Verdict)> {
    use Rule::*;
    let ok = || judge(&format!("{{{PLUGINS}}}"));
    let sample = r#"{"date":"2026-11-23T01:34:40Z","value":5}"#;
    let samples = format!(r#""samples":[{sample}],"min":0"#);
    let good_metric = || metric(&format!(r#"{samples},"max":10"#));
    let go = r#""go":{"id":"go","human":"Go","icon":"fa fa-eject","rank":10}"#;
    let table = |members: &str, key: &str| {
        report(&format!(
            r#""Host":{{"nodes":{{"h;<host>":{{"id":"h;<host>","latest":{{"{key}":{{{STAMP},"value":"v"}}}}}}}},"table_templates":{{"t":{{"id":"t","label":"T",{members}}}}}}}"#
        ))
    };
    let metadata = |members: &str| {
        section(
            "metadata_templates",
            &format!(r#""k":{{"id":"k","label":"K",{members}}}"#),
        )
    };
    vec![
        (
            SocketName,
            check_report("a/b/A-1.sock", &Answer::ok(
                br#"{"Plugins":[{"id":"A-1","label":"Fx","interfaces":["reporter"],"api_version":"1"}]}"#,
                Duration::ZERO,
            )),
            check_report("a.b.sock", &Answer::ok(b"{}", Duration::ZERO)),
        ),
        (NoAnswer, ok(), check_unanswered("fx.sock", "connection refused", Duration::ZERO)),
        (
            Deadline,
            exchange(|a| a.elapsed = Duration::from_millis(400)),
            exchange(|a| a.elapsed = Duration::from_millis(500)),
        ),
        (HttpStatus, exchange(|a| a.status = 200), exchange(|a| a.status = 201)),
        (BodyIncomplete, ok(), exchange(|a| {
            a.body = &a.body[..a.body.len() - 1];
            a.whole = false;
        })),
        (BodyTooLarge, sized(1_000_000), sized(MAX_BODY_BYTES + 1)),
        (BodyDecodeTime, sized(1_000_000), sized(40_000_000)),
        (BodyLarge, sized(4_000_000), sized(6_000_000)),
        (JsonSyntax, ok(), judge(&format!("{{{PLUGINS},}}"))),
        (ValueType, node(r#""latest":{}"#), node(r#""latest":[]"#)),
        (Integer, controls(go), controls(&go.replace("10", "1.0"))),
        (Number, good_metric(), metric(&format!(r#"{samples},"max":1e400"#))),
        (
            Time,
            node(r#""latest":{"k":{"timestamp":"2016-07-20T15:51:05.5+01:00","value":"v"}}"#),
            node(r#""latest":{"k":{"timestamp":"2016-07-20T15:51:05Z01:00","value":"v"}}"#),
        ),
        (
            JsonLenient,
            node(r#""sets":{"s":["a"]}"#),
            node(r#""sets":{"s":["a"],"t":["",]}"#),
        ),
        (
            JsonEndless,
            ok(),
            judge(r#"{"Plugins":[{"id":"fx","label":"Fx","interfaces":["reporter","#),
        ),
        (
            JsonDepth,
            report(&format!(r#""x":{}{}"#, "[".repeat(1000), "]".repeat(1000))),
            report(&format!(r#""x":{}{}"#, "[".repeat(1_000_001), "]".repeat(1_000_001))),
        ),
        (DuplicateKey, report(r#""Host":{},"Pod":{}"#), report(r#""Host":{},"Host":{}"#)),
        (KeyCase, report(r#""Host":{}"#), report(r#""host":{}"#)),
        (KeyName, report(r#""Pod":{}"#), report(r#""Pods":{}"#)),
        (
            NullValue,
            good_metric(),
            metric(r#""samples":[{"date":"2026-11-23T01:34:40Z","value":null}],"max":1"#),
        ),
        (
            NotFinite,
            good_metric(),
            metric(r#""samples":[{"date":"2026-11-23T01:34:40Z","value":"NaN"}],"max":1"#),
        ),
        (PluginsMissing, ok(), judge("{}")),
        (PluginsMany, ok(), judge(r#"{"Plugins":[{"id":"fx"},{"id":"gx"}]}"#)),
        (
            PluginRepeated,
            ok(),
            plugin(r#"{"id":"fx"},{"id":"fx","label":"Fx","interfaces":["reporter"],"api_version":"1"}"#),
        ),
        (
            PluginId,
            ok(),
            plugin(r#"{"id":"gx","label":"Fx","interfaces":["reporter"],"api_version":"1"}"#),
        ),
        (
            ApiVersion,
            plugin(r#"{"id":"fx","label":"Fx","interfaces":["reporter"],"api_version":1}"#),
            plugin(r#"{"id":"fx","label":"Fx","interfaces":["reporter"],"api_version":"1.0"}"#),
        ),
        (
            Label,
            ok(),
            plugin(r#"{"id":"fx","label":"","interfaces":["reporter"],"api_version":"1"}"#),
        ),
        (
            Interfaces,
            ok(),
            plugin(r#"{"id":"fx","label":"Fx","interfaces":["controller"],"api_version":"1"}"#),
        ),
        (
            InterfaceUnknown,
            ok(),
            plugin(r#"{"id":"fx","label":"Fx","interfaces":["reporter","dancer"],"api_version":"1"}"#),
        ),
        (TopLevelNodes, report(r#""DNS":{}"#), report(r#""nodes":{}"#)),
        (AddedUp, report(r#""ID":"x""#), report(r#""Window":1000"#)),
        (
            NodeId,
            node(""),
            report(r#""Host":{"nodes":{"h;<host>":{"latest":{}}}}"#),
        ),
        (
            NodeIdDiffers,
            node(""),
            report(r#""Host":{"nodes":{"h;<host>":{"id":"g;<host>"}}}"#),
        ),
        (NodeKey, node_of("Pod", "u;<pod>", ""), node_of("Pod", "default;web", "")),
        (NodeTopology, node(r#""topology":"host""#), node(r#""topology":"pod""#)),
        (
            TimeMissing,
            node(&format!(r#""latest":{{"k":{{{STAMP},"value":"v"}}}}"#)),
            node(r#""latest":{"k":{"value":"v"}}"#),
        ),
        (SetOrder, node(r#""sets":{"s":["a","b"]}"#), node(r#""sets":{"s":["b","a"]}"#)),
        (
            ParentTopology,
            node(r#""parents":{"daemon_set":["u;<daemonset>"]}"#),
            node(r#""parents":{"daemonset":["u;<daemonset>"]}"#),
        ),
        (
            ParentId,
            node(r#""parents":{"pod":["u;<pod>"]}"#),
            node(r#""parents":{"pod":["u"]}"#),
        ),
        (
            AdjacencyTopology,
            node_of("Endpoint", ";10.0.0.1;80", r#""adjacency":[";10.0.0.2;80"]"#),
            node(r#""adjacency":["g;<host>"]"#),
        ),
        (CounterName, node(r#""counters":{"pod":3}"#), node(r#""counters":{"host":3}"#)),
        (Children, node(r#""children":null"#), node(r#""children":[{"id":"u;<pod>"}]"#)),
        (
            NodeControls,
            node(&format!(r#""latestControls":{{"go":{{{STAMP},"value":{{"dead":false}}}}}}"#)),
            node(r#""controls":{"go":{}}"#),
        ),
        (
            ControllerNodes,
            controls(go),
            judge(&format!(r#"{{{CONTROLLER},"Host":{{"nodes":{{"h;<host>":{{"id":"h;<host>"}}}}}}}}"#)),
        ),
        (ControlId, controls(go), controls(&go.replace("go", "go/on"))),
        (ControlKey, controls(go), controls(r#""go":{"id":"stop","human":"","icon":"","rank":1}"#)),
        (ControlInterface, controls(go), section("controls", go)),
        (
            MetricTemplate,
            good_metric(),
            node(&format!(r#""metrics":{{"other":{{{samples},"max":10}}}}"#)),
        ),
        (MetricEmpty, good_metric(), metric(r#""samples":[],"min":0,"max":1"#)),
        (
            SampleOrder,
            metric(&format!(
                r#""samples":[{sample},{}],"max":5"#,
                sample.replace(":40Z", ":40.1Z")
            )),
            metric(&format!(r#""samples":[{sample},{sample}],"max":5"#)),
        ),
        (MetricMax, good_metric(), metric(&format!(r#"{samples},"max":4.9"#))),
        (
            TemplateKey,
            section("metric_templates", r#""m":{"id":"m","label":"M"}"#),
            section("metric_templates", r#""key":{"id":"m","label":"M"}"#),
        ),
        (
            MetricFormat,
            section("metric_templates", r#""m":{"id":"m","label":"M","format":"filesize"}"#),
            section("metric_templates", r#""m":{"id":"m","label":"M","format":"duration"}"#),
        ),
        (
            DataType,
            metadata(r#""priority":1,"dataType":"duration""#),
            metadata(r#""priority":1,"dataType":"seconds""#),
        ),
        (
            TemplateFrom,
            metadata(r#""priority":1,"from":"sets""#),
            metadata(r#""priority":1,"from":"set""#),
        ),
        (Priority, metadata(r#""priority":9.9"#), metadata(r#""from":"latest""#)),
        (
            TablePrefix,
            table(r#""prefix":"","fixedRows":{"k":"K"}"#, "k"),
            table(r#""prefix":"""#, "k"),
        ),
        (
            TableType,
            table(r#""prefix":"t-","type":"property-list""#, "t-a"),
            table(r#""prefix":"t-","type":"list""#, "t-a"),
        ),
        (
            TableKey,
            table(r#""prefix":"t-","type":"multicolumn-table""#, "t-a___b"),
            table(r#""prefix":"t-","type":"multicolumn-table""#, "t-a__b"),
        ),
        (
            ShortcutPlugins,
            shortcut(&format!(r#"{PLUGINS},"Host":{{"controls":{{{go}}}}}"#).replace(r#""reporter"]"#, r#""reporter","controller"]"#)),
            shortcut(r#""Host":{"nodes":{}}"#),
        ),
        (
            ShortcutId,
            shortcut(&format!(r#"{CONTROLLER},"Host":{{"controls":{{{go}}}}}"#)),
            shortcut(r#""Plugins":[{"id":"gx"}]"#),
        ),
        (
            ShortcutControls,
            shortcut(&format!(r#"{CONTROLLER},"Host":{{"controls":{{{go}}}}}"#)),
            shortcut(CONTROLLER),
        ),
        (
            ControlPipe,
            clicked(r#"{"error":"no","value":{"a":[1]},"removedNode":"u;<pod>"}"#),
            clicked(r#"{"pipe":"pipe-1","raw_tty":true}"#),
        ),
    ]
}

#[test]
fn each_rule_has_a_good_and_a_bad_answer() {
    let pairs = pairs();
    let tested: BTreeSet<Rule> = pairs.iter().map(|(rule, ..)| *rule).collect();
    let untested: Vec<&Rule> = Rule::ALL
        .iter()
        .filter(|rule| !tested.contains(rule))
        .collect();
    assert!(untested.is_empty(), "no pair for {untested:?}");
    for (rule, good, bad) in pairs {
        assert!(good.conformant(), "good for {rule}: {good}");
        assert!(bad.violation(rule).is_some(), "bad for {rule}: {bad}");
        assert!(bad.has(rule.severity()), "bad for {rule}: {bad}");
    }
}

#[test]
fn ids_are_kebab_case_and_unique_and_remedies_are_sentences() {
    let mut ids = BTreeSet::new();
    for rule in Rule::ALL {
        let id = rule.id();
        assert!(ids.insert(id), "{id} is there twice");
        assert!(
            id.split('-')
                .all(|w| !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase())),
            "{id}"
        );
        assert!(rule.remedy().ends_with('.'), "{id}");
        assert!(!rule.remedy().contains("  "), "{id}");
    }
}

#[test]
fn other_ways_to_break_the_rules() {
    let good = r#""samples":[{"date":"2026-11-23T01:34:40Z","value":5}],"max":5"#;
    for (rule, verdict) in [
        // Names.
        (Rule::KeyCase, clicked(r#"{"ShortcutReport":{}}"#)),
        (Rule::KeyCase, judge(r#"{"plugins":[]}"#)),
        (Rule::KeyName, node(r#""latest_controls":{}"#)),
        (Rule::KeyName, report(r#""Host":{"metric_template":{}}"#)),
        (
            Rule::KeyName,
            plugin(r#"{"id":"fx","label":"F","interfaces":["reporter"],"apiVersion":"1"}"#),
        ),
        (Rule::ParentTopology, node(r#""parents":{"DaemonSet":[]}"#)),
        // Plugins.
        (Rule::PluginsMissing, judge("null")),
        (Rule::PluginsMissing, judge(r#"{"Plugins":null}"#)),
        (Rule::PluginsMissing, judge(r#"{"plugins":[{"id":"fx"}]}"#)),
        (Rule::PluginId, plugin("null")),
        // Values.
        (Rule::JsonSyntax, judge("\u{feff}{}")),
        (Rule::JsonSyntax, judge("")),
        (Rule::JsonSyntax, judge("hello")),
        (Rule::JsonSyntax, node(r#""id":"\q""#)),
        (Rule::ValueType, node(r#""sets":{"s":"a"}"#)),
        (Rule::ValueType, node(r#""latest":{"k":{"value":{"x":1}}}"#)),
        (
            Rule::ValueType,
            node(r#""latestControls":{"go":{"value":{"dead":1}}}"#),
        ),
        (
            Rule::ValueType,
            report(r#""Host":{"nodes":{"h;<host>":5}}"#),
        ),
        (Rule::ValueType, plugin(r#"{"interfaces":"reporter"}"#)),
        (Rule::Integer, node(r#""counters":{"n":1e3}"#)),
        (Rule::Integer, node(r#""counters":{"n":null}"#)),
        (
            Rule::Integer,
            section("metadata_templates", r#""k":{"id":"k","truncate":1.5}"#),
        ),
        (Rule::Number, metric(r#""max":"high""#)),
        (Rule::Number, metric(r#""max":NaN"#)),
        (Rule::Time, node(r#""latest":{"k":{"timestamp":1234567}}"#)),
        (Rule::Time, metric(r#""samples":[{"date":"yesterday"}]"#)),
        (Rule::Time, report(r#""TS":"2026-11-23T01:34:40""#)),
        (
            Rule::TimeMissing,
            node(r#""latest":{"k":{"timestamp":null,"value":"v"}}"#),
        ),
        (Rule::TimeMissing, node(r#""latest":{"k":null}"#)),
        (Rule::TimeMissing, node(r#""latestControls":{"go":{}}"#)),
        (
            Rule::TimeMissing,
            metric(r#""samples":[{"value":1}],"max":1"#),
        ),
        (
            Rule::NullValue,
            node(&format!(r#""latest":{{"k":{{{STAMP},"value":null}}}}"#)),
        ),
        (
            Rule::NullValue,
            metric(&good.replace(r#""max":5"#, r#""max":null"#)),
        ),
        (Rule::NullValue, section("metric_templates", r#""m":null"#)),
        // Nodes.
        (
            Rule::NodeId,
            report(r#""Host":{"nodes":{"h;<host>":null}}"#),
        ),
        (
            Rule::NodeId,
            report(r#""Host":{"nodes":{"h;<host>":{"id":""}}}"#),
        ),
        (Rule::NodeKey, node_of("DaemonSet", "u;<daemon_set>", "")),
        (Rule::NodeKey, node_of("Process", "h;0x1", "")),
        (
            Rule::NodeKey,
            node_of("Container", "docker://c;<container>", ""),
        ),
        (Rule::SetOrder, node(r#""sets":{"s":["a","a"]}"#)),
        (
            Rule::SetOrder,
            node(r#""parents":{"pod":["z;<pod>","a;<pod>"]}"#),
        ),
        (
            Rule::SetOrder,
            node_of("Overlay", "#a", r##""adjacency":["#c","#b"]"##),
        ),
        // Metrics and templates.
        (Rule::MetricEmpty, node(r#""metrics":{"m":null}"#)),
        (
            Rule::MetricMax,
            metric(&good.replace(r#""max":5"#, r#""max":0"#)),
        ),
        (Rule::MetricMax, metric(&good.replace(r#","max":5"#, ""))),
        (
            Rule::NotFinite,
            metric(&good.replace(r#""max":5"#, r#""max":"Inf""#)),
        ),
        (
            Rule::SampleOrder,
            metric(
                r#""samples":[{"date":"2026-11-23T01:34:41Z","value":1},{"date":"2026-11-23T02:34:40+01:00","value":1}],"max":1"#,
            ),
        ),
        (
            Rule::TemplateKey,
            section("metadata_templates", r#""k":{"label":"K","priority":1}"#),
        ),
        (
            Rule::TemplateKey,
            section("table_templates", r#""t":{"id":"u","prefix":"p"}"#),
        ),
        (
            Rule::Priority,
            section("metadata_templates", r#""k":{"id":"k","priority":10}"#),
        ),
        (
            Rule::DataType,
            section(
                "table_templates",
                r#""t":{"id":"t","prefix":"p","columns":[{"id":"c","dataType":"text"}]}"#,
            ),
        ),
        (
            Rule::TablePrefix,
            section(
                "table_templates",
                r#""t":{"id":"t","type":"multicolumn-table","fixedRows":{"a":"b"}}"#,
            ),
        ),
        // The probe itself puts this key on each host.
        (
            Rule::TableKey,
            section(
                "table_templates",
                r#""t":{"id":"t","prefix":"host_","type":"multicolumn-table"}"#,
            ),
        ),
        (
            Rule::TableKey,
            report(
                r#""Host":{"table_templates":{"t":{"id":"t","prefix":"count_","type":"multicolumn-table"}},"nodes":{"h;<host>":{"id":"h;<host>","counters":{"n":1}}}}"#,
            ),
        ),
        // Controls.
        (Rule::ControlId, controls(r#""":{"id":""}"#)),
        (
            Rule::ControlId,
            node(&format!(
                r#""latest":{{"active_controls":{{{STAMP},"value":"host_exec;fx~a b"}}}}"#
            )),
        ),
        (
            Rule::ControlId,
            node(&format!(r#""latestControls":{{"a+b":{{{STAMP}}}}}"#)),
        ),
        (Rule::ShortcutPlugins, clicked(r#"{"shortcutReport":{}}"#)),
        (
            Rule::ShortcutPlugins,
            clicked(r#"{"shortcutReport":{"Plugins":[]}}"#),
        ),
    ] {
        assert!(verdict.violation(rule).is_some(), "{rule}: {verdict}");
    }
}

#[test]
fn numbers_that_only_the_decoder_takes_are_told() {
    let value = |number: &str| {
        metric(&format!(
            r#""samples":[{{"date":"2026-11-23T01:34:40Z","value":{number}}}],"max":1000"#
        ))
    };
    for number in ["0", "-0", "10", "1.05", "1E+2", "-1.5e-3"] {
        let verdict = value(number);
        assert!(verdict.conformant(), "{number}: {verdict}");
    }
    for number in ["09", "-01", "+5", ".5", "5.", "5.e1"] {
        for verdict in [value(number), report(&format!(r#""Whatever":{number}"#))] {
            let told = verdict.violation(Rule::JsonLenient);
            assert!(
                told.is_some_and(|v| v.offset.is_some()),
                "{number}: {verdict}"
            );
            assert_eq!(verdict.status(), Some("ok"), "{number}");
        }
    }
}

#[test]
fn what_the_decoder_takes_is_no_violation() {
    for (what, verdict) in [
        ("a text as a number", node(r#""counters":{"n":"5"}"#)),
        (
            "a number in quotes",
            metric(r#""samples":[{"date":"2026-11-23T01:34:40Z","value":"5"}],"max":"5""#),
        ),
        (
            "a number as a text",
            node(&format!(r#""latest":{{"k":{{{STAMP},"value":5}}}}"#)),
        ),
        (
            "unknown keys",
            report(r#""Whatever":{"a":[1,2.5,true,null,"x",{}]}"#),
        ),
        (
            "an unknown topology",
            report(r#""Gadget":{"nodes":{"x;<gadget>":{}}}"#),
        ),
        (
            "null parts",
            report(r#""Host":null,"Pod":{"nodes":null,"controls":null}"#),
        ),
        (
            "data behind the report",
            judge(&format!("{{{PLUGINS}}}garbage")),
        ),
        (
            "an own status",
            plugin(
                r#"{"id":"fx","label":"F","interfaces":["reporter"],"api_version":"1","status":"great"}"#,
            ),
        ),
        (
            "arrays for objects",
            judge(r#"{"Plugins":[["fx","Fx","",["reporter"],"1"]],"Host":[]}"#),
        ),
        (
            "templates of the probe",
            node_of(
                "Pod",
                "u;<pod>",
                r#""metrics":{"docker_memory_usage":{"samples":[{"date":"2026-11-23T01:34:40Z","value":1}],"max":2}}"#,
            ),
        ),
        (
            "another plugin's control",
            node(&format!(
                r#""latest":{{"active_controls":{{{STAMP},"value":"host_exec;gx-1~go"}}}}"#
            )),
        ),
    ] {
        assert!(verdict.conformant(), "{what}: {verdict}");
        assert_eq!(verdict.status(), Some("ok"), "{what}");
    }
}
