//! OpenAI's realtime API: sessions over WebSockets, routed by model, accounted answer by answer, guarded in both directions.

use serde_json::{Value, json};
use tests::client::{WsClient, WsRefused};
use tests::wait::{PATIENCE, eventually};
use tests::{Backend, Gateway, MockLlm};
use tokio_tungstenite::tungstenite::Message;

use super::{accounted, mock};

/// Models by name, all with the mock provider.
fn document(url: &str, more: &str) -> String {
    let own = format!("provider: openai, params: {{ baseUrl: '{url}/v1', apiKey: gateway-key");
    format!(
        "config:\n  logging: {{ format: json }}\ngateways:\n  default: {{ port: 0 }}\nllm:\n  models:\n  - {{ name: fast, {own}, model: gpt-realtime-mini }} }}\n  - {{ name: gpt-*, {own} }} }}\n  - {{ name: claude, provider: anthropic, params: {{ baseUrl: '{url}', apiKey: gateway-key }} }}\n  virtualModels:\n  - name: best\n    routing: {{ failover: {{ targets: [{{ model: gpt-first, priority: 0 }}, {{ model: gpt-second, priority: 1 }}] }} }}\n{more}"
    )
}

fn policies(more: &str) -> String {
    format!("  policies:\n    {more}\n")
}

async fn open(gateway: &Gateway, model: &str) -> WsClient {
    connect(gateway.addr(0), model, &[]).await.expect("a session")
}

async fn connect(addr: std::net::SocketAddr, model: &str, headers: &[(&str, &str)]) -> Result<WsClient, WsRefused> {
    WsClient::connect(addr, &format!("/v1/realtime?model={model}&more=1"), headers).await
}

/// Events up to one of this type, and what a connection that ends says.
async fn heard(client: &mut WsClient, last: &str) -> Vec<Value> {
    let mut events: Vec<Value> = Vec::new();
    while events.last().is_none_or(|it| it["type"] != last) {
        let event = match client.next().await {
            Ok(Some(Message::Text(text))) => serde_json::from_str(&text).expect("JSON"),
            Ok(Some(Message::Close(close))) => json!({"type": "close", "code": close.map(|it| u16::from(it.code))}),
            Ok(Some(Message::Ping(_) | Message::Pong(_))) => continue,
            Ok(None) | Err(_) => json!({"type": "gone"}),
            other => panic!("{other:?} while waiting for {last}"),
        };
        let over = event["type"] == "gone";
        events.push(event);
        assert!(!over || last == "gone", "no {last} in {events:?}");
    }
    events
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|it| it["type"].as_str().expect("a type")).collect()
}

fn said(text: &str) -> String {
    let item = json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]});
    json!({"type": "conversation.item.create", "event_id": "mine", "item": item}).to_string()
}

const ANSWER: &str = r#"{"type":"response.create"}"#;

/// Asks once: everything that comes until the answer is over.
async fn ask(client: &mut WsClient, text: &str) -> Vec<Value> {
    client.text(&said(text)).await.expect("send");
    client.text(ANSWER).await.expect("send");
    heard(client, "response.done").await
}

/// What the model said, as it streamed.
fn spoken(events: &[Value]) -> String {
    events
        .iter()
        .filter(|it| it["type"] == "response.output_text.delta")
        .filter_map(|it| it["delta"].as_str())
        .collect()
}

fn used(events: &[Value]) -> (u64, u64) {
    let done = events.iter().filter(|it| it["type"] == "response.done").map(|it| &it["response"]["usage"]);
    done.fold((0, 0), |(input, output), it| {
        (input + it["input_tokens"].as_u64().expect("a count"), output + it["output_tokens"].as_u64().expect("a count"))
    })
}

