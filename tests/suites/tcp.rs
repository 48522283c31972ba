//! Raw TCP: bytes through the gateway, their ends, their limits, and what is told of them.

use std::time::{Duration, Instant};

use tests::backend::Accepted;
use tests::http::{digest, pattern};
use tests::wait::PATIENCE;
use tests::{Authority, Backend, Gateway, RawClient, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn yaml(frontend: &str, backends: &str) -> String {
    format!(
        "{frontend}binds:\n- port: 0\n  address: 127.0.0.1\n  listeners:\n  - name: raw\n    protocol: TCP\n    tcpRoutes:\n    - name: bytes\n      backends: [{backends}]\n"
    )
}

async fn start(frontend: &str, backend: &Backend) -> Gateway {
    Gateway::start(&yaml(frontend, &format!("{{ host: '{}' }}", backend.addr()))).await
}

#[tokio::test]
async fn either_side_may_close_its_half_first() {
    let echo = Backend::tcp_echo();
    let gateway = start("", &echo).await;
    let mut client = RawClient::connect(gateway.addr(0)).await;
    client.write("ping").await.expect("write");
    assert_eq!(client.read_exact(4).await.expect("the echo"), "ping");
    client.write("last words").await.expect("write");
    client.finish().await.expect("half-close");
    assert_eq!(client.read_to_end().await.expect("a clean end").bytes, "last words");
    gateway.stop().await;
    // The backend closes its half first, and still hears the client out.
    let (sender, mut heard) = tokio::sync::mpsc::channel(1);
    let backend = Backend::raw(move |accepted: Accepted| {
        let sender = sender.clone();
        async move {
            let mut stream = accepted.stream;
            stream.write_all(b"hello, bye").await.expect("write");
            stream.shutdown().await.expect("half-close");
            let mut rest = String::new();
            stream.read_to_string(&mut rest).await.expect("read");
            sender.send(rest).await.expect("the test waits");
        }
    });
    let gateway = start("", &backend).await;
    let mut client = RawClient::connect(gateway.addr(0)).await;
    assert_eq!(client.read_to_end().await.expect("the backend's half").bytes, "hello, bye");
    client.write("one more thing").await.expect("our half is still open");
    client.finish().await.expect("half-close");
    assert_eq!(heard.recv().await.as_deref(), Some("one more thing"));
    gateway.stop().await;
}

#[tokio::test]
async fn a_large_transfer_arrives_whole_is_counted_and_logged() {
    let echo = Backend::tcp_echo();
    let gateway = start("", &echo).await;
    let sent = pattern(20_000_000);
    let stream = tokio::net::TcpStream::connect(gateway.addr(0)).await.expect("connect");
    let (mut reader, mut writer) = stream.into_split();
    let bytes = sent.clone();
    let writing = tokio::spawn(async move {
        writer.write_all(&bytes).await.expect("write");
        writer.shutdown().await.expect("half-close");
    });
    let mut heard = Vec::new();
    reader.read_to_end(&mut heard).await.expect("read");
    writing.await.expect("the writer");
    assert_eq!(digest(&heard), digest(&sent));
    for name in ["agentgateway_downstream_received_bytes_total", "agentgateway_downstream_sent_bytes_total"] {
        eventually(PATIENCE, || async { gateway.metric_sum(name, &[("protocol", "tcp")]).await >= 20_000_000.0 }).await;
    }
    let line = gateway.wait_log(|it| it.contains("20000000") && it.contains("raw")).await;
    assert!(line.contains("bytes") && line.contains(&echo.addr().to_string()), "{line}");
    gateway.stop().await;
}

#[tokio::test]
async fn weights_share_connections_out() {
    let said = |text: &'static str| {
        Backend::raw(move |accepted: Accepted| async move {
            let mut stream = accepted.stream;
            let _ = stream.write_all(text.as_bytes()).await;
        })
    };
    let (heavy, light, none) = (said("heavy"), said("light"), said("none"));
    let backends = format!(
        "{{ host: '{}', weight: 9 }}, {{ host: '{}', weight: 1 }}, {{ host: '{}', weight: 0 }}",
        heavy.addr(),
        light.addr(),
        none.addr()
    );
    let gateway = Gateway::start(&yaml("", &backends)).await;
    for _ in 0..200 {
        let mut client = RawClient::connect(gateway.addr(0)).await;
        client.read_to_end().await.expect("a word");
    }
    let (heavy, light) = (heavy.stats().connections(), light.stats().connections());
    assert_eq!((heavy + light, none.stats().connections()), (200, 0));
    // 20 expected; five standard deviations are 21.
    assert!((2..=41).contains(&light), "{light} of 200 with a tenth of the weight");
    gateway.stop().await;
}

