//! The server's own certificate, as its files say it now.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use tokio_rustls::TlsAcceptor;

use super::Tls;
use crate::tls::{self, Fault};

/// How a file looks from outside: enough to see that it was replaced.
type Mark = Option<(SystemTime, u64)>;

/// Accepts with the files of today: they are read again once they look different, and those that cannot be used
/// leave the ones in use.
pub(super) struct Current {
    tls: Tls,
    marks: Vec<Mark>,
    acceptor: TlsAcceptor,
}

impl Current {
    pub(super) fn read(tls: Tls) -> Result<Self, Fault> {
        let marks = marks(&tls);
        let acceptor = acceptor(&tls)?;
        Ok(Self { tls, marks, acceptor })
    }

    /// For the next connection.
    pub(super) fn acceptor(&mut self) -> TlsAcceptor {
        let now = marks(&self.tls);
        if now != self.marks {
            self.marks = now;
            match acceptor(&self.tls) {
                Ok(acceptor) => {
                    self.acceptor = acceptor;
                    tracing::info!(certificate = %self.tls.identity.cert.display(), "certificate read again");
                }
                Err(error) => {
                    tracing::error!(%error, "the changed certificate cannot be used; the one before stays");
                }
            }
        }
        self.acceptor.clone()
    }
}

fn acceptor(tls: &Tls) -> Result<TlsAcceptor, Fault> {
    let config = tls::server(&tls.identity, tls.client_roots.as_deref())?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn marks(tls: &Tls) -> Vec<Mark> {
    let Tls { identity, client_roots } = tls;
    let files = [Some(&identity.cert), Some(&identity.key), client_roots.as_ref()];
    files.into_iter().flatten().map(|path| mark(path)).collect()
}

fn mark(path: &Path) -> Mark {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
