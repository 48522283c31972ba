//! Sockets that listen: their addresses, kinds and limits, and how they change at run time.

use std::time::{Duration, Instant};

use tests::wait::PATIENCE;
use tests::{Authority, Backend, Client, Gateway, RawClient, config, eventually};

fn routes(backend: &Backend) -> String {
    format!("routes:\n    - backends: [{{ host: '{}' }}]\n", backend.addr())
}

fn plain(address: &str, port: u16, backend: &Backend) -> String {
    format!("- port: {port}\n  address: '{address}'\n  listeners:\n  - {}", routes(backend))
}

#[tokio::test]
async fn ipv4_ipv6_and_unix_sockets_are_listened_on() {
    let backend = Backend::echo();
    let text = format!(
        "binds:\n{}{}{}",
        plain("127.0.0.1", 0, &backend),
        plain("::1", 0, &backend),
        plain("unix:{{dir}}/http.sock", 0, &backend)
    );
    let gateway = Gateway::start(&text).await;
    let status = gateway.status().await;
    let tcp: Vec<_> = status.binds.iter().filter(|it| !it.address.starts_with("unix:")).map(|it| it.addr()).collect();
    assert_eq!(tcp.iter().filter(|it| it.is_ipv6()).count(), 1, "{tcp:?}");
    for addr in tcp {
        assert_eq!(Client::h1(addr).get("/").await.status, 200, "{addr}");
        assert_eq!(backend.stats().last().header("x-forwarded-for"), Some(addr.ip().to_string().as_str()));
    }
    let path = gateway.dir().join("http.sock");
    assert_eq!(Client::unix(&path).get("/").await.status, 200);
    gateway.reload(&format!("binds:\n{}", plain("127.0.0.1", 0, &backend))).await;
    eventually(PATIENCE, || async { !path.exists() }).await;
    gateway.stop().await;
}

