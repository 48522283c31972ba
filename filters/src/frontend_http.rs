//! `frontendPolicies.http`: limits and habits of HTTP towards clients.
//!
//! ```yaml
//! http:
//!   maxBufferSize: 4194304
//!   http1IdleTimeout: 2m
//!   requestHeaderTimeout: 10s
//!   http2MaxConcurrentStreams: 250
//!   trustedHops: 1
//! ```
//!
//! **Heads.** At most `http1MaxHeaders` headers (100) and `maxHeaderBytes` (64 KiB), within
//! `requestHeaderTimeout` (30 s) of the first byte; else 431 or 408. **Bodies.** At most
//! `requestBodyIdleTimeout` (60 s) between two reads; policies hold at most `maxBufferSize` (2 MiB).
//! **Connections.** Idle ones are closed after `http1IdleTimeout` (10 min), all of them gracefully
//! after `maxConnectionDuration`.
//!
//! **Clients behind proxies.** With `trustedHops: n` the client is the n-th entry of
//! `X-Forwarded-For` from the right; with 0, the socket's peer, and what strangers wrote into
//! `X-Forwarded-*` is not believed.
//!
//! **Case.** `http1HeaderCase: preserve` writes names as the peer did, `lowercase` in lower case.
//!
//! **Merging.** The most specific policy replaces the others whole: of the listener, its gateway, the instance.
//!
//! **Where we differ.** `maxHeaderBytes`, `requestHeaderTimeout`, `requestBodyIdleTimeout`,
//! `http2MaxConcurrentStreams`, `trustedHops` and `forwarded` are ours.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Scope;
use crate::lower::Span;

/// Limits and habits of HTTP towards clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "FrontendHttp")]
pub struct Config {
    /// Largest body any policy may hold, in bytes.
    pub max_buffer_size: usize,
    /// Most headers in a head; absent means 100.
    pub http1_max_headers: Option<usize>,
    /// How long a connection may wait for its next request.
    pub http1_idle_timeout: Span,
    /// How header names are written over HTTP/1.1.
    pub http1_header_case: HeaderCase,
    /// Largest head of a request, in bytes.
    pub max_header_bytes: usize,
    /// From the first byte of a head to its last.
    pub request_header_timeout: Span,
    /// Longest pause between two reads of a request body.
    pub request_body_idle_timeout: Span,
    /// Flow-control window of a stream, in bytes.
    pub http2_window_size: Option<u32>,
    /// Flow-control window of a connection, in bytes.
    pub http2_connection_window_size: Option<u32>,
    /// Largest frame, in bytes: 16384 to 16777215.
    pub http2_frame_size: Option<u32>,
    /// Largest header list over HTTP/2, in bytes; absent means `maxHeaderBytes`.
    pub http2_max_header_size: Option<u32>,
    /// Streams at once on one connection.
    pub http2_max_concurrent_streams: u32,
    /// Silence before a ping.
    pub http2_keepalive_interval: Option<Span>,
    /// How long an answer to a ping may take.
    pub http2_keepalive_timeout: Option<Span>,
    /// A connection is closed gracefully after this.
    pub max_connection_duration: Option<Span>,
    /// Proxies in front of us whose `X-Forwarded-*` are believed, counted from our side.
    pub trusted_hops: usize,
    /// Also write RFC 7239 `Forwarded`.
    pub forwarded: bool,
}

/// How header names are written over HTTP/1.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "HttpHeaderCase")]
pub enum HeaderCase {
    /// In lower case.
    #[default]
    Lowercase,
    /// As the peer wrote them.
    Preserve,
}

