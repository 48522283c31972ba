//! `networkAuthorization`: who may connect, in expressions.
//!
//! ```yaml
//! networkAuthorization:
//!   rules:
//!   - deny: source.address == "192.0.2.7"
//!   - allow: cidr("10.0.0.0/8").containsIP(source.address)
//!   - allow: source.identity.namespace == "trusted"
//! ```
//!
//! **Rules** are those of `authorization`, of which see there: denials, requirements, grants, what errors mean, `mode`.
//! They see the connection alone: `source.*` and `destination.*`. The client is the socket's peer or the source in a
//! PROXY header.
//!
//! **When.** Once for each connection. On ports without TLS, before anything of it is read. On ports with TLS, when
//! the name it asks for is known (`destination.hostname`); where a rule reads the client's certificate, after the
//! handshake. Clients whose certificate is not known have no `source.identity`: such a rule fails for them, which
//! refuses.
//!
//! **Merging.** Policies of `frontendPolicies` and detached ones of the whole process accumulate.
//!
//! **Limits.** 1,000 rules a policy.
//!
//! **Outcome.** The connection is closed, and counted in `agentgateway_connections_refused_total` with
//! reason `network_authorization`; the log names policy and rule at level debug. In `mode: shadow` it goes on, and is
//! counted with reason `network_authorization_shadow`.
//!
//! **Where we differ.** As of `authorization`.

use ir::PolicyKey;

use crate::authorization::{self, Denial, decide};
use crate::expr::{Inputs, Needs, Site};
use crate::{Attachment, Scope};

/// Who may connect, in expressions.
pub type Config = authorization::Config;

/// As of `authorization`, for connections.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
#[serde(transparent)]
pub struct Policy(pub authorization::Policy);

impl Policy {
    pub fn lower(config: Config, scope: &mut Scope<'_>) -> Option<Self> {
        config.lower_at(Site::Connection, scope).map(Self)
    }
}

/// Policies of a port, with their names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules(Vec<(PolicyKey, authorization::Policy)>);

/// What is decided of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// What refuses it: policy, and rule where there is one.
    pub refused: Option<(PolicyKey, Option<usize>)>,
    /// What would have.
    pub shadow: Option<(PolicyKey, Option<usize>)>,
}

impl Rules {
    /// Those among the policies of a level.
    pub fn of<'a>(level: impl Iterator<Item = &'a Attachment>) -> Self {
        let rules = level.filter_map(|it| match &it.policy {
            crate::Policy::NetworkAuthorization(Policy(policy)) => Some((it.key.clone(), policy.clone())),
            _ => None,
        });
        Self(rules.collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the certificate of the client has to be known.
    pub fn need_identity(&self) -> bool {
        let rules = self.0.iter().flat_map(|(_, policy)| &policy.rules);
        rules.into_iter().any(|rule| rule.when.needs().intersects(Needs::PEER))
    }

    pub fn judge(&self, inputs: &Inputs<'_>) -> Judgement {
        let verdicts = decide(self.0.iter().map(|(_, policy)| policy), inputs);
        let named = |denial: Denial| self.0.get(denial.policy).map(|(key, _)| (key.clone(), denial.rule));
        Judgement { refused: verdicts.enforced.and_then(named), shadow: verdicts.shadow.and_then(named) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ir::{Inheritance, Origin, Phase, Target};
    use serde_json::json;

    use super::*;
    use crate::expr::{Destination, Source};
    use crate::testing::{lower, refuses};

    fn rules(rules: serde_json::Value) -> Rules {
        let policy = lower(json!({ "rules": rules }), Policy::lower);
        let attachment = Arc::new(Attachment {
            key: PolicyKey::new("p"),
            target: Target::Instance,
            phase: Phase::Route,
            inheritance: Inheritance::Default,
            order: 0,
            policy: crate::Policy::NetworkAuthorization(policy),
            origin: Origin::default(),
        });
        Rules::of(std::iter::once(&*attachment))
    }

    fn refused(rules: &Rules, client: &str, sni: Option<&str>) -> Option<Option<usize>> {
        let client: std::net::SocketAddr = client.parse().unwrap();
        let source = Source {
            address: client.ip(),
            port: Some(client.port()),
            raw_address: client.ip(),
            raw_port: Some(client.port()),
            workload: None,
            connect_headers: None,
        };
        let destination = Destination { address: None, port: 443, hostname: sni };
        let inputs = Inputs { source: Some(source), destination: Some(destination), ..Inputs::default() };
        rules.judge(&inputs).refused.map(|(_, rule)| rule)
    }

    #[test]
    fn connections_are_judged_by_source_and_destination() {
        let rules = rules(json!([
            {"deny": "source.port < 1024"},
            {"deny": "destination.hostname == 'secret.example'"},
            {"allow": "cidr('10.0.0.0/8').containsIP(source.address)"},
        ]));
        assert!(!rules.need_identity());
        assert_eq!(refused(&rules, "10.1.2.3:4000", Some("a.example")), None);
        assert_eq!(refused(&rules, "10.1.2.3:80", Some("a.example")), Some(Some(0)));
        assert_eq!(refused(&rules, "10.1.2.3:4000", Some("secret.example")), Some(Some(1)));
        assert_eq!(refused(&rules, "192.0.2.1:4000", Some("a.example")), Some(None));
        assert_eq!(refused(&rules, "10.1.2.3:4000", None), Some(Some(1)), "what is not there refuses");
    }

    #[test]
    fn rules_that_read_the_certificate_wait_for_the_handshake() {
        let rules = rules(json!([{"require": "source.identity.namespace == 'trusted'"}]));
        assert!(rules.need_identity());
        assert_eq!(refused(&rules, "10.1.2.3:4000", None), Some(Some(0)));
    }

    #[test]
    fn rules_about_requests_are_refused() {
        refuses([(json!({"rules": ["request.path == '/'"]}), "policy.rules[0]: ")], Policy::lower);
    }
}
