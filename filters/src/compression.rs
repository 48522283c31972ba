//! `compression`: compress responses for clients that accept it.

use serde::Serialize;

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
