//! Guards: what must not pass is masked or refused, in requests, answers and streams, wherever they are cut.

use serde_json::{Value, json};
use tests::backend::answer;
use tests::{Backend, Client, Gateway};

use super::{accounted, chat, delta, mock, single, until, written};

const CHAT: &str = "/v1/chat/completions";

/// One route to a provider under the policy `ai`.
fn guarded(provider: &str, host: &str, ai: &str) -> String {
    let route = format!("    - name: ai\n      policies:\n        ai: {ai}\n");
    single(provider, host).replacen("    - name: ai\n", &route, 1)
}

fn guard(side: &str, action: &str, more: &str) -> String {
    let rules = "[{ builtin: email }, { pattern: 'sk-[a-z0-9]{20}' }]";
    format!("{{ promptGuard: {{ {side}: [{{ regex: {{ action: {action}, rules: {rules} }}{more} }}] }} }}")
}

const SECRET: &str = "sk-abcdefghij0123456789";

fn asking(text: &str) -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": text}]})
}

#[tokio::test]
async fn requests_are_masked_in_place_or_refused_in_the_clients_dialect() {
    let backend = Backend::http(|_| async { answer::json(&json!({"id": "c"})) });
    let host = format!("http://{}", backend.addr());
    let gateway = Gateway::start(&guarded("openAI: {}", &host, &guard("request", "mask", ""))).await;
    let body = format!(
        "{{ \"model\":\"m\", \"messages\":[ {{\"role\":\"user\",\"content\":\"I am a@b.example, {SECRET}\"}}], \"user\": \"a@b.example\"}}"
    );
    gateway.client().post(CHAT).body(body.clone()).await.expect_status(200);
    let sent = body.replacen("a@b.example", "<EMAIL_ADDRESS>", 1).replace(SECRET, "<MASKED>");
    assert_eq!(backend.stats().last().text(), sent, "nothing else is changed");
    assert_eq!(accounted(&gateway, 1).await["gen_ai.guardrail.findings"], 2);
    gateway.client().post(CHAT).body("{ \"model\": \"m\",  \"messages\":[]}").await.expect_status(200);
    assert_eq!(backend.stats().last().text(), "{ \"model\": \"m\",  \"messages\":[]}");
    gateway.stop().await;

    let gateway = Gateway::start(&guarded("openAI: {}", &host, &guard("request", "reject", ""))).await;
    let asked = backend.stats().requests();
    let refused = gateway.client().post(CHAT).json(&asking("I am a@b.example")).await.expect_status(403);
    assert_eq!(refused.header("x-agentgateway-error"), Some("content_rejected"));
    assert_eq!(refused.json()["error"]["code"], "content_rejected");
    assert_eq!(backend.stats().requests(), asked, "it did not go on");
    gateway.stop().await;

    let written = ", rejection: { status: 422, body: 'no mail', headers: { x-why: mail } }";
    let gateway = Gateway::start(&guarded("openAI: {}", &host, &guard("request", "reject", written))).await;
    let refused = gateway.client().post(CHAT).json(&asking("I am a@b.example")).await.expect_status(422);
    assert_eq!((refused.text().as_str(), refused.header("x-why")), ("no mail", Some("mail")));
    gateway.stop().await;
}

