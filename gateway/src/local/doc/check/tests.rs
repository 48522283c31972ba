use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::{parse, read};
use super::*;

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Top {
    #[serde(default)]
    routes: Vec<Route>,
    gateways: Option<BTreeMap<String, Gateway>>,
    #[serde(default)]
    mode: Mode,
    any: Option<serde_json::Value>,
    pair: Option<(u8, String)>,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Gateway {
    port: u16,
    #[serde(default)]
    tags: Vec<String>,
}

#[derive(Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Mode {
    /// Described, so that the schema gives it an alternative of its own.
    #[default]
    Fast,
    Slow,
    /// Another.
    NotAtAll,
}

#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Route {
    name: Option<String>,
    path: Option<PathMatch>,
    key: Option<FileOrInline>,
    policies: Option<Policies>,
    #[serde(flatten)]
    target: Option<Target>,
    #[serde(flatten)]
    common: Common,
    tagged: Option<Tagged>,
    nested: Option<Box<Route>>,
}

#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Common {
    weight: Option<i32>,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Policies {
    timeout: Option<String>,
    retries: Option<u8>,
    modes: Option<Vec<Mode>>,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum PathMatch {
    Exact(String),
    Prefix(String),
    Regex { pattern: String },
    Invalid,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Target {
    Host(String),
    Service { name: String, port: u16 },
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
enum FileOrInline {
    Inline(String),
    File { file: String },
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "camelCase")]
enum Tagged {
    A { x: u8 },
    B,
}

fn checker() -> Checker {
    Checker::new(schemars::schema_for!(Top).as_value())
        .with_unsupported(&[("policies.jwtAuth", "use `extAuthz`"), ("frontend", "")])
}

fn check(text: &str) -> (Node, Vec<String>) {
    let mut root = parse("t", text).unwrap();
    let problems = checker().check(&mut root);
    (root, problems.iter().map(ToString::to_string).collect())
}

#[test]
fn what_serde_accepts_the_check_accepts() {
    for text in [
        "{}",
        "routes: []",
        "routes: [{}]",
        "mode: slow",
        "any: {x: [1, {y: z}]}",
        "pair: [1, a]",
        "gateways: {a: {port: 1, tags: [x]}, b: {port: 65535}}",
        "gateways: ~",
        "routes: [{path: invalid}, {path: {exact: /a}}, {path: {regex: {pattern: x}}}]",
        "routes: [{key: inline}, {key: {file: f}}, {key: ~}]",
        "routes: [{host: h}, {service: {name: s, port: 1}, weight: 3, name: n}]",
        "routes: [{tagged: {type: a, x: 1}}, {tagged: {type: b}}]",
        "routes: [{nested: {nested: {host: h}}}]",
    ] {
        let (root, problems) = check(text);
        assert_eq!(problems, [""; 0], "{text}");
        read::<Top>(&root).unwrap_or_else(|problem| panic!("{text}: {problem}"));
    }
}

#[test]
fn what_was_meant_is_settled_so_that_serde_accepts_it() {
    for text in [
        "mode: SLOW",
        "mode: notatall",
        "routes: ~\nmode: ~",
        "routes: [{tagged: {type: B}}, {path: Invalid}]",
        "routes: [{policies: {modes: [FAST], timeout: ~}}]",
        "routes: [{key: 123, name: 007, host: 1.10}]",
        "gateways: {a: {port: 80.0, tags: [1, 2.50]}}",
    ] {
        let (root, problems) = check(text);
        assert_eq!(problems, [""; 0], "{text}");
        read::<Top>(&root).unwrap_or_else(|problem| panic!("{text}: {problem}"));
    }
    let (root, _) = check("routes: [{key: 0x1F, name: 007, host: 1.10}]");
    let route = read::<Top>(&root).unwrap().routes.remove(0);
    let written = (route.name.unwrap(), format!("{:?}", route.target.unwrap()), format!("{:?}", route.key.unwrap()));
    assert_eq!(written, ("007".to_owned(), "Host(\"1.10\")".to_owned(), "Inline(\"0x1F\")".to_owned()));
}

#[test]
fn wrong_values_are_told_with_what_was_expected() {
    for (text, expected) in [
        ("gateways: {a: {port: x}}", "1:22: gateways.a.port: expected a number, found a string"),
        (
            "gateways: {a: {port: \"80\"}}",
            "1:22: gateways.a.port: expected a number, found a string (remove the quotes to make it a number)",
        ),
        ("gateways: {a: {port: 65536}}", "1:22: gateways.a.port: expected a number from 0 to 65535, found 65536"),
        ("gateways: {a: {port: -1}}", "1:22: gateways.a.port: expected a number from 0 to 65535, found -1"),
        ("gateways: {a: {port: 1.5}}", "1:22: gateways.a.port: expected a whole number, found 1.5"),
        ("gateways: {a: {}}", "1:15: gateways.a: the key `port` is missing"),
        ("gateways: [1]", "1:11: gateways: expected a map, found a list"),
        ("routes: {a: 1}", "1:9: routes: expected a list, found a map"),
        (
            "routes: [{name: true}]",
            "1:17: routes[0].name: expected a string, found true or false (quote it to make it a string)",
        ),
        ("mode: slwo", "1:7: mode: expected one of `slow`, `fast`, `notAtAll`, found `slwo` (did you mean `slow`?)"),
        ("mode: [x]", "1:7: mode: expected one of `slow`, `fast`, `notAtAll`, found a list"),
        ("pair: [1]", "1:7: pair: expected 2 items, found 1"),
        ("routes: [{key: [x]}]", "1:16: routes[0].key: expected a string or `file`, found a list"),
        ("routes: [{key: {}}]", "1:16: routes[0].key: the key `file` is missing"),
        (
            "routes: [{path: [x]}]",
            "1:17: routes[0].path: expected one of `invalid`, `exact`, `prefix`, `regex`, found a list",
        ),
        ("routes: [{path: {exact: [x]}}]", "1:25: routes[0].path.exact: expected a string, found a list"),
        ("routes: [{path: {exact: }}]", "1:23: routes[0].path.exact: expected a string, found nothing"),
        ("routes: [{service: {name: s}}]", "1:20: routes[0].service: the key `port` is missing"),
        ("routes: [{tagged: {type: a}}]", "1:19: routes[0].tagged: the key `x` is missing"),
    ] {
        assert_eq!(check(text).1, [expected], "{text}");
    }
}

#[test]
fn unknown_keys_are_told_with_what_was_meant() {
    for (text, expected) in [
        ("routs: []", "1:1: routs: unknown key `routs` (did you mean `routes`?)"),
        ("zzzzz: []", "1:1: zzzzz: unknown key `zzzzz`"),
        (
            "routes: [{timeout: 1s}]",
            "1:11: routes[0].timeout: unknown key `timeout` (`timeout` belongs under `policies`)",
        ),
        ("timeout: 1s", "1:1: timeout: unknown key `timeout` (`timeout` belongs under `policies`)"),
        (
            "routes: [{gateways: {}}]",
            "1:11: routes[0].gateways: unknown key `gateways` (`gateways` belongs at the top level)",
        ),
        ("routes: [{hots: x}]", "1:11: routes[0].hots: unknown key `hots` (did you mean `host`?)"),
        ("frontend: 1", "1:1: frontend: `frontend` is not supported by this version yet"),
        (
            "routes: [{policies: {jwtAuth: 1}}]",
            "1:22: routes[0].policies.jwtAuth: `jwtAuth` is not supported by this version yet (use `extAuthz`)",
        ),
        (
            "routes: [{path: {exat: /}}]",
            "1:18: routes[0].path: expected one of `invalid`, `exact`, `prefix`, `regex`, found `exat` (did you mean `exact`?)",
        ),
        ("routes: [{path: {}}]", "1:17: routes[0].path: expected one of `invalid`, `exact`, `prefix`, `regex`"),
        ("routes: [{path: {exact: a, prefix: b}}]", "1:28: routes[0].path: `prefix` cannot be combined with `exact`"),
        (
            "routes: [{weight: 1, service: {name: s, port: 1}, host: h}]",
            "1:51: routes[0].host: `host` cannot be combined with `service`",
        ),
    ] {
        assert_eq!(check(text).1, [expected], "{text}");
    }
}

#[test]
fn all_problems_are_told_in_the_order_of_the_file() {
    let (_, problems) = check(
        "mode: x\nroutes:\n- nam: 1\n- path: {exact: 1, prefix: 2}\n  weight: x\ngateways:\n  a: {prt: 1}\n  b: 5\nfoo: 1\n",
    );
    let places: Vec<&str> = problems.iter().map(|it| it.split(": ").next().unwrap()).collect();
    assert_eq!(places, ["1:7", "3:3", "4:20", "5:11", "7:6", "7:7", "8:6", "9:1"], "{problems:#?}");
}

#[test]
fn a_schema_that_says_nothing_accepts_everything() {
    for schema in [serde_json::json!(true), serde_json::json!({}), serde_json::json!({"$ref": "#/$defs/none"})] {
        let mut root = parse("t", "a: [1, {b: ~}]").unwrap();
        assert_eq!(Checker::new(&schema).check(&mut root), []);
    }
}

#[test]
fn a_list_section_gives_what_its_items_are_checked_against() {
    let checker = checker();
    let part = checker.section("routes").unwrap().items().unwrap();
    let mut item = parse("t", "nam: 1").unwrap();
    let problems: Vec<_> = part.check(&mut item).iter().map(ToString::to_string).collect();
    assert_eq!(problems, ["1:1: nam: unknown key `nam` (did you mean `name`?)"]);
    assert!(checker.section("gateways").unwrap().items().is_none() && checker.section("none").is_none());
}

#[test]
fn a_schema_that_refers_to_itself_is_no_trap() {
    let schema = serde_json::json!({
        "$ref": "#/$defs/Tree",
        "$defs": {
            "Tree": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/Tree"}, {"type": "object", "properties": {"a": {"$ref": "#/$defs/Tree"}}}]},
        },
    });
    let mut root = parse("t", "a: {a: {a: x, b: y}}").unwrap();
    let _ = Checker::new(&schema).check(&mut root);
}
