use proptest::prelude::*;

use super::super::event_stream::frame;
use super::*;

const COMPLETION: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-5-2025-08-07","choices":[{"index":0,
"message":{"role":"assistant","content":"{\"usage\":{\"prompt_tokens\":999}}"},"finish_reason":"stop"}],
"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29},"service_tier":"default"}"#;

const COMPLETION_STREAM: &str = "data: {\"id\":\"c1\",\"model\":\"gpt\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":null}],\"usage\":null}\n\n\
data: {\"id\":\"c1\",\"model\":\"gpt\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"length\"}],\"usage\":null}\n\n\
data: {\"id\":\"c1\",\"model\":\"gpt\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}\n\ndata: [DONE]\n\n";

const MESSAGE_STREAM: &str = "event: message_start\r\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"claude\",\"content\":[],\"stop_reason\":null,\"usage\":{\"input_tokens\":25,\"cache_read_input_tokens\":100,\"cache_creation_input_tokens\":7,\"output_tokens\":1}}}\r\n\r\n\
event: content_block_start\r\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"x\"}}\r\n\r\n\
event: ping\r\ndata: {\"type\": \"ping\"}\r\n\r\n\
event: message_delta\r\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":15}}\r\n\r\n\
event: message_stop\r\ndata: {\"type\":\"message_stop\"}\r\n\r\n";

const RESPONSE_STREAM: &str = "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_1\",\"model\":\"o5\",\"usage\":null,\"error\":null}}\n\n\
event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"hi\"}\n\n\
event: response.incomplete\ndata: {\"type\":\"response.incomplete\",\"response\":{\"id\":\"resp_1\",\"incomplete_details\":{\"reason\":\"max_output_tokens\"},\"usage\":{\"input_tokens\":5,\"output_tokens\":6}}}\n\n";

const GEMINI_STREAM: &str = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]}}],\"usageMetadata\":{\"promptTokenCount\":4},\"modelVersion\":\"gemini-3\",\"responseId\":\"r\"}\n\n\
data: {\"candidates\":[{\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":4,\"candidatesTokenCount\":2},\"modelVersion\":\"gemini-3\"}\n\n";

