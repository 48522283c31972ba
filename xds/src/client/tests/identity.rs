//! TLS, client certificates and tokens.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use super::*;
use crate::client::{Identity, Roots};

pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>, TempDir);

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("root.pem"), issuer.pem()).unwrap();
        Self(issuer, folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.1.path().join(name)
    }

    pub(super) fn issue(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        let identity = Identity { cert: self.file(&format!("{name}.pem")), key: self.file(&format!("{name}.key")) };
        std::fs::write(&identity.cert, certificate.pem()).unwrap();
        std::fs::write(&identity.key, key.serialize_pem()).unwrap();
        identity
    }
}

pub(super) fn secure(control: &Control, authority: &Authority) -> Settings {
    let mut settings = settings(control.address);
    settings.address = Address::parse(&format!("localhost:{}", control.address.port())).unwrap();
    settings.roots = Roots::File(authority.file("root.pem"));
    settings
}

#[tokio::test]
async fn a_client_shows_a_certificate_and_checks_the_servers() {
    let authority = Authority::new();
    let client_roots = Some(authority.file("root.pem"));
    let tls = Some(server::Tls { identity: authority.issue("localhost"), client_roots });
    let control = Control::start(server::Settings { tls, ..server::Settings::default() }).await;

    let mut good = secure(&control, &authority);
    good.identity = Some(authority.issue("client"));
    let mut client = Client::with(good.clone(), Session::default());
    assert_eq!(client.taken().await.0, []);

    // Without a certificate, and with roots that did not sign the server's.
    let anonymous = secure(&control, &authority);
    let mut strange = good;
    strange.roots = Roots::File(Authority::new().issue("localhost").cert);
    for settings in [anonymous, strange] {
        let mut client = Client::with(settings, Session::default());
        client.until("two faults", |it| it.faults >= 2).await;
        assert!(!client.status.borrow().synced);
    }
}

#[tokio::test]
async fn a_token_is_read_again_for_each_connection() {
    let folder = tempfile::tempdir().unwrap();
    let (tokens, token) = (folder.path().join("tokens"), folder.path().join("token"));
    std::fs::write(&tokens, "first\nsecond\n").unwrap();
    std::fs::write(&token, "wrong\n").unwrap();
    let control = Control::start(server::Settings { tokens_file: Some(tokens), ..server::Settings::default() }).await;
    let mut settings = settings(control.address);
    settings.token_file = Some(token.clone());
    settings.headers = vec![("clusterid".parse().unwrap(), "c1".parse().unwrap())];
    let mut client = Client::with(settings, Session::default());
    client.until("a refusal", |it| it.last_fault.as_ref().is_some_and(|it| it.contains("token is not known"))).await;
    std::fs::write(&token, "second\n").unwrap();
    assert_eq!(client.taken().await.0, []);
}
