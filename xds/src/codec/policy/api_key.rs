//! `apiKey`. Hashes travel, keys do not.

use std::fmt::Write as _;

use filters::Scope;
use filters::api_key::{Config, EntryConfig, Policy};
use filters::lower::Sensitive;

use super::credential;
use crate::codec::read;
use crate::pb;

pub(super) fn encode(it: &Policy) -> pb::ApiKey {
    let Policy { mode, location, forward, known } = it;
    let entries = known.sorted().into_iter().map(|it| pb::ApiKeyEntry {
        sha256: it.hash.0.to_vec(),
        metadata: it.metadata.as_deref().unwrap_or_default().to_owned(),
        allowed_models: it.models.as_ref().map(|it| pb::AllowedModels { names: read::texts(it.iter()) }),
    });
    pb::ApiKey {
        mode: credential::encode_mode(*mode),
        location: credential::encode(location),
        forward: *forward,
        keys: entries.collect(),
    }
}

pub(super) fn decode(it: pb::ApiKey, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::ApiKey { mode, location, forward, keys } = it;
    let before = scope.problems.len();
    let mode = credential::decode_mode(scope, mode);
    let location = credential::decode(scope, "location", location);
    let keys = scope.at("keys", |scope| {
        let decode = |(at, it)| scope.check(&format!("[{at}]"), entry(it));
        keys.into_iter().enumerate().filter_map(decode).collect()
    });
    let config = Config { mode, location, forward, keys, file: None };
    if scope.problems.len() > before {
        return None;
    }
    config.lower(scope)
}

fn entry(it: pb::ApiKeyEntry) -> Result<EntryConfig, String> {
    let pb::ApiKeyEntry { sha256, metadata, allowed_models } = it;
    let mut hash = "sha256:".to_owned();
    for byte in sha256 {
        let _ = write!(hash, "{byte:02x}");
    }
    let metadata = match metadata.is_empty() {
        true => Default::default(),
        false => serde_json::from_str(&metadata).map_err(|_| "metadata is not a JSON object".to_owned())?,
    };
    let allowed_models = allowed_models.map(|it| it.names);
    Ok(EntryConfig { key: None, key_hash: Some(Sensitive::new(hash)), metadata, allowed_models })
}
