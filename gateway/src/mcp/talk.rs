//! A client's exchange, as far as servers get to see it.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest;
use filters::backend_auth::{Outgoing, Payload};
use filters::{Exchange, Facts, Identity, Verdict, chain};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use pingora_http::RequestHeader;
use protocols::http::hop;
use protocols::mcp::session::{Name, Session};
use protocols::mcp::{Version, param, transport};
use siphasher::sip::SipHasher13;

use super::fault::Fault;
use super::federation::{Endpoint, Federation};
use super::shape::Shaping;
use super::{Mcp, Target};
use crate::outside::World;
use crate::proxy::names;
use crate::upstream::credentials;

/// Headers of the client's that are not for servers: they are of its own connection or message.
static OURS: [HeaderName; 13] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::EXPECT,
    header::ORIGIN,
    transport::SESSION_ID,
    transport::PROTOCOL_VERSION,
    transport::LAST_EVENT_ID,
    transport::METHOD,
    transport::NAME,
];

/// Headers that are written for each server, about.
const SAID: usize = 8;

/// Beginnings of headers that differ from request to request and tell nobody apart.
const PASSING: [&str; 9] =
    ["x-forwarded-", "x-request-id", "traceparent", "tracestate", "x-b3-", "via", "forwarded", "user-agent", "mcp-"];

/// What goes on for a client at servers. It outlives the exchange where something is still to be told to a server.
pub(super) struct Talk {
    pub(super) mcp: Arc<Mcp>,
    pub(super) federation: Arc<Federation>,
    pub(super) world: Arc<World>,
    /// The client's headers without what is its own.
    headers: Arc<HeaderMap>,
    facts: Arc<Facts>,
    /// Where and whose sessions are.
    pub(super) scope: [u8; 32],
    /// See [`Self::audience`]; most messages are not asked about it.
    audience: OnceLock<u64>,
    /// The session that the client shows.
    pub(super) session: Option<(Name, Arc<Session>)>,
    /// The only server's authorization is that of clients.
    pub(super) own_auth: bool,
    /// What clients see of tools, where that is not what servers list.
    pub(super) shaping: Option<Arc<Shaping>>,
    /// Results are looked at first: none goes on of which it is not known what it answers.
    pub(super) guarded: bool,
}

impl Talk {
    /// `headers` are [`passing`] ones, with what the gateway says of the client.
    pub(super) fn new(
        (mcp, world): (Arc<Mcp>, Arc<World>),
        federation: Arc<Federation>,
        headers: HeaderMap,
        facts: Facts,
        route: &str,
    ) -> Self {
        let scope = scope_of(&federation, route, &facts.identity);
        let (headers, facts, audience) = (Arc::new(headers), Arc::new(facts), OnceLock::new());
        Self {
            mcp,
            federation,
            world,
            headers,
            facts,
            scope,
            audience,
            session: None,
            own_auth: false,
            shaping: None,
            guarded: false,
        }
    }

    /// A digest of what servers could tell clients apart by.
    pub(super) fn audience(&self) -> u64 {
        *self.audience.get_or_init(|| audience(&self.headers, &self.scope))
    }

    /// The head of a request with such a body to a server.
    pub(super) async fn head(
        &self,
        endpoint: &Endpoint,
        (method, path): (&http::Method, &str),
        body: &[u8],
    ) -> Result<RequestHeader, Fault> {
        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.method = method.clone();
        parts.uri = http::Uri::try_from(path).map_err(|_| Fault::Policy(format!("`{path}` is not a path")))?;
        parts.headers = HeaderMap::clone(&self.headers);
        let host = endpoint.host.clone().or_else(|| {
            let name = endpoint.cluster.host()?;
            HeaderValue::from_str(&name).ok()
        });
        let host = host.unwrap_or_else(|| HeaderValue::from_static("localhost"));
        parts.headers.insert(header::HOST, host);
        parts.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let mut head = RequestHeader::from(parts);
        let effective = &endpoint.effective;
        if !effective.filters().is_empty() {
            let mut facts = Facts::clone(&self.facts);
            let mut exchange = Exchange { request: &mut head, facts: &mut facts, outside: &*self.world };
            if let Verdict::Reply(_) = chain::on_attempt(effective, &mut exchange) {
                return Err(Fault::Policy(facts.fault.unwrap_or_else(|| "a policy of the server refused".to_owned())));
            }
        }
        // Last: nothing that runs for a request sees the credential.
        if let Some(policy) = effective.backend_auth() {
            if policy.may_wait() {
                credentials::ready(policy, &head, &self.facts).await;
            }
            let (body, facts, outside) = (Payload::Whole(body), &*self.facts, &*self.world);
            let written = policy.on_attempt(Outgoing { head: &mut head, body, facts, outside });
            written.map_err(|why| Fault::Policy(format!("backendAuth: {why}")))?;
        }
        Ok(head)
    }

    /// Whether the client's requests stand alone.
    pub(super) fn is_modern(&self) -> bool {
        self.session.as_ref().is_some_and(|(_, session)| session.version.is_modern())
    }

    /// Whether the client has proved who it is.
    pub(super) fn is_known(&self) -> bool {
        let Identity { jwt, api_key, basic, peer } = &self.facts.identity;
        jwt.is_some() || api_key.is_some() || basic.is_some() || peer.is_some()
    }

