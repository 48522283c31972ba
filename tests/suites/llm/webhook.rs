//! Guards that are servers: what they are told, what becomes of what they say, and of what they do not say.

use serde_json::{Value, json};
use tests::backend::{Asked, answer};
use tests::{Backend, Gateway};

use super::{accounted, chat, single};

const CHAT: &str = "/v1/chat/completions";

/// Masks `secret`, refuses `poison`, and answers nonsense to `nonsense`.
fn server() -> Backend {
    Backend::http(|asked: Asked| async move {
        let said = asked.json();
        let (list, inner) = match asked.uri.path().ends_with("/request") {
            true => ("messages", None),
            false => ("choices", Some("message")),
        };
        let mut body = said["body"].clone();
        let texts = body[list].as_array_mut().expect("texts");
        let all: String = texts.iter().map(|it| it.to_string()).collect();
        for it in texts.iter_mut() {
            let content = match inner {
                Some(inner) => &mut it[inner]["content"],
                None => &mut it["content"],
            };
            *content = content.as_str().expect("a text").replace("secret", "***").into();
        }
        answer::json(&match () {
            () if all.contains("poison") => json!({"action": {"status_code": 451, "body": "not here", "reason": "r"}}),
            () if all.contains("nonsense") => json!({"action": {"body": {list: []}}}),
            () if all.contains("secret") => json!({"action": {"body": body, "reason": "r"}}),
            () => json!({"action": {"reason": "fine"}}),
        })
    })
}

fn guarded(provider: &str, backend: &Backend, side: &str, server: &Backend, more: &str) -> String {
    let guard = format!("{{ webhook: {{ target: {{ host: '{}' }}{more} }} }}", server.addr());
    let ai = format!("{{ promptGuard: {{ {side}: [{guard}] }} }}");
    let route = format!("    - name: ai\n      policies:\n        ai: {ai}\n");
    single(provider, &format!("http://{}", backend.addr())).replacen("    - name: ai\n", &route, 1)
}

fn saying(text: &str) -> Backend {
    let reply = json!({"id": "c", "choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]});
    Backend::http(move |_| {
        let reply = reply.clone();
        async move { answer::json(&reply) }
    })
}

fn asking(text: &str) -> Value {
    json!({"model": "m", "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": text}]})
}

#[tokio::test]
async fn requests_pass_become_others_or_are_refused() {
    let (backend, server) = (saying("hello"), server());
    let more = ", headers: { ':path': '\"/v1/guard\"', x-from: request.host }, forwardHeaderMatches: [{ name: x-user, value: { regex: 'u[0-9]+' } }]";
    let gateway = Gateway::start(&guarded("openAI: {}", &backend, "request", &server, more)).await;
    let ask =
        |text: &str| gateway.client().post(CHAT).header("x-user", "u7").header("x-other", "o").json(&asking(text));
    ask("hi").await.expect_status(200);
    let told = server.stats().last();
    assert_eq!(
        (told.uri.path(), told.header("x-user"), told.header("x-other")),
        ("/v1/guard/request", Some("u7"), None)
    );
    assert!(told.header("x-from").is_some());
    let messages = json!([{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]);
    assert_eq!(told.json(), json!({"body": {"messages": messages}}));
    assert_eq!(backend.stats().last().text(), asking("hi").to_string(), "what passes is the client's");
    ask("my secret").await.expect_status(200);
    assert_eq!(backend.stats().last().text(), asking("my ***").to_string());
    assert_eq!(accounted(&gateway, 2).await["gen_ai.guardrail.findings"], 1);
    let asked = backend.stats().requests();
    let refused = ask("poison").await.expect_status(451);
    assert_eq!(refused.json()["error"]["message"], "not here");
    assert_eq!(refused.header("x-agentgateway-error"), Some("content_rejected"));
    let failed = ask("nonsense").await.expect_status(503);
    assert_eq!(failed.json()["error"]["code"], "guard_unavailable", "closed, where it makes no sense");
    assert_eq!(backend.stats().requests(), asked, "neither went on");
    gateway.stop().await;
}

#[tokio::test]
async fn a_server_that_is_not_there_closes_unless_it_may_be_passed_by() {
    let (backend, dead) = (saying("hello"), Backend::dead().await);
    for side in ["request", "response"] {
        for (more, status) in [("", 503), (", failureMode: failOpen", 200)] {
            let gateway = Gateway::start(&guarded("openAI: {}", &backend, side, &dead, more)).await;
            let reply = gateway.client().post(CHAT).json(&asking("hi")).await.expect_status(status);
            if status == 503 {
                assert_eq!(reply.header("x-agentgateway-error"), Some("guard_unavailable"), "{side}");
            }
            gateway.stop().await;
        }
    }
}

#[tokio::test]
async fn whole_answers_pass_become_others_or_are_refused_in_the_clients_dialect() {
    let server = server();
    for (said, status, want) in [("fine", 200, "fine"), ("a secret", 200, "a ***"), ("poison", 451, "")] {
        let backend = saying(said);
        let gateway = Gateway::start(&guarded("openAI: {}", &backend, "response", &server, "")).await;
        let reply = gateway.client().post(CHAT).json(&asking("hi")).await.expect_status(status);
        assert_eq!(reply.json()["choices"][0]["message"]["content"].as_str().unwrap_or_default(), want);
        assert!(!reply.text().contains("poison"), "{}", reply.text());
        let told = json!({"body": {"choices": [{"message": {"role": "assistant", "content": said}}]}});
        assert_eq!(server.stats().last().json(), told);
        gateway.stop().await;
        // Translated, it is what the client will read that is judged.
        let gateway = Gateway::start(&guarded("openAI: {}", &backend, "response", &server, "")).await;
        let body = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]});
        let reply = gateway.client().post("/v1/messages").json(&body).await.expect_status(status);
        match status {
            200 => assert_eq!(reply.json()["content"][0]["text"], want),
            _ => assert_eq!(reply.json()["type"], "error", "{}", reply.text()),
        }
        gateway.stop().await;
    }
}

