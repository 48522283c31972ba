//! Another provider answers before the client sees that the first one failed.

use serde_json::json;
use tests::{Backend, Gateway, MockLlm};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{accounted, chat, mock};

/// Two providers, the second one for when the first fails; it has another model.
fn two(first: &str, second: &MockLlm) -> String {
    format!(
        "config:\n  logging: {{ format: json }}\nbinds:\n- port: 0\n  address: 127.0.0.1\n  listeners:\n  - routes:\n    - name: ai\n      policies:\n        timeout: {{ backendRequestTimeout: 4s }}\n      backends:\n      - ai:\n          groups:\n          - providers:\n            - name: first\n              provider: {{ openAI: {{}} }}\n              hostOverride: '{first}'\n              policies: {{ backendAuth: {{ key: first-key }} }}\n          - providers:\n            - name: second\n              provider: {{ openAI: {{ model: spare }} }}\n              hostOverride: '{}'\n              policies: {{ backendAuth: {{ key: gateway-key }} }}\n",
        second.url()
    )
}

#[tokio::test]
async fn the_next_provider_gets_the_whole_request_with_its_own_model_and_key() {
    let second = mock(json!([])).await;
    for status in [429, 500, 503, 529] {
        let rules = json!({"rules": [{"status": status}]}).to_string();
        let first = MockLlm::start(&rules).await;
        let gateway = Gateway::start(&two(&first.url(), &second)).await;
        for stream in [false, true] {
            let reply = gateway.client().post("/v1/chat/completions").json(&chat("m", stream)).await;
            assert_eq!(reply.status, 200, "{status}: {}", reply.text());
            assert!(reply.text().contains("You said:") || stream, "{}", reply.text());
            let line = accounted(&gateway, 1 + usize::from(stream)).await;
            assert_eq!(
                (&line["gen_ai.response.model"], &line["retry.attempt"]),
                (&json!("spare"), &json!(1)),
                "{line}"
            );
        }
        gateway.stop().await;
    }
}

