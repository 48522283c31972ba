//! Between the values of `ir` and `filters` and what travels: one file for each resource and for each
//! policy.
//!
//! `encode` is total. `decode` reports *all* problems of a resource, with their paths, and gives a value
//! or refuses it whole: it goes through the same doors as local configuration (a policy is decoded into
//! its `Config` and lowered), so that a value which is no good has no way in. Paths are those of local
//! configuration, `policy.cors.allowOrigins[0]`.
//!
//! Not here: what happens to a refused resource ([`substitute`] says what serves in its place, the client
//! when), and how resources travel.

mod ai;
mod attachment;
mod backend;
mod listener;
mod matcher;
mod mcp;
mod policy;
mod read;
mod route;
mod service;
mod substitute;
#[cfg(test)]
mod tests;
mod unknown;
mod workload;

use std::fmt;
use std::sync::LazyLock;

use filters::{Change, Scope};
use ir::{BackendKey, BindKey, Invalid, ListenerKey, Origin, PolicyKey, RouteKey, ServiceKey, Text};
use prost::Message as _;

use crate::pb;
pub use substitute::{stand_in, substitute};

/// Largest resource decoded. A direct response holds up to 1 MiB of body.
pub const RESOURCE_BYTES_MAX: usize = 4 << 20;
/// Longest name of a resource.
pub const NAME_BYTES_MAX: usize = 1024;
/// Most problems kept of one resource; nobody reads further.
pub const PROBLEMS_MAX: usize = 20;

/// What a resource is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    // In the order in which they are sent: what is named before what names it, so that a port opens
    // when everything behind it is there.
    Service,
    Workload,
    Backend,
    Policy,
    RouteGroup,
    TcpRoute,
    Route,
    Listener,
    Bind,
}

impl Kind {
    pub const ALL: [Self; 9] = [
        Self::Service,
        Self::Workload,
        Self::Backend,
        Self::Policy,
        Self::RouteGroup,
        Self::TcpRoute,
        Self::Route,
        Self::Listener,
        Self::Bind,
    ];

    /// The first part of a resource's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Workload => "workload",
            Self::Backend => "backend",
            Self::Policy => "policy",
            Self::RouteGroup => "route_group",
            Self::TcpRoute => "tcp_route",
            Self::Route => "route",
            Self::Listener => "listener",
            Self::Bind => "bind",
        }
    }
}

/// The name of a resource: `<kind>/<key>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    pub kind: Kind,
    pub key: Text,
}

impl Name {
    /// Reads a name. `None` where it has no kind that this version knows, or no key.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, key) = text.split_once('/').filter(|(_, key)| !key.is_empty() && text.len() <= NAME_BYTES_MAX)?;
        let kind = Kind::ALL.into_iter().find(|it| it.as_str() == kind)?;
        Some(Self { kind, key: key.into() })
    }

    /// The name of what a change is about.
    pub fn of(change: &Change) -> Self {
        let (kind, key) = match change {
            Change::Bind(key, _) => (Kind::Bind, &key.0),
            Change::Listener(key, _) => (Kind::Listener, &key.0),
            Change::Route(key, _) => (Kind::Route, &key.0),
            Change::TcpRoute(key, _) => (Kind::TcpRoute, &key.0),
            Change::RouteGroup(key, _) => (Kind::RouteGroup, key),
            Change::Backend(key, _) => (Kind::Backend, &key.0),
            Change::Service(key, _) => (Kind::Service, &key.0),
            Change::Workload(key, _) => (Kind::Workload, key),
            Change::Policy(key, _) => (Kind::Policy, &key.0),
        };
        Self { kind, key: key.clone() }
    }

    /// The change that takes the object away.
    pub fn removal(&self) -> Change {
        let key = self.key.clone();
        match self.kind {
            Kind::Bind => Change::Bind(BindKey(key), None),
            Kind::Listener => Change::Listener(ListenerKey(key), None),
            Kind::Route => Change::Route(RouteKey(key), None),
            Kind::TcpRoute => Change::TcpRoute(RouteKey(key), None),
            Kind::RouteGroup => Change::RouteGroup(key, None),
            Kind::Backend => Change::Backend(BackendKey(key), None),
            Kind::Service => Change::Service(ServiceKey(key), None),
            Kind::Workload => Change::Workload(key, None),
            Kind::Policy => Change::Policy(PolicyKey(key), None),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.as_str(), self.key)
    }
}

/// Why a resource is refused. The text never holds secrets.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("the name is not `<kind>/<key>` with a kind this version knows, such as `route/edge`")]
    Name,
    #[error("its type is not `{}`", pb::TYPE_URL)]
    Type,
    #[error("{0} bytes are more than {RESOURCE_BYTES_MAX}")]
    Size(usize),
    #[error("not a message: {0}")]
    Wire(#[source] prost::DecodeError),
    #[error("holds no kind of object this version knows")]
    Empty,
    #[error("the name does not fit the content, which is `{0}`")]
    Mismatch(Name),
    #[error("this version does not know {}", .0.join(", "))]
    Unknown(Vec<String>),
    #[error("{}", lines(.0))]
    Content(Vec<Invalid>),
}

fn lines(problems: &[Invalid]) -> String {
    let shown: Vec<_> = problems.iter().take(PROBLEMS_MAX).map(ToString::to_string).collect();
    let rest = problems.len().saturating_sub(PROBLEMS_MAX);
    if rest > 0 { format!("{}; and {rest} more", shown.join("; ")) } else { shown.join("; ") }
}

