//! Statics, policies, certificates and a small server that counts its connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use filters::{Attachment, Effective, Policy};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use ir::{HostTarget, Secret, Text};
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::statics::Statics;
use crate::upstream::dns::{Answer, Resolve};
use crate::upstream::{Cluster, Template, Upstreams};

pub(super) fn statics() -> Statics {
    let locality = ir::backend::Locality { region: "r1".into(), zone: "z1".into(), subzone: Text::default() };
    Statics { locality, node: "n1".to_owned(), ..Statics::of_tests() }
}

/// Answers every name with the same address, or not at all.
pub(super) struct Fixed(pub(super) Option<&'static str>);

impl Resolve for Fixed {
    fn resolve(&self, host: Text) -> BoxFuture<'static, Result<Answer, String>> {
        let answer = match self.0 {
            Some(ip) => Ok(Answer { addresses: vec![ip.parse().unwrap()], ttl: Duration::from_secs(60) }),
            None => Err(format!("{host}: no such name")),
        };
        async { answer }.boxed()
    }
}

pub(super) fn upstreams() -> Arc<Upstreams> {
    let upstreams = Arc::new(Upstreams::with_resolver(&statics(), Box::new(Fixed(Some("127.0.0.1")))));
    if tokio::runtime::Handle::try_current().is_ok() {
        let running = upstreams.clone();
        tokio::spawn(async move { running.run().await });
    }
    upstreams
}

pub(super) fn effective(policies: Vec<Policy>) -> Effective {
    let attach = |policy| {
        Arc::new(Attachment {
            key: ir::PolicyKey::new("test"),
            target: ir::Target::Instance,
            phase: Default::default(),
            inheritance: Default::default(),
            order: 0,
            policy,
            origin: Default::default(),
        })
    };
    Effective::default().under(&policies.into_iter().map(attach).collect::<Vec<_>>())
}

/// A cluster for `text` and its terms.
pub(super) fn dialled(text: &str, policies: Vec<Policy>) -> Result<(Arc<Cluster>, Arc<Template>), String> {
    let cluster = upstreams().host(&HostTarget::parse(text).unwrap());
    let template = Template::compile(&cluster, &effective(policies), &statics())?;
    Ok((cluster, Arc::new(template)))
}

pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(super) fn pem(&self) -> Vec<u8> {
        self.0.pem().into_bytes()
    }

    /// A certificate for names: `spiffe://…` becomes a URI, all else DNS names or addresses.
    pub(super) fn issue(&self, names: &[&str]) -> (rcgen::Certificate, KeyPair) {
        let (uris, others): (Vec<&str>, Vec<&str>) = names.iter().copied().partition(|name| name.contains("://"));
        let mut params = CertificateParams::new(others.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>()).unwrap();
        params.subject_alt_names.extend(uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())));
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }

    pub(super) fn client(&self) -> (Vec<u8>, Secret) {
        let (certificate, key) = self.issue(&["client"]);
        (certificate.pem().into_bytes(), Secret::new(key.serialize_pem().into_bytes()))
    }
}

/// What a server has seen.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) connections: AtomicUsize,
    pub(super) resumed: AtomicUsize,
    /// Method, version, path, body.
    pub(super) requests: Mutex<Vec<String>>,
}

pub(super) struct ServerTerms<'a> {
    pub(super) authority: &'a Authority,
    pub(super) names: &'a [&'a str],
    pub(super) alpn: &'a [&'a str],
    pub(super) client_roots: Option<&'a Authority>,
}

pub(super) fn tls_terms(terms: &ServerTerms<'_>) -> Arc<rustls::ServerConfig> {
    install_provider();
    let (certificate, key) = terms.authority.issue(terms.names);
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let builder = rustls::ServerConfig::builder();
    let builder = match terms.client_roots {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from(authority.0.der().to_vec())).unwrap();
            let verifier = rustls::server::WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    config.alpn_protocols = terms.alpn.iter().map(|it| it.as_bytes().to_vec()).collect();
    Arc::new(config)
}

pub(super) fn install_provider() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// Serves HTTP/1.1 and HTTP/2, in TLS if there are terms.
pub(super) async fn serve(tls: Option<Arc<rustls::ServerConfig>>) -> (SocketAddr, Arc<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Seen::default());
    let counted = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (seen, tls) = (counted.clone(), tls.clone());
            tokio::spawn(async move {
                let Some(tls) = tls else {
                    seen.connections.fetch_add(1, SeqCst);
                    return answer(stream, seen).await;
                };
                let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await else { return };
                seen.connections.fetch_add(1, SeqCst);
                if stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed) {
                    seen.resumed.fetch_add(1, SeqCst);
                }
                answer(stream, seen).await;
            });
        }
    });
    (address, seen)
}

/// The same on a unix socket, plain.
pub(super) fn serve_unix(path: &std::path::Path) -> Arc<Seen> {
    let listener = tokio::net::UnixListener::bind(path).unwrap();
    let seen = Arc::new(Seen::default());
    let counted = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.connections.fetch_add(1, SeqCst);
            tokio::spawn(answer(stream, counted.clone()));
        }
    });
    seen
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin + 'static + Send, seen: Arc<Seen>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let seen = seen.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let line =
                format!("{} {:?} {} {}", head.method, head.version, head.uri.path(), String::from_utf8_lossy(&body));
            seen.requests.lock().push(line);
            let response = match head.uri.path() {
                "/down" => Response::builder().status(503).body(Full::default()).unwrap(),
                "/grpc.health.v1.Health/Check" => {
                    let frame = Bytes::from_static(&[0, 0, 0, 0, 2, 8, 1]);
                    Response::builder().header("content-type", "application/grpc").body(Full::new(frame)).unwrap()
                }
                _ => Response::new(Full::new(Bytes::from_static(b"hello"))),
            };
            Ok::<_, hyper::Error>(response)
        }
    });
    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

/// Waits for something that happens elsewhere.
pub(in crate::upstream) async fn eventually(what: &str, done: impl Fn() -> bool) {
    for _ in 0..400 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never happened: {what}");
}
