//! Keys as written.

use std::collections::HashSet;
use std::sync::Arc;

use ir::Text;
use protocols::llm::Pattern;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::policy::{Entry, Hash, Known, Policy};
use crate::credential::{self, Location, Mode};
use crate::lower::Sensitive;
use crate::{FileRef, Scope};

const KEYS_MAX: usize = 100_000;
pub(super) const KEY_BYTES_MAX: usize = 512;
const METADATA_BYTES_MAX: usize = 4 * 1024;
const MODELS_MAX: usize = 64;

/// Keys that let their owners in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "ApiKeyAuth")]
pub struct Config {
    /// What happens to requests without a known key: `strict` refuses them, `optional` refuses
    /// unknown keys only, `permissive` nothing.
    pub mode: Mode,
    /// Where the key is written; `Authorization: Bearer` unless set.
    pub location: Option<credential::Config>,
    /// Whether the backend gets the key too.
    pub forward: bool,
    /// The keys.
    pub keys: Vec<EntryConfig>,
    /// A file of more keys, one a line: a key, `sha256:` and its hash, or an entry as in `keys` as a
    /// JSON object. It is watched.
    pub file: Option<FileRef>,
}

/// A key, or its hash.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "ApiKeyEntry")]
pub struct EntryConfig {
    /// The key itself.
    pub key: Option<Sensitive>,
    /// `sha256:` and the SHA-256 of the key in hexadecimal.
    pub key_hash: Option<Sensitive>,
    /// What is known of the key's owner.
    pub metadata: Map<String, Value>,
    /// Models that its owner may ask for, with one `*` at most each; all unless written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_models: Option<Vec<String>>,
}

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let Self { mode, location, forward, keys, file } = self;
        let before = scope.problems.len();
        let location = match location {
            Some(location) => scope.at("location", |scope| location.lower(scope)),
            None => Some(Location::authorization("Bearer")),
        };
        let mut entries = Vec::with_capacity(keys.len());
        scope.at("keys", |scope| {
            for (position, key) in keys.into_iter().enumerate() {
                entries.extend(scope.check(&format!("[{position}]"), key.entry()));
            }
        });
        if let Some(file) = file {
            entries.extend(read(&file, scope));
        }
        if scope.problems.len() == before && entries.is_empty() {
            scope.problem("there is no key: write `keys` or `file`");
        }
        if entries.len() > KEYS_MAX {
            scope.problem(format!("more than {KEYS_MAX} keys"));
        }
        let mut seen = HashSet::with_capacity(entries.len());
        if entries.iter().any(|it| !seen.insert(it.hash)) {
            scope.problem("a key is here twice");
        }
        (scope.problems.len() == before).then_some(Policy {
            mode,
            location: location?,
            forward,
            known: Arc::new(Known::new(entries)),
        })
    }
}

/// Entries of a file. Problems name the line, never what is in it.
fn read(file: &FileRef, scope: &mut Scope<'_>) -> Vec<Entry> {
    let Some(content) = scope.file("file", file) else { return Vec::new() };
    let Ok(text) = String::from_utf8(content) else {
        scope.problem_at("file", "not UTF-8 text");
        return Vec::new();
    };
    let mut entries = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let entry = match line.chars().next() {
            Some('{') => serde_json::from_str(line)
                .map_err(|_| "not an entry: write {\"keyHash\": \"sha256:…\", \"metadata\": {}}".to_owned())
                .and_then(EntryConfig::entry),
            _ if line.starts_with(HASH_PREFIX) => {
                EntryConfig { key_hash: Some(Sensitive::new(line)), ..EntryConfig::default() }.entry()
            }
            _ => EntryConfig { key: Some(Sensitive::new(line)), ..EntryConfig::default() }.entry(),
        };
        match entry {
            Ok(entry) => entries.push(entry),
            Err(reason) => scope.problem_at("file", format!("line {}: {reason}", number + 1)),
        }
    }
    entries
}

const HASH_PREFIX: &str = "sha256:";

impl EntryConfig {
    fn entry(self) -> Result<Entry, String> {
        let Self { key, key_hash, metadata, allowed_models } = self;
        let is_limited = allowed_models.is_some();
        let hash = match (key, key_hash) {
            (Some(key), None) => {
                let key = key.expose();
                if !(1..=KEY_BYTES_MAX).contains(&key.len()) || key.trim() != key {
                    return Err(format!("a key has 1 to {KEY_BYTES_MAX} bytes and no spaces around it"));
                }
                Hash::of(key.as_bytes())
            }
            (None, Some(hash)) => hash
                .expose()
                .strip_prefix(HASH_PREFIX)
                .and_then(Hash::parse)
                .ok_or("a hash is `sha256:` and 64 hexadecimal digits")?,
            _ => return Err("write either `key` or `keyHash`".to_owned()),
        };
        let metadata = (!metadata.is_empty()).then(|| Value::Object(metadata).to_string());
        if metadata.as_ref().is_some_and(|it| it.len() > METADATA_BYTES_MAX) {
            return Err(format!("metadata of more than {METADATA_BYTES_MAX} bytes"));
        }
        let models = allowed_models.unwrap_or_default();
        if models.len() > MODELS_MAX {
            return Err(format!("more than {MODELS_MAX} models"));
        }
        if let Some(name) = models.iter().find(|it| Pattern::parse(it).is_err()) {
            return Err(format!("`{name}` is no model: a name, with one `*` at most"));
        }
        let models = is_limited.then(|| models.into_iter().map(Text::from).collect());
        Ok(Entry { hash, metadata: metadata.map(Arc::from), models })
    }
}
