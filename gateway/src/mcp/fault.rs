//! What goes wrong between us and a server.

use std::time::Duration;

use ir::Text;
use protocols::mcp::answer;

/// Why a server gave no answer of use.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("{0}")]
    Broken(Text),
    #[error("no endpoint: {0}")]
    NoEndpoint(String),
    #[error("cannot connect or talk: {0}")]
    Exchange(String),
    #[error("no answer within {} s", .0.as_secs())]
    Deadline(Duration),
    /// It failed so often that it is not asked for a while.
    #[error("it failed before and is left alone for a moment")]
    Open,
    #[error("status {0}")]
    Status(u16),
    /// The session is not known there any more.
    #[error("it has forgotten the session")]
    Forgotten,
    #[error("an answer that is no message: {0}")]
    Message(String),
    #[error("an answer larger than {0} bytes")]
    TooLarge(usize),
    #[error("it ended without an answer")]
    Silent,
    #[error("{0}")]
    Policy(String),
    /// A JSON-RPC error, as it came.
    #[error("it answered with an error")]
    Error(String),
    /// A JSON-RPC error that came with another status than 200.
    #[error("it answered with status {0} and an error")]
    Refused(u16, String),
    #[error("the client has cancelled the call")]
    Cancelled,
    #[error("{0} is not supported")]
    Unsupported(&'static str),
}

impl Fault {
    /// Whether it says that the server is not well, and not that it refuses.
    pub(super) fn is_failure(&self) -> bool {
        match self {
            Self::NoEndpoint(_)
            | Self::Exchange(_)
            | Self::Deadline(_)
            | Self::Message(_)
            | Self::TooLarge(_)
            | Self::Silent => true,
            Self::Status(status) => *status >= 500,
            Self::Broken(_)
            | Self::Open
            | Self::Forgotten
            | Self::Policy(_)
            | Self::Error(_)
            | Self::Refused(..)
            | Self::Cancelled
            | Self::Unsupported(_) => false,
        }
    }

    /// What a client gets: no address in it.
    pub(super) fn answer(&self, id: &str, target: &str) -> String {
        let text = match self {
            Self::Error(error) | Self::Refused(_, error) => {
                return format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#);
            }
            Self::Deadline(_) => "did not answer in time",
            Self::Open => "failed before and is left alone for a moment",
            Self::Status(401 | 403) => "refused our credentials",
            Self::Status(_) => "answered with an HTTP error",
            Self::Message(_) => "answered with something that is no message",
            Self::TooLarge(_) => "answered with more than the gateway takes",
            Self::Silent => "ended without an answer",
            Self::Unsupported(_) => "cannot do that",
            Self::Broken(_) | Self::NoEndpoint(_) | Self::Exchange(_) => "cannot be reached",
            Self::Cancelled => "was told to stop",
            Self::Forgotten => "has forgotten the session",
            Self::Policy(_) => "was not asked: a policy failed",
        };
        answer::error(id, answer::INTERNAL_ERROR, &format!("the server `{target}` {text}"))
    }
}
