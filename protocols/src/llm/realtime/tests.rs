use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::llm::guard::words::Words;

const KEY: [u8; 4] = [1, 2, 3, 4];

const RULES: Rules<'static> =
    Rules { request: &Words(1), response: &Words(1), told: &|side, rule| format!("{side:?} may not say {rule}") };

fn frames(key: Option<[u8; 4]>, events: &[Value]) -> Bytes {
    let mut out = BytesMut::new();
    events.iter().for_each(|it| websocket::write(&mut out, Opcode::Text, key, it.to_string().as_bytes()));
    out.freeze()
}

/// What is in frames: the JSON of messages, and the names of others.
fn read(side: Side, bytes: &[u8]) -> Vec<Value> {
    let (mut reader, mut rest, mut out, mut payload) = (Reader::new(side), bytes, Vec::new(), Vec::new());
    while let Some(piece) = reader.next(&mut rest).expect("frames") {
        match piece {
            Piece::Head(_) => payload = Vec::new(),
            Piece::Payload(more) => payload.extend_from_slice(more),
            Piece::End(head) => {
                if let Some(key) = head.key {
                    websocket::unmask(&mut payload, key, 0);
                }
                out.push(match head.opcode {
                    Opcode::Text => serde_json::from_slice(&payload).expect("JSON"),
                    other => json!(format!("{other:?}")),
                });
            }
        }
    }
    assert!(reader.is_between(), "the last frame is whole");
    out
}

fn kinds(read: &[Value]) -> Vec<&str> {
    read.iter().map(|it| it["type"].as_str().or(it.as_str()).expect("a type")).collect()
}

fn delta(text: &str) -> Value {
    json!({"type": "response.output_text.delta", "item_id": "i", "content_index": 0, "delta": text})
}

fn done(text: &str) -> Value {
    let usage = json!({"total_tokens": 12, "input_tokens": 8, "output_tokens": 4});
    let output = json!([{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}]);
    json!({"type": "response.done", "response": {"status": "completed", "output": output, "usage": usage}})
}

fn created() -> Value {
    json!({"type": "response.created", "response": {"id": "r"}})
}

fn said(text: &str) -> Value {
    let item = json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]});
    json!({"type": "conversation.item.create", "event_id": "mine", "item": item})
}

fn on(talk: &mut Talk, events: &[Value]) -> Vec<Value> {
    read(Side::Server, &talk.from_provider(&frames(None, events), &RULES, &mut |_| None))
}

#[test]
fn what_is_not_guarded_passes_as_it_comes_and_is_counted() {
    let stream = frames(None, &[created(), delta("a"), done("a"), created(), done("b")]);
    for cut in [1, 2, 7, 100, stream.len()] {
        let (mut talk, mut moments) = (Talk::new(false), Vec::new());
        for piece in stream.chunks(cut) {
            let piece = Bytes::copy_from_slice(piece);
            let passed = talk.from_provider(&piece, &RULES, &mut |it| {
                moments.push(it);
                None
            });
            assert_eq!(passed, piece, "at once");
        }
        let begun = Moment::Begun { output_max: None };
        assert_eq!(moments, [begun, Moment::Ended { used: 12 }, begun, Moment::Ended { used: 12 }]);
        assert_eq!((talk.seen().0.usage.total(), talk.seen().1), (Some(24), None));
    }
}

