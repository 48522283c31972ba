use proptest::prelude::*;

use super::*;
use crate::json::DEPTH_MAX;

fn edited(operation: Operation, body: &str, edit: impl FnOnce(&Request<'_>, &mut Edits)) -> String {
    let body = Bytes::copy_from_slice(body.as_bytes());
    let mut edits = Edits::default();
    edit(&scan(operation, &body).unwrap(), &mut edits);
    String::from_utf8(edits.apply(&body).concat()).unwrap()
}

#[test]
fn each_dialect_says_its_things_in_its_places() {
    for (operation, body, model, stream, tokens) in [
        (Operation::Completions, r#"{"model":"m","stream":true,"max_tokens":7}"#, Some("m"), true, Some(7)),
        (Operation::Completions, r#"{"max_completion_tokens":8,"max_tokens":null}"#, None, false, Some(8)),
        (Operation::Responses, r#"{"model":"\u006d","max_output_tokens":9,"stream":false}"#, Some("m"), false, Some(9)),
        (Operation::Embeddings, r#"{"input":["a"],"model":"e"}"#, Some("e"), false, None),
        (Operation::Messages, r#"{"stream":null,"model":"c","max_tokens":1}"#, Some("c"), false, Some(1)),
        (Operation::CountTokens, r#"{"model":"c"}"#, Some("c"), false, None),
        (Operation::GenerateContent, r#"{"model":"x","generationConfig":{"maxOutputTokens":5}}"#, None, false, Some(5)),
        (Operation::Converse, r#"{"inferenceConfig":{"maxTokens":6},"stream":7}"#, None, false, Some(6)),
        (Operation::Converse, "{}", None, false, None),
    ] {
        let got = scan(operation, body.as_bytes()).unwrap();
        assert_eq!((got.model.as_deref(), got.stream, got.max_tokens), (model, stream, tokens), "{body}");
    }
}

#[test]
fn bad_bodies_are_refused_by_name() {
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
    let wide: Vec<_> = (0..=MEMBERS_MAX).map(|it| format!("\"k{it}\":1")).collect();
    let wide = format!("{{{}}}", wide.join(","));
    let long = format!("{{\"model\":\"{}\"}}", "m".repeat(MODEL_BYTES_MAX + 1));
    for (body, fault) in [
        ("", Fault::Json(json::Fault::End)),
        ("{\"model\":\"m\"", Fault::Json(json::Fault::End)),
        ("{\"model\":\"m\"}}", Fault::Json(json::Fault::Syntax(13))),
        (&deep, Fault::Json(json::Fault::Depth)),
        (&wide, Fault::Members),
        (&long, Fault::Model),
        ("[{\"model\":\"m\"}]", Fault::NotObject),
        ("\"x\"", Fault::NotObject),
        ("{\"model\":\"a\",\"model\":\"b\"}", Fault::Twice),
        ("{\"model\":\"a\",\"mod\\u0065l\":\"b\"}", Fault::Twice),
        ("{\"messages\":[],\"x\":1,\"messages\":[]}", Fault::Twice),
        ("{\"stream_options\":{\"include_usage\":true,\"include_usage\":false}}", Fault::Twice),
        ("{\"model\":1}", Fault::Kind("model", "a string")),
        ("{\"model\":\"\"}", Fault::Model),
        ("{\"model\":\"a/../b\"}", Fault::Model),
        ("{\"model\":\"a\\nb\"}", Fault::Model),
        ("{\"stream\":\"yes\"}", Fault::Kind("stream", "true or false")),
        ("{\"stream_options\":[]}", Fault::Kind("stream_options", "an object")),
    ] {
        assert_eq!(scan(Operation::Completions, body.as_bytes()).unwrap_err(), fault, "{body}");
    }
    assert_eq!(scan(Operation::Completions, b"{\"a\":\"\xff\"}").unwrap_err(), Fault::Json(json::Fault::Encoding));
}

#[test]
fn edits_touch_only_their_place() {
    let model = |it: &Request<'_>, edits: &mut Edits| it.set_model(edits, "a\"b");
    let usage = |it: &Request<'_>, edits: &mut Edits| it.ask_for_usage(edits);
    for (body, want) in [
        ("{ \"x\": 1.0e0,\n \"model\" : \"m\" }", "{ \"x\": 1.0e0,\n \"model\" : \"a\\\"b\" }"),
        ("{}", "{\"model\":\"a\\\"b\"}"),
        ("{ \"x\":[] } ", "{ \"x\":[] ,\"model\":\"a\\\"b\"} "),
    ] {
        assert_eq!(edited(Operation::Completions, body, model), want);
    }
    for (body, want) in [
        ("{\"stream\":true}", "{\"stream\":true,\"stream_options\":{\"include_usage\":true}}"),
        ("{\"stream_options\":null}", "{\"stream_options\":{\"include_usage\":true}}"),
        ("{\"stream_options\":{}}", "{\"stream_options\":{\"include_usage\":true}}"),
        ("{\"stream_options\":{\"a\":1}}", "{\"stream_options\":{\"a\":1,\"include_usage\":true}}"),
        ("{\"stream_options\":{\"include_usage\":false}}", "{\"stream_options\":{\"include_usage\":true}}"),
    ] {
        assert_eq!(edited(Operation::Completions, body, usage), want);
    }
    let both = edited(Operation::Completions, "{}", |it, edits| {
        it.set_model(edits, "m");
        it.ask_for_usage(edits);
    });
    assert_eq!(both, "{\"model\":\"m\",\"stream_options\":{\"include_usage\":true}}");
    let inner = edited(Operation::Completions, "{\"model\":\"a\",\"stream_options\":{}}", |it, edits| {
        it.set_model(edits, "m");
        it.ask_for_usage(edits);
    });
    assert_eq!(inner, "{\"model\":\"m\",\"stream_options\":{\"include_usage\":true}}");
}

fn bodies() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?[1-9][0-9]{0,3}(\\.[0-9]{1,3})?(e-?[1-9])?",
        "[a-z \u{e4}\u{1f600}]{0,8}".prop_map(|it| json::quoted(&it)),
        Just("{ \"role\":\"user\" , \"content\":\"\\u00e4\\n\" }".to_owned()),
        Just("[1 ,2,[ ] ]".to_owned()),
    ];
    let members = prop::collection::btree_map("[a-d]{1,3}", value, 0..6);
    (members, "[ \n\t]{0,3}", any::<bool>()).prop_map(|(members, space, model)| {
        let own = model.then(|| format!("\"model\"{space}:\"m\""));
        let rest = members.into_iter().map(|(key, value)| format!("{space}\"{key}\":{space}{value}"));
        format!("{space}{{{}}}{space}", own.into_iter().chain(rest).collect::<Vec<_>>().join(","))
    })
}

proptest! {
    #[test]
    fn with_no_edit_the_bytes_are_the_clients(body in bodies()) {
        let body = Bytes::from(body);
        scan(Operation::Completions, &body).unwrap();
        let out = Edits::default().apply(&body);
        prop_assert_eq!(out.len(), 1);
        prop_assert_eq!(&out[0], &body);
    }

    #[test]
    fn with_another_model_everything_else_is_the_clients(body in bodies()) {
        let out = edited(Operation::Completions, &body, |it, edits| it.set_model(edits, "other"));
        let back = match body.contains("\"model\"") {
            true => out.replacen("\"other\"", "\"m\"", 1),
            false => out.replace(",\"model\":\"other\"", "").replace("\"model\":\"other\"", ""),
        };
        prop_assert_eq!(back, body);
        let parsed: serde_json::Value = serde_json::from_str(&out).unwrap();
        prop_assert_eq!(&parsed["model"], "other");
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = scan(Operation::Messages, &bytes);
    }
}

#[test]
fn a_member_is_taken_out_and_the_rest_stays() {
    for (body, other, want) in [
        (r#"{"model":"m", "a":1}"#, None, r#"{"a":1}"#),
        (r#"{"a":1 , "model" : "m" }"#, None, r#"{"a":1 }"#),
        (r#"{ "model":"m" }"#, None, r#"{  }"#),
        (r#"{"a":1, "model" : "m","b":2}"#, Some(r#""v":"w""#), r#"{"a":1, "v":"w","b":2}"#),
        (r#"{"a":1}"#, Some(r#""v":"w""#), r#"{"a":1,"v":"w"}"#),
        (r#"{}"#, Some(r#""v":"w""#), r#"{"v":"w"}"#),
        (r#"{"a":1}"#, None, r#"{"a":1}"#),
    ] {
        let mut edits = Edits::default();
        scan(Operation::Messages, body.as_bytes()).unwrap().take(&mut edits, "model", other);
        let got = edits.apply(&Bytes::copy_from_slice(body.as_bytes())).concat();
        assert_eq!(String::from_utf8(got).unwrap(), want, "{body}");
    }
}

#[test]
fn a_body_that_was_scanned_is_read_again_as_it_was() {
    let body = Bytes::from_static(
        br#" {"model":"m","str\u0065am":true,"stream_options":{"include_usage":true},"max_tokens":7} "#,
    );
    let request = scan(Operation::Completions, &body).unwrap();
    let kept = Scanned::of(Operation::Completions, body.clone(), &request);
    let again = kept.request().unwrap();
    assert_eq!(
        (again.model.as_deref(), again.stream, again.include_usage, again.max_tokens),
        (Some("m"), true, Some(true), Some(7))
    );
    assert_eq!((again.object, &again.members, again.escaped), (request.object, &request.members, true));
    let copy = Bytes::copy_from_slice(&body);
    assert!(kept.is_of(&body) && !kept.is_of(&copy) && !kept.is_of(&body[..3]));
}
