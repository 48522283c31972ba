//! Stub of telemetry on branch `listen`: what `listen/` calls. The real one replaces this file.

use std::net::SocketAddr;
use std::time::Duration;

use ir::{BindKey, ListenerKey};

#[derive(Default)]
pub struct Telemetry {}

/// The end of a raw connection.
pub struct TcpEvent<'a> {
    pub connection_id: u64,
    pub bind: &'a str,
    pub gateway: &'a str,
    pub listener: &'a str,
    pub route: &'a str,
    pub endpoint: &'a str,
    pub src: Option<SocketAddr>,
    pub sni: &'a str,
    pub received: u64,
    pub sent: u64,
    pub duration: Duration,
    pub reason: filters::Reason,
    pub error: Option<&'a str>,
}

impl Telemetry {
    pub fn connection_opened(&self, _bind: &BindKey, _listener: Option<&ListenerKey>, _protocol: &'static str) {}

    pub fn connection_closed(
        &self,
        _bind: &BindKey,
        _listener: Option<&ListenerKey>,
        _protocol: &'static str,
        _received: u64,
        _sent: u64,
    ) {
    }

    pub fn tls_handshake(&self, _bind: &BindKey, _listener: Option<&ListenerKey>, _seconds: f64, _ok: bool) {}

    pub fn connection_refused(&self, _bind: &BindKey, _why: &'static str) {}

    pub fn tcp_ended(&self, _event: &TcpEvent<'_>) {}
}
