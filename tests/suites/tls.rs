//! TLS towards clients: who is served by which certificate, on which terms, and what is refused.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, NamedGroup, RootCertStore, SupportedProtocolVersion};
use tests::certs::Identity;
use tests::io::{Place, Stream, tls_connect};
use tests::wait::PATIENCE;
use tests::{Authority, Backend, Client, Gateway, RawClient, eventually, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn tls(identity: &Identity) -> String {
    format!("cert: '{}', key: '{}'", identity.cert_path.display(), identity.key_path.display())
}

fn https(hostname: &str, terms: &str, backend: &Backend) -> String {
    format!(
        "  - hostname: '{hostname}'\n    protocol: HTTPS\n    tls: {{ {terms} }}\n    routes:\n    - backends: [{{ host: '{}' }}]\n",
        backend.addr()
    )
}

fn bind(listeners: &[String]) -> String {
    format!("binds:\n- port: 0\n  address: 127.0.0.1\n  listeners:\n{}", listeners.concat())
}

/// One HTTPS listener for any name, with further terms.
async fn one(ca: &Authority, more: &str, frontend: &str, backend: &Backend) -> Gateway {
    let identity = ca.server(&["a.example"]);
    Gateway::start(&format!("{frontend}{}", bind(&[https("", &format!("{}{more}", tls(&identity)), backend)]))).await
}

/// A client's terms beyond what `Authority::client_config` offers.
fn terms(
    ca: &Authority,
    provider: CryptoProvider,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).expect("a PEM certificate")).expect("a root");
    let builder = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(versions);
    Arc::new(builder.expect("versions and suites go together").with_root_certificates(roots).with_no_client_auth())
}

const BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12, &rustls::version::TLS13];

/// A handshake with what it agreed on, by a request.
async fn agreed(gateway: &Gateway, config: Arc<ClientConfig>) -> anyhow::Result<Agreed> {
    let stream = Place::Tcp(gateway.addr(0)).connect().await?;
    let name = "a.example".to_owned().try_into()?;
    let mut tls = tokio_rustls::TlsConnector::from(config).connect(name, stream).await?;
    tls.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    // A missing close_notify is for others to complain about.
    let _ = within(PATIENCE, tls.read_to_end(&mut answer)).await;
    anyhow::ensure!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    let session = tls.get_ref().1;
    Ok(Agreed {
        group: session.negotiated_key_exchange_group().map(SupportedKxGroup::name),
        suite: session.negotiated_cipher_suite().map(|it| format!("{:?}", it.suite())).unwrap_or_default(),
        version: session.protocol_version().map(|it| format!("{it:?}")).unwrap_or_default(),
        kind: session.handshake_kind().map(|it| format!("{it:?}")).unwrap_or_default(),
    })
}

#[derive(Debug)]
struct Agreed {
    group: Option<NamedGroup>,
    suite: String,
    version: String,
    kind: String,
}

#[tokio::test]
async fn alpn_chooses_http2_or_http1() {
    let (ca, backend) = (Authority::new("ca"), Backend::echo());
    let gateway = one(&ca, "", "", &backend).await;
    for (offer, alpn, version) in [
        (&["h2", "http/1.1"][..], Some("h2"), http::Version::HTTP_2),
        (&["http/1.1"], Some("http/1.1"), http::Version::HTTP_11),
        (&[], None, http::Version::HTTP_11),
    ] {
        let client = Client::tls(gateway.addr(0), "a.example", ca.client_config(None, offer));
        let reply = client.post("/x").body("hello").await.expect_status(200);
        assert_eq!((reply.version, reply.json()["body"]["text"].as_str()), (version, Some("hello")));
        let facts = client.tls_facts().await.expect("a TLS connection");
        assert_eq!((facts.alpn.as_deref(), facts.version.as_str()), (alpn, "TLSv1_3"));
    }
    assert_eq!(backend.stats().last().header("x-forwarded-proto"), Some("https"));
    let nothing = agreed(&gateway, ca.client_config(None, &["gopher"])).await;
    assert!(nothing.is_err(), "no protocol in common: the handshake fails (RFC 7301 section 3.2)");
    gateway.stop().await;
}

