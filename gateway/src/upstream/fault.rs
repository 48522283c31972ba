//! Why a backend was not reached.

use std::io;
use std::time::Duration;

use filters::Reason;
use ir::Text;

use super::admit::Overflow;
use super::cluster::PickFault;

#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error(transparent)]
    Pick(#[from] PickFault),
    #[error(transparent)]
    Overflow(#[from] Overflow),
    #[error("connect to {endpoint}: {source}")]
    Connect { endpoint: Text, source: io::Error },
    #[error("connect to {endpoint}: no answer in {after:?}")]
    ConnectTimeout { endpoint: Text, after: Duration },
    #[error("tls with {endpoint}: {source}")]
    Handshake { endpoint: Text, source: io::Error },
}

impl Fault {
    /// The metric label and access-log value.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Pick(_) => Reason::NoHealthyBackend,
            Self::Overflow(_) => Reason::Overflow,
            Self::Connect { .. } | Self::ConnectTimeout { .. } | Self::Handshake { .. } => Reason::UpstreamFailure,
        }
    }

    /// What an HTTP client is told. All of these are "not now", none is the client's fault.
    pub fn status(&self) -> u16 {
        match self {
            Self::Pick(_) | Self::Overflow(_) => 503,
            Self::Connect { .. } | Self::ConnectTimeout { .. } | Self::Handshake { .. } => 503,
        }
    }

    /// Whether another endpoint may do better.
    pub fn is_endpoints(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::ConnectTimeout { .. } | Self::Handshake { .. })
    }
}