#[tokio::test]
async fn whole_answers_are_looked_through_before_anything_of_them_goes_out() {
    let reply = json!({"id": "c", "choices": [{"message": {"role": "assistant", "content": "ask a@b.example",
        "tool_calls": [{"id": "a@b.example", "function": {"name": "f", "arguments": "{\"key\":\"sk-abcdefghij0123456789\"}"}}]}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4}});
    let backend = Backend::http(move |_| {
        let reply = reply.clone();
        async move { answer::json(&reply) }
    });
    let host = format!("http://{}", backend.addr());
    let gateway = Gateway::start(&guarded("openAI: {}", &host, &guard("response", "mask", ""))).await;
    let got = gateway.client().post(CHAT).json(&chat("m", false)).await.expect_status(200).json();
    let message = &got["choices"][0]["message"];
    assert_eq!(message["content"], "ask <EMAIL_ADDRESS>");
    assert_eq!(message["tool_calls"][0]["function"]["arguments"], "{\"key\":\"<MASKED>\"}");
    assert_eq!(message["tool_calls"][0]["id"], "a@b.example", "ids are nobody's text");
    let line = accounted(&gateway, 1).await;
    assert_eq!(
        (&line["gen_ai.usage.output_tokens"], &line["gen_ai.guardrail.findings"]),
        (&json!(4), &json!(2)),
        "{line}"
    );
    gateway.stop().await;

    let gateway = Gateway::start(&guarded("openAI: {}", &host, &guard("response", "reject", ""))).await;
    let refused = gateway.client().post(CHAT).json(&chat("m", false)).await.expect_status(403);
    assert_eq!(refused.json()["error"]["code"], "content_rejected");
    assert!(!refused.text().contains("a@b"), "{}", refused.text());
    gateway.stop().await;
}

/// A stream whose text comes in these pieces.
fn streaming(pieces: &'static [&'static str]) -> Backend {
    Backend::http(move |_| async move {
        let chunk = |text: &&str| json!({"choices": [{"index": 0, "delta": {"content": text}}]}).to_string();
        let mut events: Vec<String> = pieces.iter().map(chunk).collect();
        events.push("[DONE]".to_owned());
        answer::events(&events)
    })
}

fn text(stream: &str) -> String {
    let data = stream
        .lines()
        .filter_map(|it| it.strip_prefix("data: "))
        .filter_map(|it| serde_json::from_str::<Value>(it).ok());
    data.filter_map(|it| it["choices"][0]["delta"]["content"].as_str().map(str::to_owned)).collect()
}

