//! The PROXY header a load balancer in front of us writes before anything else.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use filters::proxy_protocol::Policy;
use protocols::proxy_protocol::{Parse, ProxyFault, Versions, parse};
use tokio::time::timeout;

use super::wire::Wire;

/// A load balancer sends its header at once.
const DEADLINE: Duration = Duration::from_secs(5);

/// Whom a header speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) source: Option<SocketAddr>,
    pub(super) destination: Option<SocketAddr>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum HeaderFault {
    #[error("no PROXY header within {} s", DEADLINE.as_secs())]
    Late,
    #[error("connection without a PROXY header")]
    Missing,
    #[error("connection ended before its PROXY header")]
    Ended,
    #[error(transparent)]
    Broken(ProxyFault),
    #[error("reading the PROXY header")]
    Io(#[source] io::Error),
}

/// Reads the header; `None` where it is optional and absent. Bytes behind it stay in the wire.
pub(super) async fn read(wire: &mut Wire, policy: &Policy) -> Result<Option<Source>, HeaderFault> {
    match timeout(DEADLINE, read_header(wire, policy)).await {
        Ok(it) => it,
        // A client that waits for the server to speak first sends nothing, and no header either.
        Err(_) if policy.optional && wire.ahead.is_empty() => Ok(None),
        Err(_) => Err(HeaderFault::Late),
    }
}

async fn read_header(wire: &mut Wire, policy: &Policy) -> Result<Option<Source>, HeaderFault> {
    let versions = Versions { v1: policy.v1, v2: policy.v2 };
    loop {
        match parse(wire.ahead.rest(), versions) {
            Parse::Header { source, destination, consumed, tlvs: _ } => {
                wire.ahead.advance(consumed);
                return Ok(Some(Source { source, destination }));
            }
            Parse::Invalid(fault) => return Err(HeaderFault::Broken(fault)),
            Parse::NotProxy if policy.optional => return Ok(None),
            Parse::NotProxy => return Err(HeaderFault::Missing),
            Parse::Incomplete => {}
        }
        if wire.more().await.map_err(HeaderFault::Io)? == 0 {
            return if policy.optional { Ok(None) } else { Err(HeaderFault::Ended) };
        }
    }
}
