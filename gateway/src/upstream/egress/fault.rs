//! Why a fetch failed, for the log and status pages: no URL in it, for its query may be a secret.

use std::net::{IpAddr, SocketAddr};

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("not a URL this gateway fetches")]
    Url,
    #[error("`{0}` cannot be resolved: {1}")]
    Name(String, String),
    #[error("the address {0} is refused: {1}")]
    Refused(IpAddr, &'static str),
    #[error("cannot connect to {0}: {1}")]
    Connect(SocketAddr, String),
    #[error("no TLS: {0}")]
    Tls(String),
    #[error("the exchange failed: {0}")]
    Exchange(String),
    #[error("answered with status {0}")]
    Status(u16),
    #[error("a redirect leads nowhere")]
    Location,
    #[error("a redirect leads from https to http")]
    Downgrade,
    #[error("too many redirects")]
    Redirects,
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    #[error("no answer in time")]
    Deadline,
}

impl Fault {
    /// Nobody may be asked there, whoever that is.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Url | Self::Refused(..))
    }

    /// Nothing was sent: it may be tried again.
    pub fn is_before(&self) -> bool {
        matches!(self, Self::Connect(..))
    }

    pub fn is_late(&self) -> bool {
        matches!(self, Self::Deadline)
    }
}
