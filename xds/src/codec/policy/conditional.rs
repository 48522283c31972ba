//! `conditional`: policies of one kind, each with the condition under which it applies.

use filters::conditional::{Entry, Policy};
use filters::{Kind, Scope};

use super::{direct_response, ext_authz, local_rate_limit, remote_rate_limit, transformations};
use crate::pb;
use crate::pb::conditional::entry::Kind as Wire;

pub(super) fn encode(it: &Policy) -> pb::Conditional {
    let entry = |it: &Entry| {
        let Entry { condition, policy } = it;
        pb::conditional::Entry { condition: condition.as_ref().map(|it| it.text().to_owned()), kind: wire(policy) }
    };
    pb::Conditional { entries: it.entries().iter().map(entry).collect() }
}

/// Other kinds have no conditions.
fn wire(policy: &filters::Policy) -> Option<Wire> {
    match policy {
        filters::Policy::DirectResponse(it) => Some(Wire::DirectResponse(direct_response::encode(it))),
        filters::Policy::ExtAuthz(it) => Some(Wire::ExtAuthz(ext_authz::encode(it))),
        filters::Policy::RemoteRateLimit(it) => Some(Wire::RemoteRateLimit(remote_rate_limit::encode(it))),
        filters::Policy::LocalRateLimit(it) => Some(Wire::LocalRateLimit(local_rate_limit::encode(it))),
        filters::Policy::Transformations(it) => Some(Wire::Transformations(transformations::encode(it))),
        _ => None,
    }
}

/// The kind of all entries, which is that of the first.
pub(super) fn kind(it: &pb::Conditional) -> Option<Kind> {
    it.entries.first()?.kind.as_ref().map(kind_of)
}

fn kind_of(wire: &Wire) -> Kind {
    match wire {
        Wire::DirectResponse(_) => Kind::DirectResponse,
        Wire::ExtAuthz(_) => Kind::ExtAuthz,
        Wire::LocalRateLimit(_) => Kind::LocalRateLimit,
        Wire::RemoteRateLimit(_) => Kind::RemoteRateLimit,
        Wire::Transformations(_) => Kind::Transformations,
    }
}

pub(super) fn decode(it: pb::Conditional, scope: &mut Scope<'_>) -> Option<Policy> {
    let kind = kind(&it);
    let Some(kind) = kind else {
        scope.problem("holds no entry of a kind this version knows");
        return None;
    };
    let written = it.entries.into_iter().map(|pb::conditional::Entry { condition, kind }| (condition, kind));
    Policy::lower(kind, written.collect(), scope, |wire, scope| match wire {
        Some(wire) if kind_of(&wire) == kind => entry(wire, scope),
        Some(other) => {
            scope.problem(format!("`{}` among entries of `{}`", kind_of(&other).key(), kind.key()));
            None
        }
        None => {
            scope.problem("holds no kind of policy this version knows");
            None
        }
    })
}

fn entry(wire: Wire, scope: &mut Scope<'_>) -> Option<filters::Policy> {
    match wire {
        Wire::DirectResponse(it) => direct_response::decode(it, scope).map(filters::Policy::DirectResponse),
        Wire::ExtAuthz(it) => ext_authz::decode(it, scope).map(filters::Policy::ExtAuthz),
        Wire::RemoteRateLimit(it) => remote_rate_limit::decode(it, scope).map(filters::Policy::RemoteRateLimit),
        Wire::LocalRateLimit(it) => local_rate_limit::decode(it, scope).map(filters::Policy::LocalRateLimit),
        Wire::Transformations(it) => transformations::decode(it, scope).map(filters::Policy::Transformations),
    }
}
