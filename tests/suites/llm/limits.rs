//! Limits by tokens: what requests under way have reserved, and what is settled when they end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use tests::backend::{Asked, answer};
use tests::pb::{field, holds, number};
use tests::wait::{PATIENCE, eventually};
use tests::{Backend, Client, Gateway};
use tokio::sync::Semaphore;

use super::single;

const CHAT: &str = "/v1/chat/completions";

fn limited(policy: &str, host: &Backend) -> String {
    let document = single("openAI: {}", &format!("http://{}", host.addr()));
    let route = format!("    - name: ai\n      policies:\n        {policy}\n");
    document.replacen("    - name: ai\n", &route, 1)
}

fn local(tokens: u64) -> String {
    format!("localRateLimit: [{{ maxTokens: {tokens}, tokensPerFill: {tokens}, fillInterval: 1h, type: tokens }}]")
}

fn asking(max_tokens: u64) -> Value {
    json!({"model": "m", "max_tokens": max_tokens, "messages": [{"role": "user", "content": "hi"}]})
}

fn used(tokens: u64) -> Value {
    json!({"id": "c", "model": "m", "usage": {"prompt_tokens": 10, "completion_tokens": tokens - 10}})
}

#[tokio::test]
async fn what_was_used_takes_the_place_of_what_was_reserved() {
    let backend = Backend::http(|_| async { answer::json(&used(30)) });
    let gateway = Gateway::start(&limited(&local(100), &backend)).await;
    let client = gateway.client();
    for left in [100, 70, 40, 10] {
        // Reserved for the first one alone: five times what the bucket holds.
        let reply = client.post(CHAT).json(&asking(500)).await.expect_status(200);
        assert_eq!(reply.header("x-ratelimit-remaining"), Some(left.to_string().as_str()));
    }
    let refused = client.post(CHAT).json(&asking(500)).await.expect_status(429);
    assert_eq!(refused.json()["error"]["type"], "rate_limit_error", "in the client's dialect");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(backend.stats().requests(), 4);
    gateway.stop().await;
}

#[tokio::test]
async fn requests_at_once_cannot_all_have_the_last_token() {
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    let backend = Backend::http(move |_| {
        let held = held.clone();
        async move {
            held.acquire().await.expect("open").forget();
            answer::json(&used(20))
        }
    });
    let gateway = Gateway::start(&limited(&local(100), &backend)).await;
    let ask = || {
        let client = gateway.client();
        tokio::spawn(async move { client.post(CHAT).json(&asking(60)).await.status.as_u16() })
    };
    // Each may use 60 and its input: two go out, and the second one overdraws.
    let first = [ask(), ask()];
    eventually(PATIENCE, async || backend.stats().requests() == 2).await;
    for _ in 0..4 {
        assert_eq!(ask().await.expect("an answer"), 429);
    }
    gate.add_permits(100);
    for it in first {
        assert_eq!(it.await.expect("an answer"), 200);
    }
    gateway.wait_access(6).await;
    assert_eq!(ask().await.expect("an answer"), 200, "what was not used came back");
    gateway.stop().await;
}

#[tokio::test]
async fn what_failed_costs_nothing() {
    let backend = Backend::http(|_| async { answer::json(&json!({})) });
    backend.stats().fail_next(5, 400);
    let gateway = Gateway::start(&limited(&local(50), &backend)).await;
    for n in 1..=5 {
        let reply = gateway.client().post(CHAT).json(&asking(40)).await.expect_status(400);
        assert_eq!(reply.header("x-ratelimit-remaining"), Some("50"));
        // What was reserved comes back when the exchange ends, a little after the client has the answer.
        gateway.wait_access(n).await;
    }
    gateway.stop().await;
}

/// Counts what it is told, and says nothing against it.
fn server(told: &Arc<AtomicU64>) -> Backend {
    let told = told.clone();
    Backend::http(move |asked: Asked| {
        let told = told.clone();
        async move {
            assert!(holds(&asked.body, "tokens-of"), "the descriptor");
            told.fetch_add(hits(&asked.body), Ordering::SeqCst);
            let status = field(2, number(1, 1));
            answer::grpc(&[number(1, 1), status].concat())
        }
    })
}

