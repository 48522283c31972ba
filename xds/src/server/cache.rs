//! What clients should have: for each group of clients one set of resources, encoded once.
//!
//! Sets are structurally shared between versions, so that what a client lacks is found in the time of
//! what changed, however much there is.

use std::collections::BTreeMap;

use bytes::Bytes;
use filters::{Patch, Snapshot};
use imbl::OrdMap;
use ir::Text;
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::codec::{self, Name};

/// Most groups of clients.
const GROUPS_MAX: usize = 10_000;

/// A resource as sent.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub version: Text,
    pub bytes: Bytes,
}

/// The version follows from the content.
impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.version == other.version
    }
}

impl Entry {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self { version: version(&bytes), bytes }
    }
}

/// FNV-1a over the content, and its length: the same in every process and build, so that a client that
/// comes back to a restarted control plane downloads nothing twice.
fn version(bytes: &[u8]) -> Text {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    }
    format!("{hash:016x}-{}", bytes.len()).into()
}

/// Everything a group should have.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pub generation: u64,
    pub resources: OrdMap<Name, Entry>,
}

impl Content {
    /// What a client that names these versions has of it. Versions that are not ours count as something
    /// to be replaced; names that are no names are to be removed.
    pub(super) fn held(&self, versions: BTreeMap<String, String>) -> (OrdMap<Name, Entry>, Vec<String>) {
        // What is the same is shared with our own set, so that the next comparison is short.
        let mut held = self.resources.clone();
        let mut strange = Vec::new();
        let mut known = OrdMap::new();
        for (text, version) in versions {
            match Name::parse(&text) {
                Some(name) => {
                    known.insert(name, version);
                }
                None => strange.push(text),
            }
        }
        let missing: Vec<_> = self.resources.keys().filter(|name| !known.contains_key(*name)).cloned().collect();
        for name in missing {
            held.remove(&name);
        }
        for (name, version) in known {
            if held.get(&name).is_none_or(|entry| *entry.version != *version) {
                held.insert(name, Entry { version: version.into(), bytes: Bytes::new() });
            }
        }
        (held, strange)
    }
}

/// The sets of all groups. Whoever knows what they should be writes; streams read.
#[derive(Debug, Default)]
pub struct Cache {
    groups: RwLock<BTreeMap<Text, watch::Sender<Content>>>,
}

/// There are too many groups already.
#[derive(Debug, thiserror::Error)]
#[error("there are {GROUPS_MAX} groups of clients already")]
pub struct Full;

impl Cache {
    /// The resources of a group from now on. What did not change is not sent again.
    ///
    /// # Errors
    /// There are too many groups.
    pub fn set(&self, group: &str, snapshot: &Snapshot) -> Result<(), Full> {
        let all = Snapshot::default().diff(snapshot);
        let entries = encoded(&all);
        self.edit(group, |content| {
            let mut next: OrdMap<Name, Entry> = content.resources.clone();
            let fresh: OrdMap<Name, Entry> =
                entries.into_iter().filter_map(|(name, entry)| entry.map(|entry| (name, entry))).collect();
            let gone: Vec<_> = next.keys().filter(|name| !fresh.contains_key(*name)).cloned().collect();
            for name in gone {
                next.remove(&name);
            }
            for (name, entry) in fresh {
                if next.get(&name) != Some(&entry) {
                    next.insert(name, entry);
                }
            }
            content.resources = next;
        })
    }

    /// Changes some resources of a group, together.
    ///
    /// # Errors
    /// There are too many groups.
    pub fn apply(&self, group: &str, patch: &Patch) -> Result<(), Full> {
        let entries = encoded(patch);
        self.edit(group, |content| {
            for (name, entry) in entries {
                put(content, name, entry);
            }
        })
    }

    /// Puts a resource as it is, or takes it away: for control planes that hold bytes. Nobody looks
    /// whether it is any good.
    ///
    /// # Errors
    /// There are too many groups.
    pub fn put(&self, group: &str, name: Name, bytes: Option<Bytes>) -> Result<(), Full> {
        self.edit(group, |content| put(content, name, bytes.map(Entry::new)))
    }

