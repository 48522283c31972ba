//! What the gateway itself refuses, in the shape that each client reads.

use serde_json::{Value, json};
use tests::{Backend, Gateway, RawClient};

use super::single;

const OPENAI: &str = "/v1/chat/completions";
const ANTHROPIC: &str = "/v1/messages";
const GEMINI: &str = "/v1beta/models/m:generateContent";

async fn gateway() -> (Backend, Gateway) {
    let backend = Backend::echo();
    let host = format!("http://{}", backend.addr());
    let custom = "custom: { formats: [{ type: completions }, { type: messages }, { type: generateContent }] }";
    let gateway = Gateway::start(&single(custom, &host)).await;
    (backend, gateway)
}

#[tokio::test]
async fn bodies_that_are_no_requests_are_refused_by_name() {
    let (backend, gateway) = gateway().await;
    let deep = format!("{{\"messages\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
    for (body, said) in [
        ("", "ends too early"),
        ("{\"model\":\"m\"", "ends too early"),
        ("{\"model\":\"m\",}", "wrong byte at offset 13"),
        ("[]", "not a JSON object"),
        ("{\"model\":\"a\",\"model\":\"b\"}", "twice"),
        ("{\"model\":7}", "`model` is not a string"),
        (&deep, "nested deeper"),
        ("\u{feff}{}", "wrong byte"),
    ] {
        let reply = gateway.client().post(OPENAI).body(body.to_owned()).await;
        let error = reply.json()["error"].clone();
        assert_eq!(reply.status, 400, "{body:.40}: {}", reply.text());
        assert!(error["message"].as_str().is_some_and(|it| it.contains(said)), "{body:.40}: {error}");
        assert_eq!(error["type"], "invalid_request_error");
        assert_eq!(reply.header("x-agentgateway-error"), error["code"].as_str());
    }
    assert_eq!(backend.stats().requests(), 0, "a refused request went on");
    let reply = gateway.client().post(OPENAI).header("content-encoding", "gzip").body("x").await;
    assert_eq!((reply.status.as_u16(), &reply.json()["error"]["code"]), (400, &json!("invalid_request_body")));
    gateway.stop().await;
}

#[tokio::test]
async fn each_dialect_has_its_own_shape() {
    let (_backend, gateway) = gateway().await;
    let ask = async |path: &str| gateway.client().post(path).body("{").await.json();
    assert_eq!(ask(OPENAI).await["error"]["code"], "invalid_request_body");
    let anthropic = ask(ANTHROPIC).await;
    assert_eq!((&anthropic["type"], &anthropic["error"]["type"]), (&json!("error"), &json!("invalid_request_error")));
    let gemini = ask(GEMINI).await;
    assert_eq!((&gemini["error"]["code"], &gemini["error"]["status"]), (&json!(400), &json!("INVALID_ARGUMENT")));
    gateway.stop().await;
}

#[tokio::test]
async fn policies_and_failures_speak_it_too() {
    let dead = Backend::dead().await;
    let host = format!("http://{}", dead.addr());
    let policies = "    - name: ai\n      policies:\n        authorization: { rules: [{ deny: '\"x-bad\" in request.headers' }] }\n";
    let document = single("custom: { formats: [{ type: completions }, { type: messages }] }", &host);
    let gateway = Gateway::start(&document.replace("    - name: ai\n", policies)).await;
    let body = json!({"model": "m", "messages": []});
    let failed = gateway.client().post(ANTHROPIC).json(&body).await;
    assert_eq!((failed.status.as_u16(), &failed.json()["error"]["type"]), (503, &json!("overloaded_error")));
    let denied = gateway.client().post(ANTHROPIC).header("x-bad", "1").json(&body).await;
    assert_eq!((denied.status.as_u16(), &denied.json()["error"]["type"]), (403, &json!("permission_error")));
    assert_eq!(denied.header("x-agentgateway-error"), Some("permission_denied"));
    gateway.stop().await;
}

#[tokio::test]
async fn what_a_provider_sends_that_makes_no_sense_passes_and_counts_nothing() {
    for (kind, body) in [
        ("application/json", "{\"usage\":{\"prompt_tokens\":"),
        ("application/json", "\u{0}\u{1}garbage"),
        ("text/event-stream", "data: {\"usage\":\n\ndata: \u{fffd}\n\n"),
        ("application/vnd.amazon.eventstream", "not a frame"),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let backend = Backend::canned(answer);
        let document = single("openAI: {}", &format!("http://{}", backend.addr()));
        let gateway = Gateway::start(&document).await;
        let reply = gateway.client().post(OPENAI).json(&json!({"model": "m"})).await;
        assert_eq!((reply.status.as_u16(), reply.text().as_str()), (200, body));
        let line = super::accounted(&gateway, 1).await;
        assert_eq!(line.get("gen_ai.usage.input_tokens"), None::<&Value>, "{line}");
        let counted = gateway.metric_sum("agentgateway_gen_ai_unaccounted_total", &[]).await;
        assert!((counted - 1.0).abs() < 0.001, "{counted}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_is_held() {
    let (backend, gateway) = gateway().await;
    let mut client = RawClient::connect(gateway.addr(0)).await;
    let head = format!("POST {ANTHROPIC} HTTP/1.1\r\nhost: a\r\ncontent-length: 999999999\r\n\r\n{{");
    client.write(head).await.expect("written");
    let reply = client.reply().await.expect("an answer");
    assert_eq!(reply.status, 413);
    assert!(String::from_utf8_lossy(&reply.body).contains("request_too_large"));
    assert_eq!(backend.stats().requests(), 0);
    gateway.stop().await;
}
