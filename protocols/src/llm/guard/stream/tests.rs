use proptest::prelude::*;

use super::*;

/// Takes `secret` for what must not pass, and any text of letters for what may still become it.
struct Rules(Action);

const SECRET: &str = "secret";

impl Find for Rules {
    fn find(&self, _: Part, text: &str) -> Vec<Found> {
        let found = text.match_indices(SECRET);
        found.map(|(at, it)| Found { range: at..at + it.len(), rule: 3, action: self.0.clone() }).collect()
    }

    fn settled(&self, text: &str, _: usize) -> usize {
        text.len().saturating_sub(SECRET.len())
    }

    fn enforces(&self) -> bool {
        self.0 != Action::Note
    }
}

fn mask() -> Rules {
    Rules(Action::Mask("***".into()))
}

fn chunk(text: &str) -> String {
    let text = json::quoted(text);
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":{text}}}}}]}}\n\n")
}

fn passed(stream: &str, cut: usize, rules: &Rules) -> Result<String, Refused> {
    let (mut guard, mut out) = (Stream::default(), Vec::new());
    for piece in stream.as_bytes().chunks(cut) {
        out.extend_from_slice(&guard.push(piece, rules)?);
    }
    out.extend_from_slice(&guard.finish(rules)?);
    Ok(String::from_utf8(out).unwrap())
}

/// The text that a client puts together.
fn text(stream: &str) -> String {
    let data = stream.lines().filter_map(|it| it.strip_prefix("data: ")).filter(|it| it.starts_with('{'));
    let content = |data: &str| {
        let content =
            json::parse(data.as_bytes()).ok()?.get("choices")?.elements().next()?.get("delta")?.get("content")?;
        content.as_str().map(std::borrow::Cow::into_owned)
    };
    data.filter_map(content).collect()
}

#[test]
fn a_secret_in_pieces_is_masked_wherever_it_is_cut() {
    let whole = "my secret is a secretary's \u{1f600} secret";
    for size in 1..12 {
        let letters: Vec<char> = whole.chars().collect();
        let chunks: String = letters.chunks(size).map(|it| chunk(&it.iter().collect::<String>())).collect();
        let sent = format!("{chunks}data: [DONE]\n\n");
        for cut in [1, 7, 100, sent.len()] {
            let got = passed(&sent, cut, &mask()).unwrap();
            assert_eq!(text(&got), "my *** is a ***ary's \u{1f600} ***", "pieces of {size}, cut by {cut}");
            assert!(got.ends_with("data: [DONE]\n\n"));
        }
        assert_eq!(passed(&sent, 7, &Rules(Action::Reject)), Err(Refused::Rule(3)));
    }
}

/// A piece of what a tool is called with, in two dialects.
fn arguments(text: &str, anthropic: bool) -> String {
    let text = json::quoted(text);
    match anthropic {
        true => format!(
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":1,\"delta\":{{\"type\":\"input_json_delta\",\"partial_json\":{text}}}}}\n\n"
        ),
        false => format!(
            "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"tool_calls\":[{{\"index\":0,\"function\":{{\"arguments\":{text}}}}}]}}}}]}}\n\n"
        ),
    }
}

/// What a client puts together of it.
fn called_with(stream: &str) -> String {
    let data = stream.lines().filter_map(|it| it.strip_prefix("data: "));
    let piece = |data: &str| -> Option<String> {
        let value: serde_json::Value = serde_json::from_str(data).ok()?;
        let piece = &value["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"];
        piece.as_str().or(value["delta"]["partial_json"].as_str()).map(str::to_owned)
    };
    data.filter_map(piece).collect()
}

