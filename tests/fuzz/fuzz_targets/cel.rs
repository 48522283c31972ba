//! Any text is an expression or a list of problems, and evaluating it ends within its budget: no panic, no hang.

#![no_main]

use filters::expr::{Expression, Sample, Site, UserFunctions, Vocabulary};
use libfuzzer_sys::fuzz_target;

const DATA: &str = r#"{
    "request": {"method": "GET", "uri": "http://a.b/c?d=e&d=f", "headers": {"x": ["1", "2"], "cookie": "k=v"},
                "body": {"m": [1, 2, {"n": "o"}], "p": "q"}, "startTime": "2026-01-02T03:04:05.6Z"},
    "response": {"code": 503, "headers": {"etag": "7"}},
    "jwt": {"sub": "u", "groups": ["a", "b"], "rawToken": "a.e30.b", "deep": {"er": [1.5, null, true]}},
    "apiKey": {"key": "k", "name": "n"}, "source": {"address": "10.0.0.1", "port": 1},
    "llm": {"totalTokens": 7, "prompt": [{"role": "user", "content": "hi"}]}, "metadata": {"a": {}}
}"#;

fuzz_target!(|text: &str| {
    // A line of functions first, where there is one.
    let (functions, text) = text.split_once("\n---\n").unwrap_or(("", text));
    let users = UserFunctions::parse(functions).unwrap_or_default();
    let vocabulary = Vocabulary::of(Site::Any).with(users);
    let Ok(expression) = Expression::compile(text, &vocabulary) else { return };
    let sample = Sample::read(serde_json::from_str(DATA).expect("the data is JSON")).expect("the data is valid");
    let inputs = sample.inputs();
    if let Ok(value) = expression.evaluate(&inputs) {
        let _ = (value.scalar(), value.to_header(), value.to_span());
        let _ = value.into_json();
    }
    let _ = expression.holds(&inputs).map_err(|error| expression.explain(&error));
});