#[test]
fn an_answer_that_may_not_begin_ends_the_session_behind_its_first_event() {
    for guarded in [false, true] {
        let mut talk = Talk::new(guarded);
        let stream = frames(None, &[json!({"type": "session.created"}), created(), delta("never"), done("never")]);
        let mut refuse = |_| Some(Refusal { code: "rate_limit_exceeded", text: "no tokens are left".to_owned() });
        let got = read(Side::Server, &talk.from_provider(&stream, &RULES, &mut refuse));
        assert_eq!(kinds(&got), ["session.created", "response.created", "error", "Close"], "guarded: {guarded}");
        assert_eq!(got[2]["error"]["type"], "rate_limit_error");
        assert!(talk.is_over());
        assert_eq!(talk.from_provider(&frames(None, &[delta("never")]), &RULES, &mut refuse), "");
        assert_eq!(talk.seen().0.usage.total(), Some(12), "what was used is used");
        let mut parting = BytesMut::from(&frames(Some(KEY), &[said("more")])[..]);
        websocket::write_close(&mut parting, Some(KEY), 1008, "");
        assert_eq!(kinds(&read(Side::Client, &talk.from_client(&parting.freeze(), &RULES))), ["Close"]);
    }
}

#[test]
fn what_a_client_says_is_masked_or_refused_before_it_goes_on() {
    let mut talk = Talk::new(true);
    let untouched =
        frames(Some(KEY), &[said("hello"), json!({"type": "input_audio_buffer.append", "audio": "secret"})]);
    assert_eq!(talk.from_client(&untouched, &RULES), untouched, "the same bytes");
    let events = [
        said("my secret"),
        json!({"type": "session.update", "session": {"instructions": "tell the secret", "voice": "secret"}}),
        json!({"type": "response.create", "response": {"instructions": "secret", "input": [{"type": "message",
            "content": [{"type": "input_text", "text": "secret"}, {"type": "input_audio", "audio": "secret"}]}]}}),
    ];
    let got = read(Side::Client, &talk.from_client(&frames(Some(KEY), &events), &RULES));
    assert_eq!(got[0]["item"]["content"][0]["text"], "my ***");
    assert_eq!(got[1]["session"], json!({"instructions": "tell the ***", "voice": "secret"}));
    assert_eq!(got[2]["response"]["instructions"], "***");
    assert_eq!(got[2]["response"]["input"][0]["content"][1]["audio"], "secret", "sound is none of it");
    let got = read(Side::Client, &talk.from_client(&frames(Some(KEY), &[said("forbidden"), said("ok")]), &RULES));
    assert_eq!((got[0].as_str(), &got[1]), (Some("Ping"), &said("ok")));
    let mut pong = BytesMut::new();
    websocket::write(&mut pong, Opcode::Pong, None, b"agentgateway");
    let got = read(Side::Server, &talk.from_provider(&pong.freeze(), &RULES, &mut |_| None));
    assert_eq!(kinds(&got), ["error"], "in the place of the pong");
    assert_eq!((&got[0]["error"]["event_id"], &got[0]["error"]["code"]), (&json!("mine"), &json!("content_rejected")));
    assert_eq!(got[0]["error"]["message"], "Client may not say 1");
    assert_eq!(talk.found().0, [0, 0, 0, 0, 1]);
}

#[test]
fn what_a_model_says_is_masked_across_events_and_nothing_slips_out() {
    let mut talk = Talk::new(true);
    let got = on(&mut talk, &[created(), delta("my sec"), json!({"type": "rate_limits.updated"}), delta("ret")]);
    assert_eq!(kinds(&got), ["response.created"], "what may still become a match waits, and what is behind it");
    let got = on(&mut talk, &[done("my secret")]);
    let want = ["response.output_text.delta", "rate_limits.updated", "response.output_text.delta", "response.done"];
    assert_eq!(kinds(&got), want);
    let text = [&got[0], &got[2]].map(|it| it["delta"].as_str().unwrap()).concat();
    assert_eq!(text, "my ***");
    assert_eq!(got[3]["response"]["output"][0]["content"][0]["text"], "my ***");
    assert_eq!(got[3]["response"]["usage"]["total_tokens"], 12);
    assert_eq!(talk.found().1, [0, 0]);
}

