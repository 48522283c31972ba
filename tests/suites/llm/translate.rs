//! Another dialect on either side: requests, answers, streams, errors and accounts.

use serde_json::{Value, json};
use tests::backend::answer;
use tests::{Backend, Gateway};

use super::{accounted, mock, single, until, written};

/// A client's dialect: where it asks, and how.
struct Dialect {
    path: &'static str,
    stream_path: &'static str,
    body: fn(bool) -> Value,
    /// The text of an answer in one piece.
    text: fn(&Value) -> &Value,
}

const OPENAI: Dialect = Dialect {
    path: "/v1/chat/completions",
    stream_path: "/v1/chat/completions",
    body: |stream| json!({"model": "m", "stream": stream, "messages": [{"role": "user", "content": "one two"}]}),
    text: |it| &it["choices"][0]["message"]["content"],
};

const ANTHROPIC: Dialect = Dialect {
    path: "/v1/messages",
    stream_path: "/v1/messages",
    body: |stream| json!({"model": "m", "stream": stream, "max_tokens": 9, "messages": [{"role": "user", "content": "one two"}]}),
    text: |it| &it["content"][0]["text"],
};

const RESPONSES: Dialect = Dialect {
    path: "/v1/responses",
    stream_path: "/v1/responses",
    body: |stream| json!({"model": "m", "stream": stream, "input": "one two"}),
    text: |it| &it["output"][0]["content"][0]["text"],
};

const GEMINI: Dialect = Dialect {
    path: "/v1beta/models/m:generateContent",
    stream_path: "/v1beta/models/m:streamGenerateContent?alt=sse",
    body: |_| json!({"contents": [{"role": "user", "parts": [{"text": "one two"}]}]}),
    text: |it| &it["candidates"][0]["content"]["parts"][0]["text"],
};

const BEDROCK: Dialect = Dialect {
    path: "/model/m/converse",
    stream_path: "/model/m/converse-stream",
    body: |_| json!({"messages": [{"role": "user", "content": [{"text": "one two"}]}]}),
    text: |it| &it["output"]["message"]["content"][0]["text"],
};

/// Every client, with every kind of provider.
const CLIENTS: [&Dialect; 5] = [&OPENAI, &ANTHROPIC, &RESPONSES, &GEMINI, &BEDROCK];
const PROVIDERS: [&str; 5] = [
    "openAI: {}",
    "anthropic: {}",
    "custom: { formats: [{ type: responses }] }",
    "custom: { formats: [{ type: generateContent, path: '/v1beta/models/{model}:{action}' }] }",
    "custom: { formats: [{ type: converse, path: '/model/{model}/{action}' }] }",
];