#[tokio::test]
async fn a_secret_cut_into_pieces_does_not_slip_out_of_a_stream() {
    let backend = streaming(&["The key is s", "k", "-abcdefgh", "ij01234567", "89, from a", "@", "b.exam", "ple. Bye"]);
    let host = format!("http://{}", backend.addr());
    let gateway = Gateway::start(&guarded("openAI: {}", &host, &guard("response", "mask", ""))).await;
    let reply = gateway.client().post(CHAT).json(&chat("m", true)).await.expect_status(200);
    assert_eq!(text(&reply.text()), "The key is <MASKED>, from <EMAIL_ADDRESS>. Bye", "{}", reply.text());
    assert!(reply.text().ends_with("data: [DONE]\n\n"));
    gateway.stop().await;

    let gateway = Gateway::start(&guarded("openAI: {}", &host, &guard("response", "reject", ""))).await;
    let reply = gateway.client().post(CHAT).json(&chat("m", true)).await.expect_status(200);
    assert!(reply.text().contains("content_rejected") && !reply.text().contains("-abc"), "{}", reply.text());
    assert_eq!(accounted(&gateway, 1).await["http.status"], 200);
    gateway.stop().await;

    for mode in ["shadow", "audit"] {
        let document = guarded("openAI: {}", &host, &guard("response", "reject", &format!(", mode: {mode}")));
        let gateway = Gateway::start(&document).await;
        let reply = gateway.client().post(CHAT).json(&chat("m", true)).await.expect_status(200);
        assert_eq!(text(&reply.text()), format!("The key is {SECRET}, from a@b.example. Bye"));
        let line = accounted(&gateway, 1).await;
        assert_eq!(line["gen_ai.guardrail.findings"], 2, "{line}");
        assert_eq!(line.to_string().contains("wouldDeny"), mode == "shadow", "{line}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn every_dialects_stream_is_guarded() {
    let mock = mock(json!([{"text": "I am a@b.example and you"}])).await;
    let ai = "{ promptGuard: { response: [{ regex: { rules: [{ builtin: email }] } }] } }";
    let text = json!([{"role": "user", "content": "hello"}]);
    for (kind, path, body) in [
        ("openAI: {}", "/v1/responses", json!({"model": "m", "input": "hello", "stream": true})),
        // Translated on the way: what the client is to read is what is looked through.
        ("anthropic: {}", CHAT, chat("m", true)),
        ("openAI: {}", "/v1/messages", json!({"model": "m", "max_tokens": 9, "messages": text, "stream": true})),
        ("anthropic: {}", "/v1/messages", json!({"model": "m", "max_tokens": 9, "messages": text, "stream": true})),
        (
            "gemini: {}",
            "/v1beta/models/m:streamGenerateContent?alt=sse",
            json!({"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}),
        ),
    ] {
        let gateway = Gateway::start(&guarded(kind, &mock.url(), ai)).await;
        let reply = gateway.client().post(path).json(&body).await.expect_status(200);
        assert!(reply.text().contains("<EMAIL_ADDRESS>"), "{path}: {}", reply.text());
        assert!(!reply.text().contains("a@b.example"), "{path}: {}", reply.text());
        gateway.stop().await;
    }
}

#[tokio::test]
async fn harmless_text_is_held_back_by_a_word_at_most() {
    let (backend, mut writers) = written();
    let ai = "{ promptGuard: { response: [{ regex: { rules: [{ builtin: email }, { builtin: ssn }] } }] } }";
    let gateway = Gateway::start(&guarded("openAI: {}", &format!("http://{}", backend.addr()), ai)).await;
    let words = ["one ", "two ", "three ", "four ", "five ", "six "];
    let call = gateway.client().post(CHAT).json(&chat("m", true));
    let (mut stream, writer) = tokio::join!(call.stream(), async {
        let writer = writers.recv().await.expect("a request");
        assert!(writer.data(delta(words[0])).await);
        assert!(writer.data(delta(words[1])).await);
        writer
    });
    let mut heard = String::new();
    for (n, word) in words.iter().enumerate().take(4) {
        // One word is under way behind it, and then the next.
        until(&mut stream, &mut heard, word.trim()).await;
        assert!(writer.data(delta(words[n + 2])).await);
    }
    assert!(writer.data("data: [DONE]\n\n").await);
    drop(writer);
    until(&mut stream, &mut heard, "[DONE]").await;
    assert!(words.iter().all(|it| heard.contains(it.trim())), "{heard}");
    gateway.stop().await;
}

#[tokio::test]
async fn what_cannot_be_looked_through_does_not_pass() {
    for (kind, coding, body) in [
        ("application/json", "", "{\"choices\":"),
        ("application/json", "content-encoding: gzip\r\n", "x"),
        ("application/vnd.amazon.eventstream", "", "x"),
    ] {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n{coding}content-length: {}\r\n\r\n", body.len());
        let backend = Backend::canned(format!("{head}{body}"));
        let host = format!("http://{}", backend.addr());
        let gateway = Gateway::start(&guarded("openAI: {}", &host, &guard("response", "mask", ""))).await;
        let reply = gateway.client().post(CHAT).json(&chat("m", false)).await.expect_status(502);
        assert!(reply.json()["error"]["message"].is_string(), "{kind} {coding}: {}", reply.text());
        gateway.stop().await;
    }
}

#[tokio::test]
async fn requests_are_changed_in_their_own_places() {
    let backend = Backend::http(|_| async { answer::json(&json!({"id": "c"})) });
    let host = format!("http://{}", backend.addr());
    let ai =
        "{ modelAliases: { 'fast*': real }, defaults: { temperature: 0.5, top_p: 1 }, overrides: { store: false } }";
    let gateway = Gateway::start(&guarded("openAI: {}", &host, ai)).await;
    let body = "{\"model\" : \"fast-1\", \"store\":true,  \"top_p\": 0.9}";
    gateway.client().post(CHAT).body(body).await.expect_status(200);
    let want = "{\"model\" : \"real\", \"store\":false,  \"top_p\": 0.9,\"temperature\":0.5}";
    assert_eq!(backend.stats().last().text(), want);
    assert_eq!(accounted(&gateway, 1).await["gen_ai.request.model"], "real");
    gateway.stop().await;
}

#[tokio::test]
async fn the_rest_is_read_for_the_account_where_the_client_has_left() {
    let mock = mock(json!([{"text": "a b c d e f g h i j", "pauseMs": 400}])).await;
    let gateway = Gateway::start(&guarded("openAI: {}", &mock.url(), "{ clientGone: { drain: 30s } }")).await;
    let client = Client::h1(gateway.addr(0));
    let mut stream = client.post(CHAT).json(&chat("m", true)).stream().await;
    stream.chunk().await.expect("the stream goes on").expect("a piece");
    drop(stream);
    drop(client);
    let line = accounted(&gateway, 1).await;
    assert_eq!((&line["reason"], line.get("gen_ai.usage.estimated")), (&json!("ClientGone"), None), "{line}");
    assert_eq!(line["gen_ai.usage.output_tokens"], 10, "{line}");
    gateway.stop().await;
}

/// A stream of one dialect, of a text in two pieces, or of what a tool is called with.
fn two_pieces(anthropic: bool, (first, second): (&str, &str), tool: bool) -> String {
    let mut events: Vec<(&str, Value)> = Vec::new();
    if anthropic {
        let block = match tool {
            true => json!({"type": "tool_use", "id": "t", "name": "f", "input": {}}),
            false => json!({"type": "text", "text": ""}),
        };
        let delta = |text: &str| match tool {
            true => json!({"type": "input_json_delta", "partial_json": text}),
            false => json!({"type": "text_delta", "text": text}),
        };
        let usage = json!({"input_tokens": 3, "output_tokens": 1});
        events.push((
            "message_start",
            json!({"type": "message_start", "message": {"id": "x", "type": "message",
            "role": "assistant", "model": "m", "content": [], "stop_reason": null, "usage": usage}}),
        ));
        events
            .push(("content_block_start", json!({"type": "content_block_start", "index": 0, "content_block": block})));
        for text in [first, second] {
            let event = json!({"type": "content_block_delta", "index": 0, "delta": delta(text)});
            events.push(("content_block_delta", event));
        }
        events.push(("content_block_stop", json!({"type": "content_block_stop", "index": 0})));
        events.push((
            "message_delta",
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}),
        ));
        events.push(("message_stop", json!({"type": "message_stop"})));
        return events.iter().map(|(name, it)| format!("event: {name}\ndata: {it}\n\n")).collect();
    }
    let delta = |text: &str, n: usize| match (tool, n) {
        (false, _) => json!({"content": text}),
        (true, 0) => {
            json!({"tool_calls": [{"index": 0, "id": "t", "type": "function", "function": {"name": "f", "arguments": text}}]})
        }
        (true, _) => json!({"tool_calls": [{"index": 0, "function": {"arguments": text}}]}),
    };
    let chunk = |delta: Value, end: Value| {
        json!({"id": "c", "object": "chat.completion.chunk", "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": end}]})
    };
    let mut all: Vec<Value> =
        [first, second].into_iter().enumerate().map(|(n, it)| chunk(delta(it, n), Value::Null)).collect();
    all.push(chunk(json!({}), json!("stop")));
    let text: String = all.iter().map(|it| format!("data: {it}\n\n")).collect();
    format!("{text}data: [DONE]\n\n")
}