const GEMINI_ARRAY: &str = r#"[{"candidates":[{}],"usageMetadata":{"promptTokenCount":4},"modelVersion":"g"}
,
{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":2}}]"#;

fn converse_stream() -> Vec<u8> {
    let event = |name, payload: &str| frame(&[(":event-type", name), (":message-type", "event")], payload.as_bytes());
    [
        event("messageStart", r#"{"role":"assistant"}"#),
        event("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"a"}}"#),
        event("messageStop", r#"{"stopReason":"end_turn"}"#),
        event(
            "metadata",
            r#"{"usage":{"inputTokens":3,"outputTokens":2,"cacheReadInputTokens":10},"metrics":{"latencyMs":1}}"#,
        ),
    ]
    .concat()
}

/// How it is written, the text, tokens in and out, model, id, ways it ended, events.
type Case<'a> = (Framing, &'a [u8], [Option<u64>; 2], Option<&'a str>, Option<&'a str>, &'a [&'a str], u64);

fn seen(framing: Framing, text: &[u8], cut: usize) -> Seen {
    let mut tap = Tap::new(framing);
    for piece in text.chunks(cut) {
        tap.push(piece);
    }
    tap.finish()
}

#[test]
fn answers_of_every_dialect_are_accounted_wherever_they_are_cut() {
    let converse = converse_stream();
    let cases: [Case<'_>; 8] = [
        (Framing::Json, COMPLETION.as_bytes(), [Some(19), Some(10)], Some("gpt-5-2025-08-07"), Some("chatcmpl-1"), &["stop"], 0),
        (Framing::Events, COMPLETION_STREAM.as_bytes(), [Some(3), Some(4)], Some("gpt"), Some("c1"), &["length"], 4),
        (Framing::Events, MESSAGE_STREAM.as_bytes(), [Some(132), Some(15)], Some("claude"), Some("msg_1"), &["end_turn"], 5),
        (Framing::Events, RESPONSE_STREAM.as_bytes(), [Some(5), Some(6)], Some("o5"), Some("resp_1"), &["max_output_tokens"], 3),
        (Framing::Events, GEMINI_STREAM.as_bytes(), [Some(4), Some(2)], Some("gemini-3"), Some("r"), &["STOP"], 2),
        (Framing::Json, GEMINI_ARRAY.as_bytes(), [Some(4), Some(2)], Some("g"), None, &["STOP"], 0),
        (Framing::Frames, &converse, [Some(13), Some(2)], None, None, &["end_turn"], 4),
        (Framing::Json, b"{\"data\":[{\"embedding\":\"AAAA\",\"id\":\"no\"}],\"model\":\"e\",\"usage\":{\"prompt_tokens\":5,\"total_tokens\":5}}", [Some(5), None], Some("e"), None, &[], 0),
    ];
    for (framing, text, [input, output], model, id, finish, events) in cases {
        for cut in [1, 2, 3, 7, 64, text.len()] {
            let got = seen(framing, text, cut);
            assert_eq!((got.usage.input(), got.usage.output), (input, output), "{model:?} cut by {cut}");
            assert_eq!((got.model.as_deref(), got.id.as_deref(), got.events), (model, id, events), "cut by {cut}");
            assert_eq!(got.finish_reasons, finish, "cut by {cut}");
            assert!(!got.is_error && !got.is_garbled, "cut by {cut}");
        }
    }
}

#[test]
fn errors_and_counts_are_told_apart() {
    assert!(seen(Framing::Json, br#"{"error":{"message":"x"}}"#, 5).is_error);
    assert!(
        seen(
            Framing::Events,
            b"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n",
            9
        )
        .is_error
    );
    assert!(!seen(Framing::Json, br#"{"error":null}"#, 5).is_error);
    let counted = seen(Framing::Json, br#"{"input_tokens":2095}"#, 4);
    assert_eq!((counted.counted, counted.usage.is_empty()), (Some(2095), true));
    assert_eq!(seen(Framing::Json, br#"{"totalTokens":31}"#, 4).counted, Some(31));
    assert!(seen(Framing::Frames, b"{\"message\":\"not a frame at all\"}", 9).is_garbled);
}

#[test]
fn media_types_say_how_an_answer_is_written() {
    for (text, want) in [
        ("application/json", Some(Framing::Json)),
        ("application/json; charset=UTF-8", Some(Framing::Json)),
        ("Text/Event-Stream;charset=utf-8", Some(Framing::Events)),
        ("application/vnd.amazon.eventstream", Some(Framing::Frames)),
        ("application/problem+json", Some(Framing::Json)),
        ("audio/mpeg", None),
        ("", None),
    ] {
        assert_eq!(Framing::of(text), want, "{text}");
    }
}

#[test]
fn every_place_has_its_field() {
    assert!((0..LIST.len()).all(|it| field(it).is_some()) && field(LIST.len()).is_none() && LIST.len() <= 32);
    let ends = |at: usize| LIST[at].last().copied().unwrap();
    assert_eq!(
        [ends(6), ends(8), ends(13), ends(17), ends(25), ends(27)],
        ["tokens", "totalTokens", "modelVersion", "responseId", "reason", "service_tier"]
    );
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 1_usize..50) {
        for framing in [Framing::Json, Framing::Events, Framing::Frames] {
            let _ = seen(framing, &bytes, cut);
        }
    }

    #[test]
    fn what_is_cut_off_keeps_what_was_said_so_far(upto in 0_usize..MESSAGE_STREAM.len()) {
        let got = seen(Framing::Events, &MESSAGE_STREAM.as_bytes()[..upto], 16);
        prop_assert!(matches!(got.usage.output, None | Some(1 | 15)));
        prop_assert!(matches!(got.usage.input(), None | Some(132)));
    }
}
