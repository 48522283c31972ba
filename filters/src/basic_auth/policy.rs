//! Users as understood, and what is remembered between requests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use ir::Text;
use serde::{Serialize, Serializer};

use super::hash::Hash;
use crate::cache::Cache;
use crate::credential::{Location, Mode};
use crate::keep::{Keep, Kept, Slot};

const USERS_MAX: usize = 10_000;
const USER_BYTES_MAX: usize = 255;
/// Problems told of one file.
const PROBLEMS_MAX: usize = 10;
/// Passwords remembered, all policies together.
const MEMORY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long a password that was right is remembered.
const MEMORY_AGE_MAX: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    pub mode: Mode,
    pub location: Location,
    pub forward: bool,
    /// What browsers show; no quotes in it.
    pub realm: Text,
    pub users: Arc<Users>,
    #[serde(skip)]
    pub state: Slot<State>,
}

/// Users and the hashes of their passwords.
pub struct Users {
    known: BTreeMap<Text, Hash>,
    /// What an unknown user's password is held against: the costliest of all.
    decoy: Hash,
}

impl Users {
    /// Reads a file of `user:hash` lines. Problems name lines, never what is in them.
    pub fn parse(text: &[u8]) -> Result<Self, Vec<String>> {
        let text = std::str::from_utf8(text).map_err(|_| vec!["not UTF-8 text".to_owned()])?;
        let mut known = BTreeMap::new();
        let mut problems = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let problem = match entry(line).map(|(user, hash)| known.insert(user, hash)) {
                Ok(None) => continue,
                Ok(Some(_)) => "this user is here twice".to_owned(),
                Err(reason) => reason,
            };
            problems.push(format!("line {}: {problem}", number + 1));
        }
        if known.len() > USERS_MAX {
            problems.push(format!("more than {USERS_MAX} users"));
        }
        problems.truncate(PROBLEMS_MAX);
        let decoy = known.values().max_by_key(|hash| hash.weight()).cloned();
        match decoy {
            Some(decoy) if problems.is_empty() => Ok(Self { known, decoy }),
            None if problems.is_empty() => Err(vec!["there is no user: write `user:hash` lines".to_owned()]),
            _ => Err(problems),
        }
    }

    /// The lines again, by user.
    pub fn text(&self) -> String {
        self.known.iter().map(|(user, hash)| format!("{user}:{}\n", hash.text)).collect()
    }

    /// Users whose hash gives the password away to who has the file.
    pub fn weak(&self) -> usize {
        self.known.values().filter(|hash| !hash.is_strong()).count()
    }

    /// Whether the password is this user's. Takes as long for a user nobody knows.
    pub(super) fn fits(&self, user: &str, password: &[u8]) -> bool {
        match self.known.get(user) {
            Some(hash) => hash.fits(password),
            None => {
                let _ = self.decoy.fits(password);
                false
            }
        }
    }
}

fn entry(line: &str) -> Result<(Text, Hash), String> {
    let (user, hash) = line.split_once(':').ok_or("write `user:hash`")?;
    if user.is_empty() || user.len() > USER_BYTES_MAX || user.chars().any(char::is_control) {
        return Err(format!("a user has a name of 1 to {USER_BYTES_MAX} bytes"));
    }
    // Some tools write further fields behind the hash.
    let hash = hash.split(':').next().unwrap_or_default();
    Ok((user.into(), Hash::parse(hash)?))
}

impl PartialEq for Users {
    fn eq(&self, other: &Self) -> bool {
        self.known == other.known
    }
}

impl std::fmt::Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} users", self.known.len())
    }
}

impl Serialize for Users {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:?}"))
    }
}

/// What is kept of a policy: which passwords were right a moment ago.
pub struct State {
    users: Arc<Users>,
    owner: u64,
    memory: Arc<Memory>,
}

/// Passwords that were right, as keyed hashes: without the key, which never leaves this process, they say nothing.
struct Memory {
    key: hmac::Key,
    until: Cache<u64>,
}

impl Kept for State {
    type Terms = Policy;

    fn renew(terms: &Policy, previous: Option<&Arc<Self>>, keep: &Keep) -> Arc<Self> {
        static OWNERS: AtomicU64 = AtomicU64::new(1);
        if let Some(same) = previous.filter(|it| it.users == terms.users) {
            return same.clone();
        }
        let memory = keep.shared(&"basic auth".into(), |_| Memory {
            key: hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).expect("the system has random bytes"),
            until: Cache::new(MEMORY_BYTES_MAX),
        });
        Arc::new(Self { users: terms.users.clone(), owner: OWNERS.fetch_add(1, Ordering::Relaxed), memory })
    }
}

impl State {
    /// What is remembered of user and password as they were sent.
    pub(super) fn tag(&self, credentials: &[u8]) -> hmac::Tag {
        hmac::sign(&self.memory.key, credentials)
    }

    pub(super) fn remembers(&self, tag: &hmac::Tag, now: Duration) -> bool {
        self.memory.until.get(self.owner, tag.as_ref()).is_some_and(|until| until > now.as_secs())
    }

    pub(super) fn remember(&self, tag: &hmac::Tag, now: Duration) {
        self.memory.until.insert(self.owner, tag.as_ref(), now.as_secs() + MEMORY_AGE_MAX.as_secs(), 0);
    }
}
