//! `envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit`: what a policy asks as its message,
//! and the answer read.

use std::time::Duration;

use bytes::Bytes;
use filters::callout::{Descriptor, Fault, HeaderChange, How, LimitStatus, Limited, RateLimit, Unit};
use prost::Message;

use super::check::plain;
use super::pb::core::HeaderValue;
use super::pb::descriptor::RateLimitDescriptor;
use super::pb::descriptor::rate_limit_descriptor::{Entry, RateLimitOverride};
use super::pb::kind::RateLimitUnit;
use super::pb::rls::rate_limit_response::rate_limit::Unit as Window;
use super::pb::rls::rate_limit_response::{Code, DescriptorStatus};
use super::pb::rls::{RateLimitRequest, RateLimitResponse};

pub(super) const METHOD: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

pub(super) fn encode(asked: RateLimit<'_>) -> RateLimitRequest {
    let RateLimit { domain, descriptors, hits, facts: _ } = asked;
    RateLimitRequest {
        domain: domain.to_owned(),
        descriptors: descriptors.into_iter().map(descriptor).collect(),
        hits_addend: hits,
    }
}

fn descriptor(it: Descriptor) -> RateLimitDescriptor {
    let Descriptor { entries, limit, hits } = it;
    RateLimitDescriptor {
        entries: entries.into_iter().map(|(key, value)| Entry { key, value }).collect(),
        limit: limit.map(|(requests_per_unit, unit)| RateLimitOverride { requests_per_unit, unit: wire(unit).into() }),
        hits_addend: hits,
    }
}

fn wire(unit: Unit) -> RateLimitUnit {
    match unit {
        Unit::Second => RateLimitUnit::Second,
        Unit::Minute => RateLimitUnit::Minute,
        Unit::Hour => RateLimitUnit::Hour,
        Unit::Day => RateLimitUnit::Day,
        Unit::Month => RateLimitUnit::Month,
        Unit::Year => RateLimitUnit::Year,
    }
}

pub(super) fn decode(answer: Bytes) -> Result<Limited, Fault> {
    let answer = RateLimitResponse::decode(answer).map_err(|error| Fault::Garbage(error.to_string()))?;
    let over = match answer.overall_code() {
        Code::Ok => false,
        Code::OverLimit => true,
        // The server does not know either.
        Code::Unknown => return Err(Fault::Garbage("its overall code is unknown".to_owned())),
    };
    Ok(Limited {
        over,
        statuses: answer.statuses.iter().map(status).collect(),
        request: headers(answer.request_headers_to_add),
        response: headers(answer.response_headers_to_add),
        body: answer.raw_body,
    })
}

fn status(it: &DescriptorStatus) -> LimitStatus {
    let window = |unit| {
        Some(match unit {
            Window::Unknown => return None,
            Window::Second => Unit::Second,
            Window::Minute => Unit::Minute,
            Window::Hour => Unit::Hour,
            Window::Day => Unit::Day,
            Window::Month => Unit::Month,
            Window::Year => Unit::Year,
        })
    };
    let reset = it.duration_until_reset.as_ref();
    LimitStatus {
        over: it.code() == Code::OverLimit,
        limit: it.current_limit.as_ref().map(|limit| (limit.requests_per_unit, window(limit.unit()))),
        remaining: it.limit_remaining,
        reset: reset.and_then(|it| Some(Duration::new(it.seconds.try_into().ok()?, it.nanos.try_into().ok()?))),
    }
}

/// These are added to what is there.
fn headers(list: Vec<HeaderValue>) -> Vec<HeaderChange> {
    list.into_iter().map(|header| HeaderChange { how: How::Append, ..plain(header) }).collect()
}