#[tokio::test]
async fn one_that_cannot_be_reached_or_does_not_answer_is_passed_over() {
    let second = mock(json!([])).await;
    let dead = Backend::dead().await;
    let slow = MockLlm::start(&json!({"rules": [{"delayMs": 60_000}]}).to_string()).await;
    let catalog = "config:\n  modelCatalog: [{ inline: { date: '2026-11-01', providers: { openai: { models: { m: { rates: { input: '1', output: '2' } } } } } } }]\n";
    for first in [format!("http://{}", dead.addr()), slow.url()] {
        let gateway = Gateway::start(&two(&first, &second).replacen("config:\n", catalog, 1)).await;
        let reply = gateway.client().post("/v1/chat/completions").json(&chat("m", false)).await;
        assert_eq!(reply.status, 200, "{first}: {}", reply.text());
        let line = accounted(&gateway, 1).await;
        assert_eq!(line["gen_ai.response.model"], "spare", "{line}");
        // What had the request bills it, though another one has answered.
        let has_read = first == slow.url();
        let given = chat("m", false).to_string().len().div_ceil(4);
        let told = (line.get("llm.outlasted"), line.get("llm.outlasted.input_tokens"));
        let want = (json!("openai/m"), json!(given));
        assert_eq!(told, (has_read.then_some(&want.0), has_read.then_some(&want.1)), "{line}");
        let cost = line["llm.outlasted.cost"].as_str().map(|it| it.parse::<f64>().expect("dollars") * 1e6);
        assert_eq!(cost.map(f64::round), has_read.then_some(given as f64), "{line}");
        let labels = [("gen_ai_request_model", "m"), ("gen_ai_token_type", "input")];
        let counted = gateway.metric_sum("agentgateway_gen_ai_client_token_usage_sum", &labels).await;
        assert!((counted - if has_read { given as f64 } else { 0.0 }).abs() < 0.5, "{counted}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn what_the_client_did_wrong_is_not_asked_again_and_the_last_word_is_the_last_providers() {
    let second =
        MockLlm::start(&json!({"rules": [{"status": 503, "headers": {"retry-after": "7"}}]}).to_string()).await;
    for (status, seen) in [(400, 400), (401, 401), (503, 503)] {
        let first = MockLlm::start(&json!({"rules": [{"status": status}]}).to_string()).await;
        let gateway = Gateway::start(&two(&first.url(), &second)).await;
        let reply = gateway.client().post("/v1/chat/completions").json(&chat("m", false)).await;
        assert_eq!(reply.status.as_u16(), seen);
        assert_eq!(reply.header("retry-after"), (status == 503).then_some("7"));
        assert_eq!(reply.json()["error"]["code"], "scripted", "the provider's own words");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_accounted_as_far_as_it_came() {
    let second = mock(json!([])).await;
    let first = MockLlm::start(&json!({"rules": [{"cutAfter": 3}]}).to_string()).await;
    let document = two(&first.url(), &second).replace("openAI: {} }", "anthropic: {} }");
    let gateway = Gateway::start(&document).await;
    let stream = gateway.client().post("/v1/messages").json(&chat("m", true)).try_send().await;
    assert!(stream.is_err(), "the client sees that it broke off");
    let line = accounted(&gateway, 1).await;
    let input = chat("m", true).to_string().len().div_ceil(4);
    assert_eq!(
        (&line["gen_ai.usage.input_tokens"], &line["gen_ai.usage.output_tokens"]),
        (&json!(input), &json!(3)),
        "a token for each event that came: {line}"
    );
    assert_eq!(line["gen_ai.usage.estimated"], "true");
    gateway.stop().await;
}

#[tokio::test]
async fn who_asks_to_be_left_alone_is_asked_last_until_then() {
    let second = mock(json!([])).await;
    let first = Backend::http(|_| async {
        let mut busy = tests::backend::answer::with_type(429, "application/json", "{}");
        busy.headers_mut().insert("retry-after", "60".parse().expect("a value"));
        busy
    });
    let gateway = Gateway::start(&two(&format!("http://{}", first.addr()), &second)).await;
    for n in 1..4 {
        let reply = gateway.client().post("/v1/chat/completions").json(&chat("m", false)).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let line = accounted(&gateway, n).await;
        assert_eq!(line.get("retry.attempt").is_some(), n == 1, "{line}");
    }
    assert_eq!(first.stats().requests(), 1);
    // Of another model it has said nothing.
    gateway.client().post("/v1/chat/completions").json(&chat("n", false)).await.expect_status(200);
    assert_eq!(first.stats().requests(), 2);
    gateway.stop().await;
}

#[tokio::test]
async fn a_stream_whose_first_piece_does_not_come_in_time_is_another_providers() {
    let stalling = || {
        Backend::raw(|mut accepted| async move {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
            let _ = accepted.stream.read(&mut [0; 4096]).await;
            let _ = accepted.stream.write_all(head.as_bytes()).await;
            let _ = accepted.stream.read_to_end(&mut Vec::new()).await;
        })
    };
    let second = mock(json!([{"text": "a b c"}])).await;
    let first = stalling();
    let budget = "        ai: { firstTokenTimeout: 1s }\n        timeout: { backendRequestTimeout: 60s }\n";
    let long = |host: &str| two(host, &second).replace("        timeout: { backendRequestTimeout: 4s }\n", budget);
    let gateway = Gateway::start(&long(&format!("http://{}", first.addr()))).await;
    let reply = gateway.client().post("/v1/chat/completions").json(&chat("m", true)).await.expect_status(200);
    assert!(reply.text().contains("[DONE]"), "{}", reply.text());
    let line = accounted(&gateway, 1).await;
    assert_eq!((&line["gen_ai.response.model"], &line["retry.attempt"]), (&json!("spare"), &json!(1)), "{line}");
    assert_eq!(line["llm.outlasted"], "openai/m", "{line}");
    gateway.stop().await;

    // One that has begun is not left, however long it takes then; and the last one is waited for.
    let slow = mock(json!([{"text": "a b c d e f g h i j k l", "pauseMs": 150}])).await;
    let late = MockLlm::start(&json!({"rules": [{"delayMs": 1500}]}).to_string()).await;
    let dead = Backend::dead().await;
    for (first, second, model) in [(slow.url(), &late, "m"), (format!("http://{}", dead.addr()), &late, "spare")] {
        let document = two(&first, second).replace("        timeout: { backendRequestTimeout: 4s }\n", budget);
        let gateway = Gateway::start(&document.replace("first-key", "gateway-key")).await;
        let reply = gateway.client().post("/v1/chat/completions").json(&chat("m", true)).await.expect_status(200);
        assert!(reply.text().contains("[DONE]"), "{}", reply.text());
        assert_eq!(accounted(&gateway, 1).await["gen_ai.response.model"], model);
        gateway.stop().await;
    }
}
