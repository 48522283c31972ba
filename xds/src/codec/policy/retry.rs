//! `retry`.

use filters::Scope;
use filters::retry::{Config, Policy};

use crate::codec::read;
use crate::pb;

pub(super) fn encode(it: &Policy) -> pb::Retry {
    let Policy { attempts, backoff, backoff_max, codes, per_try_timeout, precondition, condition } = it;
    pb::Retry {
        attempts: Some(*attempts),
        backoff: backoff.map(read::duration),
        backoff_max: Some(read::duration(*backoff_max)),
        codes: codes.iter().map(|it| u32::from(*it)).collect(),
        per_try_timeout: per_try_timeout.map(read::duration),
        precondition: precondition.as_ref().map(ToString::to_string),
        condition: condition.as_ref().map(ToString::to_string),
    }
}

pub(super) fn decode(it: pb::Retry, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::Retry { attempts, backoff, backoff_max, codes, per_try_timeout, precondition, condition } = it;
    let config = Config {
        attempts: attempts.map_or(1, |it| read::number(scope, "attempts", it)),
        backoff: read::span(scope, "backoff", backoff),
        backoff_max: read::span(scope, "backoffMax", backoff_max),
        codes: read::numbers(scope, "codes", &codes),
        per_try_timeout: read::span(scope, "perTryTimeout", per_try_timeout),
        precondition,
        condition,
    };
    config.lower(scope)
}
