//! `GET /config/status`, as far as the harness reads it.

use std::net::SocketAddr;

use anyhow::Context as _;
use serde_json::Value;

/// The state of the configuration and of the binds.
#[derive(Clone, Debug, Default)]
pub struct Status {
    pub generation: u64,
    /// Why the newest configuration was refused.
    pub last_error: Option<Value>,
    pub binds: Vec<Bind>,
    /// The whole document.
    pub document: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Bind {
    pub name: String,
    /// `127.0.0.1:41234` or `unix:/path`.
    pub address: String,
    /// `listening` or `failed`.
    pub state: String,
    pub error: Option<String>,
}

impl Bind {
    /// The TCP address; panics with the error when the bind does not listen.
    #[track_caller]
    pub fn addr(&self) -> SocketAddr {
        assert_eq!(self.state, "listening", "bind {} does not listen: {:?}", self.name, self.error);
        let mut addr: SocketAddr = match self.address.parse() {
            Ok(addr) => addr,
            Err(error) => panic!("bind {} is at {:?}: {error}", self.name, self.address),
        };
        // A wildcard is where it listens, not where to connect.
        if addr.ip().is_unspecified() {
            addr.set_ip(if addr.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
        }
        addr
    }
}

impl Status {
    pub(super) fn parse(body: &[u8]) -> anyhow::Result<Status> {
        let document: Value = serde_json::from_slice(body).context("a status in JSON")?;
        let generation = document.get("generation").and_then(Value::as_u64).context("a generation in the status")?;
        let last_error = document.get("lastError").filter(|it| !it.is_null()).cloned();
        let binds = document.get("binds").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let text = |bind: &Value, key: &str| bind.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let binds = binds
            .iter()
            .map(|it| Bind {
                name: text(it, "name"),
                address: text(it, "address"),
                state: text(it, "state"),
                error: it
                    .get("error")
                    .filter(|it| !it.is_null())
                    .map(|it| it.as_str().map_or(it.to_string(), str::to_owned)),
            })
            .collect();
        Ok(Status { generation, last_error, binds, document })
    }

    /// Whether a configuration was taken or refused since.
    pub(super) fn differs(&self, before: &Status) -> bool {
        self.generation != before.generation || self.last_error != before.last_error
    }

    /// Whether every bind has come to listen or to fail.
    pub(super) fn is_settled(&self) -> bool {
        self.binds.iter().all(|it| it.state == "listening" || it.state == "failed")
    }
}