#[tokio::test]
async fn answers_arrive_in_the_clients_dialect_and_are_accounted_to_the_token() {
    let mock = mock(json!([{"text": "a b c d", "cachedTokens": 3, "reasoningTokens": 2}])).await;
    for provider in PROVIDERS {
        let gateway = Gateway::start(&single(provider, &mock.url())).await;
        let mut lines = 0;
        for client in CLIENTS {
            for stream in [false, true] {
                let path = if stream { client.stream_path } else { client.path };
                let reply = gateway.client().post(path).json(&(client.body)(stream)).await;
                let said = String::from_utf8_lossy(&reply.body).into_owned();
                let what = format!("{path} to {provider}, {stream}: {said}");
                assert_eq!(reply.status, 200, "{what}");
                assert_eq!(reply.header("x-agentgateway-llm-dropped"), None, "{what}");
                if stream {
                    for word in ["\"a \"", "\"b \"", "\"c \"", "\"d\""] {
                        assert!(said.contains(word), "{what}");
                    }
                } else {
                    assert_eq!((client.text)(&reply.json()), "a b c d", "{what}");
                }
                lines += 1;
                let line = accounted(&gateway, lines).await;
                assert_eq!(line["gen_ai.usage.output_tokens"], 6, "{what} {line}");
                assert_eq!(line["gen_ai.usage.cache_read.input_tokens"], 3, "{what} {line}");
            }
        }
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_provider_gets_its_own_path_key_and_headers() {
    let backend = Backend::http(|_| async {
        answer::json(
            &json!({"id": "x", "type": "message", "model": "real", "content": [{"type": "text", "text": "hi"}],
            "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}}),
        )
    });
    let gateway = Gateway::start(&single("anthropic: { model: real }", &format!("http://{}", backend.addr()))).await;
    let mut body = (OPENAI.body)(false);
    body["logit_bias"] = json!({"1": 1});
    let call = gateway.client().post("/v1/chat/completions?x=y").header("openai-organization", "o");
    let reply = call.header("authorization", "Bearer client").json(&body).await;
    assert_eq!((reply.status.as_u16(), &reply.json()["choices"][0]["message"]["content"]), (200, &json!("hi")));
    assert_eq!(reply.header("x-agentgateway-llm-dropped"), Some("logit_bias"));
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let seen = backend.stats().seen();
    let asked = seen.last().expect("a request");
    assert_eq!(asked.uri.path_and_query().map(|it| it.as_str()), Some("/v1/messages"));
    assert_eq!((asked.header("x-api-key"), asked.header("authorization")), (Some("gateway-key"), None));
    assert_eq!(asked.header("anthropic-version"), Some("2023-06-01"));
    assert_eq!(asked.header("openai-organization"), None);
    let want = json!({"model": "real", "max_tokens": 4096, "messages": [{"role": "user", "content": [{"type": "text", "text": "one two"}]}]});
    assert_eq!(serde_json::from_slice::<Value>(&asked.body).expect("JSON"), want);
    let line = accounted(&gateway, 1).await;
    assert_eq!(line["llm.dropped"], "logit_bias");
    let counted = gateway.metric_sum("agentgateway_gen_ai_dropped_total", &[("field", "logit_bias")]).await;
    assert!((counted - 1.0).abs() < 0.001, "{counted}");
    gateway.stop().await;
}

/// Answers everything with this.
fn says(status: u16, kind: &'static str, body: &str) -> Backend {
    let body = bytes::Bytes::copy_from_slice(body.as_bytes());
    Backend::http(move |_| {
        let body = body.clone();
        async move { answer::with_type(status, kind, body) }
    })
}

#[tokio::test]
async fn what_fails_there_is_an_error_in_the_clients_dialect() {
    let busy = r#"{"type":"error","error":{"type":"overloaded_error","message":"busy"}}"#;
    let json = "application/json";
    for ((told, kind, sent), status, message) in [
        ((529, json, busy), 529, "busy"),
        ((200, json, busy), 503, "busy"),
        ((200, json, "{\"id\":"), 502, "no answer"),
        ((200, json, ""), 502, "no answer"),
        ((200, "text/html", "<p>hello"), 502, "no answer"),
        ((404, "text/plain", "nothing here"), 404, "nothing here"),
    ] {
        let backend = says(told, kind, sent);
        let gateway = Gateway::start(&single("anthropic: {}", &format!("http://{}", backend.addr()))).await;
        for stream in [false, true] {
            let reply = gateway.client().post(OPENAI.path).json(&(OPENAI.body)(stream)).await;
            assert_eq!(reply.status.as_u16(), status, "{sent}: {}", reply.text());
            let said = reply.json()["error"]["message"].clone();
            assert!(said.as_str().is_some_and(|it| it.contains(message)), "{sent}: {}", reply.text());
        }
        gateway.stop().await;
    }
}

#[tokio::test]
async fn streams_that_go_wrong_end_in_an_error_that_the_client_reads() {
    let begun = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\"}}\n\n";
    let busy =
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"busy\"}}\n\n";
    let endless = format!("data: {}", "x".repeat(17 << 20));
    for (rest, message) in [
        ("", "broke off"),
        (busy, "busy"),
        ("data: {\"type\"", "broke off"),
        ("data: {\"type\"\n\n", "not JSON"),
        ("data: \u{0}\u{1}\n\n", "not JSON"),
        (endless.as_str(), "larger than"),
    ] {
        let body = format!("{begun}{rest}");
        let backend = says(200, "text/event-stream", &body);
        let gateway = Gateway::start(&single("anthropic: {}", &format!("http://{}", backend.addr()))).await;
        let reply = gateway.client().post(OPENAI.path).json(&(OPENAI.body)(true)).await;
        let text = reply.text();
        assert_eq!(reply.header("content-type"), Some("text/event-stream"));
        assert!(text.contains("chat.completion.chunk") && text.contains(message), "{message}: {text:.500}");
        assert!(!text.contains("[DONE]"), "{message}: {text:.500}");
        let line = accounted(&gateway, 1).await;
        assert!(line["error"].as_str().is_some_and(|it| it.contains("could not be translated")), "{message}: {line}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_translated_is_refused_before_anybody_is_asked() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&single("anthropic: {}", &format!("http://{}", backend.addr()))).await;
    for body in [json!({"model": "m"}), json!({"model": "m", "messages": [{"role": "nobody", "content": "x"}]})] {
        let reply = gateway.client().post(OPENAI.path).json(&body).await;
        assert_eq!((reply.status.as_u16(), &reply.json()["error"]["code"]), (400, &json!("invalid_request_body")));
    }
    assert_eq!(backend.stats().requests(), 0);
    gateway.stop().await;
}

#[tokio::test]
async fn a_provider_of_another_dialect_takes_over_where_the_first_fails() {
    let mock = mock(json!([{"model": "fails", "status": 503}, {"text": "here"}])).await;
    let document = format!(
        "binds:\n- port: 0\n  address: 127.0.0.1\n  listeners:\n  - routes:\n    - backends:\n      - ai:\n          groups:\n          - providers:\n            - {{ name: a, provider: {{ openAI: {{ model: fails }} }}, hostOverride: '{0}', policies: {{ backendAuth: {{ key: gateway-key }} }} }}\n          - providers:\n            - {{ name: b, provider: {{ anthropic: {{ model: works }} }}, hostOverride: '{0}', policies: {{ backendAuth: {{ key: gateway-key }} }} }}\n",
        mock.url()
    );
    let gateway = Gateway::start(&document).await;
    for stream in [false, true] {
        let reply = gateway.client().post(OPENAI.path).json(&(OPENAI.body)(stream)).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert!(reply.text().contains("\"here\""), "{}", reply.text());
    }
    gateway.stop().await;
}

#[tokio::test]
async fn translated_events_leave_as_they_come() {
    let (backend, mut writers) = written();
    let gateway = Gateway::start(&single("anthropic: {}", &format!("http://{}", backend.addr()))).await;
    let event = |it: Value| format!("event: {}\ndata: {it}\n\n", it["type"].as_str().unwrap_or_default());
    let text = |n: usize| {
        let delta = json!({"type": "text_delta", "text": format!("word {n}")});
        event(json!({"type": "content_block_delta", "index": 0, "delta": delta}))
    };
    let call = gateway.client().post(OPENAI.path).json(&(OPENAI.body)(true));
    let (mut stream, writer) = tokio::join!(call.stream(), async {
        let writer = writers.recv().await.expect("a request");
        let start = json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}});
        for it in [json!({"type": "message_start", "message": {"id": "m"}}), start] {
            assert!(writer.data(event(it)).await);
        }
        assert!(writer.data(text(0)).await);
        writer
    });
    let mut heard = String::new();
    for n in 0..6 {
        // The next one is made when this one has come.
        until(&mut stream, &mut heard, &format!("word {n}")).await;
        assert!(writer.data(text(n + 1)).await);
    }
    drop((writer, stream));
    gateway.stop().await;
}

#[tokio::test]
async fn requests_to_bedrock_are_signed_as_they_leave() {
    let mock = mock(json!([{"text": "a b"}])).await;
    let document = format!(
        "binds:\n- port: 0\n  address: 127.0.0.1\n  listeners:\n  - routes:\n    - backends:\n      - ai:\n          provider: {{ bedrock: {{ region: eu-central-1, model: 'anthropic.claude:0' }} }}\n          hostOverride: '{}'\n          policies:\n            backendAuth: {{ aws: {{ accessKeyId: gateway-key, secretAccessKey: s, region: eu-central-1, serviceName: bedrock }} }}\n",
        mock.url()
    );
    let gateway = Gateway::start(&document).await;
    for stream in [false, true] {
        let reply = gateway.client().post(OPENAI.path).json(&(OPENAI.body)(stream)).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert!(reply.text().contains("anthropic.claude:0"), "{}", reply.text());
    }
    gateway.stop().await;
}

#[tokio::test]
async fn tokens_are_counted_about_where_no_provider_counts_them() {
    let mock = mock(json!([])).await;
    let gateway = Gateway::start(&single("openAI: {}", &mock.url())).await;
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "hello there"}]});
    let reply = gateway.client().post("/v1/messages/count_tokens").json(&body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.json()["input_tokens"], body.to_string().len().div_ceil(4));
    assert_eq!(reply.header("x-agentgateway-llm-estimated"), Some("true"));
    gateway.stop().await;
}
