//! `networkExtAuthz`: a server that is asked about connections, whatever they carry.

use tests::backend::{Asked, answer};
use tests::wait::PATIENCE;
use tests::{Authority, Backend, Client, Gateway, RawClient, config, eventually};
use tokio::io::AsyncReadExt;

/// Lets connections in whose question ends in `/yes`, and says nothing of others but that it does not.
fn gatekeeper() -> Backend {
    Backend::http(|asked: Asked| async move {
        answer::text(if asked.uri.path().ends_with("/yes") { 200 } else { 403 }, "because")
    })
}

/// The frontend that asks this server for such a path, in CEL.
fn asking(server: &Backend, path: &str, more: &str) -> String {
    let path = path.replace('\'', "''");
    format!(
        "frontendPolicies: {{ networkExtAuthz: {{ host: '{}', protocol: {{ http: {{ path: '{path}' }} }}, {more} }} }}\n",
        server.addr()
    )
}

fn tcp(backend: &Backend) -> String {
    let backends = format!("  tcpRoutes: [{{ backends: [{{ host: '{}' }}] }}]\n", backend.addr());
    config::listeners(&format!("- protocol: TCP\n{backends}"))
}

async fn refused(gateway: &Gateway, why: &'static str) -> f64 {
    gateway.metric_sum("agentgateway_connections_refused_total", &[("reason", why)]).await
}

#[tokio::test]
async fn a_connection_of_http_is_asked_about_once_and_closed_where_the_answer_is_no() {
    let (gatekeeper, dead, backend) = (gatekeeper(), Backend::dead().await, Backend::echo());
    let yaml = |server: &Backend, path: &str, more: &str| config::route(&backend, "") + &asking(server, path, more);
    let who = "'/' + string(source.address) + '/' + string(source.port) + '/yes'";
    let gateway = Gateway::start(&yaml(&gatekeeper, who, "")).await;
    let client = gateway.client();
    for _ in 0..3 {
        client.get("/").await.expect_status(200);
    }
    assert_eq!((client.connections(), gatekeeper.stats().requests()), (1, 1), "once for each connection");
    let asked = gatekeeper.stats().last();
    assert!(asked.uri.path().starts_with("/127.0.0.1/") && asked.method == "GET", "{asked:?}");
    for (server, path, more, open) in [
        (&gatekeeper, "'/no'", "", false),
        (&gatekeeper, "'/no'", "failureMode: allow", false),
        (&gatekeeper, "'/no'", "mode: shadow", true),
        (&gatekeeper, "source.identity.namespace + '/yes'", "", false),
        (&dead, "'/yes'", "", false),
        (&dead, "'/yes'", "failureMode: allow", true),
    ] {
        gateway.reload(&yaml(server, path, more)).await;
        let answered = gateway.client().get("/").try_send().await.is_ok_and(|it| it.status == 200);
        assert_eq!(answered, open, "{path} {more}");
    }
    assert_eq!(refused(&gateway, "network_ext_authz").await, 4.0);
    assert_eq!(refused(&gateway, "network_ext_authz_shadow").await, 1.0);
    assert_eq!(backend.stats().requests(), 5, "what is closed reaches no backend");
    gateway.stop().await;
}

#[tokio::test]
async fn a_raw_connection_is_closed_before_a_byte_of_it_passes() {
    let (gatekeeper, dead, backend) = (gatekeeper(), Backend::dead().await, Backend::tcp_echo());
    for (server, path, more, open) in [
        (&gatekeeper, "'/' + string(destination.port) + '/yes'", "", true),
        (&gatekeeper, "'/no'", "", false),
        (&dead, "'/yes'", "", false),
        (&dead, "'/yes'", "failureMode: allow", true),
    ] {
        let before = backend.stats().connections();
        let gateway = Gateway::start(&(tcp(&backend) + &asking(server, path, more))).await;
        let mut client = RawClient::connect(gateway.addr(0)).await;
        // The connection may be closed before this is written.
        let _ = client.write("ping").await;
        let echoed = client.read_exact(4).await;
        assert_eq!(echoed.is_ok_and(|it| it == "ping"), open, "{path} {more}");
        let (reached, closed) = if open { (1, 0.0) } else { (0, 1.0) };
        assert_eq!(backend.stats().connections() - before, reached, "{path} {more}");
        assert_eq!(refused(&gateway, "network_ext_authz").await, closed, "{path} {more}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_client_certificate_can_be_asked_about_and_answers_are_shared_by_key() {
    let (gatekeeper, backend) = (gatekeeper(), Backend::echo());
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let server = servers.server(&["a.test"]);
    let https = config::listeners(&format!(
        "- protocol: HTTPS\n  hostname: a.test\n  tls: {{ cert: '{}', key: '{}', root: '{}' }}\n  routes: [{{ backends: [{{ host: '{}' }}] }}]\n",
        server.cert_path.display(),
        server.key_path.display(),
        clients.path().display(),
        backend.addr()
    ));
    let path = "destination.hostname + (source.subjectCn == 'eve' ? '/yes' : '/no')";
    let cache = "cache: { key: [source.subjectCn], ttl: \"duration('1h')\" }";
    let gateway = Gateway::start(&(https + &asking(&gatekeeper, &format!("'/' + {path}"), cache))).await;
    for (name, open) in [("eve", true), ("bob", false), ("eve", true), ("bob", false)] {
        let config = servers.client_config(Some(&clients.client(name)), &["http/1.1"]);
        let answered = Client::tls(gateway.addr(0), "a.test", config).get("/").try_send().await;
        assert_eq!(answered.is_ok_and(|it| it.status == 200), open, "{name}");
    }
    assert_eq!(gatekeeper.stats().requests(), 2, "once for each name");
    assert!(gatekeeper.stats().last().uri.path().starts_with("/a.test/"));
    gateway.stop().await;
}

#[tokio::test]
async fn a_question_without_an_answer_keeps_no_process_alive() {
    let mute = Backend::raw(|mut accepted| async move {
        // It hears all, and says nothing.
        let _ = accepted.stream.read_to_end(&mut Vec::new()).await;
    });
    let backend = Backend::echo();
    let frontend = asking(&mute, "'/'", "policies: { http: { requestTimeout: 1h } }");
    let deadline = "config:\n  connectionTerminationDeadline: 100ms\n";
    let gateway = Gateway::start(&format!("{deadline}{}{frontend}", config::route(&backend, ""))).await;
    let mut client = RawClient::connect(gateway.addr(0)).await;
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("sent");
    eventually(PATIENCE, || async { mute.stats().open() == 1 }).await;
    gateway.stop().await;
    assert!(client.reply().await.is_err());
    assert_eq!(backend.stats().requests(), 0);
}
