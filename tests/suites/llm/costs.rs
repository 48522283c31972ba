//! What answers cost: by a catalogue that changes under way, and where an answer is cut off.

use serde_json::json;
use tests::{Backend, Client, Gateway};

use super::{accounted, chat, single};

fn provider() -> Backend {
    use tests::backend::answer;
    Backend::http(|_| async {
        let usage =
            json!({"prompt_tokens": 1000, "completion_tokens": 100, "prompt_tokens_details": {"cached_tokens": 800}});
        answer::json(&json!({"id": "c", "model": "gpt-x", "usage": usage}))
    })
}

fn catalog(input: &str, date: &str) -> String {
    let rates = json!({"input": input, "output": "10", "cacheRead": "0.125"});
    json!({"date": date, "providers": {"openai": {"models": {"gpt-x": {"rates": rates}}}}}).to_string()
}

async fn cost(gateway: &Gateway, n: usize) -> serde_json::Value {
    gateway.client().post("/v1/chat/completions").json(&chat("m", false)).await.expect_status(200);
    accounted(gateway, n).await
}

async fn stale(gateway: &Gateway) -> String {
    gateway.admin("GET", "/config/status").await.json()["stale"].to_string()
}

#[tokio::test]
async fn a_catalogue_prices_answers_and_changes_without_a_new_generation() {
    let backend = provider();
    let log =
        "frontendPolicies:\n  accessLog:\n    add:\n      total: llm.cost.total\n      rate: llm.costRates.cacheRead\n";
    let document = single("openAI: {}", &format!("http://{}", backend.addr()));
    let setup = Gateway::setup("");
    let file = setup.dir().join("catalog.json");
    let catalogs = format!("config:\n  modelCatalog: [{{ file: '{}' }}]\n", file.display());
    let yaml = format!("{}{log}", document.replacen("config:\n", &catalogs, 1));
    let gateway = Gateway::setup(&yaml).file("unused", "").start().await;
    let line = cost(&gateway, 1).await;
    assert_eq!(line.get("gen_ai.usage.cost"), None, "there is no catalogue yet: {line}");
    assert!(stale(&gateway).await.contains("catalog.json"), "{}", stale(&gateway).await);

    std::fs::write(&file, catalog("1.25", "2026-11-01")).expect("written");
    gateway.wait_log(|it| it.contains("catalogue of models in force") && it.contains("2026-11-01")).await;
    let line = cost(&gateway, 2).await;
    // 200 x 1.25 + 800 x 0.125 + 100 x 10
    assert_eq!(line["gen_ai.usage.cost"], "0.00135", "{line}");
    assert_eq!((&line["total"], &line["rate"]), (&json!("0.00135"), &json!("0.125")), "{line}");
    let total =
        gateway.metric_sum("agentgateway_gen_ai_cost_dollars_total", &[("gen_ai_provider_name", "openai")]).await;
    assert!((total - 0.00135).abs() < 1e-9, "{total}");

    std::fs::write(&file, "{\"providers\": {").expect("written");
    gateway.wait_log(|it| it.contains("a catalogue of models is not taken")).await;
    assert_eq!(cost(&gateway, 3).await["gen_ai.usage.cost"], "0.00135", "the last good one stands");

    std::fs::write(&file, catalog("2.25", "2026-11-02")).expect("written");
    gateway.wait_log(|it| it.contains("catalogue of models in force") && it.contains("2026-11-02")).await;
    let line = cost(&gateway, 4).await;
    assert_eq!(line["gen_ai.usage.cost"], "0.00155", "{line}");
    assert!(!stale(&gateway).await.contains("catalog.json"));
    assert_eq!(gateway.status().await.generation, 1, "prices are no configuration");
    gateway.stop().await;
}

#[tokio::test]
async fn what_the_catalogue_does_not_know_is_said() {
    let backend = provider();
    let document = single("openAI: { model: other }", &format!("http://{}", backend.addr()));
    let inline = "config:\n  modelCatalog: [{ inline: { providers: { openai: { models: { nobody: {} } } } } }]\n";
    let gateway = Gateway::start(&document.replacen("config:\n", inline, 1)).await;
    assert_eq!(cost(&gateway, 1).await["gen_ai.usage.cost_status"], "missing");
    let unpriced = gateway.metric_sum("agentgateway_gen_ai_unpriced_total", &[]).await;
    assert!((unpriced - 1.0).abs() < 1e-9, "{unpriced}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_catalogue_that_is_none_is_refused_where_it_is_written_out() {
    let document = single("openAI: {}", "http://127.0.0.1:1");
    let inline =
        "config:\n  modelCatalog: [{ inline: { providers: { a: { models: { m: { rates: { input: 1.5 } } } } } } }]\n";
    let refusal = Gateway::start_expect_failure(&document.replacen("config:\n", inline, 1)).await;
    assert!(refusal.log.contains("providers.a.models.m.rates.input"), "{}", refusal.log);
}

#[tokio::test]
async fn who_leaves_early_is_accounted_for_what_came() {
    let mock = super::mock(json!([{"text": "word ".repeat(300), "pauseMs": 100}])).await;
    let gateway = Gateway::start(&single("openAI: {}", &mock.url())).await;
    let client = Client::h1(gateway.addr(0));
    let mut stream = client.post("/v1/chat/completions").json(&chat("m", true)).stream().await;
    for _ in 0..3 {
        stream.chunk().await.expect("the stream goes on").expect("a piece");
    }
    drop(stream);
    drop(client);
    let line = accounted(&gateway, 1).await;
    assert_eq!((&line["reason"], &line["gen_ai.usage.estimated"]), (&json!("ClientGone"), &json!("true")), "{line}");
    let output = line["gen_ai.usage.output_tokens"].as_u64().expect("a number");
    assert!((2..300).contains(&output), "{line}");
    assert!(line["gen_ai.usage.input_tokens"].as_u64().is_some_and(|it| it > 10), "{line}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_stream_that_breaks_is_accounted_for_what_came() {
    let mock = super::mock(json!([{"text": "a b c d e f g h i j", "cutAfter": 4}])).await;
    let gateway = Gateway::start(&single("anthropic: {}", &mock.url())).await;
    let body =
        json!({"model": "m", "max_tokens": 9, "stream": true, "messages": [{"role": "user", "content": "hello"}]});
    let client = Client::h1(gateway.addr(0));
    let mut stream = client.post("/v1/messages").json(&body).stream().await;
    while let Ok(Some(_)) = stream.chunk().await {}
    let line = accounted(&gateway, 1).await;
    assert_eq!(line["gen_ai.usage.estimated"], "true", "{line}");
    assert!(line["gen_ai.usage.output_tokens"].as_u64().is_some_and(|it| it > 1), "{line}");
    gateway.stop().await;
}
