//! `compression`: compress responses for clients that accept it.
//!
//! ```yaml
//! compression:
//!   algorithms: [zstd, gzip]
//!   level: 4
//!   contentTypes: [application/json, text/]
//!   minBytes: 512
//! ```
//!
//! **What is compressed.** Responses of a listed content type, of at least `minBytes` where the
//! length is known, which carry no encoding yet and no `cache-control: no-transform`, for clients
//! whose `accept-encoding` takes one of `algorithms`. Among equals the order of the list decides.
//! An entry that ends in `/` stands for all types that begin so. `text/event-stream` and
//! `application/grpc` are never compressed: they are streams, and a compressor holds bytes back.
//!
//! **Effect on headers.** `content-encoding` and `vary: accept-encoding` are written,
//! `content-length` goes, a strong `etag` becomes weak.
//!
//! **Merging.** The most specific policy replaces the others whole, from the instance over gateway, listener and route
//! down to the rule; one with `inheritance: override` stands against all below it.
//!
//! **Limits.** Levels 1 to 9; at most 64 content types.
//!
//! **Where we differ.** The reference has no such policy; this one is ours.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Scope;
use crate::near;

/// Never compressed, whatever is listed: streams of small messages.
pub const NEVER: [&str; 2] = ["text/event-stream", "application/grpc"];
/// Most content types listed.
const TYPES_MAX: usize = 64;

/// Compress responses for clients that accept it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "Compression")]
pub struct Config {
    /// In order of preference: `gzip`, `br`, `zstd`.
    pub algorithms: Vec<String>,
    /// 1 (fast) to 9 (small), for all algorithms.
    pub level: u32,
    /// Content types compressed; an entry that ends in `/` stands for all that begin so.
    pub content_types: Vec<String>,
    /// Smaller responses of known length are left alone.
    pub min_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        let types = ["text/", "application/json", "application/javascript", "application/xml", "image/svg+xml"];
        Self {
            algorithms: ["gzip", "br", "zstd"].map(str::to_owned).to_vec(),
            level: 6,
            content_types: types.map(str::to_owned).to_vec(),
            min_bytes: 256,
        }
    }
}

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let Self { algorithms, level, content_types, min_bytes } = self;
        let before = scope.problems.len();
        if algorithms.is_empty() {
            scope.problem_at("algorithms", "nothing to compress with: write `gzip`, `br` or `zstd`");
        }
        let mut chosen = scope.each("algorithms", &algorithms, algorithm);
        let mut seen = Vec::new();
        chosen.retain(|it| {
            !seen.contains(it) && {
                seen.push(*it);
                true
            }
        });
        if !(1..=9).contains(&level) {
            scope.problem_at("level", format!("{level} is not a level: write 1 (fast) to 9 (small)"));
        }
        if content_types.is_empty() || content_types.len() > TYPES_MAX {
            scope.problem_at("contentTypes", format!("write 1 to {TYPES_MAX} content types"));
        }
        let content_types = scope.each("contentTypes", &content_types, content_type);
        (scope.problems.len() == before).then_some(Policy {
            level,
            algorithms: chosen,
            content_types,
            bytes_min: min_bytes,
        })
    }
}

fn algorithm(text: &str) -> Result<Algorithm, String> {
    match text.to_ascii_lowercase().as_str() {
        "gzip" => Ok(Algorithm::Gzip),
        "br" | "brotli" => Ok(Algorithm::Br),
        "zstd" => Ok(Algorithm::Zstd),
        _ => {
            let hint = near::hint(text, ["gzip", "br", "zstd"]);
            Err(format!("`{}` is not an algorithm: `gzip`, `br`, `zstd`{hint}", text.escape_debug()))
        }
    }
}

fn content_type(text: &str) -> Result<String, String> {
    let lower = text.to_ascii_lowercase();
    let valid = lower.split_once('/').is_some_and(|(kind, _)| !kind.is_empty())
        && lower.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b';' | b',' | b'*'));
    if !valid {
        return Err(format!("`{}` is not a content type: write `text/html` or `text/`", text.escape_debug()));
    }
    if NEVER.contains(&lower.as_str()) {
        return Err(format!("`{lower}` is a stream and never compressed"));
    }
    Ok(lower)
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// 1 (fast) to 9 (small), for all algorithms.
    pub level: u32,
    /// In order of preference: `gzip`, `br`, `zstd`.
    pub algorithms: Vec<Algorithm>,
    /// Response types compressed, such as `text/`, `application/json`; a trailing `/` is a prefix.
    pub content_types: Vec<String>,
    /// Smaller responses of known length are left alone.
    pub bytes_min: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    Gzip,
    Br,
    Zstd,
}

impl Policy {
    /// Whether responses of this `content-type` (parameters and all) are compressed.
    pub fn covers(&self, content_type: &str) -> bool {
        let kind = content_type.split(';').next().unwrap_or("").trim();
        let begins = |prefix: &str| kind.get(..prefix.len()).is_some_and(|it| it.eq_ignore_ascii_case(prefix));
        // `application/grpc+proto` is gRPC as well.
        if NEVER.iter().any(|never| begins(never)) {
            return false;
        }
        self.content_types
            .iter()
            .any(|known| if known.ends_with('/') { begins(known) } else { kind.eq_ignore_ascii_case(known) })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{lower, refuses};

    #[test]
    fn types_are_covered_by_name_or_prefix_and_streams_never() {
        let policy = lower(json!({}), Config::lower);
        assert_eq!(policy.algorithms, [Algorithm::Gzip, Algorithm::Br, Algorithm::Zstd]);
        for (kind, want) in [
            ("text/html; charset=utf-8", true),
            ("Application/JSON", true),
            ("application/json-seq", false),
            ("text/event-stream", false),
            ("text/event-stream; charset=utf-8", false),
            ("application/grpc+proto", false),
            ("image/png", false),
            ("", false),
        ] {
            assert_eq!(policy.covers(kind), want, "{kind}");
        }
    }

    #[test]
    fn unknown_algorithms_levels_and_types_are_refused() {
        refuses(
            [
                (json!({"algorithms": ["gzp"]}), "policy.algorithms[0]: `gzp` is not an algorithm"),
                (json!({"algorithms": []}), "nothing to compress with"),
                (json!({"level": 0}), "policy.level: 0 is not a level"),
                (json!({"contentTypes": ["text"]}), "policy.contentTypes[0]: `text` is not a content type"),
                (json!({"contentTypes": ["text/event-stream"]}), "never compressed"),
            ],
            Config::lower,
        );
    }
}
