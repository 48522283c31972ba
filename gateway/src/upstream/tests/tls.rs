//! Who is trusted, on both paths to TLS: Pingora's connector and our own dial.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use filters::backend_http::{self, HttpVersion};
use filters::{Policy, backend_tls};
use ir::listener::KeyExchangeGroup;
use pingora_core::connectors::ConnectorOptions;
use pingora_core::connectors::http::Connector;
use pingora_core::protocols::http::client::HttpSession;
use pingora_http::RequestHeader;

use super::fixture::{Authority, ServerTerms, dialled, install_provider, serve, tls_terms};
use crate::upstream::{Cluster, Template, Wanted};

/// One exchange through Pingora's connector; the version spoken.
pub(super) async fn exchange(
    connector: &Connector,
    (cluster, template): &(Arc<Cluster>, Arc<Template>),
    wanted: Wanted,
) -> Result<(u8, bool), String> {
    let lease = cluster.draw(&[], None, None, template.connect_timeout()).await.map_err(|it| it.to_string())?;
    let peer = template.peer(&lease, wanted);
    let (mut session, reused) = Box::pin(connector.get_http_session(&*peer)).await.map_err(|it| it.to_string())?;
    let version = if matches!(session, HttpSession::H2(_)) { 2 } else { 1 };
    let mut head = RequestHeader::build("GET", b"/", None).unwrap();
    if version == 2 {
        head.set_uri("https://backend.test/".parse().unwrap());
        head.set_version(http::Version::HTTP_2);
    } else {
        head.insert_header("host", "backend.test").unwrap();
    }
    session.write_request_header(Box::new(head)).await.map_err(|it| it.to_string())?;
    session.finish_request_body().await.map_err(|it| it.to_string())?;
    session.read_response_header().await.map_err(|it| it.to_string())?;
    while !session.response_done() && session.read_response_body().await.unwrap().is_some() {}
    connector.release_http_session(session, &*peer, peer.options.idle_timeout).await;
    Ok((version, reused))
}

pub(super) fn connector() -> Connector {
    install_provider();
    Connector::new(Some(ConnectorOptions::new(64)))
}

pub(super) fn base(authority: &Authority) -> backend_tls::Policy {
    backend_tls::Policy { roots: Some(authority.pem()), ..Default::default() }
}

/// The same terms, forced off Pingora's connector.
pub(super) fn own(policy: backend_tls::Policy) -> backend_tls::Policy {
    backend_tls::Policy { key_exchange_groups: vec![KeyExchangeGroup::X25519], ..policy }
}

#[tokio::test]
async fn a_backend_is_trusted_only_as_the_policy_says() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let names = ["backend.test", "*.wild.test", "spiffe://td/ns/a/sa/b"];
    let terms = ServerTerms { authority: &ours, names: &names, alpn: &[], client_roots: None };
    let (address, _) = serve(Some(tls_terms(&terms))).await;
    let named = format!("backend.test:{}", address.port());
    let other = format!("other.test:{}", address.port());
    let sans = |names: &[&str]| backend_tls::Policy {
        subject_alt_names: names.iter().map(|name| (*name).into()).collect(),
        ..base(&ours)
    };
    let hostname = backend_tls::Policy { hostname: Some("backend.test".into()), ..base(&ours) };
    let cases = [
        ("roots and name", &named, base(&ours), true),
        ("system roots", &named, backend_tls::Policy::default(), false),
        ("another root", &named, base(&theirs), false),
        ("another name", &other, base(&ours), false),
        ("another name, overridden", &other, hostname, true),
        ("insecure host", &other, backend_tls::Policy { insecure_host: true, ..base(&ours) }, true),
        ("insecure host, another root", &named, backend_tls::Policy { insecure_host: true, ..base(&theirs) }, false),
        ("insecure", &other, backend_tls::Policy { insecure: true, ..base(&theirs) }, true),
        ("accepted uri", &other, sans(&["spiffe://td/ns/a/sa/b"]), true),
        ("accepted dns", &other, sans(&["no.test", "x.wild.test"]), true),
        ("none accepted", &named, sans(&["spiffe://td/ns/a/sa/c", "no.test"]), false),
        ("accepted, another root", &named, backend_tls::Policy { roots: Some(theirs.pem()), ..sans(&names) }, false),
    ];
    let connector = connector();
    for (case, target, policy, trusted) in cases {
        for policy in [policy.clone(), own(policy)] {
            let groups = policy.key_exchange_groups.len();
            let dialled = dialled(target, vec![Policy::BackendTls(policy)]).unwrap();
            let result = exchange(&connector, &dialled, Wanted::default()).await;
            assert_eq!(result.is_ok(), trusted, "{case} (own: {groups}): {result:?}");
            let lease = dialled.0.pick(&[], None, None).unwrap();
            let raw = dialled.1.connect(&lease, &[]).await;
            assert_eq!(raw.is_ok(), trusted, "{case}, raw (own: {groups})");
        }
    }
}

