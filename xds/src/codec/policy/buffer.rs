//! `buffer`.

use filters::Scope;
use filters::buffer::{Body, BodyConfig, Config, FailureMode, Policy};

use crate::codec::read;
use crate::pb;
use crate::pb::buffer as wire;

pub(super) fn encode(it: &Policy) -> pb::Buffer {
    let Policy { request, response } = it;
    pb::Buffer { request: request.as_ref().map(encode_body), response: response.as_ref().map(encode_body) }
}

fn encode_body(it: &Body) -> wire::Body {
    let Body { bytes_max, fail_open } = it;
    let failure_mode = if *fail_open { wire::FailureMode::FailOpen } else { wire::FailureMode::FailClosed };
    wire::Body { max_bytes: bytes_max.map(|it| it as u64), failure_mode: failure_mode.into() }
}

pub(super) fn decode(it: pb::Buffer, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::Buffer { request, response } = it;
    let config = Config {
        request: request.map(|it| scope.at("request", |scope| decode_body(it, scope))),
        response: response.map(|it| scope.at("response", |scope| decode_body(it, scope))),
    };
    config.lower(scope)
}

fn decode_body(it: wire::Body, scope: &mut Scope<'_>) -> BodyConfig {
    let wire::Body { max_bytes, failure_mode } = it;
    let failure_mode = match read::choice(scope, "failureMode", failure_mode) {
        wire::FailureMode::Unspecified | wire::FailureMode::FailClosed => FailureMode::FailClosed,
        wire::FailureMode::FailOpen => FailureMode::FailOpen,
    };
    BodyConfig { max_bytes: max_bytes.map(|it| read::number(scope, "maxBytes", it)), failure_mode }
}
