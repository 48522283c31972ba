//! `frontendPolicies.http`: limits and habits of HTTP towards clients.

use std::time::Duration;

use serde::Serialize;

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Largest body any policy may hold.
    pub max_buffer_size: usize,
    pub http1_max_headers: usize,
    pub http1_idle_timeout: Duration,
    /// Names written as the peer wrote them.
    pub http1_preserve_case: bool,
    /// Whole head of a request, in bytes.
    pub max_header_bytes: usize,
    /// From the first byte of a head to its last.
    pub request_header_timeout: Duration,
    /// Between two reads of a request body.
    pub request_body_idle_timeout: Duration,
    pub http2_window_size: Option<u32>,
    pub http2_connection_window_size: Option<u32>,
    pub http2_frame_size: Option<u32>,
    pub http2_max_header_size: Option<u32>,
    pub http2_max_concurrent_streams: u32,
    pub http2_keepalive_interval: Option<Duration>,
    pub http2_keepalive_timeout: Option<Duration>,
    pub max_connection_duration: Option<Duration>,
    /// Proxies in front of us whose `X-Forwarded-*` are believed, counted from our side.
    pub trusted_hops: usize,
    /// Also write RFC 7239 `Forwarded`.
    pub forwarded: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_buffer_size: 2 << 20,
            http1_max_headers: 100,
            http1_idle_timeout: Duration::from_secs(600),
            http1_preserve_case: false,
            max_header_bytes: 64 << 10,
            request_header_timeout: Duration::from_secs(30),
            request_body_idle_timeout: Duration::from_secs(60),
            http2_window_size: None,
            http2_connection_window_size: None,
            http2_frame_size: None,
            http2_max_header_size: None,
            http2_max_concurrent_streams: 100,
            http2_keepalive_interval: None,
            http2_keepalive_timeout: None,
            max_connection_duration: None,
            trusted_hops: 0,
            forwarded: false,
        }
    }
}