#[tokio::test]
async fn a_session_is_the_providers_own_and_accounted_to_the_token() {
    let mock = mock(json!([{"model": "*", "cachedTokens": 3}])).await;
    let gateway = Gateway::start(&document(&mock.url(), "")).await;
    for (n, (model, there)) in
        [("fast", "gpt-realtime-mini"), ("gpt-realtime", "gpt-realtime"), ("best", "gpt-first")].into_iter().enumerate()
    {
        // Straight to the provider, and through the gateway with another key.
        let key = ("authorization", "Bearer gateway-key");
        let straight = connect(mock.addr(), there, &[key]).await.expect("a session");
        let through = connect(gateway.addr(0), model, &[("authorization", "Bearer client")]).await.expect("a session");
        let mut all = Vec::new();
        for mut client in [straight, through] {
            let mut events = heard(&mut client, "session.created").await;
            assert_eq!(events[0]["session"]["model"], there);
            client.text(r#"{"type":"session.update","session":{"output_modalities":["audio"]}}"#).await.expect("send");
            events.extend(heard(&mut client, "session.updated").await);
            events.extend(ask(&mut client, "one two three").await);
            client.text(r#"{"type":"session.update","session":{"output_modalities":["text"]}}"#).await.expect("send");
            events.extend(ask(&mut client, "four five").await);
            client.close().await.expect("closed");
            all.push(events);
        }
        assert_eq!(all[0], all[1], "event by event");
        let line = accounted(&gateway, n + 1).await;
        let (input, output) = used(&all[1]);
        let counted = (&line["gen_ai.usage.input_tokens"], &line["gen_ai.usage.output_tokens"]);
        assert_eq!(counted, (&json!(input), &json!(output)), "{line}");
        assert_eq!(line["gen_ai.usage.cache_read.input_tokens"], 6, "{line}");
        assert_eq!(
            (&line["gen_ai.operation.name"], &line["gen_ai.request.model"], &line["gen_ai.response.model"]),
            (&json!("realtime"), &json!(there), &json!(there)),
            "{line}"
        );
        assert_eq!((&line["gen_ai.response.id"], &line["http.status"]), (&json!("sess_mock"), &json!(101)), "{line}");
        assert_eq!(line.get("gen_ai.usage.estimated"), None, "{line}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_session_that_is_refused_is_another_providers() {
    let mock = mock(json!([{"model": "gpt-first", "status": 503}])).await;
    let gateway = Gateway::start(&document(&mock.url(), "")).await;
    let mut client = open(&gateway, "best").await;
    assert_eq!(heard(&mut client, "session.created").await[0]["session"]["model"], "gpt-second");
    client.close().await.expect("closed");
    let line = accounted(&gateway, 1).await;
    assert_eq!((&line["gen_ai.request.model"], &line["retry.attempt"]), (&json!("gpt-second"), &json!(1)), "{line}");
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_no_session_is_refused_by_name() {
    let mock = mock(json!([])).await;
    let keys = policies("apiKey: { keys: [{ key: all }, { key: some, allowedModels: ['gpt-*'] }] }");
    let gateway = Gateway::start(&document(&mock.url(), &keys)).await;
    for (model, key, status, code) in [
        ("nobody", "all", 404, "model_not_found"),
        ("claude", "all", 400, "unsupported_conversion"),
        ("%ff", "all", 400, "invalid_model"),
        ("fast", "some", 403, "model_not_allowed"),
        ("gpt-a", "none", 401, "invalid_api_key"),
    ] {
        let bearer = format!("Bearer {key}");
        match connect(gateway.addr(0), model, &[("authorization", &bearer)]).await {
            Err(WsRefused::Answer(got, _, body)) => {
                let body: Value = serde_json::from_slice(&body).unwrap_or_default();
                assert_eq!((got.as_u16(), &body["error"]["code"]), (status, &json!(code)), "{model}: {body}");
            }
            other => panic!("{model}: {:?}", other.map(|_| "a session")),
        }
    }
    let reply = gateway.client().get("/v1/realtime?model=gpt-a").header("authorization", "Bearer all").await;
    assert_eq!((reply.status.as_u16(), &reply.json()["error"]["code"]), (426, &json!("upgrade_required")));
    let asks = policies("ai: { promptGuard: { request: [{ webhook: { target: { host: 'localhost:1' } } }] } }");
    let gateway = {
        gateway.stop().await;
        Gateway::start(&document(&mock.url(), &asks)).await
    };
    let refused = connect(gateway.addr(0), "gpt-a", &[]).await.err().and_then(|it| it.status());
    assert_eq!(refused, Some(400), "a guard that would not be asked");
    gateway.stop().await;
}

#[tokio::test]
async fn frames_are_not_compressed_and_a_browsers_key_stays_here() {
    let backend = Backend::websocket();
    let gateway = Gateway::start(&document(&format!("http://{}", backend.addr()), "")).await;
    let headers = [
        ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits"),
        ("sec-websocket-protocol", "realtime, openai-insecure-api-key.client-key"),
    ];
    let mut client = connect(gateway.addr(0), "fast", &headers).await.expect("a session");
    assert_eq!(client.headers["sec-websocket-protocol"], "realtime");
    // What is none of the API passes as well: nobody guards.
    assert_eq!(client.ask("not JSON \u{1f600}").await, "not JSON \u{1f600}");
    let asked = backend.stats().seen().last().cloned().expect("a handshake");
    assert_eq!(asked.header("sec-websocket-extensions"), None);
    assert_eq!(asked.header("sec-websocket-protocol"), Some("realtime"));
    assert_eq!(asked.header("authorization"), Some("Bearer gateway-key"));
    let target = asked.uri.path_and_query().map(|it| it.as_str());
    assert_eq!(target, Some("/v1/realtime?more=1&model=gpt-realtime-mini"));
    client.close().await.expect("closed");
    gateway.stop().await;
}

fn guard(side: &str, action: &str, more: &str) -> String {
    let rules = "[{ builtin: email }, { pattern: 'sk-[a-z0-9]{20}' }]";
    policies(&format!(
        "ai: {{ promptGuard: {{ holdBack: 32, {side}: [{{ regex: {{ action: {action}, rules: {rules} }}{more} }}] }} }}"
    ))
}

const SECRET: &str = "sk-abcdefghij0123456789";

#[tokio::test]
async fn what_clients_say_is_masked_or_refused_before_it_leaves() {
    let mock = mock(json!([])).await;
    let gateway = Gateway::start(&document(&mock.url(), &guard("request", "mask", ""))).await;
    let mut client = open(&gateway, "fast").await;
    let got = ask(&mut client, &format!("my key is {SECRET} ok")).await;
    assert_eq!(spoken(&got), "You said: my key is <MASKED> ok");
    client.close().await.expect("closed");
    assert_eq!(accounted(&gateway, 1).await["gen_ai.guardrail.findings"], 1);
    gateway.stop().await;

    let written = ", rejection: { body: 'no keys here' }";
    let gateway = Gateway::start(&document(&mock.url(), &guard("request", "reject", written))).await;
    let mut client = open(&gateway, "fast").await;
    heard(&mut client, "session.created").await;
    client.text(&said(SECRET)).await.expect("send");
    let got = heard(&mut client, "error").await;
    let error = &got[0]["error"];
    assert_eq!((&error["code"], &error["message"]), (&json!("content_rejected"), &json!("no keys here")), "{got:?}");
    assert_eq!(error["event_id"], "mine", "which event it was");
    client.text("{ no JSON").await.expect("send");
    assert_eq!(heard(&mut client, "error").await[0]["error"]["code"], "invalid_request_body");
    client
        .text(&json!({"type": "session.update", "session": {"instructions": SECRET}}).to_string())
        .await
        .expect("send");
    assert_eq!(heard(&mut client, "error").await[0]["error"]["code"], "content_rejected");
    // The session goes on, and the provider has heard of none of it.
    assert_eq!(spoken(&ask(&mut client, "hello").await), "You said: hello");
    client.close().await.expect("closed");
    let line = accounted(&gateway, 1).await;
    assert_eq!(line["gen_ai.guardrail.findings"], 2, "{line}");
    gateway.stop().await;
}

#[tokio::test]
async fn what_models_say_is_masked_in_the_stream_or_refused() {
    let mock =
        mock(json!([{"model": "*", "text": "write to a.b@c. example or a.b@c.example with sk-abcdefghij 0123456789"}]))
            .await;
    let gateway = Gateway::start(&document(&mock.url(), &guard("response", "mask", ""))).await;
    let mut client = open(&gateway, "fast").await;
    let got = ask(&mut client, "hello").await;
    let want = "write to a.b@c. example or <EMAIL_ADDRESS> with sk-abcdefghij 0123456789";
    assert_eq!(spoken(&got), want);
    let done = got.last().expect("the end");
    assert_eq!(done["response"]["output"][0]["content"][0]["text"], want, "wherever it is said once more");
    client.close().await.expect("closed");
    gateway.stop().await;

    let gateway = Gateway::start(&document(&mock.url(), &guard("response", "reject", ""))).await;
    let mut client = open(&gateway, "fast").await;
    let got = ask(&mut client, "hello").await;
    assert!(!got.iter().any(|it| it.to_string().contains("c.example")), "{got:?}");
    let error = got.iter().find(|it| it["type"] == "error").expect("an error");
    assert_eq!(error["error"]["code"], "content_rejected");
    let done = got.last().expect("the end");
    assert_eq!((&done["response"]["output"], used(&got).1), (&json!([]), 9), "no text, and what it used");
    // The session goes on, and what it refuses once it refuses again.
    let got = ask(&mut client, "and again").await;
    assert!(kinds(&got).contains(&"error"), "{got:?}");
    client.close().await.expect("closed");
    let line = accounted(&gateway, 1).await;
    assert_eq!(line["gen_ai.usage.output_tokens"], 18, "{line}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_session_whose_tokens_are_used_up_hears_so_and_ends() {
    let mock = mock(json!([{"model": "*", "text": "one two three four five six seven eight nine ten"}])).await;
    let limit = policies("localRateLimit: [{ maxTokens: 100, tokensPerFill: 100, fillInterval: 1h, type: tokens }]");
    let gateway = Gateway::start(&document(&mock.url(), &limit)).await;
    let mut client = open(&gateway, "fast").await;
    let mut spent = 0;
    let (mut answers, got) = (
        0,
        loop {
            client.text(&said("hello hello hello")).await.expect("send");
            client.text(ANSWER).await.expect("send");
            let mut got = heard(&mut client, "response.created").await;
            match client.next().await.expect("an event") {
                Some(Message::Text(text)) if text.contains(r#""type":"error""#) => {
                    got.push(serde_json::from_str(&text).expect("JSON"));
                    break got;
                }
                _ => {
                    let (input, output) = used(&heard(&mut client, "response.done").await);
                    spent += input + output;
                    assert!(spent < 200, "there is no end");
                }
            }
        },
    );
    answers += u64::from(spent >= 100);
    assert_eq!(answers, 1, "{spent} of 100 tokens were used, and no more was given");
    let error = &got.last().expect("an event")["error"];
    let told = (&error["type"], &error["code"]);
    assert_eq!(told, (&json!("rate_limit_error"), &json!("rate_limit_exceeded")), "{got:?}");
    let end = heard(&mut client, "close").await;
    assert_eq!(end.last().expect("an end")["code"], 1008, "{end:?}");
    drop(client);
    accounted(&gateway, 1).await;
    // The next one is refused before it begins.
    let refused = connect(gateway.addr(0), "fast", &[]).await.err().and_then(|it| it.status());
    assert_eq!(refused, Some(429));
    gateway.stop().await;
}

#[tokio::test]
async fn a_session_without_an_answer_costs_nothing_and_what_was_used_is_charged_at_once() {
    let mock = mock(json!([{"model": "*", "text": "one two three"}])).await;
    let limit = policies("localRateLimit: [{ maxTokens: 5000, tokensPerFill: 5000, fillInterval: 1h, type: tokens }]");
    let gateway = Gateway::start(&document(&mock.url(), &limit)).await;
    open(&gateway, "fast").await.close().await.expect("closed");
    accounted(&gateway, 1).await;
    let mut first = open(&gateway, "fast").await;
    let (input, output) = used(&ask(&mut first, "hello").await);
    // While the first session goes on, another one sees what it has used.
    let other = open(&gateway, "fast").await;
    let left = (5000 - input - output - 1024).to_string();
    let standing = other.headers.get("x-ratelimit-remaining").and_then(|it| it.to_str().ok()).map(str::to_owned);
    assert!(standing.is_none_or(|it| it == left || it == (5000 - input - output).to_string()), "not {left}");
    first.close().await.expect("closed");
    other.close().await.expect("closed");
    gateway.wait_access(3).await;
    gateway.stop().await;
}

#[tokio::test]
async fn whoever_leaves_first_is_accounted() {
    let rules = json!([{"model": "gpt-cut", "text": "a b c d e f", "cutAfter": 4},
        {"model": "gpt-slow", "text": "a b c d e f g h", "pauseMs": 20}]);
    let mock = mock(rules).await;
    let gateway = Gateway::start(&document(&mock.url(), "")).await;
    // The provider breaks off.
    let mut client = open(&gateway, "gpt-cut").await;
    client.text(ANSWER).await.expect("send");
    let got = heard(&mut client, "gone").await;
    assert_eq!(spoken(&got), "a b c d ");
    let line = accounted(&gateway, 1).await;
    assert_eq!(
        (&line["gen_ai.usage.output_tokens"], &line["gen_ai.usage.estimated"]),
        (&json!(4), &json!("true")),
        "{line}"
    );
    // The client does.
    let mut client = open(&gateway, "gpt-slow").await;
    client.text(ANSWER).await.expect("send");
    heard(&mut client, "response.output_text.delta").await;
    drop(client);
    let line = accounted(&gateway, 2).await;
    assert_eq!(line["gen_ai.usage.estimated"], "true", "{line}");
    assert!((1..=8).contains(&line["gen_ai.usage.output_tokens"].as_u64().expect("a count")), "{line}");
    gateway.stop().await;
}

#[tokio::test]
async fn fifty_sessions_at_once_are_each_their_own() {
    let mock: MockLlm = mock(json!([])).await;
    let gateway = Gateway::start(&document(&mock.url(), "")).await;
    let mut clients = Vec::new();
    for _ in 0..50 {
        clients.push(open(&gateway, "fast").await);
    }
    for (n, client) in clients.iter_mut().enumerate() {
        client.text(&said(&format!("number {n}"))).await.expect("send");
        client.text(ANSWER).await.expect("send");
    }
    for (n, mut client) in clients.into_iter().enumerate() {
        let got = heard(&mut client, "response.done").await;
        assert_eq!(spoken(&got), format!("You said: number {n}"));
        client.close().await.expect("closed");
    }
    gateway.wait_access(50).await;
    let labels = [("gen_ai_operation_name", "realtime"), ("gen_ai_token_type", "output")];
    eventually(PATIENCE, async || {
        (gateway.metric_sum("agentgateway_gen_ai_client_token_usage_sum", &labels).await - 200.0).abs() < 0.5
    })
    .await;
    gateway.stop().await;
}
