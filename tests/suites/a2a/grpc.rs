//! The gRPC binding, through the same description of messages.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tests::backend::{Asked, answer};
use tests::client::GrpcClient;
use tests::grpc::Frames;
use tests::{Backend, Client, Gateway};

/// A field with a length.
fn field(number: u8, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut out = vec![number << 3 | 2];
    let mut length = body.len();
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(body);
    out
}

/// The text of a field that comes after these.
fn text_after<'a>(message: &'a [u8], before: &[u8]) -> &'a str {
    let rest = message.strip_prefix(before).expect("what comes before");
    // Lengths below 128 have one byte.
    let length = usize::from(rest[1]);
    std::str::from_utf8(&rest[2..2 + length]).expect("a text")
}

/// An agent that answers every call with a task, and keeps what it was asked.
fn agent(seen: &Arc<Mutex<Vec<Vec<u8>>>>) -> Backend {
    let seen = Arc::clone(seen);
    Backend::http(move |asked: Asked| {
        let mut frames = Frames::default();
        frames.push(&asked.body);
        let message = frames.next_message().unwrap_or_default();
        seen.lock().expect("no panic under the lock").push(message.to_vec());
        let task = [field(1, "task-1"), field(2, "context-1"), field(3, [0x08, 3])].concat();
        let said = match asked.uri.path() {
            path if path.ends_with("/SendMessage") => field(1, task),
            "/lf.a2a.v1.A2AService/GetExtendedAgentCard" => {
                [field(1, "one"), field(3, field(1, "http://10.0.0.7/rpc")), field(13, field(1, "signed"))].concat()
            }
            "/a2a.v1.A2AService/GetAgentCard" => {
                let more = [vec![0x7a], field(1, field(1, "10.0.0.7:50051"))[1..].to_vec()].concat();
                [field(1, "one"), field(3, "http://10.0.0.7/rpc"), more].concat()
            }
            _ => task,
        };
        async move { answer::grpc(&said) }
    })
}

#[tokio::test]
async fn ids_are_sealed_and_opened_in_messages_of_both_versions() {
    let seen = Arc::default();
    let backend = agent(&seen);
    let yaml = format!(
        "config:\n  logging: {{ format: json }}\nbinds:\n- port: 0\n  address: 127.0.0.1\n  listeners:\n  - routes:\n    - policies:\n        a2a: {{}}\n        authorization: {{ rules: ['a2a.method in [\"SendMessage\", \"GetTask\"]'] }}\n      backends:\n      - host: '{}'\n        policies: {{ http: {{ version: '2' }} }}\n",
        backend.addr()
    );
    let gateway = Gateway::start(&yaml).await;
    let client = GrpcClient::new(Client::h2c(gateway.addr(0)));
    for (service, send, get) in [
        ("/lf.a2a.v1.A2AService", field(2, field(1, "m")), (|id: &str| field(2, id)) as fn(&str) -> Vec<u8>),
        ("/a2a.v1.A2AService", field(1, field(1, "m")), |id| field(1, format!("tasks/{id}"))),
    ] {
        let reply = client.unary(&format!("{service}/SendMessage"), &send, &[]).await;
        assert_eq!(reply.status(), Some(0), "{reply:?}");
        // The task is in a message of more than 127 bytes: its length has two.
        let id = text_after(&reply.messages[0][3..], &[]).to_owned();
        assert!(id.len() > 60, "{id}");
        let reply = client.unary(&format!("{service}/GetTask"), &get(&id), &[]).await;
        assert_eq!(reply.status(), Some(0), "{reply:?}");
        assert_eq!(text_after(&reply.messages[0], &[]), id, "the same id");
        let own = seen.lock().expect("no panic under the lock").pop().expect("a message");
        assert_eq!(own, get("task-1"));
        let count = seen.lock().expect("no panic under the lock").len();
        for (method, message, status) in
            [("GetTask", get("forged"), 5), ("GetTask", vec![0xff; 12], 3), ("CancelTask", get(&id), 7)]
        {
            let reply = client.unary(&format!("{service}/{method}"), &message, &[]).await;
            assert_eq!(reply.status(), Some(status), "{method}: {reply:?}");
        }
        assert_eq!(seen.lock().expect("no panic under the lock").len(), count, "the agent was not asked");
    }
    let states = |lines: &[Value]| lines.iter().filter(|it| it["a2a.task.state"] == "completed").count();
    assert_eq!(states(&gateway.wait_access(10).await), 4);
    gateway.stop().await;
}

#[tokio::test]
async fn the_extended_card_names_the_gateway_and_has_no_signature_that_is_false() {
    let seen = Arc::default();
    let backend = agent(&seen);
    let yaml = |card: &str| {
        format!(
            "binds:\n- port: 0\n  address: 127.0.0.1\n  listeners:\n  - routes:\n    - policies:\n        a2a: {{{card}}}\n      backends:\n      - host: '{}'\n        policies: {{ http: {{ version: '2' }} }}\n",
            backend.addr()
        )
    };
    let gateway = Gateway::start(&yaml("")).await;
    let client = GrpcClient::new(Client::h2c(gateway.addr(0)));
    let own = gateway.addr(0).to_string();
    for path in ["/lf.a2a.v1.A2AService/GetExtendedAgentCard", "/a2a.v1.A2AService/GetAgentCard"] {
        let reply = client.unary(path, &[], &[]).await;
        assert_eq!(reply.status(), Some(0), "{reply:?}");
        let card = String::from_utf8_lossy(&reply.messages[0]).into_owned();
        assert!(card.contains("one") && card.contains(&own), "{card:?}");
        assert!(!card.contains("10.0.0.7") && !card.contains("signed"), "{card:?}");
    }
    gateway.stop().await;
    // Signatures are of the card's JSON: where they are to be judged, this binding gives none away.
    let key = tests::issuer::Issuer::new("agent").jwks().to_string();
    let gateway = Gateway::start(&yaml(&format!(" card: {{ verify: {{ jwks: '{key}' }} }} "))).await;
    let client = GrpcClient::new(Client::h2c(gateway.addr(0)));
    let count = seen.lock().expect("no panic under the lock").len();
    let reply = client.unary("/lf.a2a.v1.A2AService/GetExtendedAgentCard", &[], &[]).await;
    assert_eq!(reply.status(), Some(9), "{reply:?}");
    assert_eq!(seen.lock().expect("no panic under the lock").len(), count, "the agent was not asked");
    gateway.stop().await;
}
