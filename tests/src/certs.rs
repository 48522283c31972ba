//! Certificates for tests: an authority, and the good, bad and odd certificates it issues, in memory and as PEM files.
//!
//! The files live as long as the authority or any identity it issued.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tempfile::TempDir;

/// A certificate authority with a directory for its files.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    path: PathBuf,
    dir: Arc<TempDir>,
    issued: AtomicU32,
}

/// A certificate with its key.
#[derive(Clone)]
pub struct Identity {
    pub cert_pem: String,
    pub key_pem: String,
    pub cert_path: PathBuf,
    pub key_path: PathBuf,
    _dir: Arc<TempDir>,
}

impl Authority {
    /// A fresh authority; two of them never trust each other's certificates.
    pub fn new(common_name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key for the authority");
        let pem = params.self_signed(&key).expect("the authority signs itself").pem();
        let dir = tempfile::Builder::new().prefix("agw-certs-").tempdir().expect("a directory for certificates");
        let path = dir.path().join("ca.pem");
        std::fs::write(&path, &pem).expect("write the authority's certificate");
        Authority { issuer: Issuer::new(params, key), pem, path, dir: Arc::new(dir), issued: AtomicU32::new(0) }
    }

    /// The authority's certificate as a PEM file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A server certificate for these DNS names (`*.example.com` too) and IP addresses.
    pub fn server(&self, names: &[&str]) -> Identity {
        self.issue(server_params(names))
    }

    /// A server certificate that expired in 2021.
    pub fn expired(&self, names: &[&str]) -> Identity {
        let mut params = server_params(names);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        self.issue(params)
    }

    /// A server certificate that is not valid before 2090.
    pub fn not_yet_valid(&self, names: &[&str]) -> Identity {
        let mut params = server_params(names);
        params.not_before = date_time_ymd(2090, 1, 1);
        params.not_after = date_time_ymd(2091, 1, 1);
        self.issue(params)
    }

    /// A client certificate with a common name and no subject alternative name.
    pub fn client(&self, common_name: &str) -> Identity {
        self.issue(client_params(common_name))
    }

    /// A client certificate that expired in 2021.
    pub fn expired_client(&self, common_name: &str) -> Identity {
        let mut params = client_params(common_name);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        self.issue(params)
    }

    /// A client certificate that names a workload: `spiffe://trust-domain/ns/x/sa/y`.
    pub fn spiffe(&self, uri: &str) -> Identity {
        let mut params = client_params("workload");
        params.subject_alt_names.push(SanType::URI(uri.try_into().expect("an ASCII SPIFFE id")));
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        self.issue(params)
    }

    fn issue(&self, params: CertificateParams) -> Identity {
        let key = KeyPair::generate().expect("a key for the certificate");
        let cert_pem = params.signed_by(&key, &self.issuer).expect("the authority signs").pem();
        let key_pem = key.serialize_pem();
        let number = self.issued.fetch_add(1, Ordering::Relaxed);
        let cert_path = self.dir.path().join(format!("cert-{number}.pem"));
        let key_path = self.dir.path().join(format!("key-{number}.pem"));
        std::fs::write(&cert_path, &cert_pem).expect("write the certificate");
        std::fs::write(&key_path, &key_pem).expect("write the key");
        Identity { cert_pem, key_pem, cert_path, key_path, _dir: Arc::clone(&self.dir) }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        for cert in CertificateDer::pem_slice_iter(self.pem.as_bytes()) {
            roots.add(cert.expect("a PEM certificate")).expect("the authority as a trust anchor");
        }
        roots
    }

    /// TLS terms of a client that trusts this authority only.
    pub fn client_config(&self, identity: Option<&Identity>, alpn: &[&str]) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider supports TLS 1.2 and 1.3")
            .with_root_certificates(self.roots());
        let mut config = match identity {
            Some(it) => builder.with_client_auth_cert(it.chain(), it.key()).expect("a client certificate and its key"),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.iter().map(|it| it.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

impl Identity {
    /// TLS terms of a server with this certificate; with `clients` it requires a certificate of that authority.
    pub fn server_config(&self, clients: Option<&Authority>, alpn: &[&str]) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider supports TLS 1.2 and 1.3");
        let builder = match clients {
            Some(authority) => builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::new(authority.roots()), provider())
                    .build()
                    .expect("a verifier for client certificates"),
            ),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(self.chain(), self.key()).expect("a certificate and its key");
        config.alpn_protocols = alpn.iter().map(|it| it.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// The certificate as it travels, to compare with what a peer showed.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.cert_pem.as_bytes()).map(|it| it.expect("a PEM certificate")).collect()
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).expect("a PEM key")
    }
}

/// Certificate and key of different pairs, in files: what a half-finished rotation looks like.
pub fn mismatched(one: &Identity, other: &Identity) -> (PathBuf, PathBuf) {
    (one.cert_path.clone(), other.key_path.clone())
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn server_params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&it| it.to_owned()).collect();
    let common_name = names.first().cloned().unwrap_or_default();
    let mut params = CertificateParams::new(names).expect("DNS names or IP addresses");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

fn client_params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}