/// Everything that the events of a stream say, of whatever dialect.
fn said_in(stream: &str) -> String {
    let data = stream.lines().filter_map(|it| it.strip_prefix("data: "));
    let data = data.filter_map(|it| serde_json::from_str::<Value>(it).ok());
    let said = |it: Value| {
        let delta = &it["choices"][0]["delta"];
        let places = [
            &delta["content"],
            &delta["tool_calls"][0]["function"]["arguments"],
            &it["delta"]["text"],
            &it["delta"]["partial_json"],
        ];
        places.iter().filter_map(|it| it.as_str()).collect::<String>()
    };
    data.map(said).collect()
}

#[tokio::test]
async fn streams_are_guarded_behind_their_translation_wherever_a_secret_is_cut() {
    let escaped = SECRET.replace('b', "\\u0062");
    for (anthropic, provider, path) in [(true, "anthropic: {}", CHAT), (false, "openAI: {}", "/v1/messages")] {
        for (whole, want, tool) in [
            (format!("key {SECRET}, thanks"), "key <MASKED>, thanks", false),
            (format!("{{\"key\":\"{escaped}\"}}"), "{\"key\":\"<MASKED>\"}", true),
        ] {
            let cut = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
            let (at, text) = (cut.clone(), whole.clone());
            let backend = Backend::http(move |_| {
                let at = at.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
                let body = two_pieces(anthropic, text.split_at(at), tool);
                async move { answer::with_type(200, "text/event-stream", body) }
            });
            let host = format!("http://{}", backend.addr());
            let gateway = Gateway::start(&guarded(provider, &host, &guard("response", "mask", ""))).await;
            for n in 1..whole.len() {
                let mut body = chat("m", true);
                body["max_tokens"] = 99.into();
                let reply = gateway.client().post(path).json(&body).await.expect_status(200);
                assert_eq!(said_in(&reply.text()), want, "{provider} cut at {n}: {}", reply.text());
            }
            gateway.stop().await;
        }
    }
}

