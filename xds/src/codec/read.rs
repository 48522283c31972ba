//! Reading the small parts of messages. What is wrong is recorded in the scope, and a harmless value
//! stands in, so that everything else is looked at too; a resource with a problem is refused whole.

use std::collections::BTreeMap;
use std::time::Duration;

use filters::lower::{Backends, Files, ServicePort, SimpleBackend, Span};
use filters::{FileRef, Scope};
use ir::{BackendKey, BackendRef, ObjectName, ServiceKey, Text};

use crate::pb;

/// Longest duration that protobuf knows: ten thousand years.
const DURATION_SECONDS_MAX: u64 = 315_576_000_000;

/// There are no files, and every reference is a key.
pub(super) struct Doors;

impl Files for Doors {
    fn read(&mut self, _: &FileRef) -> Result<Vec<u8>, String> {
        Err("files do not travel".to_owned())
    }
}

impl Backends for Doors {
    fn refer(&mut self, backend: SimpleBackend) -> Result<BackendRef, String> {
        match backend {
            SimpleBackend::Backend(key) => Ok(BackendRef::Backend(BackendKey::new(key))),
            SimpleBackend::Service(ServicePort { name, port }) => {
                Ok(BackendRef::Service { service: ServiceKey::new(name), port })
            }
            SimpleBackend::Host(_) => Err("declare a backend and name its key".to_owned()),
        }
    }
}

/// A text that must be there.
pub(super) fn text(scope: &mut Scope<'_>, key: &str, text: &str) -> Text {
    if text.is_empty() {
        scope.problem_at(key, "missing");
    }
    text.into()
}

/// A message that must be there.
pub(super) fn present<T: Default>(scope: &mut Scope<'_>, key: &str, message: Option<T>) -> T {
    message.unwrap_or_else(|| {
        scope.problem_at(key, "missing");
        T::default()
    })
}

/// An enum; unknown numbers come from a newer control plane.
pub(super) fn choice<E: TryFrom<i32> + Default>(scope: &mut Scope<'_>, key: &str, number: i32) -> E {
    E::try_from(number).unwrap_or_else(|_| {
        scope.problem_at(key, format!("{number} is not a value this version knows"));
        E::default()
    })
}

/// A list of enums.
pub(super) fn choices<E: TryFrom<i32> + Default>(scope: &mut Scope<'_>, key: &str, numbers: &[i32]) -> Vec<E> {
    let choice = |scope: &mut Scope<'_>, (at, number): (usize, &i32)| choice(scope, &format!("[{at}]"), *number);
    scope.at(key, |scope| numbers.iter().enumerate().map(|it| choice(scope, it)).collect())
}

/// 1 to 65535.
pub(super) fn port(scope: &mut Scope<'_>, key: &str, number: u32) -> u16 {
    match u16::try_from(number) {
        Ok(port) if port > 0 => port,
        _ => {
            scope.problem_at(key, format!("{number} is not a port: 1 to 65535"));
            1
        }
    }
}

/// A number that fits a smaller type.
pub(super) fn number<W: Copy + std::fmt::Display, N: TryFrom<W> + Default>(
    scope: &mut Scope<'_>,
    key: &str,
    wide: W,
) -> N {
    N::try_from(wide).unwrap_or_else(|_| {
        scope.problem_at(key, format!("{wide} is too large"));
        N::default()
    })
}

/// A list of numbers that fit a smaller type.
pub(super) fn numbers<N: TryFrom<u32> + Default>(scope: &mut Scope<'_>, key: &str, wide: &[u32]) -> Vec<N> {
    let one = |scope: &mut Scope<'_>, (at, it): (usize, &u32)| number(scope, &format!("[{at}]"), *it);
    scope.at(key, |scope| wide.iter().enumerate().map(|it| one(scope, it)).collect())
}

/// A duration of configuration.
pub(super) fn span(scope: &mut Scope<'_>, key: &str, it: Option<prost_types::Duration>) -> Option<Span> {
    let it = it?;
    let whole = u64::try_from(it.seconds).ok().filter(|seconds| *seconds <= DURATION_SECONDS_MAX);
    let part = u32::try_from(it.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    if let Some((seconds, nanos)) = whole.zip(part) {
        return Some(Span(Duration::new(seconds, nanos)));
    }
    scope.problem_at(key, "not a duration from 0 to 315,576,000,000 s");
    Some(Span(Duration::from_secs(1)))
}

/// What protobuf can say of a duration; longer ones become the longest.
pub(super) fn duration(it: Duration) -> prost_types::Duration {
    let seconds = i64::try_from(it.as_secs().min(DURATION_SECONDS_MAX)).unwrap_or(i64::MAX);
    prost_types::Duration { seconds, nanos: i32::try_from(it.subsec_nanos()).unwrap_or(0) }
}

pub(super) fn object_name(scope: &mut Scope<'_>, key: &str, it: Option<pb::ObjectName>) -> ObjectName {
    let pb::ObjectName { namespace, name } = present(scope, key, it);
    if name.is_empty() {
        scope.at(key, |scope| scope.problem_at("name", "missing"));
    }
    ObjectName::new(namespace, name)
}

pub(super) fn encode_name(it: &ObjectName) -> pb::ObjectName {
    pb::ObjectName { namespace: it.namespace.to_string(), name: it.name.to_string() }
}

/// Headers by name; a name that comes twice is a problem.
pub(super) fn headers(scope: &mut Scope<'_>, key: &str, list: Vec<pb::Header>) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    for (position, pb::Header { name, value }) in list.into_iter().enumerate() {
        if headers.insert(name, value).is_some() {
            scope.at(key, |scope| scope.problem_at(&format!("[{position}]"), "the name is here twice"));
        }
    }
    headers
}

/// A list that is absent when empty.
pub(super) fn listed(list: Vec<String>) -> Option<Vec<String>> {
    Some(list).filter(|list| !list.is_empty())
}

pub(super) fn texts<'a>(list: impl IntoIterator<Item = &'a Text>) -> Vec<String> {
    list.into_iter().map(ToString::to_string).collect()
}