#[tokio::test]
async fn certificates_are_chosen_by_exact_name_then_wildcard_then_default() {
    let ca = Authority::new("ca");
    let [exact, wild, any] = ["exact", "wild", "any"].map(Backend::echo_named);
    let names = ["a.example.com", "*.example.com"];
    let [exact_id, wild_id] = names.map(|it| ca.server(&[it]));
    let any_id = ca.server(&["other.test", "b.c.example.com"]);
    let gateway = Gateway::start(&bind(&[
        https("", &tls(&any_id), &any),
        https("*.example.com", &tls(&wild_id), &wild),
        https("a.example.com", &tls(&exact_id), &exact),
    ]))
    .await;
    for (name, backend, identity) in [
        ("a.example.com", "exact", &exact_id),
        ("A.Example.COM", "exact", &exact_id),
        ("b.example.com", "wild", &wild_id),
        ("other.test", "any", &any_id),
    ] {
        let client = Client::tls(gateway.addr(0), name, ca.client_config(None, &["h2", "http/1.1"]));
        let reply = client.get("/").await.expect_status(200);
        assert_eq!(reply.json()["backend"], backend, "{name}");
        assert_eq!(client.tls_facts().await.expect("TLS").peer, identity.chain(), "{name}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_name_nobody_serves_is_refused_in_the_handshake() {
    let (ca, backend) = (Authority::new("ca"), Backend::echo());
    let identity = ca.server(&["a.example", "b.example"]);
    let gateway = Gateway::start(&bind(&[https("a.example", &tls(&identity), &backend)])).await;
    let stream = Place::Tcp(gateway.addr(0)).connect().await.expect("TCP");
    let refused = tls_connect(stream, "b.example", ca.client_config(None, &[])).await.err().expect("refused");
    assert!(format!("{refused:#}").contains("UnrecognisedName"), "{refused:#}");
    eventually(PATIENCE, || async {
        gateway.metric_sum("agentgateway_connections_refused_total", &[("reason", "no_listener")]).await >= 1.0
    })
    .await;
    assert_eq!(agreed(&gateway, ca.client_config(None, &[])).await.expect("the other name").version, "TLSv1_3");
    gateway.stop().await;
}

#[tokio::test]
async fn a_host_of_another_listener_is_misdirected_421() {
    let (ca, backend) = (Authority::new("ca"), Backend::echo());
    let [a, b] =
        ["a.example", "b.example"].map(|it| https(it, &tls(&ca.server(&["a.example", "b.example"])), &backend));
    let gateway = Gateway::start(&bind(&[a, b])).await;
    for alpn in ["h2", "http/1.1"] {
        let client = Client::tls(gateway.addr(0), "a.example", ca.client_config(None, &[alpn]));
        assert_eq!(client.get("/").await.status, 200, "{alpn}");
        let other = Client::tls(gateway.addr(0), "a.example", ca.client_config(None, &[alpn])).host("b.example");
        assert_eq!(other.get("/").await.status, 421, "{alpn}: Host of another listener");
        let none = Client::tls(gateway.addr(0), "a.example", ca.client_config(None, &[alpn])).host("c.example");
        assert_eq!(none.get("/").await.status, 404, "{alpn}: Host of no listener");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn certificates_are_swapped_when_their_files_change_and_connections_live_on() {
    let (ca, backend) = (Authority::new("ca"), Backend::echo());
    let (old, new) = (ca.server(&["a.example"]), ca.server(&["a.example"]));
    let text = bind(&[https("", "cert: '{{dir}}/tls.crt', key: '{{dir}}/tls.key'", &backend)]);
    let gateway = Gateway::setup(&text).file("tls.crt", &old.cert_pem).file("tls.key", &old.key_pem).start().await;
    let connect = || Client::tls(gateway.addr(0), "a.example", ca.client_config(None, &["h2", "http/1.1"]));
    let before = connect();
    assert_eq!(before.get("/").await.status, 200);
    assert_eq!(before.tls_facts().await.expect("TLS").peer, old.chain());
    for (name, content) in [("tls.key", &new.key_pem), ("tls.crt", &new.cert_pem)] {
        // A rotation has a moment in which the two do not match: that one must be refused, and harm nobody.
        let fresh = gateway.dir().join("fresh");
        std::fs::write(&fresh, content).expect("write");
        std::fs::rename(&fresh, gateway.dir().join(name)).expect("rename");
        assert_eq!(connect().get("/").await.status, 200, "served while {name} changes");
    }
    eventually(PATIENCE, || async {
        let client = connect();
        client.get("/").await.expect_status(200);
        client.tls_facts().await.is_some_and(|it| it.peer == new.chain())
    })
    .await;
    let reply = before.get("/").await;
    assert_eq!((reply.status.as_u16(), reply.reused), (200, true), "the old connection was not dropped");
    gateway.stop().await;
}

#[tokio::test]
async fn a_required_client_certificate_must_be_there_ours_and_valid() {
    let (ca, clients, foreign) = (Authority::new("ca"), Authority::new("clients"), Authority::new("foreign"));
    let backend = Backend::echo();
    let gateway = one(&ca, &format!(", root: '{}'", clients.path().display()), "", &backend).await;
    let good = clients.client("alice");
    for alpn in [&["h2"][..], &["http/1.1"]] {
        let client = Client::tls(gateway.addr(0), "a.example", ca.client_config(Some(&good), alpn));
        assert_eq!(client.get("/").await.status, 200);
    }
    let bad = [
        ("no certificate", None),
        ("a foreign one", Some(foreign.client("alice"))),
        ("an expired one", Some(clients.expired_client("alice"))),
        ("a server's", Some(clients.server(&["alice"]))),
    ];
    for (name, identity) in bad {
        let client = Client::tls(gateway.addr(0), "a.example", ca.client_config(identity.as_ref(), &["http/1.1"]));
        assert!(client.get("/").try_send().await.is_err(), "{name}");
    }
    assert_eq!(backend.stats().requests(), 2, "nobody else got through");
    // The alert that a client gets goes out before its failure is counted.
    eventually(PATIENCE, || async {
        gateway.metric_sum("agentgateway_tls_handshake_failures_total", &[]).await >= 4.0
    })
    .await;
    gateway.stop().await;
}

#[tokio::test]
async fn versions_outside_the_limits_are_refused() {
    let (ca, backend) = (Authority::new("ca"), Backend::echo());
    let only = |version| terms(&ca, aws_lc_rs::default_provider(), version);
    let (v12, v13) = (only(&[&rustls::version::TLS12]), only(&[&rustls::version::TLS13]));
    for (more, frontend, ok12, ok13) in [
        ("", "", true, true),
        (", minTLSVersion: TLS_V1_3", "", false, true),
        (", maxTLSVersion: TLS_V1_2", "", true, false),
        ("", "frontendPolicies: { tls: { minVersion: TLS_V1_3 } }\n", false, true),
    ] {
        let gateway = one(&ca, more, frontend, &backend).await;
        assert_eq!(agreed(&gateway, v12.clone()).await.is_ok(), ok12, "1.2 with {more}{frontend}");
        assert_eq!(agreed(&gateway, v13.clone()).await.is_ok(), ok13, "1.3 with {more}{frontend}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn cipher_lists_and_key_exchange_groups_are_obeyed() {
    let (ca, backend) = (Authority::new("ca"), Backend::echo());
    let client = || terms(&ca, aws_lc_rs::default_provider(), BOTH);
    let gateway = one(&ca, ", cipherSuites: [TLS_CHACHA20_POLY1305_SHA256]", "", &backend).await;
    assert_eq!(agreed(&gateway, client()).await.expect("a handshake").suite, "TLS13_CHACHA20_POLY1305_SHA256");
    gateway.stop().await;
    // The client offers AES-256 first; the order that counts is the operator's, and without one the gateway's.
    for (list, suite) in [
        (", cipherSuites: [TLS_CHACHA20_POLY1305_SHA256, TLS_AES_256_GCM_SHA384]", "TLS13_CHACHA20_POLY1305_SHA256"),
        ("", "TLS13_AES_128_GCM_SHA256"),
    ] {
        let gateway = one(&ca, list, "", &backend).await;
        assert_eq!(agreed(&gateway, client()).await.expect("a handshake").suite, suite, "{list}");
        gateway.stop().await;
    }
    for (group, wanted) in [
        ("X25519_MLKEM768", NamedGroup::X25519MLKEM768),
        ("X25519", NamedGroup::X25519),
        ("P-256", NamedGroup::secp256r1),
        ("P-384", NamedGroup::secp384r1),
    ] {
        let gateway = one(&ca, &format!(", keyExchangeGroups: ['{group}']"), "", &backend).await;
        assert_eq!(agreed(&gateway, client()).await.expect("a handshake").group, Some(wanted), "{group}");
        let mut other = aws_lc_rs::default_provider();
        other.kx_groups.retain(|it| it.name() != wanted);
        assert!(agreed(&gateway, terms(&ca, other, BOTH)).await.is_err(), "without {group} in common");
        gateway.stop().await;
    }
    // By default the hybrid is there for clients that want it.
    let gateway = one(&ca, "", "", &backend).await;
    let mut hybrid = aws_lc_rs::default_provider();
    hybrid.kx_groups = vec![aws_lc_rs::kx_group::X25519MLKEM768];
    let agreed = agreed(&gateway, terms(&ca, hybrid, BOTH)).await.expect("a handshake");
    assert_eq!(agreed.group, Some(NamedGroup::X25519MLKEM768));
    gateway.stop().await;
}

#[tokio::test]
async fn sessions_are_resumed_also_after_a_reload_but_not_past_client_certificates() {
    let (ca, backend) = (Authority::new("ca"), Backend::echo());
    let identity = ca.server(&["a.example"]);
    let text = bind(&[https("", &tls(&identity), &backend)]);
    let gateway = Gateway::start(&text).await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = terms(&ca, aws_lc_rs::default_provider(), &[version]);
        assert_eq!(agreed(&gateway, config.clone()).await.expect("a handshake").kind, "Full");
        assert_eq!(agreed(&gateway, config).await.expect("a handshake").kind, "Resumed", "{version:?}");
    }
    let config = terms(&ca, aws_lc_rs::default_provider(), BOTH);
    assert_eq!(agreed(&gateway, config.clone()).await.expect("a handshake").kind, "Full");
    gateway.reload(&text.replace("routes:\n    - backends", "routes:\n    - name: other\n      backends")).await;
    assert_eq!(agreed(&gateway, config.clone()).await.expect("a handshake").kind, "Resumed", "across a reload");
    let clients = Authority::new("clients");
    let strict = format!("{}, root: '{}'", tls(&identity), clients.path().display());
    gateway.reload(&bind(&[https("", &strict, &backend)])).await;
    assert!(agreed(&gateway, config).await.is_err(), "a session agreed on without a certificate opens nothing");
    gateway.stop().await;
}

#[tokio::test]
async fn a_session_from_before_a_hand_over_is_resumed_after_it() {
    let (ca, backend) = (Authority::new("ca"), Backend::echo());
    let identity = ca.server(&["a.example"]);
    let mut gateway = Gateway::start(&bind(&[https("", &tls(&identity), &backend)])).await;
    let config = terms(&ca, aws_lc_rs::default_provider(), BOTH);
    assert_eq!(agreed(&gateway, config.clone()).await.expect("a handshake").kind, "Full");
    let successor = gateway.succeed().await;
    gateway.wait_succeeded(PATIENCE).await;
    for _ in 0..2 {
        assert_eq!(agreed(&gateway, config.clone()).await.expect("a handshake").kind, "Resumed");
    }
    successor.stop(PATIENCE).await;
}

#[tokio::test]
async fn passthrough_termination_and_https_share_a_port_by_sni() {
    let (ca, end) = (Authority::new("ca"), Authority::new("end"));
    let (web, raw) = (Backend::echo(), Backend::tcp_echo());
    let behind = Backend::tls(end.server(&["pass.example"]).server_config(None, &["http/1.1"]));
    let (web_id, raw_id) = (ca.server(&["web.example"]), ca.server(&["raw.example"]));
    let pass = format!(
        "  - hostname: pass.example\n    protocol: TLS\n    tcpRoutes:\n    - backends: [{{ host: '{}' }}]\n",
        behind.addr()
    );
    let terminated = format!(
        "  - hostname: raw.example\n    protocol: TLS\n    tls: {{ {} }}\n    tcpRoutes:\n    - backends: [{{ host: '{}' }}]\n",
        tls(&raw_id),
        raw.addr()
    );
    let gateway = Gateway::start(&bind(&[https("web.example", &tls(&web_id), &web), pass, terminated])).await;
    let addr = gateway.addr(0);
    assert_eq!(Client::tls(addr, "web.example", ca.client_config(None, &["h2"])).get("/").await.status, 200);
    let through = Client::tls(addr, "pass.example", end.client_config(None, &["http/1.1"]));
    let reply = through.get("/through").await.expect_status(200);
    assert_eq!(reply.json()["tls"]["sni"], "pass.example", "the backend did the handshake");
    let stream = Place::Tcp(addr).connect().await.expect("TCP");
    let stream = tls_connect(stream, "raw.example", ca.client_config(None, &[])).await.expect("a handshake");
    let mut client = RawClient::over(stream);
    client.write("over TLS to TCP").await.expect("write");
    assert_eq!(client.read_exact(15).await.expect("read"), "over TLS to TCP");
    client.finish().await.expect("finish");
    assert!(client.at_end().await.expect("a clean end"), "the half-close goes through TLS both ways");
    gateway.stop().await;
}

#[tokio::test]
async fn plain_http_on_a_tls_port_is_told_so() {
    let (ca, backend) = (Authority::new("ca"), Backend::echo());
    let gateway = one(&ca, "", "", &backend).await;
    let reply = gateway.client().get("/").await;
    assert_eq!(reply.status, 400);
    assert!(reply.text().contains("https"), "{}", reply.text());
    gateway.stop().await;
}

#[tokio::test]
async fn a_handshake_has_a_deadline_and_garbage_an_end() {
    let (ca, backend) = (Authority::new("ca"), Backend::echo());
    let gateway = one(&ca, "", "frontendPolicies: { tls: { handshakeTimeout: 2s } }\n", &backend).await;
    let addr = gateway.addr(0);
    let fds = gateway.fds();
    let start = Instant::now();
    let hello = hello_of(&ca).await;
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", vec![]),
        ("half a record header", vec![22, 3]),
        ("half a ClientHello", hello.get(..60).expect("a longer hello").to_vec()),
        ("a whole one, and silence", hello.clone()),
        ("an alert first", vec![21, 3, 3, 0, 2, 2, 40]),
        ("a record of length 0", vec![22, 3, 1, 0, 0]),
        ("a record too long", [&[22, 3, 1, 0xff, 0xff][..], &[1; 70_000]].concat()),
        ("a handshake of another kind", [&[22, 3, 1, 0, 4, 2, 0, 0, 0][..]].concat()),
        ("lengths that lie", hello.iter().enumerate().map(|(at, it)| if at == 7 { 0xff } else { *it }).collect()),
        ("noise", (0..4096_u32).map(|it| (it.wrapping_mul(2_654_435_761) >> 24) as u8).collect()),
        ("noise in a record", [&[22, 3, 1, 2, 0, 1, 0, 1, 0xfc][..], &[0x5a; 508]].concat()),
    ];
    for (name, bytes) in cases {
        let mut client = RawClient::connect(addr).await.deadline(Duration::from_secs(10));
        let _ = client.write(&bytes).await;
        assert!(client.read_to_end().await.is_ok(), "{name}: the connection ends");
    }
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    let client = Client::tls(addr, "a.example", ca.client_config(None, &["h2"]));
    assert_eq!(client.get("/").await.status, 200);
    client.disconnect().await;
    eventually(PATIENCE, || async { gateway.fds() <= fds + 4 }).await;
    gateway.stop().await;
}

/// A ClientHello as rustls writes it.
async fn hello_of(ca: &Authority) -> Vec<u8> {
    let (near, mut far) = tokio::io::duplex(1 << 16);
    let connecting = tokio::spawn(tls_connect(Stream::new(near), "a.example", ca.client_config(None, &[])));
    let mut bytes = vec![0; 5];
    far.read_exact(&mut bytes).await.expect("a record header");
    let mut rest = vec![0; usize::from(u16::from_be_bytes([bytes[3], bytes[4]]))];
    far.read_exact(&mut rest).await.expect("a record");
    connecting.abort();
    bytes.extend(rest);
    bytes
}

#[tokio::test]
async fn a_certificate_that_does_not_fit_its_key_refuses_the_document() {
    let (ca, backend) = (Authority::new("ca"), Backend::echo());
    let (one, other) = (ca.server(&["a.example"]), ca.server(&["a.example"]));
    assert!(PrivateKeyDer::from_pem_slice(other.key_pem.as_bytes()).is_ok());
    let (cert, key) = tests::certs::mismatched(&one, &other);
    let terms = format!("cert: '{}', key: '{}'", cert.display(), key.display());
    let refusal = Gateway::start_expect_failure(&bind(&[https("", &terms, &backend)])).await;
    assert!(refusal.log.contains("does not belong"), "{}", refusal.log);
}