/// `hits_addend` of the only descriptor: field 3 of it, a wrapped number behind the mark of the field (0x1a).
fn hits(body: &[u8]) -> u64 {
    let at = body.windows(2).rposition(|it| it[0] == 0x1a && it[1] <= 4).expect("hits of the descriptor");
    let wrapped = &body[at + 2..at + 2 + usize::from(body[at + 1])];
    wrapped.iter().skip(1).rev().fold(0, |sum, byte| (sum << 7) | u64::from(byte & 0x7f))
}

fn remote(server: &Backend, cost: &str) -> String {
    let entry = "entries: [{ key: tokens-of, value: '\"all\"' }]";
    format!(
        "remoteRateLimit: {{ host: '{}', domain: d, descriptors: [{{ {entry}, type: tokens{cost} }}] }}",
        server.addr()
    )
}

#[tokio::test]
async fn a_server_is_told_to_the_token_what_was_used() {
    for (cost, want) in [("", 300), (", cost: llm.outputTokens * 2", 580)] {
        let told = Arc::default();
        let (limits, backend) = (server(&told), Backend::http(|_| async { answer::json(&used(300)) }));
        let gateway = Gateway::start(&limited(&remote(&limits, cost), &backend)).await;
        gateway.client().post(CHAT).json(&asking(500)).await.expect_status(200);
        eventually(PATIENCE, async || told.load(Ordering::SeqCst) == want).await;
        // What is no call of a model asks for nothing.
        gateway.client().get("/v1/files").await;
        gateway.wait_access(2).await;
        assert_eq!((limits.stats().requests(), told.load(Ordering::SeqCst)), (2, want), "{cost}");
        gateway.stop().await;
    }
}

/// What a request of [`asking`] is about.
fn input() -> u64 {
    asking(500).to_string().len().div_ceil(4) as u64
}

#[tokio::test]
async fn who_leaves_before_the_answer_begins_is_charged_what_the_provider_was_sent() {
    let backend = Backend::http(|_| async {
        std::future::pending::<()>().await;
        answer::json(&used(30))
    });
    for client in [Client::h1 as fn(_) -> Client, Client::h2c] {
        let gateway = Gateway::start(&limited(&local(1000), &backend)).await;
        let (client, before) = (client(gateway.addr(0)), backend.stats().requests());
        let asking_it = tokio::spawn(async move { client.post(CHAT).json(&asking(500)).try_send().await.is_ok() });
        eventually(PATIENCE, async || backend.stats().requests() == before + 1).await;
        asking_it.abort();
        let line = super::accounted(&gateway, 1).await;
        assert_eq!(
            (&line["reason"], &line["gen_ai.usage.estimated"]),
            (&json!("ClientGone"), &json!("true")),
            "{line}"
        );
        let tokens = (&line["gen_ai.usage.input_tokens"], &line["gen_ai.usage.output_tokens"]);
        assert_eq!(tokens, (&json!(input()), &json!(0)), "{line}");
        backend.stats().fail_next(1, 400);
        let next = gateway.client().post(CHAT).json(&asking(500)).await.expect_status(400);
        let left = (1000 - input()).to_string();
        assert_eq!(next.header("x-ratelimit-remaining"), Some(left.as_str()), "and no more than that");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_provider_that_does_not_answer_in_time_has_read_the_request_and_one_that_was_not_reached_has_not() {
    let silent = Backend::http(|_| async {
        std::future::pending::<()>().await;
        answer::json(&used(30))
    });
    let dead = Backend::dead().await;
    for (backend, status, charged) in [(&silent, 504, input()), (&dead, 503, 0)] {
        let policies = format!("{}\n        timeout: {{ requestTimeout: 300ms }}", local(1000));
        let gateway = Gateway::start(&limited(&policies, backend)).await;
        for n in 1..=2 {
            let reply = gateway.client().post(CHAT).json(&asking(500)).await.expect_status(status);
            let left = (1000 - charged * (n - 1)).to_string();
            assert_eq!(reply.header("x-ratelimit-remaining"), Some(left.as_str()), "{status}");
            let line = super::accounted(&gateway, usize::try_from(n).expect("a few")).await;
            assert_eq!(line.get("gen_ai.usage.estimated").is_some(), charged > 0, "{line}");
        }
        gateway.stop().await;
    }
}
