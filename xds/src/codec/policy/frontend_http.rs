//! `frontendPolicies.http`.

use filters::Scope;
use filters::frontend_http::{Config, HeaderCase, Policy};

use crate::codec::read;
use crate::pb;
use crate::pb::frontend_http as wire;

pub(super) fn encode(it: &Policy) -> pb::FrontendHttp {
    let Policy {
        max_buffer_size,
        http1_max_headers,
        http1_idle_timeout,
        http1_preserve_case,
        max_header_bytes,
        request_header_timeout,
        request_body_idle_timeout,
        http2_window_size,
        http2_connection_window_size,
        http2_frame_size,
        http2_max_header_size,
        http2_max_concurrent_streams,
        http2_keepalive_interval,
        http2_keepalive_timeout,
        max_connection_duration,
        trusted_hops,
        forwarded,
    } = it;
    let case = if *http1_preserve_case { wire::HeaderCase::Preserve } else { wire::HeaderCase::Lowercase };
    pb::FrontendHttp {
        max_buffer_size: Some(*max_buffer_size as u64),
        // At most 4096, and 32 below: lowering sees to it.
        http1_max_headers: u32::try_from(*http1_max_headers).ok(),
        http1_idle_timeout: Some(read::duration(*http1_idle_timeout)),
        http1_header_case: case.into(),
        max_header_bytes: Some(*max_header_bytes as u64),
        request_header_timeout: Some(read::duration(*request_header_timeout)),
        request_body_idle_timeout: Some(read::duration(*request_body_idle_timeout)),
        http2_window_size: *http2_window_size,
        http2_connection_window_size: *http2_connection_window_size,
        http2_frame_size: *http2_frame_size,
        http2_max_header_size: *http2_max_header_size,
        http2_max_concurrent_streams: Some(*http2_max_concurrent_streams),
        http2_keepalive_interval: http2_keepalive_interval.map(read::duration),
        http2_keepalive_timeout: http2_keepalive_timeout.map(read::duration),
        max_connection_duration: max_connection_duration.map(read::duration),
        trusted_hops: u32::try_from(*trusted_hops).unwrap_or(u32::MAX),
        forwarded: *forwarded,
    }
}

pub(super) fn decode(it: pb::FrontendHttp, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::FrontendHttp {
        max_buffer_size,
        http1_max_headers,
        http1_idle_timeout,
        http1_header_case,
        max_header_bytes,
        request_header_timeout,
        request_body_idle_timeout,
        http2_window_size,
        http2_connection_window_size,
        http2_frame_size,
        http2_max_header_size,
        http2_max_concurrent_streams,
        http2_keepalive_interval,
        http2_keepalive_timeout,
        max_connection_duration,
        trusted_hops,
        forwarded,
    } = it;
    let base = Config::default();
    let config = Config {
        max_buffer_size: max_buffer_size.map_or(base.max_buffer_size, |it| read::number(scope, "maxBufferSize", it)),
        http1_max_headers: http1_max_headers.map(|it| read::number(scope, "http1MaxHeaders", it)),
        http1_idle_timeout: read::span(scope, "http1IdleTimeout", http1_idle_timeout)
            .unwrap_or(base.http1_idle_timeout),
        http1_header_case: match read::choice(scope, "http1HeaderCase", http1_header_case) {
            wire::HeaderCase::Unspecified | wire::HeaderCase::Lowercase => HeaderCase::Lowercase,
            wire::HeaderCase::Preserve => HeaderCase::Preserve,
        },
        max_header_bytes: max_header_bytes
            .map_or(base.max_header_bytes, |it| read::number(scope, "maxHeaderBytes", it)),
        request_header_timeout: read::span(scope, "requestHeaderTimeout", request_header_timeout)
            .unwrap_or(base.request_header_timeout),
        request_body_idle_timeout: read::span(scope, "requestBodyIdleTimeout", request_body_idle_timeout)
            .unwrap_or(base.request_body_idle_timeout),
        http2_window_size,
        http2_connection_window_size,
        http2_frame_size,
        http2_max_header_size,
        http2_max_concurrent_streams: http2_max_concurrent_streams.unwrap_or(base.http2_max_concurrent_streams),
        http2_keepalive_interval: read::span(scope, "http2KeepaliveInterval", http2_keepalive_interval),
        http2_keepalive_timeout: read::span(scope, "http2KeepaliveTimeout", http2_keepalive_timeout),
        max_connection_duration: read::span(scope, "maxConnectionDuration", max_connection_duration),
        trusted_hops: read::number(scope, "trustedHops", trusted_hops),
        forwarded,
    };
    config.lower(scope)
}