impl Default for Config {
    fn default() -> Self {
        let policy = Policy::default();
        Self {
            max_buffer_size: policy.max_buffer_size,
            http1_max_headers: None,
            http1_idle_timeout: Span(policy.http1_idle_timeout),
            http1_header_case: HeaderCase::Lowercase,
            max_header_bytes: policy.max_header_bytes,
            request_header_timeout: Span(policy.request_header_timeout),
            request_body_idle_timeout: Span(policy.request_body_idle_timeout),
            http2_window_size: None,
            http2_connection_window_size: None,
            http2_frame_size: None,
            http2_max_header_size: None,
            http2_max_concurrent_streams: policy.http2_max_concurrent_streams,
            http2_keepalive_interval: None,
            http2_keepalive_timeout: None,
            max_connection_duration: None,
            trusted_hops: 0,
            forwarded: false,
        }
    }
}

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let before = scope.problems.len();
        self.check(scope);
        let policy = Policy {
            max_buffer_size: self.max_buffer_size,
            http1_max_headers: self.http1_max_headers.unwrap_or(Policy::default().http1_max_headers),
            http1_idle_timeout: self.http1_idle_timeout.0,
            http1_preserve_case: self.http1_header_case == HeaderCase::Preserve,
            max_header_bytes: self.max_header_bytes,
            request_header_timeout: self.request_header_timeout.0,
            request_body_idle_timeout: self.request_body_idle_timeout.0,
            http2_window_size: self.http2_window_size,
            http2_connection_window_size: self.http2_connection_window_size,
            http2_frame_size: self.http2_frame_size,
            http2_max_header_size: self.http2_max_header_size,
            http2_max_concurrent_streams: self.http2_max_concurrent_streams,
            http2_keepalive_interval: self.http2_keepalive_interval.and_then(Span::nonzero),
            http2_keepalive_timeout: self.http2_keepalive_timeout.and_then(Span::nonzero),
            max_connection_duration: self.max_connection_duration.and_then(Span::nonzero),
            trusted_hops: self.trusted_hops,
            forwarded: self.forwarded,
        };
        (scope.problems.len() == before).then_some(policy)
    }

    fn check(&self, scope: &mut Scope<'_>) {
        let mut within = |key: &str, value: Option<u64>, least: u64, most: u64| {
            if value.is_some_and(|value| !(least..=most).contains(&value)) {
                scope.problem_at(key, format!("write {least} to {most}"));
            }
        };
        let size = |value: usize| u64::try_from(value).ok();
        let window = u64::from(u32::MAX >> 1);
        within("maxBufferSize", size(self.max_buffer_size), 1, 1 << 32);
        within("http1MaxHeaders", self.http1_max_headers.and_then(size), 1, 4096);
        within("maxHeaderBytes", size(self.max_header_bytes), 1024, 1 << 20);
        // RFC 9113, sections 6.5.2 and 6.9.1.
        within("http2WindowSize", self.http2_window_size.map(u64::from), 1, window);
        within("http2ConnectionWindowSize", self.http2_connection_window_size.map(u64::from), 65_535, window);
        within("http2FrameSize", self.http2_frame_size.map(u64::from), 16_384, 16_777_215);
        within("http2MaxHeaderSize", self.http2_max_header_size.map(u64::from), 1024, 1 << 20);
        within("http2MaxConcurrentStreams", Some(u64::from(self.http2_max_concurrent_streams)), 1, window);
        within("trustedHops", size(self.trusted_hops), 0, 32);
        for (key, span) in [
            ("http1IdleTimeout", self.http1_idle_timeout),
            ("requestHeaderTimeout", self.request_header_timeout),
            ("requestBodyIdleTimeout", self.request_body_idle_timeout),
        ] {
            if span.0.is_zero() {
                scope.problem_at(key, "0 serves nobody: write a duration such as `30s`");
            }
        }
    }
}

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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{lower, refuses};

    #[test]
    fn an_empty_block_is_the_default_policy() {
        assert_eq!(lower(json!({}), Config::lower), Policy::default());
        let policy = lower(json!({"http1HeaderCase": "preserve", "http1MaxHeaders": 7}), Config::lower);
        assert!(policy.http1_preserve_case);
        assert_eq!(policy.http1_max_headers, 7);
    }

    #[test]
    fn limits_that_serve_nobody_are_refused() {
        refuses(
            [
                (json!({"http2FrameSize": 1}), "policy.http2FrameSize: write 16384 to 16777215"),
                (json!({"http2MaxConcurrentStreams": 0}), "policy.http2MaxConcurrentStreams"),
                (json!({"maxHeaderBytes": 10}), "policy.maxHeaderBytes: write 1024 to"),
                (json!({"requestHeaderTimeout": "0"}), "policy.requestHeaderTimeout: 0 serves nobody"),
            ],
            Config::lower,
        );
    }
}
