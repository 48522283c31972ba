//! TLS towards backends: whom we trust and who we are.
//!
//! Verification is on unless the policy says `insecure`. What Pingora's own connector can do it
//! does ([`Native`]): it has no extra copy and shows the real socket. It knows no list of accepted
//! names, no key-exchange groups and no ALPN of other protocols, and speaks only HTTP; for those
//! there is a [`rustls::ClientConfig`] of our own, with session resumption, used by
//! [`super::dial`]. The system's roots are read once, when first needed.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::{Arc, LazyLock, OnceLock};

use filters::backend_tls;
use ir::Text;
use ir::listener::KeyExchangeGroup;
use pingora_core::protocols::tls::CaType;
use pingora_core::utils::tls::{CertKey, WrappedX509, parse_x509};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Terms of TLS to one backend.
pub(super) struct Tls {
    policy: backend_tls::Policy,
    /// Present where Pingora's connector suffices for HTTP.
    pub(super) native: Option<Native>,
    own: OnceLock<Result<Arc<ClientConfig>, String>>,
    roots: Option<Vec<CertificateDer<'static>>>,
    client: Option<Client>,
    /// The same for equal terms, within this process.
    pub(super) key: u64,
}

/// What Pingora's connector is told.
pub(super) struct Native {
    pub(super) verify_cert: bool,
    pub(super) verify_hostname: bool,
    pub(super) ca: Option<Arc<CaType>>,
    pub(super) client: Option<Arc<CertKey>>,
}

struct Client {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

static SYSTEM_ROOTS: LazyLock<Result<Arc<RootCertStore>, String>> = LazyLock::new(|| {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    let (_, refused) = store.add_parsable_certificates(found.certs);
    if refused > 0 || !found.errors.is_empty() {
        tracing::warn!(refused, errors = ?found.errors, "some of the system's root certificates are unusable");
    }
    if store.is_empty() { Err("no root certificates on this system".to_owned()) } else { Ok(Arc::new(store)) }
});
static FINGERPRINT: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl Tls {
    /// Reads certificates and keys. The error is for the operator.
    pub(super) fn compile(policy: &backend_tls::Policy) -> Result<Self, String> {
        let roots = policy.roots.as_deref().map(|pem| certificates(pem, "root")).transpose()?;
        let client = client(policy)?;
        let plain_alpn = policy.alpn.iter().all(|protocol| matches!(&**protocol, "h2" | "http/1.1"));
        let special = !policy.insecure && !policy.subject_alt_names.is_empty();
        let native = (plain_alpn && !special && policy.key_exchange_groups.is_empty()).then(|| Native {
            verify_cert: !policy.insecure,
            verify_hostname: !policy.insecure && !policy.insecure_host,
            ca: roots.as_ref().map(|roots| {
                let wrapped: Vec<_> = roots.iter().map(|root| WrappedX509::new(root.to_vec(), parse_x509)).collect();
                Arc::from(wrapped.into_boxed_slice())
            }),
            client: client.as_ref().map(|client| {
                let chain = client.chain.iter().map(|certificate| certificate.to_vec()).collect();
                Arc::new(CertKey::new(chain, client.key.secret_der().to_vec()))
            }),
        });
        let tls =
            Self { policy: policy.clone(), native, own: OnceLock::new(), roots, client, key: fingerprint(policy) };
        if tls.native.is_none() || tls.client.is_some() {
            tls.own()?;
        }
        Ok(tls)
    }

    /// The name sent and verified: the policy's, or the backend's. Never empty: Pingora would
    /// verify nothing then.
    pub(super) fn name(&self, host: Option<&Text>, address: &super::Address) -> Text {
        if let Some(name) = self.policy.hostname.as_ref().or(host) {
            return name.clone();
        }
        match address {
            super::Address::Inet(address) => address.ip().to_string().into(),
            super::Address::Unix(_) => "localhost".into(),
        }
    }

    /// Whether the backend's certificate can be held against anything.
    pub(super) fn needs_name(&self) -> bool {
        let policy = &self.policy;
        policy.hostname.is_none() && !policy.insecure && !policy.insecure_host && policy.subject_alt_names.is_empty()
    }

    /// The configuration for a dial of our own, offering these protocols.
    pub(super) fn config(&self, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, String> {
        let base = self.own()?;
        if alpn.is_empty() {
            return Ok(base);
        }
        // A clone shares the store of sessions, so that resumption works across variants.
        let mut config = ClientConfig::clone(&base);
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Arc::new(config))
    }

    pub(super) fn alpn(&self) -> &[Text] {
        &self.policy.alpn
    }

    fn own(&self) -> Result<Arc<ClientConfig>, String> {
        self.own.get_or_init(|| self.build()).clone()
    }

    fn build(&self) -> Result<Arc<ClientConfig>, String> {
        let provider = Arc::new(provider(&self.policy.key_exchange_groups));
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier(&provider)?);
        let config = match &self.client {
            None => builder.with_no_client_auth(),
            Some(client) => builder
                .with_client_auth_cert(client.chain.clone(), client.key.clone_key())
                .map_err(|error| format!("client certificate: {error}"))?,
        };
        Ok(Arc::new(config))
    }

