//! Files of certificates and keys, as rustls wants them. They are read again for each connection or
//! reload, so that what was rotated is used.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig, server::WebPkiClientVerifier};

/// Largest file of tokens.
const TOKENS_BYTES_MAX: u64 = 64 << 10;

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("cannot read `{}`", .0.display())]
    Pem(PathBuf, #[source] pem::Error),
    #[error("`{}` holds no certificate", .0.display())]
    Empty(PathBuf),
    #[error("the system has no certificates to trust: name a file of roots")]
    System,
    #[error("certificate and key cannot be used")]
    Terms(#[source] rustls::Error),
    #[error("the roots for client certificates cannot be used")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
}

/// A certificate chain and its key.
#[derive(Clone, Debug)]
pub struct Identity {
    /// PEM chain, leaf first.
    pub cert: PathBuf,
    /// PEM private key.
    pub key: PathBuf,
}

impl Identity {
    fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Fault> {
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| Fault::Pem(self.key.clone(), error))?;
        Ok((certificates(&self.cert)?, key))
    }
}

/// What a client's control plane must chain to.
#[derive(Clone, Debug, Default)]
pub enum Roots {
    #[default]
    System,
    /// PEM file.
    File(PathBuf),
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let fault = |error| Fault::Pem(path.to_path_buf(), error);
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(fault)?.collect();
    let all = all.map_err(fault)?;
    if all.is_empty() { Err(Fault::Empty(path.to_path_buf())) } else { Ok(all) }
}

fn store(list: Vec<CertificateDer<'static>>) -> Result<RootCertStore, Fault> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(list);
    if store.is_empty() { Err(Fault::System) } else { Ok(store) }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Terms of a client, for HTTP/2.
pub(crate) fn client(roots: &Roots, identity: Option<&Identity>) -> Result<ClientConfig, Fault> {
    let roots = match roots {
        Roots::System => store(rustls_native_certs::load_native_certs().certs)?,
        Roots::File(path) => store(certificates(path)?)?,
    };
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.map_err(Fault::Terms)?.with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let (chain, key) = identity.read()?;
            builder.with_client_auth_cert(chain, key).map_err(Fault::Terms)?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Terms of a server, for HTTP/2. With roots, clients must show a certificate that chains to them.
pub(crate) fn server(identity: &Identity, client_roots: Option<&Path>) -> Result<ServerConfig, Fault> {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.map_err(Fault::Terms)?;
    let builder = match client_roots {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(store(certificates(path)?)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
            builder.with_client_cert_verifier(verifier.map_err(Fault::Verifier)?)
        }
    };
    let (chain, key) = identity.read()?;
    let mut config = builder.with_single_cert(chain, key).map_err(Fault::Terms)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// The text of a file of tokens.
pub(crate) fn token(path: &Path) -> io::Result<String> {
    if std::fs::metadata(path)?.len() > TOKENS_BYTES_MAX {
        return Err(io::Error::other(format!("the file is larger than {TOKENS_BYTES_MAX} bytes")));
    }
    Ok(std::fs::read_to_string(path)?.trim().to_owned())
}