/// A stream whose text comes in pieces of this size.
fn streaming(text: &str, size: usize) -> Backend {
    let letters: Vec<char> = text.chars().collect();
    let chunk = |text: String| json!({"choices": [{"index": 0, "delta": {"content": text}}]}).to_string();
    let mut events: Vec<String> = letters.chunks(size).map(|it| chunk(it.iter().collect())).collect();
    events.push("[DONE]".to_owned());
    Backend::http(move |_| {
        let events = events.clone();
        async move { answer::events(&events) }
    })
}

fn text(stream: &str) -> String {
    let data = stream.lines().filter_map(|it| it.strip_prefix("data: "));
    let data = data.filter_map(|it| serde_json::from_str::<Value>(it).ok());
    data.filter_map(|it| it["choices"][0]["delta"]["content"].as_str().map(str::to_owned)).collect()
}

#[tokio::test]
async fn streams_are_judged_some_text_at_a_time_and_nothing_slips_out_between() {
    let server = server();
    let filler = "many words ".repeat(140);
    for at in [0, 760, 1020, 1024, 1030, 1500] {
        let (before, after) = filler.split_at(at);
        for size in [1, 7, 400] {
            let backend = streaming(&format!("{before}secret{after}"), size);
            let gateway = Gateway::start(&guarded("openAI: {}", &backend, "response", &server, "")).await;
            let reply = gateway.client().post(CHAT).json(&chat("m", true)).await.expect_status(200);
            assert_eq!(text(&reply.text()), format!("{before}***{after}"), "at {at} in pieces of {size}");
            assert!(reply.text().ends_with("data: [DONE]\n\n"));
            gateway.stop().await;
        }
    }
    let backend = streaming(&format!("{filler}poison{filler}"), 9);
    let gateway = Gateway::start(&guarded("openAI: {}", &backend, "response", &server, "")).await;
    let reply = gateway.client().post(CHAT).json(&chat("m", true)).await.expect_status(200);
    assert!(
        reply.text().contains("content_rejected") && reply.text().ends_with("data: [DONE]\n\n"),
        "{}",
        reply.text()
    );
    assert!(!text(&reply.text()).contains("po"), "{}", reply.text());
    gateway.stop().await;
    let backend = streaming(&filler, 9);
    let gateway = Gateway::start(&guarded("openAI: {}", &backend, "response", &server, "")).await;
    let passed = gateway.client().post(CHAT).json(&chat("m", true)).await.expect_status(200);
    assert_eq!(text(&passed.text()), filler);
    gateway.stop().await;
}
