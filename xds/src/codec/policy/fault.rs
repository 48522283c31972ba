//! `fault`.

use filters::Scope;
use filters::fault::{AbortConfig, Config, Policy};

use crate::codec::read;
use crate::pb;
use crate::pb::fault::Abort;

pub(super) fn encode(it: &Policy) -> pb::Fault {
    let Policy { status, fraction } = it;
    pb::Fault { abort: Some(Abort { status: (*status).into(), percentage: Some(*fraction) }) }
}

pub(super) fn decode(it: pb::Fault, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::Fault { abort } = it;
    let Abort { status, percentage } = read::present(scope, "abort", abort);
    let status = scope.at("abort", |scope| read::number(scope, "status", status));
    Config { abort: AbortConfig { status, percentage: percentage.unwrap_or(1.0) } }.lower(scope)
}
