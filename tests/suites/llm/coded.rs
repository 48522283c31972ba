//! Bodies in content codings: what is not changed passes as it came, and is read all the same.

use std::io::Write;

use bytes::Bytes;
use serde_json::{Value, json};
use tests::backend::answer;
use tests::{Backend, Gateway};

use super::{accounted, chat, single};

const CHAT: &str = "/v1/chat/completions";
const CODINGS: [&str; 4] = ["gzip", "deflate", "br", "zstd"];

fn coded(coding: &str, text: &[u8]) -> Bytes {
    let level = flate2::Compression::new(6);
    let written: Vec<u8> = match coding {
        "gzip" => {
            let mut writer = flate2::write::GzEncoder::new(Vec::new(), level);
            writer.write_all(text).expect("written");
            writer.finish().expect("whole")
        }
        "deflate" => {
            let mut writer = flate2::write::ZlibEncoder::new(Vec::new(), level);
            writer.write_all(text).expect("written");
            writer.finish().expect("whole")
        }
        "br" => {
            let mut writer = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22);
            writer.write_all(text).expect("written");
            writer.into_inner()
        }
        _ => zstd::encode_all(text, 3).expect("coded"),
    };
    written.into()
}

/// Answers in a coding that nobody asked for.
fn provider(kind: &'static str, coding: &'static str, said: Vec<u8>) -> Backend {
    let body = if coding.is_empty() { Bytes::from(said) } else { coded(coding, &said) };
    Backend::http(move |_| {
        let body = body.clone();
        async move {
            let mut answer = answer::with_type(200, kind, body);
            if !coding.is_empty() {
                answer.headers_mut().insert("content-encoding", coding.parse().expect("a value"));
            }
            answer
        }
    })
}

fn said(text: &str) -> Vec<u8> {
    let message = json!({"role": "assistant", "content": text});
    json!({"id": "c", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 5}})
    .to_string()
    .into_bytes()
}

