use std::collections::BTreeMap;

use protocols::json;
use protocols::mcp::List;
use protocols::mcp::definition::Definition;
use serde_json::json;

use super::{Action, Approvals, Config, Known, render};
use crate::testing::{lower, refuses};

fn definition(text: &str) -> Definition {
    Definition::of(json::parse(text.as_bytes()).unwrap())
}

fn file() -> String {
    let tool = r#"{"name":"echo","description":"says it back","inputSchema":{"type":"object","n":1.0}}"#;
    let tools = BTreeMap::from([("echo".to_owned(), definition(tool))]);
    let targets = BTreeMap::from([("a".to_owned(), tools)]);
    render(&BTreeMap::from([(List::Tools, targets)]))
}

#[test]
fn approvals_are_read_as_they_were_written() {
    let approvals = Approvals::parse(file().as_bytes()).unwrap();
    assert_eq!((approvals.len(), approvals.is_empty()), (1, false));
    for (target, text, known) in [
        ("a", r#"{"inputSchema":{"n":1,"type":"object"},"name":"echo","description":"says it back"}"#, Known::Approved),
        ("a", r#"{"name":"echo","description":"says it back, and sends it on"}"#, Known::Changed),
        ("a", r#"{"name":"echo2","description":"says it back","inputSchema":{"type":"object","n":1}}"#, Known::Renamed),
        ("a", r#"{"name":"other"}"#, Known::New),
        ("b", r#"{"name":"echo","description":"says it back","inputSchema":{"type":"object","n":1}}"#, Known::New),
    ] {
        let definition = definition(text);
        let name = json::parse(text.as_bytes()).unwrap().get("name").unwrap().as_str().unwrap().into_owned();
        assert_eq!(approvals.judge(List::Tools, (target, &name), &definition), known, "{text}");
    }
}

#[test]
fn prompts_are_judged_where_the_file_speaks_of_them() {
    let prompt = r#"{"name":"greet","arguments":[{"name":"who"}]}"#;
    let of_prompt = |text: &str| Definition::in_list(List::Prompts, json::parse(text.as_bytes()).unwrap());
    let tools_alone = Approvals::parse(file().as_bytes()).unwrap();
    assert_eq!([List::Tools, List::Prompts, List::Templates].map(|it| tools_alone.pins(it)), [true, false, false]);
    let prompts = BTreeMap::from([("greet".to_owned(), of_prompt(prompt))]);
    let targets = BTreeMap::from([("a".to_owned(), prompts)]);
    let text = render(&BTreeMap::from([(List::Prompts, targets)]));
    let approvals = Approvals::parse(text.as_bytes()).unwrap();
    assert_eq!((approvals.len(), approvals.pins(List::Prompts), approvals.pins(List::Templates)), (1, true, false));
    let judge = |text: &str| approvals.judge(List::Prompts, ("a", "greet"), &of_prompt(text));
    assert_eq!(judge(prompt), Known::Approved);
    assert_eq!(judge(r#"{"name":"greet","arguments":[{"name":"whom"}]}"#), Known::Changed);
    assert_eq!(approvals.judge(List::Tools, ("a", "greet"), &of_prompt(prompt)), Known::New, "a tool is no prompt");
    assert!(Approvals::parse(text.replace("who", "whom").as_bytes()).unwrap_err().contains("`prompts.a.greet`"));
    let none = Approvals::parse(br#"{"version":1,"prompts":{}}"#).unwrap();
    assert!(none.pins(List::Prompts), "none is approved");
}

#[test]
fn approvals_that_were_tampered_with_are_refused() {
    let tampered = file().replace("says it back", "says it on");
    refuses(
        [
            (json!({"approvals": tampered}), "of another definition"),
            (json!({"approvals": "{}"}), "not approvals of version 1"),
            (json!({"approvals": "["}), "not JSON"),
            (json!({"approvals": r#"{"version":1,"targets":{"a":7}}"#}), "not an object"),
            (json!({"approvals": r#"{"version":1,"targets":{"a":{"t":{}}}}"#}), "`hash` is missing"),
        ],
        Config::lower,
    );
}

#[test]
fn the_strictest_is_what_happens_unless_written() {
    let policy = lower(json!({"approvals": file()}), Config::lower);
    assert_eq!(
        (policy.on_new, policy.on_change, policy.on_suspect),
        (Action::Quarantine, Action::Quarantine, Action::Quarantine)
    );
    assert!(Action::Quarantine > Action::Warn && Action::Warn > Action::Allow);
}