#[tokio::test]
async fn connections_are_reused_on_both_paths_and_versions() {
    let ours = Authority::new();
    let connector = connector();
    for (version, number) in [(HttpVersion::H1, 1), (HttpVersion::H2, 2)] {
        for forced in [false, true] {
            let terms = ServerTerms {
                authority: &ours,
                names: &["backend.test"],
                alpn: &["h2", "http/1.1"],
                client_roots: None,
            };
            let (address, seen) = serve(Some(tls_terms(&terms))).await;
            let policy = if forced { own(base(&ours)) } else { base(&ours) };
            let http = backend_http::Policy { version: Some(version), ..Default::default() };
            let policies = vec![Policy::BackendTls(policy), Policy::BackendHttp(http)];
            let dialled = dialled(&format!("backend.test:{}", address.port()), policies).unwrap();
            for n in 0..5 {
                let spoken = exchange(&connector, &dialled, Wanted::default()).await.unwrap();
                assert_eq!(spoken, (number, n > 0), "{version:?}, own: {forced}, request {n}");
            }
            assert_eq!(seen.connections.load(SeqCst), 1, "{version:?}, own: {forced}");
        }
    }
}

#[tokio::test]
async fn connections_are_not_shared_between_different_trust() {
    let ours = Authority::new();
    let terms = ServerTerms { authority: &ours, names: &["backend.test"], alpn: &[], client_roots: None };
    let (address, seen) = serve(Some(tls_terms(&terms))).await;
    let cluster = super::fixture::upstreams().host(&format_target(address));
    let connector = connector();
    let theirs = Authority::new();
    let insecure = backend_tls::Policy { insecure: true, ..Default::default() };
    let cases = [
        (base(&ours), true),
        (base(&theirs), false),
        (Default::default(), false),
        (base(&ours), true),
        (insecure, true),
    ];
    for (policy, trusted) in cases {
        let effective = super::fixture::effective(vec![Policy::BackendTls(policy)]);
        let template = Template::compile(&cluster, &effective, &super::fixture::statics()).unwrap();
        let result = exchange(&connector, &(cluster.clone(), Arc::new(template)), Wanted::default()).await;
        assert_eq!(result.is_ok(), trusted);
    }
    assert_eq!(seen.connections.load(SeqCst), 2, "equal terms compiled twice share their connections, others do not");
}

fn format_target(address: std::net::SocketAddr) -> ir::HostTarget {
    ir::HostTarget::parse(&format!("backend.test:{}", address.port())).unwrap()
}

#[tokio::test]
async fn we_show_our_certificate_when_asked() {
    let (ours, clients) = (Authority::new(), Authority::new());
    let terms = ServerTerms { authority: &ours, names: &["backend.test"], alpn: &[], client_roots: Some(&clients) };
    let (address, _) = serve(Some(tls_terms(&terms))).await;
    let target = format!("backend.test:{}", address.port());
    let (chain, key) = clients.client();
    let with = backend_tls::Policy { client_certificate: Some(chain), client_key: Some(key), ..base(&ours) };
    let connector = connector();
    for (policy, accepted) in [(base(&ours), false), (with.clone(), true), (own(base(&ours)), false), (own(with), true)]
    {
        let dialled = dialled(&target, vec![Policy::BackendTls(policy)]).unwrap();
        let result = exchange(&connector, &dialled, Wanted::default()).await;
        assert_eq!(result.is_ok(), accepted, "{result:?}");
    }
}

