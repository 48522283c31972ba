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
//! [`accumulates`]; of `ai` each part is replaced for itself ([`met`]).

use std::sync::Arc;

use crate::rung::Rung;
use crate::{Attachment, Facts, Kind, Policy, Wanted};

/// What is attached to one target, sorted by (`order`, key).
pub type Level = Arc<[Arc<Attachment>]>;

/// The merged policies of one place, indexed for the hot path.
#[derive(Clone, Debug, Default)]
pub struct Effective {
    /// Filters in the order they see a request.
    filters: Vec<Arc<Attachment>>,
    /// How much of the request's body each of them reads.
    wanted: Vec<Wanted>,
    /// Position in `settings` by kind; one slot a kind.
    settings: Vec<Option<Arc<Attachment>>>,
    /// Whether any filter has a response hook.
    has_response_hooks: bool,
    /// Whether any of them looks at the response's body.
    wants_response_body: bool,
}

/// Kinds of which several may hold at once; each runs, the less specific first.
fn accumulates(kind: Kind) -> bool {
    matches!(kind, Kind::IpAccess | Kind::Authorization | Kind::McpAuthorization)
}

/// A setting where it meets that of the levels above. What is said of language models is kept part by part: a default for
/// one model must not do away with the guards of all.
fn met(own: &Arc<Attachment>, above: Option<&Arc<Attachment>>) -> Arc<Attachment> {
    match (&own.policy, above.map(|it| &it.policy)) {
        (Policy::Ai(it), Some(Policy::Ai(above))) => {
            Arc::new(Attachment { policy: Policy::Ai(it.over(above)), ..Attachment::clone(own) })
        }
        _ => own.clone(),
    }
}

fn has_response_hook(policy: &Policy) -> bool {
    match policy {
        Policy::Cors(_) | Policy::ResponseHeaderModifier(_) => true,
        Policy::Transformations(policy) => policy.response.is_some(),
        Policy::Conditional(policy) => policy.any(has_response_hook),
        _ => false,
    }
}

fn wants_response_body(policy: &Policy) -> bool {
    match policy {
        Policy::Transformations(policy) => policy.wants_response_body(),
        Policy::Conditional(policy) => policy.any(wants_response_body),
        _ => false,
    }
}

