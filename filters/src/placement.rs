//! Where a policy of a kind may stand. Every source of configuration asks here.

use ir::{Phase, Target};

use crate::Kind;

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
    }
}
