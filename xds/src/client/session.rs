//! What the client holds, from one connection to the next: the versions of what was taken, and what was
//! refused.

use std::collections::{BTreeMap, BTreeSet};

use filters::{Change, Patch};
use foldhash::HashSet;
use parking_lot::Mutex;

use crate::Refusal;
use crate::codec::{self, Name};
use crate::pb;
use crate::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource};

/// Most refusals remembered for status pages; nobody reads further.
const REFUSED_MAX: usize = 1000;
/// Resources decoded before others on this thread get their turn.
const TURN: usize = 256;

/// Names and versions of resources. An empty version is none: something of that name is held, and whatever the
/// control plane has of it is news.
pub type Versions = BTreeMap<String, String>;

/// What is held. Shared, so that a successor can be told where to go on.
#[derive(Debug, Default)]
pub struct Session(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    versions: Versions,
    /// Names that have a substitute in force. They are told to the control plane too, or one that goes while we are
    /// away would stay.
    closed: BTreeSet<String>,
    refused: BTreeMap<String, String>,
}

/// A response as understood.
pub(super) struct Reading {
    pub patch: Patch,
    pub refused: Vec<Refusal>,
    /// What to remember once the patch is in force.
    pub rest: Rest,
}

/// Names, with their versions where they were taken.
#[derive(Debug, Default)]
pub(super) struct Rest {
    taken: Vec<(String, String)>,
    closed: Vec<String>,
    removed: Vec<String>,
}

impl Session {
    /// Goes on where another client left off: the objects of these versions are known already.
    pub fn resume(known: Versions) -> Self {
        let (closed, versions): (Versions, Versions) = known.into_iter().partition(|(_, version)| version.is_empty());
        Self(Mutex::new(Held { versions, closed: closed.into_keys().collect(), refused: BTreeMap::new() }))
    }

    /// What another client needs to go on: versions of what was taken, and names of what has a substitute.
    pub fn known(&self) -> Versions {
        let held = self.0.lock();
        let closed = held.closed.iter().map(|name| (name.clone(), String::new()));
        held.versions.iter().map(|(name, version)| (name.clone(), version.clone())).chain(closed).collect()
    }

    /// What was taken, as of now.
    pub fn versions(&self) -> Versions {
        self.0.lock().versions.clone()
    }

    /// How many resources were taken.
    pub fn len(&self) -> usize {
        self.0.lock().versions.len()
    }

    /// With what has a substitute.
    fn size(&self) -> usize {
        let held = self.0.lock();
        held.versions.len() + held.closed.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is refused at present, by name, and why: the first thousand.
    pub fn refused(&self) -> BTreeMap<String, String> {
        self.0.lock().refused.clone()
    }

    /// Decodes a response. What is no good is left out of the patch; where it never was good, its
    /// substitute is in it.
    pub(super) async fn read(&self, response: DeltaDiscoveryResponse, resources_max: usize) -> Reading {
        let mut reading = Reading { patch: Patch::default(), refused: Vec::new(), rest: Rest::default() };
        let mut seen: HashSet<String> = HashSet::default();
        let mut room = resources_max.saturating_sub(self.size());
        for (position, resource) in response.resources.into_iter().enumerate() {
            if position % TURN == TURN - 1 {
                tokio::task::yield_now().await;
            }
            let name = resource.name.clone();
            let held = self.0.lock().versions.contains_key(&name);
            let full = !held && room == 0;
            match judge(&resource, seen.insert(name.clone()), full) {
                Ok(change) => {
                    room = room.saturating_sub(usize::from(!held));
                    reading.patch.push(change);
                    reading.rest.taken.push((name, resource.version));
                }
                Err(reason) => {
                    if !held
                        && !full
                        && let Some(closed) = closed(&resource)
                    {
                        reading.patch.push(closed);
                        reading.rest.closed.push(name.clone());
                        room = room.saturating_sub(1);
                    }
                    reading.refused.push(Refusal::new(name, reason));
                }
            }
        }
        for name in response.removed_resources {
            if let Some(parsed) = Name::parse(&name) {
                reading.patch.push(parsed.removal());
            }
            reading.rest.removed.push(name);
        }
        reading
    }

    /// Remembers what became of a response: `refused` holds the names that were refused by anybody.
    pub(super) fn settle(&self, Rest { taken, closed, removed }: Rest, refused: &[Refusal]) {
        let mut held = self.0.lock();
        let bad: HashSet<&str> = refused.iter().map(|it| it.name.as_str()).collect();
        for (name, version) in taken {
            if !bad.contains(name.as_str()) {
                held.refused.remove(&name);
                held.closed.remove(&name);
                held.versions.insert(name, version);
            }
        }
        held.closed.extend(closed);
        for name in removed {
            held.closed.remove(&name);
            held.versions.remove(&name);
            held.refused.remove(&name);
        }
        for Refusal { name, reason } in refused {
            if held.refused.len() < REFUSED_MAX || held.refused.contains_key(name) {
                held.refused.insert(name.clone(), reason.clone());
            }
        }
    }
}

fn judge(resource: &Resource, first: bool, full: bool) -> Result<Change, String> {
    if !first {
        return Err("it is in this response twice".to_owned());
    }
    if full {
        return Err("no further resource is taken: the limit is reached".to_owned());
    }
    if resource.ttl.is_some() {
        return Err("`ttl` is not supported: remove the resource instead".to_owned());
    }
    let Some(any) = &resource.resource else { return Err("there is nothing in it".to_owned()) };
    codec::decode(&resource.name, &any.type_url, &any.value).map_err(|fault| fault.to_string())
}

fn closed(resource: &Resource) -> Option<Change> {
    let any = resource.resource.as_ref()?;
    codec::substitute(&resource.name, &any.type_url, &any.value)
}

/// That the response is of the type asked for.
pub(super) fn check_type(response: &DeltaDiscoveryResponse) -> Result<(), Refusal> {
    if response.type_url == pb::TYPE_URL {
        return Ok(());
    }
    let shown: String = response.type_url.chars().take(200).collect();
    Err(Refusal::new("", format!("nobody asked for resources of type `{}`", shown.escape_debug())))
}
