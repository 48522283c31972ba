//! The same dialect on both sides: bytes, keys, paths and accounts.

use bytes::Bytes;
use serde_json::json;
use tests::backend::answer;
use tests::{Backend, Gateway};

use super::{accounted, chat, delta, mock, single, until, written};

/// Answers whatever is asked, and remembers it.
fn provider() -> Backend {
    Backend::http(|_| async {
        answer::json(&json!({"id": "c", "model": "real", "usage": {"prompt_tokens": 12, "completion_tokens": 5}}))
    })
}

#[tokio::test]
async fn a_provider_gets_the_clients_bytes_and_the_gateways_key() {
    let backend = provider();
    for (kind, path, there, key) in [
        ("openAI: {}", "/v1/chat/completions", "/v1/chat/completions", ("authorization", "Bearer gateway-key")),
        ("openAI: {}", "/x/responses", "/v1/responses", ("authorization", "Bearer gateway-key")),
        ("openAI: {}", "/v1/files/a?b=c", "/v1/files/a?b=c", ("authorization", "Bearer gateway-key")),
        ("anthropic: {}", "/v1/messages?beta=true", "/v1/messages?beta=true", ("x-api-key", "gateway-key")),
        ("anthropic: {}", "/v1/messages/count_tokens", "/v1/messages/count_tokens", ("x-api-key", "gateway-key")),
        (
            "gemini: {}",
            "/v1beta/models/g:generateContent?key=client",
            "/v1beta/models/g:generateContent",
            ("x-goog-api-key", "gateway-key"),
        ),
        ("groq: {}", "/v1/chat/completions", "/openai/v1/chat/completions", ("authorization", "Bearer gateway-key")),
        (
            "custom: { formats: [{ type: completions, path: /own }] }",
            "/v1/chat/completions",
            "/own",
            ("authorization", "Bearer gateway-key"),
        ),
    ] {
        let gateway = Gateway::start(&single(kind, &format!("http://{}", backend.addr()))).await;
        // Spaces, escapes, numbers and keys that nobody knows.
        let body = "{ \"model\":\"m\" ,\n \"temperature\": 1.0e0, \"unknown\": {\"b\":1,\"a\":[ ]}, \"messages\":[ {\"role\":\"user\",\"content\":\"\\u00e4 \u{1f600}\"}]}  ";
        let call = gateway.client().post(path).header("content-type", "application/json").body(body);
        let reply = call.header("authorization", "Bearer client").header("x-api-key", "client").await;
        assert_eq!(reply.status, 200, "{kind}: {}", reply.text());
        let seen = backend.stats().seen();
        let asked = seen.last().expect("a request");
        assert_eq!(asked.body, Bytes::from(body), "{kind}: the body is not the client's");
        assert_eq!(asked.uri.path_and_query().map(|it| it.as_str()), Some(there), "{kind}");
        assert_eq!(asked.header(key.0), Some(key.1), "{kind}");
        let others = ["authorization", "x-api-key", "x-goog-api-key"].into_iter().filter(|it| *it != key.0);
        assert!(others.into_iter().all(|it| asked.header(it).is_none()), "{kind}: the client's key went on");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn another_model_changes_its_place_and_nothing_else() {
    let backend = provider();
    let gateway = Gateway::start(&single("openAI: { model: real }", &format!("http://{}", backend.addr()))).await;
    let body = "{\"x\":[1, 2],\"model\" : \"m\",\"y\":\"\\n\"}";
    let reply = gateway.client().post("/v1/chat/completions").body(body).await;
    assert_eq!(reply.status, 200);
    assert_eq!(backend.stats().seen()[0].text(), body.replace("\"m\"", "\"real\""));
    let large = format!("{{\"pad\":\"{}\",\"model\":\"m\"}}", "x".repeat(1 << 20));
    let reply = gateway.client().post("/v1/chat/completions").body(large.clone()).await;
    assert_eq!(reply.status, 200);
    assert_eq!(backend.stats().seen()[1].text(), large.replace("\"m\"", "\"real\""));
    let line = accounted(&gateway, 2).await;
    assert_eq!(line["gen_ai.request.model"], "real");
    assert_eq!((&line["gen_ai.usage.input_tokens"], &line["gen_ai.usage.output_tokens"]), (&json!(12), &json!(5)));
    gateway.stop().await;
}

#[tokio::test]
async fn every_dialect_is_accounted_to_the_token_streamed_or_not() {
    let mock = mock(json!([{"text": "a b c d", "cachedTokens": 3, "reasoningTokens": 2}])).await;
    let text = json!([{"role": "user", "content": "hello"}]);
    let parts = json!({"contents": [{"role": "user", "parts": [{"text": "hello"}]}]});
    for (kind, path, stream, body) in [
        ("openAI: {}", "/v1/chat/completions", false, json!({"model": "m", "messages": text})),
        ("openAI: {}", "/v1/chat/completions", true, json!({"model": "m", "messages": text, "stream": true})),
        ("openAI: {}", "/v1/responses", false, json!({"model": "m", "input": "hello"})),
        ("openAI: {}", "/v1/responses", true, json!({"model": "m", "input": "hello", "stream": true})),
        ("anthropic: {}", "/v1/messages", false, json!({"model": "m", "max_tokens": 9, "messages": text})),
        (
            "anthropic: {}",
            "/v1/messages",
            true,
            json!({"model": "m", "max_tokens": 9, "messages": text, "stream": true}),
        ),
        ("gemini: {}", "/v1beta/models/m:generateContent", false, parts.clone()),
        ("gemini: {}", "/v1beta/models/m:streamGenerateContent?alt=sse", true, parts),
    ] {
        let gateway = Gateway::start(&single(kind, &mock.url())).await;
        let reply = gateway.client().post(path).json(&body).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        // The mock provider counts a quarter of the bytes that reached it: usage is asked for where the client did not.
        let sent = body.to_string();
        let asked = path.ends_with("/chat/completions") && stream;
        let length = sent.len() + if asked { ",\"stream_options\":{\"include_usage\":true}".len() } else { 0 };
        let line = accounted(&gateway, 1).await;
        let what = format!("{kind} {path} {stream}: {line}");
        assert_eq!(line["gen_ai.usage.input_tokens"], length.div_ceil(4), "{what}");
        assert_eq!(line["gen_ai.usage.output_tokens"], 6, "{what}");
        assert_eq!(line["gen_ai.usage.cache_read.input_tokens"], 3, "{what}");
        assert_eq!(line["gen_ai.request.model"], "m", "{what}");
        assert_eq!(line["gen_ai.response.model"], "m", "{what}");
        assert_eq!(line["gen_ai.request.stream"] == "true", stream, "{what}");
        let sum =
            gateway.metric_sum("agentgateway_gen_ai_client_token_usage_sum", &[("gen_ai_token_type", "output")]).await;
        assert!((sum - 6.0).abs() < 0.001, "{what}: {sum}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn expressions_read_what_was_used() {
    let mock = mock(json!([])).await;
    let log = "frontendPolicies:\n  accessLog:\n    add:\n      total: llm.totalTokens == llm.inputTokens + llm.outputTokens\n      who: llm.provider + '/' + llm.responseModel\n";
    let gateway = Gateway::start(&format!("{}{log}", single("openAI: {}", &mock.url()))).await;
    let reply = gateway.client().post("/v1/chat/completions").json(&chat("m", false)).await;
    assert_eq!(reply.status, 200);
    let line = accounted(&gateway, 1).await;
    assert_eq!((&line["total"], &line["who"]), (&json!("true"), &json!("openai/m")), "{line}");
    gateway.stop().await;
}

#[tokio::test]
async fn events_pass_as_they_are_made() {
    let (backend, mut writers) = written();
    let gateway = Gateway::start(&single("openAI: {}", &format!("http://{}", backend.addr()))).await;
    let call = gateway.client().post("/v1/chat/completions").json(&chat("m", true));
    let (mut stream, writer) = tokio::join!(call.stream(), async {
        let writer = writers.recv().await.expect("a request");
        assert!(writer.data(delta("word 0")).await);
        writer
    });
    let mut heard = String::new();
    for n in 0..6 {
        // The next one is made when this one has come.
        until(&mut stream, &mut heard, &format!("word {n}")).await;
        assert!(writer.data(delta(&format!("word {}", n + 1))).await);
    }
    assert!(writer.data("data: [DONE]\n\n").await);
    drop(writer);
    until(&mut stream, &mut heard, "[DONE]").await;
    assert!(stream.chunk().await.expect("a proper end").is_none_or(|it| it.is_empty()));
    gateway.stop().await;
}
