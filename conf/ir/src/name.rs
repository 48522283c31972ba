//! Names of objects, where the operator wrote them, and what a refused one says.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// Immutable shared text; cloning is a counter.
pub type Text = Arc<str>;

macro_rules! key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub struct $name(pub Text);

        impl $name {
            /// Wraps any text; sources decide the spelling, and keep it stable between loads.
            pub fn new(text: impl Into<Text>) -> Self {
                Self(text.into())
            }

            /// The text of the key.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

key! {
    /// A socket the process listens on: `bind/3000`.
    BindKey
}
key! {
    /// A listener of a bind: `bind/3000/listener0`.
    ListenerKey
}
key! {
    /// One rule of one route as attached: unique over the snapshot.
    RouteKey
}
key! {
    /// A backend: the operator's name, or `host/<target>` for one written inline.
    BackendKey
}
key! {
    /// A service: `<namespace>/<hostname>`.
    ServiceKey
}
key! {
    /// A policy: the operator's name, or `<target>/<kind>` for one written inline.
    PolicyKey
}

/// A namespaced name, as Kubernetes and the local document use it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ObjectName {
    pub namespace: Text,
    pub name: Text,
}

impl ObjectName {
    pub fn new(namespace: impl Into<Text>, name: impl Into<Text>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The name of a route and, where it has one, of the rule inside it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct RouteName {
    pub route: ObjectName,
    pub rule: Option<Text>,
}

/// Where an object was written. It takes no part in equality: an object that only moved down a
/// few lines has not changed.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Origin {
    /// `config.yaml`, `xds`, `default`.
    pub source: Option<Text>,
    /// Path inside the source, such as `binds[0].listeners[1]`.
    pub path: Option<Text>,
}

impl PartialEq for Origin {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// A configuration problem: which place, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// Path inside the source, such as `routes[3].policies.cors`.
    pub path: String,
    /// Lower case, no full stop, names the thing and the cure.
    pub reason: String,
}

impl Invalid {
    pub fn new(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { path: path.into(), reason: reason.into() }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}