#[tokio::test]
async fn a_backend_may_be_reached_over_tls() {
    let (ca, foreign) = (Authority::new("ca"), Authority::new("foreign"));
    let backend = Backend::setup().tls(ca.server(&["b.example"]).server_config(None, &[])).tcp_echo();
    let with = |root: &Authority| {
        format!(
            "{{ host: '{}', policies: {{ backendTLS: {{ root: '{}', hostname: b.example }} }} }}",
            backend.addr(),
            root.path().display()
        )
    };
    let gateway = Gateway::start(&yaml("", &with(&ca))).await;
    let mut client = RawClient::connect(gateway.addr(0)).await;
    client.write("secret").await.expect("write");
    assert_eq!(client.read_exact(6).await.expect("the echo"), "secret");
    client.finish().await.expect("half-close");
    assert!(client.at_end().await.expect("a clean end"));
    gateway.reload(&yaml("", &with(&foreign))).await;
    let mut client = RawClient::connect(gateway.addr(0)).await;
    let _ = client.write("secret").await;
    assert_eq!(
        client.read_to_end().await.expect("an end").bytes,
        "",
        "a backend that cannot be verified hears nothing"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn an_unreachable_backend_closes_the_connection_and_is_named_in_the_log() {
    let dead = Backend::dead().await;
    let gateway = start("", &dead).await;
    let mut client = RawClient::connect(gateway.addr(0)).await;
    assert_eq!(client.read_to_end().await.expect("an end").bytes, "");
    gateway.wait_log(|it| it.contains("UpstreamFailure") && it.contains("bytes")).await;
    gateway.stop().await;
}

#[tokio::test]
async fn silence_ends_a_connection_at_its_idle_limit() {
    let echo = Backend::tcp_echo();
    let gateway = start("frontendPolicies: { tcp: { idleTimeout: 2s } }\n", &echo).await;
    let mut client = RawClient::connect(gateway.addr(0)).await;
    let start = Instant::now();
    client.dribble("a byte now and then keeps it", Duration::from_millis(80)).await.expect("not idle");
    assert_eq!(client.read_exact(28).await.expect("the echo"), "a byte now and then keeps it");
    assert!(start.elapsed() > Duration::from_secs(2), "longer than the limit");
    client.read_to_end().await.expect("closed once silent");
    eventually(PATIENCE, || async { echo.stats().open() == 0 }).await;
    gateway.stop().await;
}

#[tokio::test]
async fn connections_beyond_the_maximum_are_closed_at_once() {
    let echo = Backend::tcp_echo();
    let gateway = start("frontendPolicies: { tcp: { maxConnections: 2 } }\n", &echo).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut client = RawClient::connect(gateway.addr(0)).await;
        client.write("x").await.expect("write");
        client.read_exact(1).await.expect("served");
        held.push(client);
    }
    let mut third = RawClient::connect(gateway.addr(0)).await;
    assert_eq!(third.read_to_end().await.expect("an end").bytes, "");
    assert!(
        gateway.metric_sum("agentgateway_connections_refused_total", &[("reason", "max_connections")]).await >= 1.0
    );
    held.pop();
    eventually(PATIENCE, || async {
        let mut client = RawClient::connect(gateway.addr(0)).await;
        client.write("y").await.is_ok() && client.read_exact(1).await.is_ok()
    })
    .await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_backend_that_goes_in_the_middle_takes_its_connections_along() {
    let echo = Backend::tcp_echo();
    let gateway = start("", &echo).await;
    let mut client = RawClient::connect(gateway.addr(0)).await;
    client.write("before").await.expect("write");
    client.read_exact(6).await.expect("the echo");
    echo.down().await;
    client.read_to_end().await.expect("an end");
    drop(client);
    eventually(PATIENCE, || async {
        gateway.metric_sum("agentgateway_downstream_connections_active", &[]).await == 0.0
    })
    .await;
    echo.up();
    let mut client = RawClient::connect(gateway.addr(0)).await;
    client.write("after").await.expect("write");
    assert_eq!(client.read_exact(5).await.expect("the echo"), "after");
    drop(client);
    gateway.stop().await;
}
