//! The control plane's last word on disk: who may read it, what is in it, and what serves from it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use filters::{Policy, header_modifier};
use ir::{ObjectName, Target};
use tests::control::Away;
use tests::control::objects::{backend, bind, bind_at, header, listener, listener_of, policy, route, says};
use tests::wait::{PATIENCE, eventually_some};
use tests::{Authority, Client, Control, Gateway, eventually};

use super::{open, unready, word};

const KEY: &str = "stateKey: 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const CANARY: &str = "canary-7f3d";

/// The state file, when it is there and up to date.
async fn saved(gateway: &Gateway, directory: &Path, resources: u64) -> PathBuf {
    eventually_some(PATIENCE, || async {
        let told = word(gateway).await;
        let is_new = told["resources"] == resources && told["state"]["savedAt"] != serde_json::Value::Null;
        let files: Vec<_> = std::fs::read_dir(directory).ok()?.map(|it| it.expect("an entry").path()).collect();
        let [file] = &files[..] else { return None };
        // The last resource is in it, by name.
        let content = std::fs::read(file).ok()?;
        (is_new && contains(&content, "policy/last")).then(|| file.clone())
    })
    .await
}

fn contains(content: &[u8], text: &str) -> bool {
    content.windows(text.len()).any(|it| it == text.as_bytes())
}

fn last() -> filters::Change {
    let nothing = header_modifier::Policy::default();
    policy("last", Target::Route(ObjectName::new("default", "all")), Policy::ResponseHeaderModifier(nothing))
}

/// A directory that outlives a gateway, and the line that names it.
fn directory() -> (tempfile::TempDir, String) {
    let dir = tempfile::Builder::new().prefix("agw-state-").tempdir().expect("a directory");
    let line = format!("stateDirectory: '{}'", dir.path().display());
    (dir, line)
}