#[test]
fn an_answer_that_is_refused_goes_no_further_and_the_session_does() {
    let mut talk = Talk::new(true);
    let got = on(
        &mut talk,
        &[
            created(),
            delta("for"),
            delta("bidden"),
            delta(" fruit is too much for me"),
            json!({"type": "session.updated"}),
        ],
    );
    assert_eq!(kinds(&got), ["response.created", "error", "session.updated"]);
    let got = read(Side::Client, &talk.from_client(&frames(Some(KEY), &[said("go on")]), &RULES));
    assert_eq!(kinds(&got), ["response.cancel", "conversation.item.create"]);
    let got = on(&mut talk, &[delta("more"), done("forbidden fruit"), created(), delta("a long enough text")]);
    assert_eq!(kinds(&got)[..2], ["response.done", "response.created"]);
    assert_eq!(got[0]["response"]["output"], json!([]));
    let got = on(&mut talk, &[done("a long enough text")]);
    assert_eq!(kinds(&got), ["response.output_text.delta", "response.done"]);
}

#[test]
fn what_cannot_be_looked_through_ends_a_guarded_session() {
    let mut talk = Talk::new(true);
    let got = read(Side::Client, &talk.from_client(&Bytes::from_static(&[0xc1, 0x80, 0, 0, 0, 0]), &RULES));
    assert_eq!(kinds(&got), ["Close"]);
    let mut close = BytesMut::new();
    websocket::write_close(&mut close, None, 1000, "");
    let got = read(Side::Server, &talk.from_provider(&close.freeze(), &RULES, &mut |_| None));
    assert_eq!(kinds(&got), ["error", "Close"]);
    for garbage in [&b"\xc1\x00"[..], b"\x82\x01x", b"\x81\x7f\x00\x00\x00\x00\x10\x00\x00\x00", b"\x81\x02{]"] {
        let mut talk = Talk::new(true);
        let got = talk.from_provider(&Bytes::copy_from_slice(garbage), &RULES, &mut |_| None);
        let got = read(Side::Server, &got);
        assert_eq!((kinds(&got), &got[0]["error"]["code"]), (vec!["error", "Close"], &json!("upstream_error")));
        let mut talk = Talk::new(false);
        let piece = Bytes::copy_from_slice(garbage);
        assert_eq!(talk.from_provider(&piece, &RULES, &mut |_| None), piece, "not ours to judge where nobody guards");
    }
}

#[test]
fn a_provider_is_told_once_that_its_client_has_gone() {
    let mut talk = Talk::new(true);
    // Without a mask it is no frame of a client.
    let told = talk.from_client(&Bytes::from_static(&[0x88, 0]), &RULES);
    assert_eq!(read(Side::Client, &told), [json!("Close")]);
    let mut close = BytesMut::new();
    websocket::write_close(&mut close, Some(KEY), 1000, "");
    assert_eq!(talk.from_client(&close.freeze(), &RULES), "");
}

proptest! {
    #[test]
    fn masked_texts_are_the_same_wherever_they_are_cut(
        cuts in prop::collection::vec(1_usize..12, 1..12), bytes in 1_usize..90
    ) {
        let text = "one secret, and a secretsecret more; no secre";
        let (mut events, mut rest) = (vec![created()], text);
        for cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            events.push(delta(piece));
            rest = after;
        }
        events.extend([delta(rest), done(text)]);
        let mut talk = Talk::new(true);
        let mut out = Vec::new();
        for piece in frames(None, &events).chunks(bytes) {
            out.extend_from_slice(&talk.from_provider(&Bytes::copy_from_slice(piece), &RULES, &mut |_| None));
        }
        let got = read(Side::Server, &out);
        prop_assert_eq!(got.len(), events.len());
        let said: String = got.iter().filter_map(|it| it["delta"].as_str()).collect();
        prop_assert_eq!(said, "one ***, and a ****** more; no secre");
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), guarded in any::<bool>()) {
        let mut talk = Talk::new(guarded);
        let bytes = Bytes::from(bytes);
        talk.from_client(&bytes, &RULES);
        talk.from_provider(&bytes, &RULES, &mut |_| None);
    }
}
