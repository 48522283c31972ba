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

/// The bytes of the field of this number, of a message that has none longer than 16 KiB.
fn field_of(message: &[u8], wanted: u8) -> Option<&[u8]> {
    let mut rest = message;
    while let [tag, first, after @ ..] = rest {
        let (length, after) = match first {
            0..0x80 => (usize::from(*first), after),
            _ => (usize::from(first & 0x7f) | usize::from(after[0]) << 7, &after[1..]),
        };
        if tag >> 3 == wanted {
            return Some(&after[..length]);
        }
        rest = &after[length..];
    }
    None
}

#[tokio::test]
async fn an_agent_is_told_our_url_for_news_and_the_client_reads_its_own() {
    let seen: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let kept = Arc::clone(&seen);
    let backend = Backend::http(move |asked: Asked| {
        let mut frames = Frames::default();
        frames.push(&asked.body);
        let message = frames.next_message().unwrap_or_default().to_vec();
        kept.lock().expect("no panic under the lock").push(message.clone());
        // A configuration is answered with itself; in 0.3 it stands in what makes it.
        let is_old = asked.uri.path().starts_with("/a2a.v1.");
        let config = if is_old { field_of(&message, 3).map(<[u8]>::to_vec) } else { Some(message) };
        async move { answer::grpc(&config.unwrap_or_default()) }
    });
    let hook = Backend::http(|_| async { answer::text(204, "") });
    let yaml = format!(
        "config:\n  egressAllow: [127.0.0.1]\nbinds:\n- port: 0\n  address: 127.0.0.1\n  listeners:\n  - routes:\n    - policies:\n        a2a: {{ ids: plain }}\n      backends:\n      - host: '{}'\n        policies: {{ http: {{ version: '2' }} }}\n",
        backend.addr()
    );
    let gateway = Gateway::start(&yaml).await;
    let own = format!("http://{}", gateway.addr(0));
    gateway.reload(&yaml.replace("plain", &format!("plain, pushNotifications: relayed, relayUrl: '{own}'"))).await;
    let url = format!("http://{}/news", hook.addr());
    let authentication = [field(1, "Bearer"), field(2, "secret-credentials")].concat();
    let new =
        [field(2, "c1"), field(3, "t"), field(4, &url), field(5, "secret-token"), field(6, &authentication)].concat();
    let inner = [field(1, "c1"), field(2, &url), field(3, "secret-token"), field(4, &authentication)].concat();
    let old = [field(1, "tasks/t"), field(2, "c1"), field(3, field(2, &inner))].concat();
    let client = GrpcClient::new(Client::h2c(gateway.addr(0)));
    for (service, message) in [("/lf.a2a.v1.A2AService", &new), ("/a2a.v1.A2AService", &old)] {
        let reply = client.unary(&format!("{service}/CreateTaskPushNotificationConfig"), message, &[]).await;
        assert_eq!(reply.status(), Some(0), "{reply:?}");
        let told = seen.lock().expect("no panic under the lock").pop().expect("a message");
        assert!(!String::from_utf8_lossy(&told).contains("secret-"), "{told:?}");
        let told = match message == &new {
            true => field_of(&told, 4).map(<[u8]>::to_vec),
            false => field_of(&told, 3).and_then(|it| field_of(field_of(it, 2)?, 2)).map(<[u8]>::to_vec),
        };
        let told = String::from_utf8(told.expect("a URL")).expect("a text");
        let config = if message == &new { new.clone() } else { field(2, &inner) };
        assert_eq!(reply.messages[0], config, "as the client wrote it");
        let path = told.strip_prefix(&own).unwrap_or_else(|| panic!("{told} is not at {own}"));
        let news = r#"{"kind":"task","id":"t","status":{"state":"working"}}"#;
        let call = Client::h1(gateway.addr(0)).post(path).header("content-type", "application/json").body(news);
        call.await.expect_status(204);
        let got = hook.stats().last();
        assert_eq!((got.header("authorization"), got.text()), (Some("Bearer secret-credentials"), news.to_owned()));
    }
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
