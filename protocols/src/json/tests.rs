use proptest::prelude::*;
use serde_json::Value;

use super::*;

#[test]
fn what_is_not_json_is_refused_where_it_goes_wrong() {
    for (text, fault) in [
        ("", Fault::End),
        (" ", Fault::End),
        ("{", Fault::End),
        ("[1,", Fault::End),
        ("[1,]", Fault::Syntax(3)),
        ("{\"a\"}", Fault::Syntax(4)),
        ("{\"a\":1,}", Fault::Syntax(7)),
        ("{a:1}", Fault::Syntax(1)),
        ("01", Fault::Syntax(1)),
        ("1.", Fault::End),
        ("-", Fault::End),
        ("1e+", Fault::End),
        ("nul", Fault::End),
        ("truex", Fault::Syntax(4)),
        ("\"\n\"", Fault::Syntax(1)),
        ("\"\\x\"", Fault::Syntax(2)),
        ("\"\\u12g4\"", Fault::Syntax(5)),
        ("1 2", Fault::Syntax(2)),
        ("\u{feff}1", Fault::Syntax(0)),
    ] {
        assert_eq!(parse(text.as_bytes()).unwrap_err(), fault, "{text:?}");
    }
    assert_eq!(parse(b"\"\xff\"").unwrap_err(), Fault::Encoding);
}

#[test]
fn nesting_ends_at_the_limit() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parse(nested(DEPTH_MAX).as_bytes()).is_ok());
    assert_eq!(parse(nested(DEPTH_MAX + 1).as_bytes()).unwrap_err(), Fault::Depth);
    assert_eq!(parse("[".repeat(1 << 20).as_bytes()).unwrap_err(), Fault::Depth);
}