/// Frames of AWS's event stream: what each is, and what it says. Their checksums are those of what is in them.
fn frames(mut stream: &[u8]) -> Vec<(String, Value)> {
    let sum = |bytes: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        crc.sum()
    };
    let be = |bytes: &[u8]| bytes.iter().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
    let mut out = Vec::new();
    while !stream.is_empty() {
        let (total, headers) = (be(&stream[..4]) as usize, be(&stream[4..8]) as usize);
        assert_eq!(be(&stream[8..12]), sum(&stream[..8]), "the checksum of the lengths");
        let (whole, rest) = stream.split_at(total);
        assert_eq!(be(&whole[total - 4..]), sum(&whole[..total - 4]), "the checksum of the frame");
        let mut named = &whole[12..12 + headers];
        let mut kind = String::new();
        while let [length, after @ ..] = named {
            let (name, after) = after.split_at(usize::from(*length));
            assert_eq!(after[0], 7, "a header of text");
            let (value, after) = after[3..].split_at(usize::from(u16::from_be_bytes([after[1], after[2]])));
            if name.ends_with(b"-type") && !name.ends_with(b"content-type") && !name.ends_with(b"message-type") {
                kind = String::from_utf8(value.to_vec()).expect("UTF-8");
            }
            named = after;
        }
        out.push((kind, serde_json::from_slice(&whole[12 + headers..total - 4]).expect("JSON")));
        stream = rest;
    }
    out
}

#[tokio::test]
async fn conversations_of_bedrock_are_guarded_frame_by_frame() {
    let text = "write to a.b@c. example or a.b@c.example with sk-abcdefghij 0123456789 and so on";
    let mock = mock(json!([{"model": "*", "text": text}])).await;
    let bedrock = "bedrock: { region: us-east-1 }";
    let asked = json!({"messages": [{"role": "user", "content": [{"text": "hello"}]}]});
    let said = |frames: &[(String, Value)]| -> String {
        frames.iter().filter_map(|it| it.1["delta"]["text"].as_str()).collect()
    };
    let mut sent = Vec::new();
    for (ai, want) in [
        ("{ modelAliases: {} }", text.to_owned()),
        (&*guard("response", "mask", ""), text.replace("a.b@c.example", "<EMAIL_ADDRESS>")),
    ] {
        let gateway = Gateway::start(&guarded(bedrock, &mock.url(), ai)).await;
        let reply = gateway.client().post("/model/nova/converse-stream").json(&asked).await.expect_status(200);
        assert_eq!(reply.header("content-type"), Some("application/vnd.amazon.eventstream"));
        let got = frames(&reply.body);
        assert_eq!(said(&got), want);
        let line = accounted(&gateway, 1).await;
        assert_eq!(line["gen_ai.usage.output_tokens"], 12, "{line}");
        sent.push(got.into_iter().map(|it| it.0).collect::<Vec<_>>());
        gateway.stop().await;
    }
    assert_eq!(sent[0], sent[1], "the same frames");
    let gateway = Gateway::start(&guarded(bedrock, &mock.url(), &guard("response", "reject", ""))).await;
    let reply = gateway.client().post("/model/nova/converse-stream").json(&asked).await.expect_status(200);
    let got = frames(&reply.body);
    let last = got.last().expect("an end");
    assert_eq!((last.0.as_str(), &last.1["message"]), ("validationException", &json!("what was said may not pass")));
    assert!(!said(&got).contains("c.example"), "{got:?}");
    let whole = gateway.client().post("/model/nova/converse").json(&asked).await.expect_status(403);
    assert!(!whole.text().contains("c.example"));
    gateway.stop().await;
}
