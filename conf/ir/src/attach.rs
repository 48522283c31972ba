//! Policy attachment: a policy as written, and what it is attached to.

use serde::Serialize;

use crate::name::{BackendKey, ListenerKey, ObjectName, Origin, PolicyKey, RouteKey, ServiceKey, Text};

/// A policy and its target. Policies travel as written and are merged when used.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Attachment<P> {
    pub key: PolicyKey,
    pub target: Target,
    pub phase: Phase,
    pub inheritance: Inheritance,
    /// Decides between policies of one kind on one target: lower first, then the key.
    pub order: u64,
    pub policy: P,
    pub origin: Origin,
}

/// What a policy is attached to, from the least to the most specific.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Target {
    /// The whole process (`frontendPolicies`).
    Instance,
    /// A gateway, or with `port` those of its listeners that share the port.
    Gateway {
        gateway: ObjectName,
        port: Option<u16>,
    },
    /// One listener by its name inside a gateway.
    GatewayListener {
        gateway: ObjectName,
        listener: Text,
    },
    Listener(ListenerKey),
    Service {
        service: ServiceKey,
        port: Option<u16>,
    },
    /// Every rule of a route.
    Route(ObjectName),
    /// A named rule of a route.
    RouteRule {
        route: ObjectName,
        rule: Text,
    },
    /// Written inside the rule itself.
    Rule(RouteKey),
    Backend(BackendKey),
    /// Written inside one backend reference of a rule.
    RouteBackend {
        route: RouteKey,
        position: u32,
    },
}

/// When a policy that may run twice runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// Before route selection, which sees what it changed.
    Gateway,
    /// After route selection.
    #[default]
    Route,
}

/// How a policy meets one of its kind at a more specific level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Inheritance {
    /// The more specific one wins (or is merged, if its kind says so).
    #[default]
    Default,
    /// This one stands; more specific ones of its kind are ignored.
    Override,
}