fn streamed(pieces: &[&str]) -> Vec<u8> {
    let chunk = |text: &&str| json!({"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": text}}]});
    let usage = json!({"id": "c", "model": "m", "choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 5}});
    let events: Vec<Value> = pieces.iter().map(chunk).chain([usage]).collect();
    let text: String = events.iter().map(|it| format!("data: {it}\n\n")).collect();
    format!("{text}data: [DONE]\n\n").into_bytes()
}

fn masking(document: &str) -> String {
    let ai = "{ promptGuard: { response: [{ regex: { rules: [{ builtin: email }] } }] } }";
    document.replacen("    - name: ai\n", &format!("    - name: ai\n      policies:\n        ai: {ai}\n"), 1)
}

fn used(line: &Value) -> (u64, u64) {
    let number = |name: &str| line[name].as_u64().unwrap_or_else(|| panic!("no {name}: {line}"));
    (number("gen_ai.usage.input_tokens"), number("gen_ai.usage.output_tokens"))
}

#[tokio::test]
async fn a_request_is_read_and_goes_on_as_it_came() {
    let backend = provider("application/json", "", said("hello"));
    let host = format!("http://{}", backend.addr());
    let text = format!("{{ \"model\" : \"m\", \"messages\": [], \"pad\": \"{}\" }}", "x".repeat(20_000));
    let (same, other) = (single("openAI: {}", &host), single("openAI: { model: real }", &host));
    let (same, other) = (Gateway::start(&same).await, Gateway::start(&other).await);
    for coding in CODINGS {
        let body = coded(coding, text.as_bytes());
        let post =
            |gateway: &Gateway| gateway.client().post(CHAT).header("content-encoding", coding).body(body.clone());
        post(&same).await.expect_status(200);
        let asked = backend.stats().last();
        assert_eq!((&asked.body, asked.header("content-encoding")), (&body, Some(coding)), "{coding}");
        post(&other).await.expect_status(200);
        let asked = backend.stats().last();
        assert_eq!(asked.text(), text.replace("\"m\"", "\"real\""), "{coding}: changed, and so plain");
        assert_eq!(asked.header("content-encoding"), None);
        assert_eq!(asked.header("content-length"), Some((text.len() + 3).to_string().as_str()));
    }
    assert_eq!(accounted(&same, 4).await["gen_ai.request.model"], "m", "it was read");
    same.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_bomb_a_piece_and_a_lie_are_refused_in_the_clients_dialect() {
    let backend = provider("application/json", "", said("hello"));
    let limit = "frontendPolicies:\n  http: { maxBufferSize: 100000 }\n";
    let document = single("anthropic: {}", &format!("http://{}", backend.addr()));
    let gateway = Gateway::start(&format!("{document}{limit}")).await;
    let text = chat("m", false).to_string();
    let bomb = format!("{{\"model\":\"m\",\"messages\":[],\"pad\":\"{}\"}}", "x".repeat(32 << 20));
    for coding in CODINGS {
        let whole = coded(coding, text.as_bytes());
        let cut = whole.slice(..whole.len() - 3);
        let more = [&whole[..], b"more"].concat().into();
        for (body, coding, status, code) in [
            (coded(coding, bomb.as_bytes()), coding, 413, "request_body_too_large"),
            (cut, coding, 400, "invalid_request_body"),
            (more, coding, 400, "invalid_request_body"),
            (Bytes::from(text.clone()), coding, 400, "invalid_request_body"),
            (coded(coding, b"[1, 2"), coding, 400, "invalid_request_body"),
            (whole.clone(), "compress", 415, "unsupported_encoding"),
            (whole, "gzip, br", 415, "unsupported_encoding"),
        ] {
            let reply = gateway.client().post("/v1/messages").header("content-encoding", coding).body(body).await;
            assert_eq!(reply.status, status, "{coding}: {}", reply.text());
            assert_eq!(reply.header("x-agentgateway-error"), Some(code), "{coding}");
            assert_eq!(reply.json()["type"], "error", "{coding}: in the client's dialect");
        }
    }
    assert_eq!(backend.stats().requests(), 0);
    gateway.stop().await;
}

#[tokio::test]
async fn an_answer_passes_as_it_came_and_is_accounted() {
    let include = json!({"model": "m", "stream": true, "stream_options": {"include_usage": true}, "messages": []});
    for coding in CODINGS {
        for (kind, said, asking) in [
            ("application/json", said("hello"), chat("m", false)),
            ("text/event-stream", streamed(&["hel", "lo"]), include.clone()),
        ] {
            let backend = provider(kind, coding, said.clone());
            let gateway = Gateway::start(&single("openAI: {}", &format!("http://{}", backend.addr()))).await;
            let reply = gateway.client().post(CHAT).json(&asking).await.expect_status(200);
            assert_eq!((reply.header("content-encoding"), &reply.body), (Some(coding), &coded(coding, &said)));
            assert_eq!(used(&accounted(&gateway, 1).await), (12, 5), "{coding} {kind}");
            gateway.stop().await;
        }
    }
}

#[tokio::test]
async fn an_answer_is_looked_through_in_its_coding() {
    for coding in CODINGS {
        let document = |backend: &Backend| masking(&single("openAI: {}", &format!("http://{}", backend.addr())));
        for (text, passes) in [("ask a@b.example", false), ("ask nobody", true)] {
            let backend = provider("application/json", coding, said(text));
            let gateway = Gateway::start(&document(&backend)).await;
            let reply = gateway.client().post(CHAT).json(&chat("m", false)).await.expect_status(200);
            assert_eq!(reply.header("content-encoding"), passes.then_some(coding));
            match passes {
                true => assert_eq!(reply.body, coded(coding, &said(text)), "untouched, and so the same bytes"),
                false => assert_eq!(reply.json()["choices"][0]["message"]["content"], "ask <EMAIL_ADDRESS>"),
            }
            assert_eq!(used(&accounted(&gateway, 1).await), (12, 5), "{coding}");
            gateway.stop().await;
        }
        let backend = provider("text/event-stream", coding, streamed(&["ask a@", "b.exam", "ple. Bye"]));
        let gateway = Gateway::start(&document(&backend)).await;
        let reply = gateway.client().post(CHAT).json(&chat("m", true)).await.expect_status(200);
        assert_eq!(reply.header("content-encoding"), None);
        assert!(!reply.text().contains("b.exam") && reply.text().contains("<EMAIL_ADDRESS>"), "{}", reply.text());
        assert!(!reply.text().contains("usage"), "which the client did not ask for: {}", reply.text());
        assert_eq!(used(&accounted(&gateway, 1).await), (12, 5), "{coding}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn an_answer_is_translated_out_of_its_coding_and_a_bomb_or_a_piece_of_one_is_none() {
    let zeros = vec![b' '; 64 << 20];
    for coding in CODINGS {
        let message = json!({"id": "x", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
            "content": [{"type": "text", "text": "hello"}], "usage": {"input_tokens": 12, "output_tokens": 5}});
        let backend = provider("application/json", coding, message.to_string().into_bytes());
        let gateway = Gateway::start(&single("anthropic: {}", &format!("http://{}", backend.addr()))).await;
        let reply = gateway.client().post(CHAT).json(&chat("m", false)).await.expect_status(200);
        assert_eq!(reply.json()["choices"][0]["message"]["content"], "hello", "{coding}");
        assert_eq!(reply.header("content-encoding"), None);
        assert_eq!(used(&accounted(&gateway, 1).await), (12, 5), "{coding}");
        gateway.stop().await;

        let backend = provider("application/json", coding, zeros.clone());
        let gateway = Gateway::start(&single("anthropic: {}", &format!("http://{}", backend.addr()))).await;
        let reply = gateway.client().post(CHAT).json(&chat("m", false)).await;
        assert_eq!((reply.status.as_u16(), &reply.json()["error"]["type"]), (502, &json!("server_error")), "{coding}");
        gateway.stop().await;
    }
}