#[tokio::test]
async fn a_gateway_starts_without_its_control_plane_and_serves_its_last_word() {
    let (dir, line) = directory();
    let control = Control::start().await;
    let gateway = Gateway::start(&control.config(&[&line])).await;
    let client = open(&control, &gateway, vec![route("all", "/", "none"), says("all", "hello"), last()]).await;
    assert_eq!(client.get("/").await.text(), "hello");
    let file = saved(&gateway, dir.path(), 5).await;
    assert_eq!(std::fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
    gateway.stop().await;

    let config = control.config(&[&line]);
    let away: Away = control.stop().await;
    let gateway = Gateway::start(&config).await;
    let client = Client::h1(gateway.listens("b").await);
    assert_eq!(client.get("/").await.text(), "hello");
    let told = word(&gateway).await;
    assert_eq!(
        (&told["stale"], &told["from"], &told["synced"]),
        (&true.into(), &"disk".into(), &false.into()),
        "{told}"
    );
    assert_eq!(gateway.metric_sum("agentgateway_xds_stale", &[]).await, 1.0);

    // Back: what changed meanwhile is sent, and nothing else.
    away.apply([says("all", "newer")]);
    let control = away.back();
    control.answered().await;
    assert_eq!(client.get("/").await.text(), "newer");
    assert_eq!(control.clients()[0].resources, 1);
    assert_eq!(word(&gateway).await["stale"], false);
    assert_eq!(gateway.metric_sum("agentgateway_xds_stale", &[]).await, 0.0);
    gateway.stop().await;
}

/// Objects with secrets: the key of a certificate, a token in a header, the key of a client certificate.
fn secretive(authority: &Authority) -> Vec<filters::Change> {
    let identity = authority.server(&["sealed.example"]);
    let token = header("authorization", &format!("Bearer {CANARY}"));
    let client = authority.client("us");
    let tls = filters::backend_tls::Policy {
        client_certificate: Some(client.cert_pem.clone().into_bytes()),
        client_key: Some(ir::Secret::new(client.key_pem.clone().into_bytes())),
        ..Default::default()
    };
    vec![
        bind("tls"),
        listener_of("tls", "sealed", "sealed.example", Some(&identity)),
        listener_of("tls", "other", "*", Some(&authority.server(&["other.example"]))),
        bind("b"),
        listener("b"),
        route("all", "/", "x"),
        route("token", "/token", "x"),
        backend("x", "127.0.0.1:9"),
        says("all", "hello"),
        policy("token", Target::Route(ObjectName::new("default", "token")), token),
        policy("client", Target::Backend(ir::BackendKey::new("y")), Policy::BackendTls(tls)),
        last(),
    ]
}

#[tokio::test]
async fn secrets_are_left_out_and_what_needs_them_is_closed_until_the_control_plane_is_back() {
    let (dir, line) = directory();
    let authority = Authority::new("gateways");
    let control = Control::start().await;
    let gateway = Gateway::start(&control.config(&[&line])).await;
    control.applied(secretive(&authority)).await;
    let tls = |at, name: &str| Client::tls(at, name, authority.client_config(None, &["http/1.1"]));
    let at = gateway.listens("tls").await;
    assert_eq!(tls(at, "sealed.example").get("/").await.text(), "hello");
    let file = saved(&gateway, dir.path(), 12).await;
    let content = std::fs::read(&file).expect("the state");
    for secret in [CANARY, "PRIVATE KEY"] {
        assert!(!contains(&content, secret), "{secret} is in the file");
    }
    gateway.stop().await;

    let config = control.config(&[&line]);
    let away = control.stop().await;
    let gateway = Gateway::start(&config).await;
    let (open, sealed) = (Client::h1(gateway.listens("b").await), gateway.listens("tls").await);
    assert_eq!(open.get("/").await.text(), "hello", "what needs no secret serves");
    assert_eq!(open.get("/token").await.status, 500, "a route without its token is closed");
    for name in ["sealed.example", "other.example"] {
        assert!(tls(sealed, name).get("/").try_send().await.is_err(), "{name} has no key: its handshake is refused");
    }
    let control = away.back();
    control.answered().await;
    assert_eq!(control.clients()[0].resources, 4, "what was left out is sent again, and nothing else");
    assert_eq!(tls(sealed, "sealed.example").get("/").await.text(), "hello");
    assert_ne!(open.get("/token").await.status, 500);
    gateway.stop().await;
}

#[tokio::test]
async fn with_a_key_secrets_are_encrypted_and_serve() {
    let (dir, line) = directory();
    let authority = Authority::new("gateways");
    let control = Control::start().await;
    let gateway = Gateway::start(&control.config(&[&line, KEY])).await;
    control.applied(secretive(&authority)).await;
    let file = saved(&gateway, dir.path(), 12).await;
    let content = std::fs::read(&file).expect("the state");
    for secret in [CANARY, "PRIVATE KEY"] {
        assert!(!contains(&content, secret), "{secret} is in the file");
    }
    gateway.stop().await;

    let config = control.config(&[&line, KEY]);
    let other = control.config(&[&line, &KEY.replace("0011", "1100")]);
    let away = control.stop().await;
    let gateway = Gateway::start(&config).await;
    let sealed =
        Client::tls(gateway.listens("tls").await, "sealed.example", authority.client_config(None, &["http/1.1"]));
    assert_eq!(sealed.get("/").await.text(), "hello");
    gateway.stop().await;

    // Another key opens nothing, and nothing is served by halves.
    let gateway = Gateway::setup(&other).spawn();
    gateway.wait_log(|line| line.contains("the state on disk is ignored") && line.contains("another key")).await;
    assert!(unready(&gateway).await.contains("xds"));
    drop(away);
    gateway.stop().await;
}

#[tokio::test]
async fn a_file_that_is_not_as_it_should_be_is_told_and_ignored() {
    let (dir, line) = directory();
    let control = Control::start().await;
    let gateway = Gateway::start(&control.config(&[&line])).await;
    open(&control, &gateway, vec![route("all", "/", "none"), says("all", "hello"), last()]).await;
    let file = saved(&gateway, dir.path(), 5).await;
    gateway.stop().await;
    let good = std::fs::read(&file).expect("the state");
    let config = control.config(&[&line]);
    let _away = control.stop().await;

    let line_end = good.iter().position(|it| *it == b'\n').expect("a first line");
    let mut flipped = good.clone();
    flipped[line_end + 20] ^= 1;
    let cases: [(&str, Vec<u8>, u32, &str); 5] = [
        ("cut", good[..good.len() / 2].to_vec(), 0o600, "damaged"),
        ("flipped", flipped, 0o600, "damaged"),
        ("empty", Vec::new(), 0o600, "damaged"),
        ("nonsense", vec![b'x'; 4096], 0o600, "damaged"),
        ("readable by all", good.clone(), 0o644, "others can read"),
    ];
    for (_, content, mode, reason) in cases {
        std::fs::write(&file, content).expect("written");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("permissions");
        let gateway = Gateway::setup(&config).spawn();
        gateway.wait_log(|line| line.contains("the state on disk is ignored") && line.contains(reason)).await;
        assert!(unready(&gateway).await.contains("xds"));
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_told_and_nothing_else_suffers() {
    let control = Control::start().await;
    let gateway = Gateway::start(&control.config(&["stateDirectory: /proc/nowhere"])).await;
    let client = open(&control, &gateway, vec![route("all", "/", "none"), says("all", "hello")]).await;
    eventually(PATIENCE, || async { word(&gateway).await["state"]["error"] != serde_json::Value::Null }).await;
    assert!(gateway.metric_sum("agentgateway_xds_state_failures_total", &[]).await >= 1.0);
    assert_eq!(client.get("/").await.text(), "hello");
    gateway.stop().await;
}

#[tokio::test]
async fn a_port_that_is_taken_harms_only_its_own_bind() {
    let control = Control::start().await;
    let gateway = Gateway::start(&control.config(&[])).await;
    let client = open(&control, &gateway, vec![route("all", "/", "none"), says("all", "hello")]).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    control.applied([bind_at("taken", taken.local_addr().expect("its address")), listener("taken")]).await;
    eventually(PATIENCE, || async {
        gateway.status().await.binds.iter().any(|it| it.name == "taken" && it.state == "failed" && it.error.is_some())
    })
    .await;
    assert_eq!(client.get("/").await.text(), "hello");
    gateway.stop().await;
}
