//! What changed: the only thing a source delivers.

use std::sync::Arc;

use crate::attach::Attachment;
use crate::backend::{Backend, Service, Workload};
use crate::listener::{Bind, Listener};
use crate::name::{BackendKey, BindKey, ListenerKey, PolicyKey, RouteKey, ServiceKey, Text};
use crate::route::{Route, RouteGroup, TcpRoute};

/// A key and its new value; `None` removes it.
#[derive(Clone, Debug, PartialEq)]
pub enum Change<P> {
    Bind(BindKey, Option<Arc<Bind>>),
    Listener(ListenerKey, Option<Arc<Listener>>),
    Route(RouteKey, Option<Arc<Route>>),
    TcpRoute(RouteKey, Option<Arc<TcpRoute>>),
    RouteGroup(Text, Option<Arc<RouteGroup>>),
    Backend(BackendKey, Option<Arc<Backend>>),
    Service(ServiceKey, Option<Arc<Service>>),
    Workload(Text, Option<Arc<Workload>>),
    Policy(PolicyKey, Option<Arc<Attachment<P>>>),
}

/// Changes that take effect together.
#[derive(Clone, Debug)]
pub struct Patch<P>(Vec<Change<P>>);

impl<P> Default for Patch<P> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<P> Patch<P> {
    pub fn push(&mut self, change: Change<P>) {
        self.0.push(change);
    }

    pub fn changes(&self) -> &[Change<P>] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl<P> FromIterator<Change<P>> for Patch<P> {
    fn from_iter<I: IntoIterator<Item = Change<P>>>(changes: I) -> Self {
        Self(changes.into_iter().collect())
    }
}
