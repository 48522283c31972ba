//! Servers that policies ask, as written and as understood: a reference, and terms beside it.

use std::sync::Arc;

use ir::BackendRef;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::lower::{ServicePort, SimpleBackend};
use crate::{Attachment, Level, Policy, Scope, transformations};

/// Whom to ask: a backend, under its own policies and those written beside the reference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Target {
    pub backend: BackendRef,
    #[serde(skip_serializing_if = "no_policies")]
    pub policies: Level,
}

fn no_policies(level: &Level) -> bool {
    level.is_empty()
}

impl Target {
    /// That nothing written beside the reference sets a body: a message of gRPC is made by the gateway alone.
    pub fn refuse_bodies(&self, scope: &mut Scope<'_>) {
        let sets = |it: &Arc<Attachment>| matches!(&it.policy, Policy::Transformations(policy) if policy.sets_body());
        if self.policies.iter().any(sets) {
            let reason = "calls of gRPC have a body of their own: take `body` away";
            scope.at("policies", |scope| scope.at("transformations", |scope| scope.problem_at("request", reason)));
        }
    }
}

/// The part of a configuration that names a server: exactly one of the three, and its terms.
#[derive(Default)]
pub struct Reference {
    pub host: Option<String>,
    pub backend: Option<String>,
    pub service: Option<ServicePort>,
    pub policies: Option<Terms>,
}

/// Policies of a server that the gateway itself asks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "SimpleBackendPolicies")]
pub struct Terms {
    /// Changes of the headers of each call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_header_modifier: Option<crate::header_modifier::Config>,
    /// Changes of each call by expressions; `request` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transformations: Option<transformations::Config>,
    /// Credentials of the gateway's own for the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend_auth: Option<crate::backend_auth::Config>,
    /// TLS towards the server.
    #[serde(rename = "backendTLS", skip_serializing_if = "Option::is_none")]
    pub backend_tls: Option<crate::backend_tls::Config>,
    /// Version, and with `requestTimeout` how long a call may take (2 s).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<crate::backend_http::Config>,
    /// Connect timeout and keep-alive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<crate::backend_tcp::Config>,
}

/// A configuration that names the server it asks: the keys of a [`Reference`] come before its own. (`serde` does not
/// deny unknown fields of a struct that is flattened into another.)
macro_rules! asks_a_server {
    ($(#[$attribute:meta])* pub struct $name:ident { $($own:tt)* }) => {
        $(#[$attribute])*
        pub struct $name {
            /// The server: `name:port`, `ip:port` or `unix:/path`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub host: Option<String>,
            /// The server, as the name of an entry of `backends`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub backend: Option<String>,
            /// The server, as a service and its port.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub service: Option<$crate::lower::ServicePort>,
            /// Terms on which the server is asked.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub policies: Option<$crate::callout::Terms>,
            $($own)*
        }

        impl $name {
            /// Takes the server out of it.
            fn server(&mut self) -> $crate::callout::Reference {
                $crate::callout::Reference {
                    host: self.host.take(),
                    backend: self.backend.take(),
                    service: self.service.take(),
                    policies: self.policies.take(),
                }
            }
        }
    };
}
pub(crate) use asks_a_server;

impl Reference {
    /// The policy that asks this server: `policy` makes it of the target, where there is one, and reports what else is
    /// wrong.
    pub fn asked<P>(
        self,
        scope: &mut Scope<'_>,
        policy: impl FnOnce(Option<Arc<Target>>, &mut Scope<'_>) -> Option<P>,
    ) -> Option<P> {
        let before = scope.problems.len();
        let target = self.lower(scope);
        policy(target, scope).filter(|_| scope.problems.len() == before)
    }

    /// The target, or the problem at the current path.
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Arc<Target>> {
        let Self { host, backend, service, policies } = self;
        let policies = scope.at("policies", |scope| policies.map(|it| it.lower(scope)).unwrap_or_default());
        let (key, simple) = match (host, backend, service) {
            (Some(host), None, None) => ("host", SimpleBackend::Host(host)),
            (None, Some(backend), None) => ("backend", SimpleBackend::Backend(backend)),
            (None, None, Some(service)) => ("service", SimpleBackend::Service(service)),
            _ => {
                scope.problem("name the server to ask: exactly one of `host`, `service`, `backend`");
                return None;
            }
        };
        let backend = scope.backends.refer(simple);
        let backend = scope.check(key, backend)?;
        Some(Arc::new(Target { backend, policies: level(policies) }))
    }
}

impl Terms {
    fn lower(self, scope: &mut Scope<'_>) -> Vec<Policy> {
        let Self { request_header_modifier, transformations, backend_auth, backend_tls, http, tcp } = self;
        let mut policies = Vec::new();
        if let Some(config) = request_header_modifier {
            let lowered = scope.at("requestHeaderModifier", |scope| config.lower_request(scope));
            policies.extend(lowered.map(Policy::RequestHeaderModifier));
        }
        if let Some(config) = transformations {
            let lowered = scope.at("transformations", |scope| only_requests(config.lower(scope)?, scope));
            policies.extend(lowered.map(Policy::Transformations));
        }
        if let Some(config) = backend_auth {
            policies.extend(scope.at("backendAuth", |scope| config.lower(scope)).map(Policy::BackendAuth));
        }
        if let Some(config) = backend_tls {
            policies.extend(scope.at("backendTLS", |scope| config.lower(scope)).map(Policy::BackendTls));
        }
        if let Some(config) = http {
            policies.extend(scope.at("http", |scope| config.lower(scope)).map(Policy::BackendHttp));
        }
        if let Some(config) = tcp {
            policies.extend(scope.at("tcp", |scope| config.lower(scope)).map(Policy::BackendTcp));
        }
        policies
    }
}

/// Answers of servers that are asked mean what they say.
pub fn only_requests(policy: transformations::Policy, scope: &mut Scope<'_>) -> Option<transformations::Policy> {
    if policy.response.is_some() {
        scope.problem_at("response", "the answer of a server that is asked is read as it comes: write `request` only");
        return None;
    }
    Some(policy)
}

/// Policies as if they were attached where they are written.
pub fn level(policies: Vec<Policy>) -> Level {
    let attach = |policy: Policy| {
        Arc::new(Attachment {
            key: ir::PolicyKey::new(policy.kind().key()),
            target: ir::Target::Instance,
            phase: ir::Phase::Route,
            inheritance: ir::Inheritance::Default,
            order: 0,
            policy,
            origin: ir::Origin::default(),
        })
    };
    policies.into_iter().map(attach).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{lower, refuses};

    #[derive(Deserialize)]
    struct Written {
        host: Option<String>,
        backend: Option<String>,
        policies: Option<Terms>,
    }

    fn target(written: Written, scope: &mut Scope<'_>) -> Option<Arc<Target>> {
        let Written { host, backend, policies } = written;
        Reference { host, backend, service: None, policies }.lower(scope)
    }

    #[test]
    fn a_server_is_named_once_and_has_terms() {
        let it = lower(json!({"host": "authz:9000", "policies": {"http": {"requestTimeout": "50ms"}}}), target);
        assert_eq!(it.policies.len(), 1);
        refuses(
            [
                (json!({}), "policy: name the server to ask"),
                (json!({"host": "a:1", "backend": "b"}), "policy: name the server to ask"),
                (json!({"backend": "absent"}), "policy.backend: no backend `absent`"),
            ],
            target,
        );
    }
}
