//! The policies that hold at one place, after all levels above it have met.
//!
//! A [`Level`] is what is attached to one target. Levels are merged top-down (instance, gateway,
//! listener, service, route, rule, backend reference), and the result is cached by whoever asked,
//! keyed by the identity of the levels: a new gateway-wide policy makes a new level object and
//! thereby outdates the caches below it without touching them.
//!
//! Precedence, total: a more specific level replaces a less specific one, kind by kind; a policy
//! with `inheritance: override` stands against all below it; two of one kind on one target are
//! ordered by `order`, then key, and the first wins. Kinds that accumulate say so in
//! [`accumulates`].

use std::sync::Arc;

use crate::rung::Rung;
use crate::{Attachment, Kind, Policy};

/// What is attached to one target, sorted by (`order`, key).
pub type Level = Arc<[Arc<Attachment>]>;

/// The merged policies of one place, indexed for the hot path.
#[derive(Clone, Debug, Default)]
pub struct Effective {
    /// Filters in the order they see a request.
    filters: Vec<Arc<Attachment>>,
    /// Position in `settings` by kind; one slot a kind.
    settings: Vec<Option<Arc<Attachment>>>,
    /// Whether any filter has a response hook.
    has_response_hooks: bool,
}

/// Kinds of which several may hold at once; each runs, the less specific first.
fn accumulates(kind: Kind) -> bool {
    matches!(kind, Kind::IpAccess)
}

impl Effective {
    /// `self` (the levels above) met by one more specific level.
    #[must_use]
    pub fn under(&self, level: &[Arc<Attachment>]) -> Self {
        let mut next = self.clone();
        next.settings.resize(Kind::ALL.len(), None);
        let mut seen: Vec<Kind> = Vec::new();
        for attachment in level {
            let kind = attachment.policy.kind();
            if accumulates(kind) {
                next.filters.push(attachment.clone());
                continue;
            }
            if seen.contains(&kind) {
                continue;
            }
            seen.push(kind);
            next.replace(kind, attachment);
        }
        next.filters.sort_by_key(|attachment| {
            let kind = attachment.policy.kind();
            (kind.rung(), kind)
        });
        let hooked = |policy: &Policy| matches!(policy, Policy::Cors(_) | Policy::ResponseHeaderModifier(_));
        next.has_response_hooks = next.filters.iter().any(|attachment| hooked(&attachment.policy));
        next
    }

    fn replace(&mut self, kind: Kind, attachment: &Arc<Attachment>) {
        let locked = |held: &Arc<Attachment>| held.inheritance == ir::Inheritance::Override;
        if kind.rung() == Rung::Setting {
            if let Some(slot) = self.settings.get_mut(kind as usize) {
                if !slot.as_ref().is_some_and(locked) {
                    *slot = Some(attachment.clone());
                }
            }
            return;
        }
        match self.filters.iter_mut().find(|held| held.policy.kind() == kind) {
            Some(held) if locked(held) => {}
            Some(held) => *held = attachment.clone(),
            None => self.filters.push(attachment.clone()),
        }
    }

    /// Filters, in request order.
    pub fn filters(&self) -> &[Arc<Attachment>] {
        &self.filters
    }

    pub fn has_response_hooks(&self) -> bool {
        self.has_response_hooks
    }

    /// The setting of a kind, where one holds.
    pub fn setting(&self, kind: Kind) -> Option<&Policy> {
        self.settings.get(kind as usize)?.as_ref().map(|attachment| &attachment.policy)
    }

    /// Everything that holds here, with its origin: for `GET /config/effective`.
    pub fn parts(&self) -> impl Iterator<Item = &Arc<Attachment>> {
        self.filters.iter().chain(self.settings.iter().flatten())
    }
}

/// Typed access to settings: `effective.timeout()`.
macro_rules! settings {
    ($( $name:ident: $variant:ident in $module:ident; )*) => {
        impl Effective {
            $( pub fn $name(&self) -> Option<&crate::$module::Policy> {
                match self.setting(Kind::$variant) {
                    Some(Policy::$variant(policy)) => Some(policy),
                    _ => None,
                }
            } )*
        }
    };
}

settings! {
    access_log: AccessLog in access_log;
    backend_http: BackendHttp in backend_http;
    backend_tcp: BackendTcp in backend_tcp;
    backend_tls: BackendTls in backend_tls;
    buffer: Buffer in buffer;
    circuit_breaker: CircuitBreaker in circuit_breaker;
    compression: Compression in compression;
    frontend_http: FrontendHttp in frontend_http;
    frontend_tcp: FrontendTcp in frontend_tcp;
    frontend_tls: FrontendTls in frontend_tls;
    health: Health in health;
    proxy_protocol: ProxyProtocol in proxy_protocol;
    request_mirror: RequestMirror in request_mirror;
    retry: Retry in retry;
    session_affinity: SessionAffinity in session_affinity;
    timeout: Timeout in timeout;
}
