use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::parse;
use super::*;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct All {
    name: String,
    port: u16,
    ratio: Option<f64>,
    #[serde(default)]
    list: Vec<i8>,
    pair: Option<(u8, String)>,
    ports: Option<BTreeMap<u16, bool>>,
    #[serde(flatten)]
    kind: Option<Kind>,
    text: Option<Text>,
    mode: Option<Mode>,
    wrapped: Option<Wrapped>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Kind {
    Host(String),
    Service { name: String, port: u16 },
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Text {
    Number(u64),
    Inline(String),
    File { file: String },
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Mode {
    Strict,
    Limit(u32),
    Between(u8, u8),
    Window { from: u8 },
}

#[derive(Debug, PartialEq, Deserialize)]
struct Wrapped(String);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain {
    #[expect(dead_code, reason = "only read")]
    items: Vec<Item>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    #[expect(dead_code, reason = "only read")]
    port: u16,
    #[expect(dead_code, reason = "only read")]
    mode: Option<Mode>,
}

#[test]
fn every_shape_of_serde_is_read_from_nodes() {
    let text = "name: 007\nport: 0x50\nratio: 2\nlist: [1, -2]\npair: [1, 1.10]\nports: {80: true, 81: false}\n\
                service: {name: s, port: 1}\ntext: {file: f}\nmode: {window: {from: 3}}\nwrapped: 12\n";
    let expected = All {
        name: "007".into(),
        port: 80,
        ratio: Some(2.0),
        list: vec![1, -2],
        pair: Some((1, "1.10".into())),
        ports: Some(BTreeMap::from([(80, true), (81, false)])),
        kind: Some(Kind::Service { name: "s".into(), port: 1 }),
        text: Some(Text::File { file: "f".into() }),
        mode: Some(Mode::Window { from: 3 }),
        wrapped: Some(Wrapped("12".into())),
    };
    let root = parse("t", text);
    assert_eq!(read::<All>(&root.unwrap()).unwrap(), expected);
}

#[test]
fn enums_are_read_from_a_word_or_a_map_of_one_key() {
    for (text, expected) in [
        ("k: strict", Mode::Strict),
        ("k: {strict: }", Mode::Strict),
        ("k: {limit: 5}", Mode::Limit(5)),
        ("k: {between: [1, 2]}", Mode::Between(1, 2)),
    ] {
        let root = parse("t", text).unwrap();
        assert_eq!(read::<BTreeMap<String, Mode>>(&root).unwrap(), BTreeMap::from([("k".to_owned(), expected)]));
    }
}

#[test]
fn what_a_type_does_not_accept_is_told_where_it_was_written() {
    for (text, expected) in [
        ("items:\n- port: 70000\n", "2:9: items[0].port: invalid value: integer `70000`, expected u16"),
        ("items:\n- port: \"80\"\n", "2:9: items[0].port: invalid type: string \"80\", expected u16"),
        ("items:\n- port: 1\n- {}\n", "3:3: items[1]: missing field `port`"),
        ("items:\n- port: 1\n  x: 2\n", "3:3: items[0].x: unknown field `x`, expected `port` or `mode`"),
        ("items: 5\n", "1:8: items: invalid type: integer `5`, expected a sequence"),
        ("{}", "1:1: missing field `items`"),
        (
            "items:\n- port: 1\n  mode:\n    limit: x\n",
            "4:12: items[0].mode.limit: invalid type: string \"x\", expected u32",
        ),
        (
            "items:\n- port: 1\n  mode: {nope: x}\n",
            "3:10: items[0].mode: unknown variant `nope`, expected one of `strict`, `limit`, `between`, `window`",
        ),
        ("items:\n- port: 1\n  mode: limit\n", "3:9: items[0].mode: `limit` needs a value"),
        (
            "items:\n- port: 1\n  mode: {between: [1, 2, 3]}\n",
            "3:19: items[0].mode.between: invalid length 3, expected 2 items",
        ),
    ] {
        assert_eq!(read::<Plain>(&parse("t", text).unwrap()).unwrap_err().to_string(), expected, "{text:?}");
    }
}
