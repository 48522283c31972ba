//! Where a policy of a kind may stand. Every source of configuration asks here.

use ir::{Phase, Target};

use crate::expr::Site;
use crate::rung::Rung;
use crate::{Kind, Policy};

/// Where the expressions of a policy are asked.
pub fn site(phase: Phase, target: &Target) -> Site {
    match (phase, target) {
        (Phase::Gateway, _) => Site::Gateway,
        _ if is_backend(target) => Site::Backend,
        _ => Site::Request,
    }
}

fn is_backend(target: &Target) -> bool {
    matches!(target, Target::Backend(_) | Target::RouteBackend { .. } | Target::Service { .. })
}

/// Kinds that decide about whole connections, before anything of a request is known.
fn is_of_connections(kind: Kind) -> bool {
    matches!(kind, Kind::FrontendHttp | Kind::FrontendTcp | Kind::FrontendTls | Kind::ProxyProtocol)
}

/// Filters that act on a request whose backend is drawn. Nothing is left over: a new kind has to say.
fn acts_at_backends(kind: Kind) -> bool {
    match kind {
        Kind::Authorization
        | Kind::ExtAuthz
        | Kind::McpAuthorization
        | Kind::RequestHeaderModifier
        | Kind::ResponseHeaderModifier
        | Kind::Transformations => true,
        Kind::IpAccess
        | Kind::McpAuthentication
        | Kind::Cors
        | Kind::JwtAuth
        | Kind::BasicAuth
        | Kind::ApiKey
        | Kind::Csrf
        | Kind::LocalRateLimit
        | Kind::ConcurrencyLimit
        | Kind::RemoteRateLimit
        | Kind::UrlRewrite
        | Kind::Fault
        | Kind::RequestRedirect
        | Kind::DirectResponse => false,
        // Settings, which the gateway reads there or not.
        Kind::A2a
        | Kind::AccessLog
        | Kind::Ai
        | Kind::BackendAuth
        | Kind::BackendHttp
        | Kind::BackendTcp
        | Kind::BackendTls
        | Kind::Buffer
        | Kind::CircuitBreaker
        | Kind::Compression
        | Kind::Delay
        | Kind::FrontendHttp
        | Kind::FrontendTcp
        | Kind::FrontendTls
        | Kind::Health
        | Kind::McpGuardrails
        | Kind::McpPinning
        | Kind::McpTools
        | Kind::NetworkAuthorization
        | Kind::NetworkExtAuthz
        | Kind::ProxyProtocol
        | Kind::RequestMirror
        | Kind::Retry
        | Kind::SessionAffinity
        | Kind::Timeout => false,
    }
}

/// What [`check`] does not know of a kind alone.
pub fn check_policy(policy: &Policy, target: &Target) -> Result<(), String> {
    match policy {
        Policy::Conditional(_) if is_backend(target) => {
            Err("conditions are asked before a backend is drawn: attach it to a route".to_owned())
        }
        _ => Ok(()),
    }
}

/// Kinds that mean something before a route is selected.
fn runs_before_routing(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Authorization
            | Kind::ConcurrencyLimit
            | Kind::Cors
            | Kind::ExtAuthz
            | Kind::LocalRateLimit
            | Kind::IpAccess
            | Kind::JwtAuth
            | Kind::BasicAuth
            | Kind::ApiKey
            | Kind::Csrf
            | Kind::RequestHeaderModifier
            | Kind::ResponseHeaderModifier
            | Kind::Transformations
            | Kind::UrlRewrite
    )
}

/// That the phase fits kind and target; the error names the cure.
pub fn check(kind: Kind, phase: Phase, target: &Target) -> Result<(), String> {
    if matches!(kind, Kind::NetworkAuthorization | Kind::NetworkExtAuthz) && *target != Target::Instance {
        return Err(format!("`{}` is for connections of the whole process: target the instance", kind.key()));
    }
    if is_of_connections(kind) && matches!(target, Target::Route(_) | Target::RouteRule { .. } | Target::Rule(_)) {
        return Err(format!("`{}` is for connections, which no route governs: target a gateway", kind.key()));
    }
    if is_backend(target) && (is_of_connections(kind) || kind.rung() != Rung::Setting && !acts_at_backends(kind)) {
        return Err(format!("`{}` has no meaning at a backend: target its routes", kind.key()));
    }
    if phase == Phase::Route {
        return Ok(());
    }
    if !runs_before_routing(kind) {
        return Err(format!("`{}` has no meaning before a route is selected: use phase `route`", kind.key()));
    }
    match target {
        Target::Gateway { .. } | Target::GatewayListener { .. } | Target::Listener(_) => Ok(()),
        _ => Err("phase `gateway` needs a gateway target".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_means_something_before_routing_may_stand_there() {
        let listener = Target::Listener(ir::ListenerKey::new("l"));
        assert_eq!(check(Kind::Cors, Phase::Gateway, &listener), Ok(()));
        assert!(check(Kind::Retry, Phase::Gateway, &listener).unwrap_err().contains("`retry` has no meaning"));
        assert!(check(Kind::Cors, Phase::Gateway, &Target::Instance).unwrap_err().contains("needs a gateway"));
        assert_eq!(check(Kind::Retry, Phase::Route, &Target::Instance), Ok(()));
        let backend = Target::Backend(ir::BackendKey::new("b"));
        assert_eq!(check(Kind::Authorization, Phase::Route, &backend), Ok(()));
        assert!(check(Kind::Cors, Phase::Route, &backend).unwrap_err().contains("no meaning at a backend"));
        let rule = Target::Rule(ir::RouteKey::new("r"));
        assert!(check(Kind::FrontendTls, Phase::Route, &rule).unwrap_err().contains("for connections"));
    }
}
