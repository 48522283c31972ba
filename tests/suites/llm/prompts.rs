//! Messages that are added, and marks for caches of prompts: spliced into what the client wrote.

use serde_json::{Value, json};
use tests::backend::answer;
use tests::{Backend, Gateway};

use super::single;

fn shaped(provider: &str, backend: &Backend, ai: &str) -> String {
    let route = format!("    - name: ai\n      policies:\n        ai: {ai}\n");
    single(provider, &format!("http://{}", backend.addr())).replacen("    - name: ai\n", &route, 1)
}

fn backend() -> Backend {
    Backend::http(|_| async { answer::json(&json!({"id": "c"})) })
}

const BRIEF: &str = "{ prompts: { prepend: [{ role: system, content: 'be \"brief\"' }], append: [{ role: user, content: 'thanks' }] } }";

#[tokio::test]
async fn messages_are_spliced_into_each_dialect() {
    let backend = backend();
    let system = r#"{"role":"system","content":"be \"brief\""}"#;
    let thanks = r#"{"role":"user","content":"thanks"}"#;
    for (provider, path, body, want) in [
        (
            "openAI: {}",
            "/v1/chat/completions",
            "{ \"messages\" : [ {\"role\":\"user\",\"content\":\"\\u00e4\"} ], \"n\": 1.0, \"model\":\"m\" }",
            format!("{{ \"messages\" : [{system}, {{\"role\":\"user\",\"content\":\"\\u00e4\"}} ,{thanks}], \"n\": 1.0, \"model\":\"m\" }}"),
        ),
        (
            "openAI: {}",
            "/v1/responses",
            r#"{"model":"m","input" : "hi"}"#,
            format!(r#"{{"model":"m","input" : [{system},{{"role":"user","content":"hi"}},{thanks}]}}"#),
        ),
        (
            "anthropic: {}",
            "/v1/messages",
            r#"{"model":"m","system": "so" ,"messages":[ 1 ]}"#,
            format!(r#"{{"model":"m","system": "be \"brief\"\n\nso" ,"messages":[ 1 ,{thanks}]}}"#),
        ),
        (
            "gemini: {}",
            "/v1beta/models/m:generateContent",
            r#"{"contents":[1]}"#,
            r#"{"contents":[1,{"role":"user","parts":[{"text":"thanks"}]}],"systemInstruction":{"parts":[{"text":"be \"brief\""}]}}"#.to_owned(),
        ),
        (
            "custom: { formats: [{ type: converse, path: '/model/{model}/{action}' }] }",
            "/model/m/converse",
            r#"{"messages":[1]}"#,
            r#"{"messages":[1,{"role":"user","content":[{"text":"thanks"}]}],"system":[{"text":"be \"brief\""}]}"#.to_owned(),
        ),
        ("openAI: {}", "/v1/embeddings", r#"{"model":"m","input":"x"}"#, r#"{"model":"m","input":"x"}"#.to_owned()),
    ] {
        let gateway = Gateway::start(&shaped(provider, &backend, BRIEF)).await;
        gateway.client().post(path).body(body).await.expect_status(200);
        assert_eq!(backend.stats().last().text(), want, "{path}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn marks_are_set_for_who_has_them_whatever_the_client_speaks() {
    let backend = backend();
    let caching = "{ promptCaching: { minTokens: 10, cacheMessages: false } }";
    let gateway = Gateway::start(&shaped("anthropic: {}", &backend, caching)).await;
    let long = "x".repeat(100);
    let body =
        format!(r#"{{"model":"m", "system":"{long}","max_tokens":1,"messages":[{{"role":"user","content":"hi"}}]}}"#);
    gateway.client().post("/v1/messages").body(body.clone()).await.expect_status(200);
    let marked = format!(r#"[{{"type":"text","text":"{long}","cache_control":{{"type":"ephemeral"}}}}]"#);
    assert_eq!(backend.stats().last().text(), body.replace(&format!("\"{long}\""), &marked));
    let short = body.replace(&long, "s");
    gateway.client().post("/v1/messages").body(short.clone()).await.expect_status(200);
    assert_eq!(backend.stats().last().text(), short, "not worth it");

    let said = |system: &str| json!({"model": "m", "messages": [{"role": "system", "content": system}, {"role": "user", "content": "hi"}]});
    gateway.client().post("/v1/chat/completions").json(&said(&long)).await;
    let sent: Value = backend.stats().last().json();
    assert_eq!(sent["system"][0]["cache_control"]["type"], "ephemeral", "{sent}");
    gateway.stop().await;

    let gateway = Gateway::start(&shaped("openAI: {}", &backend, caching)).await;
    gateway.client().post("/v1/chat/completions").json(&said(&long)).await.expect_status(200);
    assert_eq!(backend.stats().last().json(), said(&long), "it has none");
    gateway.stop().await;
}
