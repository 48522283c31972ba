//! TLS towards backends.

use tests::certs::Identity;
use tests::{Authority, Backend, Client, Gateway, GrpcClient, config};

/// What a gateway with this `backendTLS` gets from this backend, by name.
async fn ask(backend: &Backend, host: &str, tls: &str) -> tests::Reply {
    let yaml = config::routes(&format!(
        "- backends: [{{ host: '{host}:{}', policies: {{ backendTLS: {{ {tls} }} }} }}]\n",
        backend.port()
    ));
    let gateway = Gateway::start(&yaml).await;
    let reply = gateway.client().get("/").await;
    if reply.status != 200 {
        let line = gateway.wait_access(1).await.remove(0);
        assert_eq!(line["reason"], "UpstreamFailure", "{line}");
    }
    gateway.stop().await;
    reply
}

fn files(identity: &Identity) -> String {
    format!("cert: '{}', key: '{}'", identity.cert_path.display(), identity.key_path.display())
}

#[tokio::test]
async fn the_certificate_must_come_from_the_ca_and_bear_the_name() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let (root, wrong) = (format!("root: '{}'", ours.path().display()), format!("root: '{}'", theirs.path().display()));
    let backend = Backend::tls(ours.server(&["localhost", "api.internal"]).server_config(None, &["h2", "http/1.1"]));
    let other = Backend::tls(ours.server(&["other.internal"]).server_config(None, &["http/1.1"]));
    let old = Backend::tls(ours.expired(&["localhost"]).server_config(None, &["http/1.1"]));

    let reply = ask(&backend, "localhost", &root).await.expect_status(200);
    assert_eq!(reply.json()["tls"]["sni"], "localhost");
    let reply = ask(&backend, "127.0.0.1", &format!("{root}, hostname: api.internal")).await.expect_status(200);
    assert_eq!(reply.json()["tls"]["sni"], "api.internal");
    ask(&backend, "localhost", &wrong).await.expect_status(503);
    ask(&backend, "localhost", "").await.expect_status(503);
    ask(&other, "localhost", &root).await.expect_status(503);
    ask(&old, "localhost", &root).await.expect_status(503);
    ask(&other, "localhost", &format!("{root}, insecureHost: true")).await.expect_status(200);
    ask(&backend, "localhost", &format!("{wrong}, insecureHost: true")).await.expect_status(503);
    ask(&other, "localhost", "insecure: true").await.expect_status(200);
}

#[tokio::test]
async fn one_of_the_listed_names_must_be_in_the_certificate() {
    let authority = Authority::new("ours");
    let root = format!("root: '{}'", authority.path().display());
    let backend = Backend::tls(authority.server(&["one.internal"]).server_config(None, &["http/1.1"]));
    let spiffe = Backend::tls(authority.spiffe("spiffe://td/ns/x/sa/y").server_config(None, &["http/1.1"]));
    ask(&backend, "localhost", &format!("{root}, subjectAltNames: [two.internal, one.internal]"))
        .await
        .expect_status(200);
    ask(&backend, "localhost", &format!("{root}, subjectAltNames: [two.internal]")).await.expect_status(503);
    ask(&spiffe, "localhost", &format!("{root}, subjectAltNames: ['spiffe://td/ns/x/sa/y']")).await.expect_status(200);
    ask(&spiffe, "localhost", &format!("{root}, subjectAltNames: ['spiffe://td/ns/x/sa/z']")).await.expect_status(503);
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_one_is_given() {
    let authority = Authority::new("ours");
    let root = format!("root: '{}'", authority.path().display());
    let backend = Backend::tls(authority.server(&["localhost"]).server_config(Some(&authority), &["h2", "http/1.1"]));
    let client = authority.client("gateway");
    let reply = ask(&backend, "localhost", &format!("{root}, {}", files(&client))).await.expect_status(200);
    assert_eq!(reply.json()["tls"]["clientCertificates"], 1);
    let status = ask(&backend, "localhost", &root).await.status.as_u16();
    assert!(matches!(status, 502 | 503), "{status}");
}

#[tokio::test]
async fn grpc_over_tls_speaks_http2() {
    let authority = Authority::new("ours");
    let config = authority.server(&["localhost"]).server_config(None, &["h2"]);
    let backend = Backend::setup().tls(config).grpc();
    let yaml = config::routes(&format!(
        "- backends: [{{ host: 'localhost:{}', policies: {{ backendTLS: {{ root: '{}' }} }} }}]\n",
        backend.port(),
        authority.path().display()
    ));
    let gateway = Gateway::start(&yaml).await;
    let client = GrpcClient::new(Client::h2c(gateway.addr(0)));
    let reply = client.unary("/test.Echo/Unary", b"hi", &[]).await;
    assert_eq!((reply.status(), reply.texts()), (Some(0), vec!["hi".to_owned()]));
    gateway.stop().await;
}
