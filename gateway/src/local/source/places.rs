//! Where the objects of the document stand now.
//!
//! An object that only moved keeps its identity, and with it the place it was first lowered at: whoever shows an
//! origin asks here for the place of today. Costs a walk over the objects, so for dumps only.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use super::union::path_now;
use crate::local::lower::Objects;

/// The items of the document as last loaded.
#[derive(Default)]
pub struct Places {
    /// The path of each item, and what it became.
    items: Vec<(Box<str>, Arc<Objects>)>,
}

/// An item's path and the origin of one of its objects, by table and key.
type Index<'a> = HashMap<(&'static str, &'a str), (&'a str, &'a ir::Origin), foldhash::fast::RandomState>;

/// All of them, to be asked many times.
pub struct Paths<'a>(Index<'a>);

impl Places {
    pub(super) fn new(all: Vec<(String, Arc<Objects>)>) -> Self {
        Self { items: all.into_iter().map(|(path, objects)| (path.into_boxed_str(), objects)).collect() }
    }

    pub fn paths(&self) -> Paths<'_> {
        let mut index = Index::default();
        for (prefix, objects) in &self.items {
            let Objects {
                binds,
                listeners,
                routes,
                tcp_routes,
                route_groups,
                backends,
                services,
                workloads,
                policies,
                ..
            } = &**objects;
            let mut put = |table, key, origin| {
                index.insert((table, key), (&**prefix, origin));
            };
            binds.iter().for_each(|it| put("binds", it.key.as_str(), &it.origin));
            listeners.iter().for_each(|it| put("listeners", it.key.as_str(), &it.origin));
            routes.iter().for_each(|it| put("routes", it.key.as_str(), &it.origin));
            tcp_routes.iter().for_each(|it| put("tcpRoutes", it.key.as_str(), &it.origin));
            route_groups.iter().for_each(|it| put("routeGroups", &*it.key, &it.origin));
            // An inline backend has no place of its own.
            let placed = backends.iter().filter(|it| it.origin.path.is_some());
            placed.for_each(|it| put("backends", it.key.as_str(), &it.origin));
            services.iter().for_each(|it| put("services", it.key.as_str(), &it.origin));
            workloads.iter().for_each(|it| put("workloads", &*it.uid, &it.origin));
            policies.iter().for_each(|it| put("policies", it.key.as_str(), &it.origin));
        }
        Paths(index)
    }
}

impl Paths<'_> {
    /// Puts the place of today into the `origin` of an object of this table.
    pub fn settle(&self, table: &'static str, object: &mut Value) {
        let key = object.get("key").or_else(|| object.get("uid")).and_then(Value::as_str);
        let Some((prefix, origin)) = key.and_then(|key| self.0.get(&(table, key))) else { return };
        let now = path_now(prefix, origin);
        if let Some(path) = object.pointer_mut("/origin/path") {
            *path = now.into();
        }
    }

    /// As [`Self::settle`], for all objects of this table inside a value.
    pub fn settle_all(&self, table: &'static str, value: &mut Value) {
        if value.get("origin").is_some() {
            return self.settle(table, value);
        }
        match value {
            Value::Object(map) => map.values_mut().for_each(|it| self.settle_all(table, it)),
            Value::Array(list) => list.iter_mut().for_each(|it| self.settle_all(table, it)),
            _ => {}
        }
    }
}
