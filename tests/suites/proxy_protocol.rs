//! The PROXY protocol towards clients: who is believed, and what is refused.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tests::client::proxy;
use tests::io::{Place, tls_connect};
use tests::{Authority, Backend, Client, Gateway, RawClient};

fn yaml(policy: &str, listener: &str, backend: &Backend) -> String {
    format!(
        "frontendPolicies: {{ proxyProtocol: {policy} }}\nbinds:\n- port: 0\n  address: 127.0.0.1\n  listeners:\n  - {listener}routes:\n    - backends: [{{ host: '{}' }}]\n",
        backend.addr()
    )
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn v4() -> (SocketAddr, SocketAddr) {
    (addr("198.51.100.7:5000"), addr("203.0.113.9:443"))
}

fn v6() -> (SocketAddr, SocketAddr) {
    (addr("[2001:db8::7]:5000"), addr("[2001:db8::9]:443"))
}

/// The client the backend is told of.
async fn told(gateway: &Gateway, backend: &Backend, prefix: &[u8]) -> Option<String> {
    let client = Client::h1(gateway.addr(0)).prefix(prefix.to_vec());
    let reply = client.get("/").try_send().await.ok()?;
    assert_eq!(reply.status, 200);
    client.disconnect().await;
    backend.stats().last().header("x-forwarded-for").map(str::to_owned)
}

#[tokio::test]
async fn the_source_of_a_header_is_the_client() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&yaml("{ version: all }", "", &backend)).await;
    let ((from4, to4), (from6, to6)) = (v4(), v6());
    let tlvs: &[(u8, &[u8])] = &[(1, b"h2"), (2, b"a.example"), (0x20, &[0; 40]), (0xee, &[7; 300])];
    let cases = [
        ("v1", proxy::v1(from4, to4), "198.51.100.7"),
        ("v1 with IPv6", proxy::v1(from6, to6), "2001:db8::7"),
        ("v2", proxy::v2(from4, to4, &[]), "198.51.100.7"),
        ("v2 with IPv6", proxy::v2(from6, to6, &[]), "2001:db8::7"),
        ("v2 with TLVs", proxy::v2(from4, to4, tlvs), "198.51.100.7"),
        ("v1 UNKNOWN", proxy::v1_unknown(), "127.0.0.1"),
        ("v2 LOCAL", proxy::v2_local(), "127.0.0.1"),
    ];
    for (name, prefix, wanted) in &cases {
        assert_eq!(told(&gateway, &backend, prefix).await.as_deref(), Some(*wanted), "{name}");
    }
    gateway.wait_log(|it| it.contains("198.51.100.7:5000") && it.contains("http.status")).await;
    gateway.wait_log(|it| it.contains("2001:db8::7") && it.contains("http.status")).await;
    gateway.stop().await;
}