/// The bytes of a resource with a value; a removal has none.
pub fn encode(change: &Change) -> Option<Vec<u8>> {
    use pb::resource::Kind as To;
    let kind = match change {
        Change::Bind(_, it) => To::Bind(listener::encode_bind(it.as_deref()?)),
        Change::Listener(_, it) => To::Listener(listener::encode(it.as_deref()?)),
        Change::Route(_, it) => To::Route(route::encode(it.as_deref()?)),
        Change::TcpRoute(_, it) => To::TcpRoute(route::encode_tcp(it.as_deref()?)),
        Change::RouteGroup(_, it) => To::RouteGroup(route::encode_group(it.as_deref()?)),
        Change::Backend(_, it) => To::Backend(backend::encode(it.as_deref()?)),
        Change::Service(_, it) => To::Service(service::encode(it.as_deref()?)),
        Change::Workload(_, it) => To::Workload(workload::encode(it.as_deref()?)),
        Change::Policy(_, it) => To::Policy(attachment::encode(it.as_deref()?)),
    };
    Some(pb::Resource { kind: Some(kind) }.encode_to_vec())
}

/// The object in a resource.
///
/// # Errors
/// Everything that is wrong with it; nothing of it may then be used.
pub fn decode(name: &str, type_url: &str, bytes: &[u8]) -> Result<Change, Fault> {
    let named = Name::parse(name).ok_or(Fault::Name)?;
    let resource = parse(type_url, bytes)?;
    let strange = unknown::fields(&resource, bytes);
    let Some(kind) = resource.kind else {
        return Err(if strange.is_empty() { Fault::Empty } else { Fault::Unknown(strange) });
    };
    if !strange.is_empty() {
        return Err(Fault::Unknown(strange));
    }
    let mut doors = read::Doors;
    let mut backends = read::Doors;
    let mut scope = Scope::new(named.kind.as_str(), &mut doors, &mut backends);
    let change = object(kind, &origin(name), &mut scope);
    if !scope.problems.is_empty() {
        return Err(Fault::Content(scope.problems));
    }
    // Without a problem there is an object.
    let change = change.ok_or(Fault::Empty)?;
    let found = Name::of(&change);
    if found == named { Ok(change) } else { Err(Fault::Mismatch(found)) }
}

/// That a receiver of this version takes an object, and has the same then.
///
/// # Errors
/// Why it does not.
pub fn travels(change: &Change) -> Result<(), String> {
    let arrived = travel(change).map_err(|fault| fault.to_string())?;
    if arrived == *change { Ok(()) } else { Err("what arrives is not what was sent".to_owned()) }
}

/// What a receiver of this version makes of an object; a removal is what it is.
///
/// # Errors
/// As [`decode`].
pub fn travel(change: &Change) -> Result<Change, Fault> {
    let Some(bytes) = encode(change) else { return Ok(change.clone()) };
    decode(&Name::of(change).to_string(), pb::TYPE_URL, &bytes)
}

fn parse(type_url: &str, bytes: &[u8]) -> Result<pb::Resource, Fault> {
    if type_url != pb::TYPE_URL {
        return Err(Fault::Type);
    }
    if bytes.len() > RESOURCE_BYTES_MAX {
        return Err(Fault::Size(bytes.len()));
    }
    pb::Resource::decode(bytes).map_err(Fault::Wire)
}

fn object(kind: pb::resource::Kind, origin: &Origin, scope: &mut Scope<'_>) -> Option<Change> {
    use pb::resource::Kind as From;
    Some(match kind {
        From::Bind(it) => {
            let it = listener::decode_bind(it, origin, scope)?;
            Change::Bind(it.key.clone(), Some(it.into()))
        }
        From::Listener(it) => {
            let it = listener::decode(it, origin, scope)?;
            Change::Listener(it.key.clone(), Some(it.into()))
        }
        From::Route(it) => {
            let it = route::decode(it, origin, scope);
            Change::Route(it.key.clone(), Some(it.into()))
        }
        From::TcpRoute(it) => {
            let it = route::decode_tcp(it, origin, scope);
            Change::TcpRoute(it.key.clone(), Some(it.into()))
        }
        From::RouteGroup(it) => {
            let it = route::decode_group(it, origin, scope);
            Change::RouteGroup(it.key.clone(), Some(it.into()))
        }
        From::Backend(it) => {
            let it = backend::decode(it, origin, scope)?;
            Change::Backend(it.key.clone(), Some(it.into()))
        }
        From::Service(it) => {
            let it = service::decode(it, origin, scope);
            Change::Service(it.key.clone(), Some(it.into()))
        }
        From::Workload(it) => {
            let it = workload::decode(it, origin, scope);
            Change::Workload(it.uid.clone(), Some(it.into()))
        }
        From::Policy(it) => {
            let it = attachment::decode(it, origin, scope)?;
            Change::Policy(it.key.clone(), Some(it.into()))
        }
    })
}

/// The source of every object that came this way.
pub const SOURCE: &str = "xds";

/// What status pages say about an object that came this way.
fn origin(name: &str) -> Origin {
    static SHARED: LazyLock<Text> = LazyLock::new(|| SOURCE.into());
    Origin { source: Some(SHARED.clone()), path: Some(name.into()) }
}

/// Whether an object came this way.
pub fn is_ours(origin: &Origin) -> bool {
    origin.source.as_deref() == Some(SOURCE)
}
