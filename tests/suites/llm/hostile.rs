//! Providers that send what they should not: it is passed on or refused, accounted, and bounded.

use std::io::Write;

use serde_json::json;
use tests::backend::request;
use tests::{Backend, Gateway, RawClient};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{accounted, chat, single};

const CHAT: &str = "/v1/chat/completions";

fn answering(kind: &str, body: &[u8]) -> Backend {
    let mut answer = Vec::new();
    write!(answer, "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len())
        .expect("memory");
    answer.extend_from_slice(body);
    Backend::canned(answer)
}

async fn gateway(backend: &Backend, guard: bool) -> Gateway {
    let document = single("openAI: {}", &format!("http://{}", backend.addr()));
    let rule = "ai: { promptGuard: { response: [{ regex: { rules: [{ builtin: email }] } }] } }";
    let route = format!("    - name: ai\n      policies:\n        {rule}\n");
    Gateway::start(&if guard { document.replacen("    - name: ai\n", &route, 1) } else { document }).await
}

#[tokio::test]
async fn an_error_with_status_200_passes_and_costs_nothing() {
    let error = json!({"error": {"message": "the model is asleep", "code": 500}}).to_string();
    for (kind, body) in [("application/json", error.clone()), ("text/event-stream", format!("data: {error}\n\n"))] {
        let backend = answering(kind, body.as_bytes());
        let gateway = gateway(&backend, false).await;
        let reply = gateway.client().post(CHAT).json(&chat("m", true)).await.expect_status(200);
        assert_eq!(reply.text(), body);
        let line = accounted(&gateway, 1).await;
        assert!(line.get("gen_ai.usage.output_tokens").is_none(), "{line}");
        let unaccounted = gateway.metric_sum("agentgateway_gen_ai_unaccounted_total", &[]).await;
        assert!((unaccounted - 1.0).abs() < 0.001, "{kind}: {unaccounted}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_stream_cut_in_the_middle_of_a_letter_passes_as_far_as_it_came() {
    let event = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"gr\u{fc}\u{df}e\"}}]}\n\n".as_bytes();
    // Behind the first of the two bytes of the second letter that has two.
    let cut = event
        .iter()
        .position(|it| *it == 0xdf)
        .or_else(|| event.windows(2).position(|it| it == [0xc3, 0x9f]))
        .expect("a letter")
        + 1;
    let sent = [event, &event[..cut]].concat();
    let backend = answering("text/event-stream", &sent);
    let gateway = gateway(&backend, false).await;
    let reply = gateway.client().post(CHAT).json(&chat("m", true)).await.expect_status(200);
    assert_eq!(reply.body, sent, "byte for byte");
    gateway.stop().await;
}

#[tokio::test]
async fn a_cut_stream_that_is_guarded_ends_with_an_error_and_not_with_what_nobody_has_seen() {
    let event = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"write to a@b.exam";
    let backend = answering("text/event-stream", event.as_bytes());
    let gateway = gateway(&backend, true).await;
    let reply = gateway.client().post(CHAT).json(&chat("m", true)).await.expect_status(200);
    assert!(reply.text().contains("upstream_error") && !reply.text().contains("a@b"), "{}", reply.text());
    gateway.stop().await;
}

#[tokio::test]
async fn a_line_without_end_takes_no_memory() {
    const BYTES: usize = 96 << 20;
    for guard in [false, true] {
        let backend = Backend::raw(|mut accepted| async move {
            request(&mut accepted.stream).await;
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: ";
            let _ = accepted.stream.write_all(head.as_bytes()).await;
            let piece = vec![b'x'; 1 << 20];
            for _ in 0..BYTES >> 20 {
                if accepted.stream.write_all(&piece).await.is_err() {
                    break;
                }
            }
            // Closed with something unread, a connection is reset.
            let _ = accepted.stream.shutdown().await;
            let _ = accepted.stream.read_to_end(&mut Vec::new()).await;
        });
        let gateway = gateway(&backend, guard).await;
        let before = gateway.rss_kib();
        let reply = gateway.client().post(CHAT).json(&chat("m", true)).await.expect_status(200);
        assert_eq!(reply.body.len() > BYTES, !guard, "{} bytes", reply.body.len());
        let grown = gateway.rss_kib().saturating_sub(before);
        assert!(grown < 48 << 10, "{grown} KiB more");
        accounted(&gateway, 1).await;
        gateway.stop().await;
    }
}

#[tokio::test]
async fn who_closes_early_or_stalls_is_an_error_in_the_clients_dialect() {
    let closing = Backend::raw(|mut accepted| async move {
        request(&mut accepted.stream).await;
    });
    let gateway = gateway(&closing, false).await;
    let reply = gateway.client().post("/v1/chat/completions").json(&chat("m", false)).await.expect_status(502);
    assert_eq!(reply.json()["error"]["type"], "server_error", "{}", reply.text());
    assert_eq!(accounted(&gateway, 1).await["gen_ai.request.model"], "m");
    gateway.stop().await;

    let mute = Backend::raw(|mut accepted| async move {
        request(&mut accepted.stream).await;
        std::future::pending::<()>().await;
    });
    let document = single("openAI: {}", &format!("http://{}", mute.addr()));
    let route = "    - name: ai\n      policies:\n        timeout: { backendRequestTimeout: 300ms }\n";
    let gateway = Gateway::start(&document.replacen("    - name: ai\n", route, 1)).await;
    let reply = gateway.client().post(CHAT).json(&chat("m", false)).await.expect_status(504);
    assert_eq!(reply.header("x-agentgateway-error"), Some("upstream_timeout"), "{}", reply.text());
    gateway.stop().await;
}

#[tokio::test]
async fn a_request_that_ends_too_early_never_goes_on() {
    let backend = Backend::echo();
    let gateway = gateway(&backend, false).await;
    let mut client = RawClient::connect(gateway.addr(0)).await;
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{{\"model\":");
    client.write(head).await.expect("written");
    drop(client);
    gateway.wait_access(1).await;
    assert_eq!(backend.stats().requests(), 0);
    gateway.stop().await;
}
