//! A listener's TLS terms compiled to what rustls runs.
//!
//! Sessions can be resumed across reloads and, by name, across listeners: tickets are sealed with keys of
//! the process. But only among listeners that trust the same client certificates: a session agreed on
//! without a certificate must not open a listener that demands one (rustls asks for none on resumption).

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use filters::frontend_tls::Policy;
use ir::listener::{KeyExchangeGroup, ServerTls, TlsVersion};
use parking_lot::Mutex;
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    NoClientAuth, ProducesTickets, ServerSessionMemoryCache, StoresServerSessions, WebPkiClientVerifier,
};
use rustls::{RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::tickets::Ticketer;

/// Sessions of TLS 1.2 clients without tickets, kept per set of client roots.
const SESSIONS_MAX: usize = 4096;

/// Compiles a listener's terms; `over` are the bind's, which win where written.
pub fn server_config(terms: &ServerTls, over: &Policy) -> Result<Arc<ServerConfig>, String> {
    let provider = Arc::new(provider(terms, over)?);
    let versions = versions(terms, over)?;
    let verifier = verifier(terms, &provider)?;
    let chain = chain(&terms.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(terms.key.expose())
        .map_err(|error| format!("the private key is not a PEM key: {error}"))?;
    warn_of_age(&chain);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(|error| format!("cipher suites, groups and versions do not go together: {error}"))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(refused)?;
    // The operator's list is in order of preference, and so is ours.
    config.ignore_client_order = true;
    let alpn = over.alpn.as_ref().unwrap_or(&terms.alpn);
    config.alpn_protocols = alpn.iter().map(|it| it.as_bytes().to_vec()).collect();
    let resumption = Resumption::of(terms.client_roots.as_deref())?;
    config.ticketer = resumption.ticketer;
    config.session_storage = resumption.sessions;
    // One ticket is enough for clients that come back; each costs a write and memory.
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

fn refused(error: rustls::Error) -> String {
    match error {
        rustls::Error::InconsistentKeys(_) => "the private key does not belong to the certificate".to_owned(),
        rustls::Error::General(text) => format!("the private key cannot be used: {text}"),
        error => format!("the certificate cannot be used: {error}"),
    }
}

fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("the certificate is not valid PEM: {error}"))?;
    match chain.is_empty() {
        true => Err("the certificate file holds no PEM certificate".to_owned()),
        false => Ok(chain),
    }
}

/// An expired certificate is served all the same: some clients do not mind, and none would get more from
/// a listener that is not there.
fn warn_of_age(chain: &[CertificateDer<'_>]) {
    let Some((_, leaf)) = chain.first().and_then(|it| X509Certificate::from_der(it).ok()) else { return };
    if !leaf.validity().is_valid() {
        let (from, until) = (leaf.validity().not_before, leaf.validity().not_after);
        tracing::warn!(subject = %leaf.subject(), %from, %until, "certificate is outside its validity");
    }
}

fn verifier(terms: &ServerTls, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let Some(pem) = &terms.client_roots else { return Ok(Arc::new(NoClientAuth)) };
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(pem) {
        let root = root.map_err(|error| format!("the client roots are not valid PEM: {error}"))?;
        roots.add(root).map_err(|error| format!("a client root cannot be used: {error}"))?;
    }
    if roots.is_empty() {
        return Err("the client roots hold no PEM certificate".to_owned());
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    builder.build().map(|it| it as Arc<dyn ClientCertVerifier>).map_err(|error| format!("client roots: {error}"))
}

fn versions(terms: &ServerTls, over: &Policy) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
    let (min, max) = (over.min_version.unwrap_or(terms.min_version), over.max_version.unwrap_or(terms.max_version));
    if min > max {
        return Err(format!("the lowest TLS version, {min:?}, is above the highest, {max:?}"));
    }
    let all = [(TlsVersion::V1_3, &rustls::version::TLS13), (TlsVersion::V1_2, &rustls::version::TLS12)];
    Ok(all.into_iter().filter(|(it, _)| (min..=max).contains(it)).map(|(_, it)| it).collect())
}

fn provider(terms: &ServerTls, over: &Policy) -> Result<CryptoProvider, String> {
    let mut provider = aws_lc_rs::default_provider();
    // With SHA-256, for which processors have instructions, a handshake costs a tenth less than with SHA-384.
    provider.cipher_suites.sort_by_key(|it| !iana(*it).contains("AES_128"));
    let suites = over.cipher_suites.as_ref().unwrap_or(&terms.cipher_suites);
    if !suites.is_empty() {
        provider.cipher_suites = suites.iter().map(|name| suite(name)).collect::<Result<_, _>>()?;
    }
    let groups = over.key_exchange_groups.as_ref().unwrap_or(&terms.key_exchange_groups);
    if !groups.is_empty() {
        provider.kx_groups = groups.iter().map(|it| group(*it)).collect();
    }
    Ok(provider)
}

fn suite(name: &str) -> Result<SupportedCipherSuite, String> {
    let all = aws_lc_rs::ALL_CIPHER_SUITES;
    let found = all.iter().find(|it| iana(**it) == name);
    found.copied().ok_or_else(|| {
        let known: Vec<_> = all.iter().map(|it| iana(*it)).collect();
        format!("cipher suite `{name}` is not known: choose from {}", known.join(", "))
    })
}

/// The name in IANA's registry; rustls spells those of TLS 1.3 its own way.
pub(super) fn iana(suite: SupportedCipherSuite) -> &'static str {
    match suite.suite() {
        rustls::CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        rustls::CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or("unknown"),
    }
}

fn group(group: KeyExchangeGroup) -> &'static dyn SupportedKxGroup {
    match group {
        KeyExchangeGroup::X25519 => aws_lc_rs::kx_group::X25519,
        KeyExchangeGroup::P256 => aws_lc_rs::kx_group::SECP256R1,
        KeyExchangeGroup::P384 => aws_lc_rs::kx_group::SECP384R1,
        KeyExchangeGroup::X25519Mlkem768 => aws_lc_rs::kx_group::X25519MLKEM768,
    }
}

/// What lets clients resume sessions, shared by all configurations with the same client roots.
#[derive(Clone)]
struct Resumption {
    ticketer: Arc<dyn ProducesTickets>,
    sessions: Arc<dyn StoresServerSessions>,
}

impl Resumption {
    fn of(client_roots: Option<&[u8]>) -> Result<Self, String> {
        static ALL: OnceLock<Mutex<HashMap<Option<Vec<u8>>, Resumption>>> = OnceLock::new();
        let mut all = ALL.get_or_init(Mutex::default).lock();
        let roots = client_roots.map(<[u8]>::to_vec);
        if let Some(it) = all.get(&roots) {
            return Ok(it.clone());
        }
        // Those no configuration holds any more, whose clients would not be let in anyway.
        all.retain(|roots, it| roots.is_none() || Arc::strong_count(&it.ticketer) > 1);
        let it = Self { ticketer: Ticketer::of(client_roots)?, sessions: ServerSessionMemoryCache::new(SESSIONS_MAX) };
        all.insert(roots, it.clone());
        Ok(it)
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
