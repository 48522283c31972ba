//! TLS, tokens and client certificates between a gateway and its control plane.

use tests::control::objects::{route, says};
use tests::wait::PATIENCE;
use tests::{Authority, Control, Gateway, eventually};
use xds::client::Identity;
use xds::server::{Settings, Tls};

use super::{open, unready, word};

/// A directory with a token, and the control plane that wants it.
struct Trusting {
    authority: Authority,
    dir: tempfile::TempDir,
    control: Control,
}

impl Trusting {
    async fn start() -> Self {
        let authority = Authority::new("fleet");
        let dir = tempfile::Builder::new().prefix("agw-trust-").tempdir().expect("a directory");
        std::fs::write(dir.path().join("tokens"), "first\nsecond\n").expect("written");
        let own = authority.server(&["localhost"]);
        let tls = Tls {
            identity: Identity { cert: own.cert_path.clone(), key: own.key_path.clone() },
            client_roots: Some(authority.path().to_path_buf()),
        };
        let tokens_file = Some(dir.path().join("tokens"));
        let control = Control::with(Settings { tls: Some(tls), tokens_file, ..Settings::default() }).await;
        Self { authority, dir, control }
    }

    fn token(&self, text: &str) -> String {
        let path = self.dir.path().join("token");
        std::fs::write(&path, text).expect("written");
        format!("xdsAuthToken: '{}'", path.display())
    }

    fn roots(&self) -> String {
        format!("xdsRootCa: '{}'", self.authority.path().display())
    }

    fn config(&self, more: &[&str]) -> String {
        self.control.config_at(&format!("localhost:{}", self.control.addr().port()), more)
    }
}

#[tokio::test]
async fn a_gateway_shows_its_certificate_and_its_token_and_checks_its_control_plane() {
    let it = Trusting::start().await;
    let ours = it.authority.client("gateway");
    let (token, roots) = (it.token("second\n"), it.roots());
    let cert = format!("xdsClientCert: '{}'", ours.cert_path.display());
    let key = format!("xdsClientKey: '{}'", ours.key_path.display());
    let gateway = Gateway::start(&it.config(&[&token, &roots, &cert, &key])).await;
    let client = open(&it.control, &gateway, vec![route("r", "/", "none"), says("r", "trusted")]).await;
    assert_eq!(client.get("/").await.text(), "trusted");
    let dump = gateway.config_dump().await.to_string();
    assert!(!dump.contains("second"), "the token is shown nowhere");
    assert!(!gateway.log().text().contains("second"));
    gateway.stop().await;
}

#[tokio::test]
async fn whoever_is_not_trusted_is_told_why_and_a_token_that_is_mended_is_read_again() {
    let it = Trusting::start().await;
    let ours = it.authority.client("gateway");
    let cert = format!("xdsClientCert: '{}'", ours.cert_path.display());
    let key = format!("xdsClientKey: '{}'", ours.key_path.display());
    let (token, roots) = (it.token("wrong"), it.roots());
    let mut gateway = Gateway::setup(&it.config(&[&token, &roots, &cert, &key])).spawn();
    gateway.wait_log(|line| line.contains("the bearer token is not known")).await;
    eventually(PATIENCE, || async {
        word(&gateway).await["lastError"].as_str().is_some_and(|it| it.contains("token is not known"))
    })
    .await;
    assert!(unready(&gateway).await.contains("xds"));
    it.token("first");
    gateway.wait_ready().await.expect("ready with the right token");
    gateway.stop().await;

    // A control plane that cannot prove who it is, and a gateway that cannot.
    let other = Authority::new("others");
    let foreign = format!("xdsRootCa: '{}'", other.path().display());
    let right = it.token("first");
    for (lines, why) in [(vec![&*right, &*foreign, &*cert, &*key], "handshake"), (vec![&*right, &*roots], "ertificate")]
    {
        let gateway = Gateway::setup(&it.config(&lines)).spawn();
        gateway.wait_log(|line| line.contains("control plane is away") && line.contains(why)).await;
        assert!(unready(&gateway).await.contains("xds"));
        gateway.stop().await;
    }
}

#[tokio::test]
async fn settings_that_cannot_work_keep_the_gateway_from_starting_and_name_the_cure() {
    for (config, cure) in [
        ("config:\n  xdsAddress: https://cp\n", "config.namespace"),
        ("config:\n  xdsAddress: ftp://cp\n  namespace: a\n  gateway: b\n", "https://host:port"),
        ("config:\n  xdsAddress: cp\n  namespace: a\n  gateway: b\n  xdsAuthToken: abc\n", "path of a file"),
        ("config:\n  xdsAddress: cp\n  namespace: a\n  gateway: b\n  stateKey: abc\n", "64 hexadecimal digits"),
    ] {
        let refusal = Gateway::start_expect_failure(config).await;
        assert!(refusal.log.contains(cure), "{config}: {}", refusal.log);
    }
}
