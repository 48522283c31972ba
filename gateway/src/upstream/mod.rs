//! Stub of upstream on branch `listen`: what `listen/` calls. The real one replaces this file.

use std::ops::{Deref, DerefMut};

use tokio::net::TcpStream;

pub struct Cluster {}
pub struct Template {}

#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("no endpoint")]
    NoEndpoint,
}

/// A connection to an endpoint, counted as in flight until dropped.
pub struct TcpLease {
    stream: TcpStream,
    endpoint: String,
}

impl TcpLease {
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

impl Deref for TcpLease {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.stream
    }
}

impl DerefMut for TcpLease {
    fn deref_mut(&mut self) -> &mut TcpStream {
        &mut self.stream
    }
}

pub async fn connect_tcp(_choice: &crate::plan::TcpChoice) -> Result<TcpLease, Fault> {
    Err(Fault::NoEndpoint)
}
