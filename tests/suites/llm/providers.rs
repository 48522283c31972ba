//! Providers whose paths and bodies differ from those of the dialect that they speak.

use serde_json::{Value, json};
use tests::backend::answer;
use tests::{Backend, Gateway};

use super::{accounted, single};

fn message() -> Value {
    json!({"id": "x", "type": "message", "role": "assistant", "model": "claude-y", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "hello"}], "usage": {"input_tokens": 12, "output_tokens": 5}})
}

#[tokio::test]
async fn a_model_of_anthropics_in_googles_cloud_is_asked_in_its_path() {
    let backend = Backend::http(|_| async { answer::json(&message()) });
    let host = format!("http://{}", backend.addr());
    let gateway = Gateway::start(&single("vertex: { projectId: p, model: claude-x@1 }", &host)).await;
    let models = "/v1/projects/p/locations/global/publishers/anthropic/models";
    let body = r#"{"max_tokens": 9, "model" : "m", "messages":[ {"role":"user","content":"hi"} ] }"#;
    let version = r#""anthropic_version":"vertex-2023-10-16""#;
    gateway.client().post("/v1/messages").body(body).await.expect_status(200);
    let asked = backend.stats().last();
    assert_eq!(asked.uri.path(), format!("{models}/claude-x@1:rawPredict"));
    assert_eq!(asked.text(), body.replace(r#""model" : "m""#, version), "and nothing else is changed");
    assert_eq!(asked.header("authorization"), Some("Bearer gateway-key"));
    let line = accounted(&gateway, 1).await;
    assert_eq!((&line["gen_ai.usage.input_tokens"], &line["gen_ai.request.model"]), (&json!(12), &json!("claude-x@1")));

    let own = r#"{"anthropic_version": "own", "stream":true, "messages":[]}"#;
    gateway.client().post("/v1/messages").body(own).await.expect_status(200);
    let asked = backend.stats().last();
    assert_eq!(asked.uri.path(), format!("{models}/claude-x@1:streamRawPredict"));
    assert_eq!(asked.text(), own);

    gateway.client().post("/v1/messages/count_tokens").body(body).await;
    let asked = backend.stats().last();
    assert_eq!(asked.uri.path(), format!("{models}/count-tokens:rawPredict"));
    assert_eq!(asked.text(), body.replace(r#""m""#, r#""claude-x@1""#));

    let chat = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    let reply = gateway.client().post("/v1/chat/completions").json(&chat).await.expect_status(200);
    assert_eq!(reply.json()["choices"][0]["message"]["content"], "hello", "translated");
    let asked = backend.stats().last();
    assert_eq!(asked.uri.path(), format!("{models}/claude-x@1:rawPredict"));
    let sent = asked.json();
    assert_eq!((&sent["anthropic_version"], sent.get("model")), (&json!("vertex-2023-10-16"), None), "{sent}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_dated_version_asks_deployments_by_their_name() {
    let backend = Backend::http(|_| async { answer::json(&json!({"id": "c"})) });
    let host = format!("http://{}", backend.addr());
    let azure = "azure: { resourceName: r, resourceType: openAI, apiVersion: 2024-10-21 }";
    let gateway = Gateway::start(&single(azure, &host)).await;
    for (path, there) in [
        ("/v1/chat/completions", "/openai/deployments/my%20model/chat/completions?api-version=2024-10-21"),
        ("/v1/embeddings?x=y", "/openai/deployments/my%20model/embeddings?api-version=2024-10-21&x=y"),
        ("/v1/responses", "/openai/responses?api-version=2024-10-21"),
    ] {
        let body = r#"{"model":"my model", "input":"x"}"#;
        gateway.client().post(path).body(body).await.expect_status(200);
        let asked = backend.stats().last();
        assert_eq!(asked.uri.path_and_query().map(|it| it.as_str()), Some(there));
        assert_eq!((asked.text().as_str(), asked.header("api-key")), (body, Some("gateway-key")));
    }
    gateway.stop().await;
}