    fn verifier(&self, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, String> {
        let schemes = provider.signature_verification_algorithms;
        if self.policy.insecure {
            return Ok(Arc::new(NoVerifier { schemes }));
        }
        let roots = match &self.roots {
            None => SYSTEM_ROOTS.clone()?,
            Some(roots) => {
                let mut store = RootCertStore::empty();
                for root in roots {
                    store.add(root.clone()).map_err(|error| format!("root certificate: {error}"))?;
                }
                Arc::new(store)
            }
        };
        let chain = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
            .build()
            .map_err(|error| format!("root certificates: {error}"))?;
        Ok(match (self.policy.subject_alt_names.is_empty(), self.policy.insecure_host) {
            (true, false) => chain,
            (true, true) => Arc::new(NameVerifier { chain, accepted: None }),
            (false, _) => Arc::new(NameVerifier { chain, accepted: Some(self.policy.subject_alt_names.clone()) }),
        })
    }
}

/// Differs between terms that differ; keyed, so that nobody can aim at a collision.
fn fingerprint(policy: &backend_tls::Policy) -> u64 {
    let backend_tls::Policy {
        client_certificate,
        client_key,
        roots,
        hostname,
        insecure,
        insecure_host,
        alpn,
        subject_alt_names,
        key_exchange_groups,
    } = policy;
    let mut hasher = FINGERPRINT.build_hasher();
    (client_certificate, client_key.as_ref().map(|key| key.expose())).hash(&mut hasher);
    (roots, hostname, insecure, insecure_host, alpn, subject_alt_names, key_exchange_groups).hash(&mut hasher);
    hasher.finish()
}

fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| format!("{what} certificate: {error}"))?;
    if found.is_empty() {
        return Err(format!("{what} certificate: no PEM certificate found"));
    }
    for certificate in &found {
        X509Certificate::from_der(certificate).map_err(|error| format!("{what} certificate: {error}"))?;
    }
    if what == "root" {
        let mut store = RootCertStore::empty();
        for root in &found {
            store.add(root.clone()).map_err(|error| format!("root certificate: {error}"))?;
        }
    }
    Ok(found)
}

fn client(policy: &backend_tls::Policy) -> Result<Option<Client>, String> {
    match (&policy.client_certificate, &policy.client_key) {
        (None, None) => Ok(None),
        (Some(chain), Some(key)) => {
            let chain = certificates(chain, "client")?;
            let key = PrivateKeyDer::from_pem_slice(key.expose()).map_err(|error| format!("client key: {error}"))?;
            // Pingora guesses the format of the key from its bytes, and panics where it cannot.
            PrivateKeyDer::try_from(key.secret_der()).map_err(|error| format!("client key: {error}"))?;
            Ok(Some(Client { chain, key }))
        }
        _ => Err("client certificate and key must be given together".to_owned()),
    }
}

fn provider(groups: &[KeyExchangeGroup]) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    if !groups.is_empty() {
        provider.kx_groups = groups
            .iter()
            .map(|group| match group {
                KeyExchangeGroup::X25519 => aws_lc_rs::kx_group::X25519,
                KeyExchangeGroup::P256 => aws_lc_rs::kx_group::SECP256R1,
                KeyExchangeGroup::P384 => aws_lc_rs::kx_group::SECP384R1,
                KeyExchangeGroup::X25519Mlkem768 => aws_lc_rs::kx_group::X25519MLKEM768,
            })
            .collect();
    }
    provider
}

/// The chain by WebPKI, the name by a list, or not at all.
#[derive(Debug)]
struct NameVerifier {
    chain: Arc<WebPkiServerVerifier>,
    accepted: Option<Vec<Text>>,
}

impl ServerCertVerifier for NameVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use CertificateError::{NotValidForName, NotValidForNameContext};
        // WebPKI looks at the name last: a complaint about it means that the chain is sound.
        match self.chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Ok(_) | Err(rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. })) => {}
            Err(error) => return Err(error),
        }
        match &self.accepted {
            Some(accepted) if !names_any(end_entity, accepted) => {
                Err(rustls::Error::InvalidCertificate(NotValidForName))
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Whether the certificate is for one of the accepted names: URIs literally, DNS names and
/// addresses by the rules of WebPKI.
fn names_any(certificate: &CertificateDer<'_>, accepted: &[Text]) -> bool {
    let Ok(parsed) = ParsedCertificate::try_from(certificate) else { return false };
    let uris: Vec<String> = X509Certificate::from_der(certificate)
        .ok()
        .and_then(|(_, certificate)| {
            let names = &certificate.subject_alternative_name().ok()??.value.general_names;
            let uri = |name: &GeneralName<'_>| match name {
                GeneralName::URI(uri) => Some((*uri).to_owned()),
                _ => None,
            };
            Some(names.iter().filter_map(uri).collect())
        })
        .unwrap_or_default();
    accepted.iter().any(|name| {
        uris.iter().any(|uri| **uri == **name)
            || ServerName::try_from(&**name)
                .is_ok_and(|name| rustls::client::verify_server_name(&parsed, &name).is_ok())
    })
}

/// Accepts any certificate; the peer must still own its key.
#[derive(Debug)]
struct NoVerifier {
    schemes: rustls::crypto::WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for NoVerifier {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.schemes)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.schemes)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.supported_schemes()
    }
}