#[tokio::test]
async fn our_own_dials_resume_sessions() {
    let ours = Authority::new();
    let terms = ServerTerms { authority: &ours, names: &["backend.test"], alpn: &["http/1.1"], client_roots: None };
    let (address, seen) = serve(Some(tls_terms(&terms))).await;
    let policies = || vec![Policy::BackendTls(own(base(&ours)))];
    let dialled = dialled(&format!("backend.test:{}", address.port()), policies()).unwrap();
    for _ in 0..3 {
        // A connector of its own each time: nothing pooled.
        exchange(&connector(), &dialled, Wanted::default()).await.unwrap();
    }
    assert_eq!((seen.connections.load(SeqCst), seen.resumed.load(SeqCst)), (3, 2));
}

#[tokio::test]
async fn the_version_follows_policy_protocol_and_client() {
    let ours = Authority::new();
    let connector = connector();
    let client = |h2, client_tls, grpc| Wanted { h2, client_tls, grpc, ..Wanted::default() };
    let both: &[&str] = &["h2", "http/1.1"];
    let cases = [
        ("h1 client", both, client(false, false, false), Some(1)),
        ("h2 client in TLS", both, client(true, true, false), Some(1)),
        ("h2 client in plaintext", both, client(true, false, false), Some(2)),
        ("h2 client in plaintext, h1 backend", &["http/1.1"], client(true, false, false), Some(1)),
        ("grpc", both, client(true, true, true), Some(2)),
    ];
    for (case, alpn, wanted, version) in cases {
        for forced in [false, true] {
            let terms = ServerTerms { authority: &ours, names: &["backend.test"], alpn, client_roots: None };
            let (address, _) = serve(Some(tls_terms(&terms))).await;
            let policy = if forced { own(base(&ours)) } else { base(&ours) };
            let dialled =
                dialled(&format!("backend.test:{}", address.port()), vec![Policy::BackendTls(policy)]).unwrap();
            let mut result = exchange(&connector, &dialled, wanted).await;
            if result.is_err() && forced {
                // Our own dial learns that there is no h2, and asks to be tried again.
                result = exchange(&connector, &dialled, wanted).await;
            }
            assert_eq!(result.as_ref().map(|it| it.0).ok(), version, "{case}, own: {forced}: {result:?}");
        }
    }
}

#[test]
fn terms_that_cannot_hold_are_refused_with_the_cure() {
    let tls = |policy| vec![Policy::BackendTls(policy)];
    let alpn = |alpn: &str| backend_tls::Policy { alpn: vec![alpn.into()], insecure: true, ..Default::default() };
    let h2 = Policy::BackendHttp(backend_http::Policy { version: Some(HttpVersion::H2), ..Default::default() });
    let broken = |pem: &str| backend_tls::Policy { roots: Some(pem.as_bytes().to_vec()), ..Default::default() };
    let half = backend_tls::Policy { client_certificate: Some(Vec::new()), ..Default::default() };
    let cases = [
        ("10.0.0.1:443", tls(Default::default()), "set `hostname`"),
        ("unix:/run/a.sock", tls(Default::default()), "set `hostname`"),
        ("a.test:443", vec![Policy::BackendTls(alpn("http/1.1")), h2], "excludes"),
        ("a.test:443", tls(broken("nothing")), "no PEM certificate"),
        ("a.test:443", tls(broken("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----")), "root certificate"),
        ("a.test:443", tls(half), "given together"),
    ];
    for (target, policies, expected) in cases {
        let error = dialled(target, policies).map(|_| ()).unwrap_err();
        assert!(error.contains(expected), "{target}: {error}");
    }
    let insecure_host = backend_tls::Policy { insecure_host: true, ..Default::default() };
    assert!(dialled("10.0.0.1:443", tls(insecure_host)).is_ok(), "a chain can be verified without a name");
}
