use filters::{frontend_tls, proxy_protocol};
use ir::listener::TlsVersion;
use ir::{Secret, ServerTls};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::*;
use crate::listen::handshake::{self, HandshakeFault, Turns};
use crate::listen::{proxy_header, server_config};

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// PEM of a certificate and its key.
type Pair = (String, String);

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn issue(&self, name: &str, uri: Option<&str>) -> Pair {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names.extend(uri.map(|it| SanType::URI(it.try_into().unwrap())));
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn client(&self, pair: Option<Pair>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        let config = match pair {
            Some((chain, key)) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()],
                    PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
                )
                .unwrap(),
            None => builder.with_no_client_auth(),
        };
        TlsConnector::from(Arc::new(config))
    }

    fn server(&self, name: &str) -> Arc<rustls::ServerConfig> {
        let (chain, key) = self.issue(name, None);
        let terms = ServerTls {
            certificate: chain.into_bytes(),
            key: Secret::new(key.into_bytes()),
            client_roots: Some(self.pem.clone().into_bytes()),
            min_version: TlsVersion::V1_2,
            max_version: TlsVersion::V1_3,
            cipher_suites: vec![],
            key_exchange_groups: vec![],
            alpn: vec![],
        };
        server_config(&terms, &frontend_tls::Policy::default()).unwrap()
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

#[tokio::test]
async fn the_handshake_tells_who_the_client_is() {
    let authority = Authority::new();
    let exit = Drain::new().exit();
    let (client, mut wire) = connection(&exit).await;
    let pair = authority.issue("client.test", Some("spiffe://a.test/ns/x"));
    let connector = authority.client(Some(pair));
    let name = ServerName::try_from("Server.Test").unwrap();
    let asking = async { connector.connect(name, client).await.unwrap() };
    let accepting = async {
        let hello = handshake::hello(&mut wire, soon()).await.unwrap();
        assert_eq!(hello.sni.as_deref(), Some("server.test"));
        handshake::accept(wire, authority.server("server.test"), &Turns::new(), (4, soon())).await.unwrap()
    };
    let (mut client, (mut stream, info)) = tokio::join!(asking, accepting);
    let certificate = info.client.unwrap();
    assert_eq!((info.version, info.cipher), ("TLSv1_3", "TLS_AES_128_GCM_SHA256"));
    assert_eq!(certificate.spiffe.as_ref().map(|it| &*it.id), Some("spiffe://a.test/ns/x"));
    assert!(certificate.names.contains(&"client.test".into()), "{:?}", certificate.names);
    assert_eq!(certificate.common_name.as_deref(), Some("client.test"));
    client.write_all(b"ping").await.unwrap();
    let mut got = [0; 4];
    stream.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"ping");
    assert!(stream.get_ref().0.traffic().received() > 500, "bytes of TLS count");
}

#[tokio::test]
async fn a_client_without_the_certificate_demanded_is_refused() {
    let authority = Authority::new();
    let exit = Drain::new().exit();
    let (client, wire) = connection(&exit).await;
    let connector = authority.client(None);
    let asking = async {
        let mut stream = connector.connect(ServerName::try_from("server.test").unwrap(), client).await?;
        stream.read_u8().await
    };
    let turns = Turns::new();
    let accepting = handshake::accept(wire, authority.server("server.test"), &turns, (4, soon()));
    let (asked, accepted) = tokio::join!(asking, accepting);
    assert!(accepted.is_err());
    assert!(asked.unwrap_err().to_string().contains("CertificateRequired"));
}

#[tokio::test]
async fn a_name_not_served_is_told_by_alert() {
    let authority = Authority::new();
    let exit = Drain::new().exit();
    let (client, mut wire) = connection(&exit).await;
    let connector = authority.client(None);
    let asking = connector.connect(ServerName::try_from("other.test").unwrap(), client);
    let (asked, ()) = tokio::join!(asking, async {
        handshake::hello(&mut wire, soon()).await.unwrap();
        handshake::refuse_name(&mut wire).await;
    });
    assert!(asked.unwrap_err().to_string().contains("UnrecognisedName"));
}

#[tokio::test(start_paused = true)]
async fn silence_and_plain_http_are_no_handshake() {
    let exit = Drain::new().exit();
    let (mut client, mut wire) = connection(&exit).await;
    let fault = handshake::hello(&mut wire, soon()).await.unwrap_err();
    assert!(matches!(fault, HandshakeFault::Late));
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let fault = handshake::hello(&mut wire, soon()).await.unwrap_err();
    assert!(matches!(fault, HandshakeFault::NotTls));
    drop(wire);
    let mut got = String::new();
    let _ = client.read_to_string(&mut got).await;
    assert!(got.contains("use https://"), "{got:?}");
}

#[tokio::test]
async fn a_proxy_header_names_the_client_and_leaves_the_rest() {
    let strict = proxy_protocol::Policy { v1: true, v2: true, optional: false };
    let optional = proxy_protocol::Policy { optional: true, ..strict.clone() };
    let header = b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 443\r\nGET";
    let cases: [(&proxy_protocol::Policy, &[u8], Option<&str>, usize); 4] = [
        (&strict, header, Some("192.0.2.1:1000"), 3),
        (&optional, header, Some("192.0.2.1:1000"), 3),
        (&optional, b"GET /", None, 5),
        (&strict, b"PROXY UNKNOWN\r\nGET", None, 3),
    ];
    for (policy, sent, source, left) in cases {
        let exit = Drain::new().exit();
        let (mut client, mut wire) = connection(&exit).await;
        client.write_all(sent).await.unwrap();
        let got = proxy_header::read(&mut wire, policy).await.unwrap().and_then(|it| it.source);
        assert_eq!(got, source.map(|it| it.parse().unwrap()));
        assert_eq!(wire.ahead.rest().len(), left);
    }
    let exit = Drain::new().exit();
    let (mut client, mut wire) = connection(&exit).await;
    client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    assert!(proxy_header::read(&mut wire, &strict).await.is_err());
}