    /// The client's headers.
    pub(super) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The same without anything of a client's.
    pub(super) fn nobody(&self) -> Self {
        let mut own = self.again();
        // It stays the same audience's.
        own.audience.get_or_init(|| self.audience());
        own.headers = Arc::default();
        Arc::make_mut(&mut own.facts).identity = Identity::default();
        own.session = None;
        own
    }

    /// The same once more, for what goes on when the exchange has ended.
    pub(super) fn again(&self) -> Self {
        let Self { mcp, federation, world, headers, facts, scope, audience, session, own_auth, shaping, guarded } =
            self;
        Self {
            mcp: mcp.clone(),
            federation: federation.clone(),
            world: world.clone(),
            headers: headers.clone(),
            facts: facts.clone(),
            scope: *scope,
            audience: audience.clone(),
            session: session.clone(),
            own_auth: *own_auth,
            shaping: shaping.clone(),
            guarded: *guarded,
        }
    }

    /// What the session says of a server now: as sealed, or as it was opened anew since.
    pub(super) fn affinity(&self, target: &Target) -> Option<u64> {
        let (name, _) = self.session.as_ref()?;
        Some(affinity(name, target))
    }
}

/// Which endpoint of a server a session is with: the same for every process that asks.
pub(super) fn affinity(session: &Name, target: &Target) -> u64 {
    let mut hasher = siphash();
    session.hash(&mut hasher);
    target.name.hash(&mut hasher);
    hasher.finish()
}

/// What of a client's headers goes on to servers.
pub(super) fn passing(headers: &HeaderMap) -> HeaderMap {
    // Only that era has headers that repeat arguments, and only there anybody compares them.
    let is_modern = transport::version(headers).ok().flatten().is_some_and(Version::is_modern);
    let mut passing = HeaderMap::with_capacity(headers.len() + SAID);
    for (name, value) in headers {
        if !OURS.contains(name) && (is_modern || !param::is_param(name)) {
            passing.append(name.clone(), value.clone());
        }
    }
    if !hop::end_to_end_only(headers) {
        hop::to_remove(headers, false, |name| drop(passing.remove(name)));
    }
    passing
}

/// Inserts all of them at once.
pub(super) fn insert_all(
    head: &mut RequestHeader,
    headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
) -> Result<(), Fault> {
    let written =
        names::change(head, |fields| headers.into_iter().try_for_each(|(name, value)| fields.insert(&name, value)));
    written.map_err(|error| Fault::Policy(error.to_string()))
}

pub(super) fn insert(head: &mut RequestHeader, name: HeaderName, value: HeaderValue) -> Result<(), Fault> {
    head.insert_header(name, value).map_err(|error| Fault::Policy(error.to_string()))
}

/// [`scope`], remembered for clients that nobody knows.
fn scope_of(federation: &Federation, route: &str, identity: &Identity) -> [u8; 32] {
    let Identity { jwt: None, api_key: None, basic: None, peer: None } = identity else {
        return scope(&federation.name, route, identity);
    };
    let digested = || (route.into(), scope(&federation.name, route, identity));
    match federation.of_nobody.get_or_init(digested) {
        (known, scope) if **known == *route => *scope,
        _ => scope(&federation.name, route, identity),
    }
}

/// Where and whose something is that clients hold sealed: never twice the same for two of them.
pub(crate) fn scope(federation: &str, route: &str, identity: &Identity) -> [u8; 32] {
    let Identity { jwt, api_key, basic, peer } = identity;
    let mut context = digest::Context::new(&digest::SHA256);
    let mut part = |tag: &str, bytes: &[u8]| {
        context.update(tag.as_bytes());
        context.update(&(bytes.len() as u64).to_be_bytes());
        context.update(bytes);
    };
    part("federation", federation.as_bytes());
    part("route", route.as_bytes());
    if let Some(jwt) = jwt {
        part("issuer", jwt.issuer.as_bytes());
        part("subject", jwt.text("sub").unwrap_or_default().as_bytes());
    }
    if let Some(key) = api_key {
        part("key", key.key.expose());
    }
    if let Some(user) = basic {
        part("user", user.as_bytes());
    }
    if let Some(peer) = peer {
        // A certificate that was renewed is still the same client's.
        match &peer.spiffe {
            Some(spiffe) => part("spiffe", spiffe.id.as_bytes()),
            None => {
                part("subject", peer.subject.as_bytes());
                part("ca", peer.issuer.as_bytes());
            }
        }
    }
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    out
}

/// A digest of what a server could tell clients apart by.
pub(crate) fn audience(headers: &HeaderMap, scope: &[u8; 32]) -> u64 {
    let mut hasher = siphash();
    scope.hash(&mut hasher);
    let mut names: Vec<&HeaderName> =
        headers.keys().filter(|it| !PASSING.iter().any(|passing| it.as_str().starts_with(passing))).collect();
    names.sort_unstable_by_key(|it| it.as_str());
    for name in names {
        name.as_str().hash(&mut hasher);
        headers.get_all(name).iter().for_each(|it| it.as_bytes().hash(&mut hasher));
    }
    hasher.finish()
}

/// The same everywhere, for replicas have to agree.
fn siphash() -> SipHasher13 {
    SipHasher13::new_with_keys(0x6d63_7000, 0x6167_7700)
}