#[tokio::test]
async fn only_the_versions_asked_for_are_taken() {
    let backend = Backend::echo();
    let (from, to) = v4();
    for (policy, one, two) in [("{ version: v1 }", true, false), ("{ version: v2 }", false, true), ("{}", false, true)]
    {
        let gateway = Gateway::start(&yaml(policy, "", &backend)).await;
        assert_eq!(told(&gateway, &backend, &proxy::v1(from, to)).await.is_some(), one, "v1 with {policy}");
        assert_eq!(told(&gateway, &backend, &proxy::v2(from, to, &[])).await.is_some(), two, "v2 with {policy}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn strict_closes_what_has_no_header_and_optional_serves_it() {
    let backend = Backend::echo();
    let strict = Gateway::start(&yaml("{ version: all, mode: strict }", "", &backend)).await;
    let mut client = RawClient::connect(strict.addr(0)).await;
    client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("write");
    assert_eq!(client.read_to_end().await.expect("an end").bytes, "", "closed without a word");
    assert_eq!(backend.stats().requests(), 0);
    assert!(strict.metric_sum("agentgateway_connections_refused_total", &[("reason", "proxy_header")]).await >= 1.0);
    strict.stop().await;
    let optional = Gateway::start(&yaml("{ version: all, mode: optional }", "", &backend)).await;
    assert_eq!(told(&optional, &backend, b"").await.as_deref(), Some("127.0.0.1"));
    let (from, to) = v4();
    assert_eq!(told(&optional, &backend, &proxy::v1(from, to)).await.as_deref(), Some("198.51.100.7"));
    // Begins like a header of version 1, and is none.
    let mut client = RawClient::connect(optional.addr(0)).await;
    client.write("PROPFIND / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.expect("write");
    assert_eq!(client.reply().await.expect("an answer").status, 200);
    optional.stop().await;
}

#[tokio::test]
async fn broken_headers_close_the_connection_in_either_mode() {
    let backend = Backend::echo();
    let (from, to) = v4();
    let good = proxy::v2(from, to, &[]);
    let cut = good.slice(..good.len() - 4);
    let mut version = good.to_vec();
    version[12] = 0x31;
    let mut command = good.to_vec();
    command[12] = 0x2f;
    let mut short = good.to_vec();
    short[15] = 4;
    let mut endless = b"PROXY TCP4 ".to_vec();
    endless.extend([b'1'; 200]);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("an address that is none", b"PROXY TCP4 999.1.1.1 1.1.1.1 1 1\r\n".to_vec()),
        ("a port too large", b"PROXY TCP4 1.1.1.1 1.1.1.1 65536 1\r\n".to_vec()),
        ("the other family", b"PROXY TCP4 ::1 ::1 1 1\r\n".to_vec()),
        ("an unknown family", b"PROXY TCP5 1.1.1.1 1.1.1.1 1 1\r\n".to_vec()),
        ("too few words", b"PROXY TCP4 1.1.1.1\r\n".to_vec()),
        ("a line without an end", endless),
        ("version 3", version),
        ("an unknown command", command),
        ("a length too short for its addresses", short),
    ];
    for mode in ["strict", "optional"] {
        let gateway = Gateway::start(&yaml(&format!("{{ version: all, mode: {mode} }}"), "", &backend)).await;
        for (name, bytes) in &cases {
            let mut client = RawClient::connect(gateway.addr(0)).await;
            client.write([bytes, &b"GET /inside HTTP/1.1\r\nHost: a\r\n\r\n"[..]].concat()).await.expect("write");
            let end = client.read_to_end().await.expect("an end");
            assert!(!end.bytes.starts_with(b"HTTP/1.1 2"), "{mode}: {name}: {:?}", end.bytes);
        }
        let mut half = RawClient::connect(gateway.addr(0)).await;
        half.write(&cut).await.expect("write");
        half.finish().await.expect("finish");
        half.read_to_end().await.expect("half a header, then the end");
        assert!(told(&gateway, &backend, &good).await.is_some(), "and a good one is served");
        gateway.stop().await;
    }
    assert!(backend.stats().seen().iter().all(|it| it.uri.path() == "/"), "nothing behind a broken header was served");
}

#[tokio::test]
async fn a_header_that_does_not_come_is_not_waited_for_long() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&yaml("{ version: all }", "", &backend)).await;
    let start = Instant::now();
    let mut client = RawClient::connect(gateway.addr(0)).await;
    client.write("PROXY TCP4 ").await.expect("write");
    client.read_to_end().await.expect("an end");
    let ratio = start.elapsed().as_secs_f64() / 5.0;
    assert!((0.8..2.5).contains(&ratio), "{ratio} of 5 s");
    gateway.stop().await;
}

#[tokio::test]
async fn a_header_in_pieces_is_put_together_and_what_follows_is_kept() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&yaml("{ version: all }", "", &backend)).await;
    let (from, to) = v4();
    for header in [proxy::v1(from, to), proxy::v2(from, to, &[(4, b"padding")])] {
        let mut client = RawClient::connect(gateway.addr(0)).await;
        client.dribble(&header, Duration::from_millis(2)).await.expect("write");
        client.write("GET /kept HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.expect("write");
        assert_eq!(client.reply().await.expect("an answer").json()["path"], "/kept");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_header_stands_before_tls() {
    let (ca, backend) = (Authority::new("ca"), Backend::echo());
    let identity = ca.server(&["a.example"]);
    let listener = format!(
        "protocol: HTTPS\n    tls: {{ cert: '{}', key: '{}' }}\n    ",
        identity.cert_path.display(),
        identity.key_path.display()
    );
    let gateway = Gateway::start(&yaml("{ version: all }", &listener, &backend)).await;
    let (from, to) = v6();
    for alpn in ["h2", "http/1.1"] {
        let client =
            Client::tls(gateway.addr(0), "a.example", ca.client_config(None, &[alpn])).prefix(proxy::v2(from, to, &[]));
        assert_eq!(client.get("/").await.status, 200);
        assert_eq!(backend.stats().last().header("x-forwarded-for"), Some("2001:db8::7"), "{alpn}");
    }
    let stream = Place::Tcp(gateway.addr(0)).connect().await.expect("TCP");
    assert!(tls_connect(stream, "a.example", ca.client_config(None, &[])).await.is_err(), "TLS without a header");
    gateway.stop().await;
}