#[test]
fn a_secret_in_escapes_does_not_slip_out_of_what_a_tool_is_called_with() {
    for written in [
        "secret",
        r"\u0073\u0065\u0063\u0072\u0065\u0074",
        r"s\u0065cret",
        r"secre\u0074",
        r"\\u0073ecret",
        r"s\\\\u0065cret",
    ] {
        let whole = format!(r#"{{"note":"\ud83d\ude00 a\n","key":"{written}","z":1}}"#);
        let masked = whole.replace(written, "***");
        for anthropic in [false, true] {
            for at in 1..whole.len() {
                let (first, second) = whole.split_at(at);
                let sent = arguments(first, anthropic) + &arguments(second, anthropic);
                let got = passed(&sent, sent.len(), &mask()).unwrap();
                assert_eq!(called_with(&got), masked, "{written} cut at {at}");
                assert_eq!(passed(&sent, 9, &Rules(Action::Reject)), Err(Refused::Rule(3)), "{written} cut at {at}");
            }
            let single: String = whole.chars().map(|it| arguments(&it.to_string(), anthropic)).collect();
            assert_eq!(called_with(&passed(&single, 64, &mask()).unwrap()), masked, "{written} in single letters");
        }
        assert_eq!(text(&passed(&chunk(r"\u0073ecret"), 9, &mask()).unwrap()), r"\u0073ecret", "no JSON, no escapes");
    }
}

#[test]
fn what_is_harmless_passes_as_it_came_and_does_not_wait_for_the_end() {
    let sent: String = ["se", "e you ", "at the ", "gate"].map(chunk).concat();
    for cut in [1, 5, sent.len()] {
        assert_eq!(passed(&sent, cut, &mask()).unwrap(), sent);
    }
    let mut guard = Stream::default();
    let long = chunk("a long text that is longer than what waits");
    assert!(guard.push(long.as_bytes(), &mask()).unwrap().is_empty(), "its end may begin a secret");
    assert_eq!(guard.push(chunk("123456").as_bytes(), &mask()).unwrap(), long, "and now it may not");
    let mut noting = Stream::default();
    assert_eq!(
        noting.push(long.as_bytes(), &Rules(Action::Note)).unwrap(),
        long,
        "nothing waits for what is only counted"
    );
    noting.push(chunk("sec").as_bytes(), &Rules(Action::Note)).unwrap();
    noting.push(chunk("ret and more").as_bytes(), &Rules(Action::Note)).unwrap();
    assert_eq!(noting.found, [3]);
}

#[test]
fn texts_of_one_stream_are_told_apart() {
    let of = |index: u8, text: &str| {
        format!(
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":{index},\"delta\":{{\"type\":\"text_delta\",\"text\":\"{text}\"}}}}\n\n"
        )
    };
    let apart = [of(0, "sec"), of(1, "sec"), of(0, "ond"), of(1, "ret")].concat();
    let got = passed(&apart, 9, &mask()).unwrap();
    assert_eq!(got, [of(0, "sec"), of(1, "***"), of(0, "ond"), of(1, "")].concat());
}

#[test]
fn every_dialects_pieces_are_seen() {
    for (one, other) in [
        (r#"{"type":"response.output_text.delta","item_id":"i","output_index":0,"content_index":0,"delta":"@"}"#, None),
        (r#"{"type":"response.function_call_arguments.delta","item_id":"i","output_index":0,"delta":"@"}"#, None),
        (r#"{"choices":[{"index":1,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"@"}}]}}]}"#, None),
        (r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"@"}}"#, None),
        (r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"@"}]}}]}"#, None),
        // Whole, beside the pieces.
        (r#"{"type":"response.output_text.done","text":"@"}"#, Some("secret")),
        (r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"id":"@"}}}]}}]}"#, Some("secret")),
        (
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"new","something":["@"]}}"#,
            Some("secret"),
        ),
    ] {
        let event = |text: &str| format!("data: {}\n\n", one.replace('@', text));
        let sent = match other {
            None => [event("a sec"), event("ret b")].concat(),
            Some(whole) => event(whole),
        };
        let got = passed(&sent, 11, &mask()).unwrap();
        let want = match other {
            None => [event("a ***"), event(" b")].concat(),
            Some(_) => event("***"),
        };
        assert_eq!(got, want);
    }
}

#[test]
fn lists_of_tokens_do_not_say_what_texts_may_not() {
    let sent = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"logprobs\":{\"content\":[{\"token\":\"sec\"}]}}]}\n\n";
    assert!(passed(sent, 9, &mask()).unwrap().contains("\"logprobs\":null"));
}

#[test]
fn what_cannot_be_looked_through_does_not_pass() {
    assert!(matches!(passed("data: {\"choices\":\n\n", 4, &mask()), Err(Refused::Unreadable(_))));
    let endless = "x".repeat(EVENT_BYTES_MAX + 2);
    assert!(matches!(passed(&endless, 1 << 16, &mask()), Err(Refused::Unreadable(_))));
    let lines = "data: {\"choices\":[{\"index\":0,\ndata: \"delta\":{\"content\":\"secret\"}}]}\r\n\r\n";
    assert_eq!(text(&passed(lines, 5, &mask()).unwrap().replace("data:  ", "data: ")), "***");
}

proptest! {
    #[test]
    fn no_cut_lets_a_secret_through(pieces in proptest::collection::vec("[secrt ]{0,5}|secret", 0..12), cut in 1_usize..40) {
        let sent: String = pieces.iter().map(|it| chunk(it)).collect();
        let got = text(&passed(&sent, cut, &mask()).unwrap());
        prop_assert_eq!(got, pieces.concat().replace(SECRET, "***"));
    }
}