    /// How many resources a group has; `None` for one that nobody wrote.
    pub fn len(&self, group: &str) -> Option<usize> {
        self.groups.read().get(group).map(|it| it.borrow().resources.len())
    }

    /// How often a group's set has changed; `None` for one that nobody wrote.
    pub fn generation(&self, group: &str) -> Option<u64> {
        self.groups.read().get(group).map(|it| it.borrow().generation)
    }

    pub(super) fn watch(&self, group: &str) -> Option<watch::Receiver<Content>> {
        self.groups.read().get(group).map(watch::Sender::subscribe)
    }

    fn edit(&self, group: &str, edit: impl FnOnce(&mut Content)) -> Result<(), Full> {
        let mut groups = self.groups.write();
        if !groups.contains_key(group) && groups.len() >= GROUPS_MAX {
            return Err(Full);
        }
        let sender = groups.entry(group.into()).or_insert_with(|| watch::channel(Content::default()).0);
        sender.send_modify(|content| {
            edit(content);
            content.generation += 1;
        });
        Ok(())
    }
}

fn put(content: &mut Content, name: Name, entry: Option<Entry>) {
    match entry {
        Some(entry) if content.resources.get(&name) == Some(&entry) => {}
        Some(entry) => {
            content.resources.insert(name, entry);
        }
        None => {
            content.resources.remove(&name);
        }
    }
}

fn encoded(patch: &Patch) -> Vec<(Name, Option<Entry>)> {
    let entry = |change| (Name::of(change), codec::encode(change).map(|bytes| Entry::new(bytes.into())));
    patch.changes().iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use imbl::ordmap::DiffItem;

    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    /// What is to be sent, and what removed.
    fn beyond(content: &Content, sent: &OrdMap<Name, Entry>) -> (Vec<String>, Vec<String>) {
        let (mut send, mut remove) = (Vec::new(), Vec::new());
        for item in sent.diff(&content.resources) {
            match item {
                DiffItem::Add(name, _) | DiffItem::Update { new: (name, _), .. } => send.push(name.to_string()),
                DiffItem::Remove(name, _) => remove.push(name.to_string()),
            }
        }
        (send, remove)
    }

    #[test]
    fn what_is_named_comes_before_what_names_it() {
        let cache = Cache::default();
        for text in ["bind/b", "route/r", "policy/p", "backend/x", "listener/l"] {
            cache.put("g", name(text), Some(Bytes::from_static(b"1"))).unwrap();
        }
        let content = cache.watch("g").unwrap().borrow().clone();
        let order = ["backend/x", "policy/p", "route/r", "listener/l", "bind/b"].map(str::to_owned);
        assert_eq!(beyond(&content, &OrdMap::new()), (order.to_vec(), Vec::new()));
    }

    #[test]
    fn a_client_that_comes_back_is_sent_what_it_lacks() {
        let cache = Cache::default();
        for text in ["route/same", "route/changed", "route/new"] {
            cache.put("g", name(text), Some(Bytes::from_static(b"1"))).unwrap();
        }
        let content = cache.watch("g").unwrap().borrow().clone();
        let same = content.resources.get(&name("route/same")).unwrap().version.to_string();
        let versions = [("route/same", &*same), ("route/changed", "x"), ("route/gone", "x"), ("odd", "x")];
        let versions = versions.into_iter().map(|(name, version)| (name.to_owned(), version.to_owned())).collect();
        let (held, strange) = content.held(versions);
        assert_eq!(strange, ["odd"]);
        let want = (vec!["route/changed".to_owned(), "route/new".to_owned()], vec!["route/gone".to_owned()]);
        assert_eq!(beyond(&content, &held), want);
    }

    #[test]
    fn a_version_follows_from_the_content_alone() {
        assert_eq!(&*version(b""), "cbf29ce484222325-0");
        assert_ne!(version(b"a"), version(b"b"));
    }
}