#[tokio::test]
async fn listeners_share_a_port_by_host() {
    let [exact, wild, any] = ["exact", "wild", "any"].map(Backend::echo_named);
    let listener = |host: &str, backend: &Backend| format!("  - hostname: '{host}'\n    {}", routes(backend));
    let text = format!(
        "binds:\n- port: 0\n  address: 127.0.0.1\n  listeners:\n{}{}{}",
        listener("", &any),
        listener("*.example.com", &wild),
        listener("a.example.com", &exact)
    );
    let gateway = Gateway::start(&text).await;
    for (host, wanted) in [
        ("a.example.com", "exact"),
        ("A.EXAMPLE.com:80", "exact"),
        ("a.example.com.", "exact"),
        ("b.example.com", "wild"),
        ("c.b.example.com", "wild"),
        ("example.com", "any"),
        ("127.0.0.1", "any"),
    ] {
        for client in [Client::h1(gateway.addr(0)), Client::h2c(gateway.addr(0))] {
            assert_eq!(client.host(host).get("/").await.json()["backend"], wanted, "{host}");
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_port_changes_its_kind_at_run_time() {
    let (ca, backend, raw) = (Authority::new("ca"), Backend::echo(), Backend::tcp_echo());
    let identity = ca.server(&["a.example"]);
    let (cert, key) = (identity.cert_path.display(), identity.key_path.display());
    let http = format!("binds:\n{}", plain("127.0.0.1", 0, &backend));
    let https = http.replace(
        "listeners:\n  - routes",
        &format!("listeners:\n  - protocol: HTTPS\n    tls: {{ cert: '{cert}', key: '{key}' }}\n    routes"),
    );
    let tcp = format!(
        "binds:\n- port: 0\n  address: 127.0.0.1\n  listeners:\n  - protocol: TCP\n    tcpRoutes:\n    - backends: [{{ host: '{}' }}]\n",
        raw.addr()
    );
    let gateway = Gateway::start(&http).await;
    let addr = gateway.addr(0);
    let kept = gateway.client();
    assert_eq!(kept.get("/").await.status, 200);
    assert!(gateway.reload(&https).await.last_error.is_none());
    assert_eq!(gateway.addr(0), addr, "the socket stays");
    let tls = Client::tls(addr, "a.example", ca.client_config(None, &["h2"]));
    assert_eq!(tls.get("/").await.status, 200);
    assert!(gateway.reload(&tcp).await.last_error.is_none());
    let mut client = RawClient::connect(addr).await;
    client.write("raw now").await.expect("write");
    assert_eq!(client.read_exact(7).await.expect("the echo"), "raw now");
    drop(client);
    assert!(gateway.reload(&http).await.last_error.is_none());
    assert_eq!(Client::h1(addr).get("/").await.status, 200);
    gateway.stop().await;
}

#[tokio::test]
async fn a_port_in_use_harms_itself_only_and_is_taken_when_it_becomes_free() {
    let backend = Backend::echo();
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = other.local_addr().expect("its address");
    let text = format!("binds:\n{}{}", plain("127.0.0.1", 0, &backend), plain("127.0.0.1", taken.port(), &backend));
    let gateway = Gateway::start(&text).await;
    let status = gateway.status().await;
    let failed = status.binds.iter().find(|it| it.state == "failed").expect("a failed bind");
    assert!(failed.error.as_deref().is_some_and(|it| it.contains("in use")), "{failed:?}");
    let good = status.binds.iter().find(|it| it.state == "listening").expect("a bind that listens").addr();
    assert_eq!(Client::h1(good).get("/").await.status, 200);
    drop(other);
    eventually(PATIENCE, || async { gateway.status().await.binds.iter().all(|it| it.state == "listening") }).await;
    assert_eq!(Client::h1(taken).get("/").await.status, 200);
    gateway.stop().await;
}

#[tokio::test]
async fn binds_come_and_go_while_requests_on_removed_ones_finish() {
    let backend = Backend::echo();
    let one = format!("binds:\n{}", plain("127.0.0.1", 0, &backend));
    let gateway = Gateway::start(&format!("{one}{}", plain("::1", 0, &backend))).await;
    let leaving = gateway.status().await.binds.iter().map(|it| it.addr()).find(|it| it.is_ipv6()).expect("IPv6");
    let client = Client::h1(leaving);
    let mut events = client.get("/sse?n=20&ms=50").events().await;
    events.next().await.expect("an event");
    gateway.reload(&one).await;
    // Nobody listens there any more, as soon as the socket is closed.
    eventually(PATIENCE, || async { Client::h1(leaving).get("/").try_send().await.is_err() }).await;
    let mut heard = 1;
    while events.next().await.expect("the stream goes on").is_some() {
        heard += 1;
    }
    assert_eq!(heard, 21);
    assert_eq!(gateway.client().get("/").await.status, 200);
    gateway.stop().await;
}

#[tokio::test]
async fn limits_of_heads_are_configurable() {
    let backend = Backend::echo();
    let text = format!(
        "frontendPolicies: {{ http: {{ maxHeaderBytes: 2000, http1MaxHeaders: 10 }} }}\nbinds:\n{}",
        plain("127.0.0.1", 0, &backend)
    );
    let gateway = Gateway::start(&text).await;
    let clients = || [Client::h1(gateway.addr(0)), Client::h2c(gateway.addr(0)).host("a")];
    for client in clients() {
        assert_eq!(client.get("/").header("x", "a".repeat(1500)).await.status, 200);
    }
    let [h1, h2] = clients();
    assert_eq!(h1.get("/").header("x", "a".repeat(2500)).await.status, 431);
    let large = h2.get("/").header("x", "a".repeat(2500)).try_send().await;
    assert!(large.as_ref().map_or(true, |it| it.status == 431), "{large:?}");
    let mut many = Client::h1(gateway.addr(0)).get("/");
    for it in 0..11 {
        many = many.header(&format!("x-{it}"), "1");
    }
    assert_eq!(many.await.status, 431);
    assert_eq!(backend.stats().requests(), 2);
    gateway.stop().await;
}

#[tokio::test]
async fn idle_and_old_connections_are_closed_gracefully() {
    let backend = Backend::echo();
    let with =
        |http: &str| format!("frontendPolicies: {{ http: {{ {http} }} }}\nbinds:\n{}", plain("127.0.0.1", 0, &backend));
    let gateway = Gateway::start(&with("http1IdleTimeout: 2s")).await;
    for client in [Client::h1(gateway.addr(0)), Client::h2c(gateway.addr(0)).host("a")] {
        assert_eq!(client.get("/").await.status, 200);
        assert!(client.is_open().await);
        eventually(PATIENCE, || async { !client.is_open().await }).await;
    }
    gateway.stop().await;
    let gateway = Gateway::start(&with("maxConnectionDuration: 1s")).await;
    for client in [Client::h1(gateway.addr(0)), Client::h2c(gateway.addr(0)).host("a")] {
        // Requests without a pause: the connection must be given up all the same, and no request with it.
        eventually(PATIENCE, || async {
            assert_eq!(client.get("/").await.status, 200);
            client.connections() >= 3
        })
        .await;
    }
    gateway.stop().await;
}

#[tokio::test]
async fn http2_streams_at_once_are_limited() {
    let backend = Backend::echo();
    let text = format!(
        "frontendPolicies: {{ http: {{ http2MaxConcurrentStreams: 5, http2KeepaliveInterval: 200ms }} }}\nbinds:\n{}",
        plain("127.0.0.1", 0, &backend)
    );
    let gateway = Gateway::start(&text).await;
    let client = Client::h2c(gateway.addr(0)).host("a").deadline(Duration::from_secs(60));
    client.connect().await.expect("a connection");
    // The limit is known once the SETTINGS have come.
    assert_eq!(client.get("/").await.status, 200);
    let asked = (0..30).map(|_| client.get("/slow?ms=50").try_send());
    for reply in futures::future::join_all(asked).await {
        assert_eq!(reply.expect("an answer, sooner or later").status, 200);
    }
    assert_eq!(client.connections(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_process_out_of_descriptors_waits_and_recovers() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::route(&backend, "")).await;
    // Opened before: there is no descriptor for another later.
    let stats = Client::unix(gateway.dir().join("stats.sock"));
    let refused = || async {
        let text = stats.get("/metrics").await.expect_status(200).text();
        let line = text.lines().find(|it| it.contains("connections_refused_total") && it.contains("\"exhausted\""));
        line.and_then(|it| it.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or(0.0)
    };
    assert_eq!(refused().await, 0.0);
    gateway.limit_fds(10);
    let mut held = Vec::new();
    for _ in 0..60 {
        // The kernel accepts for the gateway, which is to answer later.
        held.push(RawClient::connect(gateway.addr(0)).await);
    }
    gateway.wait_log(|it| it.contains("cannot accept connections")).await;
    let (start, before) = (Instant::now(), refused().await);
    eventually(PATIENCE, || async { refused().await >= before + 10.0 }).await;
    let rate = (refused().await - before) / start.elapsed().as_secs_f64();
    assert!(rate < 200.0, "{rate} tries in a second: it spins");
    let mut last = held.pop().expect("one of many").deadline(PATIENCE);
    last.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.expect("written");
    drop(held);
    assert_eq!(last.reply().await.expect("an answer, late").status, 200);
    gateway.client().get("/").await.expect_status(200);
    gateway.wait_log(|it| it.contains("accepted again")).await;
    let told = gateway.logs().iter().filter(|it| it.contains("cannot accept connections")).count();
    assert!(told <= 2, "{told} lines of one shortage, for as many tasks that accept");
    stats.disconnect().await;
    gateway.stop().await;
}