#[test]
fn parts_are_slices_of_the_document() {
    let text = br#" {"a" : {"b":[1, "x\"]}" ,{}] }, "\u0063":-1.50e2 ,"d":null} "#;
    let document = parse(text).unwrap();
    let a = document.get("a").unwrap();
    assert_eq!(a.text(), r#"{"b":[1, "x\"]}" ,{}] }"#);
    assert_eq!(&text[a.range()], a.text().as_bytes());
    let elements: Vec<_> = a.get("b").unwrap().elements().map(Raw::text).collect();
    assert_eq!(elements, ["1", r#""x\"]}""#, "{}"]);
    assert_eq!(document.get("c").unwrap().text(), "-1.50e2");
    assert!(document.get("d").unwrap().is_null());
    assert_eq!(document.members().count(), 3);
    assert_eq!((document.get("e"), a.get("b").unwrap().get("x")), (None, None));
}

#[test]
fn a_key_that_is_there_twice_in_any_spelling_is_noticed() {
    let document = parse(br#"{"id":1,"\u0069d":2,"x":3}"#).unwrap();
    assert_eq!(document.member("id"), Err(Twice));
    assert_eq!(document.member("x").unwrap().unwrap().text(), "3");
    assert_eq!(document.member("y"), Ok(None));
}

#[test]
fn escapes_become_what_they_stand_for() {
    let document = parse(br#"["\"\\\/\b\f\n\r\t","\u00e4\ud83d\ude00","\ud83dx"]"#).unwrap();
    let texts: Vec<_> = document.elements().map(|it| it.as_str().unwrap().into_owned()).collect();
    assert_eq!(texts, ["\"\\/\u{8}\u{c}\n\r\t", "\u{e4}\u{1f600}", "\u{fffd}x"]);
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        "[\"\\\\{}\\[\\],:\n\t]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("\\PC{0,4}", inner, 0..6)
                .prop_map(|it| Value::Object(it.into_iter().collect())),
        ]
    })
}

/// The same value, seen through slices.
fn rebuilt(raw: Raw<'_>) -> Value {
    match raw.kind() {
        Kind::Object => Value::Object(raw.members().map(|(key, it)| (key.into_owned(), rebuilt(it))).collect()),
        Kind::Array => raw.elements().map(rebuilt).collect(),
        Kind::String => raw.as_str().unwrap().into_owned().into(),
        Kind::Bool => raw.as_bool().unwrap().into(),
        Kind::Null => Value::Null,
        Kind::Number => raw.text().parse::<i64>().unwrap().into(),
    }
}

proptest! {
    #[test]
    fn every_value_is_seen_as_it_is(value in values(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        prop_assert_eq!(rebuilt(parse(text.as_bytes()).unwrap()), value);
    }

    #[test]
    fn texts_survive_quoting(text in "\\PC{0,20}|[\"\\\\\u{0}-\u{1f}]{0,10}") {
        let quoted = quoted(&text);
        prop_assert_eq!(parse(quoted.as_bytes()).unwrap().as_str().unwrap(), text.as_str());
        prop_assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), text);
    }

    #[test]
    fn what_another_reader_refuses_is_refused(bytes in prop::collection::vec(prop::sample::select(b"{}[]\",:\\u0019eE+-.truefalsn \n\xc3\xa4".to_vec()), 0..24)) {
        // Half surrogates alone are accepted here, for they may go on as they are.
        if !bytes.windows(2).any(|it| it == b"\\u") {
            // What that one only skips it takes as bytes.
            let there = str::from_utf8(&bytes).is_ok() && serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok();
            prop_assert_eq!(parse(&bytes).is_ok(), there);
        }
    }
}

#[test]
fn what_is_not_utf_8_is_refused() {
    for bytes in [&b"\"\xc3\""[..], b"\"\xa4\"", b"{\"\xff\":1}", b"[\"\xed\xa0\x80\"]"] {
        assert!(parse(bytes).is_err(), "{bytes:?}");
    }
}

#[test]
fn members_of_the_outermost_object_are_shown_in_passing() {
    let mut seen = Vec::new();
    let document = outline(b" { \"a\" : [1] ,\"b\":{\"c\":2}}\n", |key, value| seen.push((key.text(), value.text())));
    assert_eq!(document.unwrap().range(), 1..26);
    assert_eq!(seen, [("\"a\"", "[1]"), ("\"b\"", "{\"c\":2}")]);
    assert!(outline(b"[{\"a\":1}]", |_, _| panic!("not an object")).is_ok());
}

#[test]
fn records_are_the_members_of_elements_however_much_of_them_is_read() {
    let text = br#"{"a":[{"x":1,"y":{"z":[2,"}"]}} , {} ,3, "s\"}", [{"x":9}],{"x":"\u0041"}],"b":[]}"#;
    let list = parse(text).unwrap().get("a").unwrap();
    for most in 0..4 {
        let mut seen = Vec::new();
        let all: Result<(), ()> = list.records(|it| {
            seen.push(
                it.take(most).map(|(key, value)| format!("{key}={}", value.text())).collect::<Vec<_>>().join(";"),
            );
            Ok(())
        });
        let first = ["", "x=1", r#"x=1;y={"z":[2,"}"]}"#, r#"x=1;y={"z":[2,"}"]}"#][most];
        let last = if most == 0 { "" } else { r#"x="\u0041""# };
        assert_eq!(
            (all, seen),
            (
                Ok(()),
                vec![first.to_owned(), String::new(), String::new(), String::new(), String::new(), last.to_owned()]
            )
        );
    }
    assert_eq!(list.records(|it| if it.next().is_none() { Err("empty") } else { Ok(()) }), Err("empty"));
    assert_eq!(parse(b"7").unwrap().records(|_| Err(())), Ok(()), "no array has no records");
}

proptest! {
    #[test]
    fn what_ends_a_run_of_plain_text_is_found_wherever_it_is(
        before in prop::collection::vec(prop::sample::select(&[b'x', b' ', b'!', b'#', b'[', b']', 0x7f, 0x80, 0xa2, 0xdc, 0xff][..]), 0..200),
        kind in 0usize..4,
        behind in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        prop_assert_eq!(check::plain(&before), before.len());
        prop_assert_eq!(quote(&before), None);
        let mut text = before.clone();
        text.push([b'"', b'\\', 0x1f, 0][kind]);
        text.extend(&behind);
        prop_assert_eq!(check::plain(&text), before.len());
        prop_assert_eq!(quote(&text), text.iter().position(|it| *it == b'"'));
    }

    #[test]
    fn a_string_ends_where_a_parser_says(inside in "([a-z]{0,40}|\\\\[\\\\\"nt/]){0,12}", after in "[\\\\\"x]{0,20}") {
        let text = format!("\"{inside}\"{after}");
        prop_assert_eq!(skip_string(text.as_bytes(), 1), inside.len() + 2, "{}", text);
    }
}