/// How much of the request's body each filter must have before it runs. Rules of authorization that follow each other
/// are asked together. Of conditional policies it is what their conditions read.
fn wanted(filters: &[Arc<Attachment>]) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = filters.iter().map(|it| it.policy.wanted()).collect();
    let rules = |it: &Arc<Attachment>| matches!(it.policy, Policy::Authorization(_));
    if let Some(first) = filters.iter().position(rules) {
        let all = filters.iter().zip(&wanted).filter(|(it, _)| rules(it)).map(|(_, wanted)| *wanted).max();
        if let (Some(slot), Some(all)) = (wanted.get_mut(first), all) {
            *slot = all;
        }
    }
    wanted
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
            if matches!(kind, Kind::Authorization | Kind::McpAuthorization) && self.is_locked(kind) {
                continue;
            }
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
        let policies = || next.filters.iter().map(|attachment| &attachment.policy);
        let (hooks, body) = (policies().any(has_response_hook), policies().any(wants_response_body));
        next.wanted = wanted(&next.filters);
        next.has_response_hooks = hooks;
        next.wants_response_body = body;
        next
    }

    /// Whether a level above keeps a kind that accumulates to itself. Networks of `ipAccess` only ever narrow, so
    /// they are not locked.
    fn is_locked(&self, kind: Kind) -> bool {
        let locks = |it: &Arc<Attachment>| it.inheritance == ir::Inheritance::Override && it.policy.kind() == kind;
        self.filters.iter().any(locks)
    }

    fn replace(&mut self, kind: Kind, attachment: &Arc<Attachment>) {
        let locked = |held: &Arc<Attachment>| held.inheritance == ir::Inheritance::Override;
        if kind.rung() == Rung::Setting {
            if let Some(slot) = self.settings.get_mut(kind as usize)
                && !slot.as_ref().is_some_and(locked)
            {
                *slot = Some(met(attachment, slot.as_ref()));
            }
            return;
        }
        match self.filters.iter_mut().find(|held| held.policy.kind() == kind) {
            Some(held) if locked(held) => {}
            Some(held) => *held = attachment.clone(),
            None => self.filters.push(attachment.clone()),
        }
    }

    /// The settings alone: what a backend's own policies build on.
    #[must_use]
    pub fn settings_only(&self) -> Self {
        Self { settings: self.settings.clone(), ..Self::default() }
    }

    /// The attachment that gives a setting, for its identity.
    pub fn part(&self, kind: Kind) -> Option<&Arc<Attachment>> {
        self.settings.get(kind as usize)?.as_ref()
    }

    /// Filters, in request order.
    pub fn filters(&self) -> &[Arc<Attachment>] {
        &self.filters
    }

    /// How many filters there are before those that answer in a backend's place.
    pub(crate) fn before_answers(&self) -> usize {
        self.filters.partition_point(|it| it.policy.kind().rung() < Rung::Answer)
    }

    /// How much of the request's body the filter at a position reads.
    pub(crate) fn wanted(&self, position: usize) -> Wanted {
        self.wanted.get(position).copied().unwrap_or(Wanted::Nothing)
    }

    /// Where the filters of one rung are.
    pub(crate) fn positions_of(&self, rung: Rung) -> std::ops::Range<usize> {
        let start = self.filters.partition_point(|it| it.policy.kind().rung() < rung);
        start..self.filters.partition_point(|it| it.policy.kind().rung() <= rung)
    }

    pub fn has_response_hooks(&self) -> bool {
        self.has_response_hooks
    }

    /// Whether a response hook can only run once the body is there.
    pub fn wants_response_body(&self, facts: &Facts) -> bool {
        let wants = |it: &Arc<Attachment>| match &it.policy {
            Policy::Conditional(policy) if policy.is_decided(facts) => {
                policy.chosen(facts).is_some_and(wants_response_body)
            }
            policy => wants_response_body(policy),
        };
        self.wants_response_body && self.filters.iter().any(wants)
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
    a2a: A2a in a2a;
    access_log: AccessLog in access_log;
    ai: Ai in ai;
    backend_auth: BackendAuth in backend_auth;
    backend_http: BackendHttp in backend_http;
    backend_tcp: BackendTcp in backend_tcp;
    backend_tls: BackendTls in backend_tls;
    buffer: Buffer in buffer;
    circuit_breaker: CircuitBreaker in circuit_breaker;
    compression: Compression in compression;
    delay: Delay in delay;
    frontend_http: FrontendHttp in frontend_http;
    frontend_tcp: FrontendTcp in frontend_tcp;
    frontend_tls: FrontendTls in frontend_tls;
    health: Health in health;
    mcp_pinning: McpPinning in mcp_pinning;
    mcp_tools: McpTools in mcp_tools;
    proxy_protocol: ProxyProtocol in proxy_protocol;
    request_mirror: RequestMirror in request_mirror;
    retry: Retry in retry;
    session_affinity: SessionAffinity in session_affinity;
    timeout: Timeout in timeout;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ir::{Inheritance, Origin, Phase, PolicyKey, Target};

    use super::*;
    use crate::{direct_response, ip_access, timeout, url_rewrite};

    fn attach(key: &str, order: u64, inheritance: Inheritance, policy: Policy) -> Arc<Attachment> {
        let key = PolicyKey::new(key);
        Arc::new(Attachment {
            key,
            target: Target::Instance,
            phase: Phase::Route,
            inheritance,
            order,
            policy,
            origin: Origin::default(),
        })
    }

    fn after(seconds: u64) -> Policy {
        let request = Some(Duration::from_secs(seconds));
        Policy::Timeout(timeout::Policy { request, backend_request: None })
    }

    fn plain(key: &str, policy: Policy) -> Arc<Attachment> {
        attach(key, 0, Inheritance::Default, policy)
    }

    fn seconds(effective: &Effective) -> Option<u64> {
        effective.timeout()?.request.map(|it| it.as_secs())
    }

    fn answer(status: u16) -> Policy {
        Policy::DirectResponse(direct_response::Policy { status, ..direct_response::Policy::default() })
    }

    #[test]
    fn a_more_specific_level_replaces_kind_by_kind() {
        let above = Effective::default().under(&[plain("a", after(1)), plain("b", answer(201))]);
        let below = above.under(&[plain("c", after(2))]);
        assert_eq!((seconds(&above), seconds(&below)), (Some(1), Some(2)));
        let keys: Vec<_> = below.parts().map(|it| it.key.as_str().to_owned()).collect();
        assert_eq!(keys, ["b", "c"], "the other kind stands");
        let below = below.under(&[plain("d", answer(202))]);
        assert_eq!(below.filters().len(), 1, "a filter is replaced as well");
        assert_eq!(below.filters()[0].key.as_str(), "d");
    }

    #[test]
    fn an_override_stands_against_all_below_it() {
        let locked = |key, policy| attach(key, 0, Inheritance::Override, policy);
        let above = Effective::default().under(&[locked("a", after(1)), locked("b", answer(201))]);
        let below = above.under(&[plain("c", after(2)), locked("d", answer(202))]);
        let keys: Vec<_> = below.parts().map(|it| it.key.as_str().to_owned()).collect();
        assert_eq!(keys, ["b", "a"]);
        // It does not reach upwards: an override below an ordinary one just replaces it.
        let other = Effective::default().under(&[plain("e", after(3))]).under(&[locked("f", after(4))]);
        assert_eq!(seconds(&other.under(&[plain("g", after(5))])), Some(4));
    }

    #[test]
    fn of_two_of_one_kind_on_one_target_the_first_in_order_wins() {
        let mut level = vec![
            attach("z", 1, Inheritance::Default, after(1)),
            attach("b", 0, Inheritance::Default, after(2)),
            attach("a", 0, Inheritance::Override, after(3)),
        ];
        level.sort_by_key(|it| (it.order, it.key.clone()));
        let effective = Effective::default().under(&level);
        assert_eq!(seconds(&effective), Some(3), "order 0, then key `a`");
        assert_eq!(effective.parts().count(), 1);
    }

    #[test]
    fn ip_access_accumulates_the_less_specific_first() {
        let policy = || Policy::IpAccess(ip_access::Policy::default());
        let above = Effective::default().under(&[plain("a", policy()), plain("b", policy())]);
        let below = above.under(&[plain("c", policy())]);
        let keys: Vec<_> = below.filters().iter().map(|it| it.key.as_str()).collect();
        assert_eq!(keys, ["a", "b", "c"]);
        assert_eq!(above.filters().len(), 2, "the level above is untouched");
    }

    #[test]
    fn filters_run_by_rung_however_they_were_attached() {
        let level = [
            plain("answer", answer(200)),
            plain("rewrite", Policy::UrlRewrite(url_rewrite::Policy::default())),
            plain("cors", Policy::Cors(Default::default())),
            plain("ip", Policy::IpAccess(Default::default())),
        ];
        let effective = Effective::default().under(&level);
        let keys: Vec<_> = effective.filters().iter().map(|it| it.key.as_str()).collect();
        assert_eq!(keys, ["ip", "cors", "rewrite", "answer"]);
        assert!(effective.has_response_hooks(), "cors looks at responses");
    }
}
