//! Header changes as written.

use std::collections::BTreeMap;

use http::Method;
use http::uri::PathAndQuery;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policy::{Change, Policy};
use crate::Scope;
use crate::head::{self, Header};

/// Changes of the headers of a request or response: `add`, then `set`, then `remove`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "HeaderModifier")]
pub struct Config {
    /// Headers written beside those of the same name.
    pub add: BTreeMap<String, String>,
    /// Headers written in place of those of the same name. On requests also `host` (or
    /// `:authority`), `:path` and `:method`.
    pub set: BTreeMap<String, String>,
    /// Headers taken away.
    pub remove: Vec<String>,
}

impl Config {
    /// The policy for requests (`requestHeaderModifier`).
    pub fn lower_request(self, scope: &mut Scope<'_>) -> Option<Policy> {
        self.lower(scope, request_change)
    }

    /// The policy for responses (`responseHeaderModifier`).
    pub fn lower_response(self, scope: &mut Scope<'_>) -> Option<Policy> {
        self.lower(scope, |name, value| {
            if name.starts_with(':') {
                return Err(format!("`{name}` cannot be set on a response"));
            }
            Header::parse(name, value).map(Change::Header)
        })
    }

    fn lower(self, scope: &mut Scope<'_>, change: impl Fn(&str, &str) -> Result<Change, String>) -> Option<Policy> {
        let Self { add, set, remove } = self;
        let before = scope.problems.len();
        scope.at("add", |scope| twice(&add, scope));
        scope.at("set", |scope| twice(&set, scope));
        let mut added: Vec<Header> = scope.at("add", |scope| {
            let parse = |(name, value): (&String, &String)| {
                let header = one_host(name).and_then(|()| Header::parse(name, value));
                scope.check(name, header)
            };
            add.iter().filter_map(parse).collect()
        });
        let mut changed: Vec<Change> = scope
            .at("set", |scope| set.iter().filter_map(|(name, value)| scope.check(name, change(name, value))).collect());
        let mut removed = Vec::with_capacity(remove.len());
        for (position, name) in remove.iter().enumerate() {
            let name = one_host(name).and_then(|()| head::parse_name(name));
            removed.extend(scope.at("remove", |scope| scope.check(&format!("[{position}]"), name)));
        }
        // One order, whatever the letter case they were written in.
        added.sort_by(|left, right| left.name.as_str().cmp(right.name.as_str()));
        changed.sort_by(|left, right| left.name().cmp(right.name()));
        if changed.iter().filter(|it| matches!(it, Change::Authority(_))).count() > 1 {
            scope.problem_at("set", "`host` and `:authority` are the same: write one");
        }
        (scope.problems.len() == before).then_some(Policy { add: added, set: changed, remove: removed })
    }
}

/// Reports names that differ in case only: which of the two would win is anybody's guess.
fn twice(headers: &BTreeMap<String, String>, scope: &mut Scope<'_>) {
    let mut seen = std::collections::BTreeSet::new();
    for name in headers.keys() {
        if !seen.insert(name.to_ascii_lowercase()) {
            scope.problem_at(name, format!("`{name}` is here twice, in different case"));
        }
    }
}

fn one_host(name: &str) -> Result<(), String> {
    if name.eq_ignore_ascii_case("host") || name.starts_with(':') {
        return Err(format!("a request has exactly one `{name}`: use `set`"));
    }
    Ok(())
}

fn request_change(name: &str, value: &str) -> Result<Change, String> {
    match name.to_ascii_lowercase().as_str() {
        "host" | ":authority" => authority(value),
        ":method" => Method::from_bytes(value.as_bytes())
            .map(Change::Method)
            .map_err(|_| format!("`{}` is not a method", value.escape_debug())),
        ":path" => path(value),
        _ => Header::parse(name, value).map(Change::Header),
    }
}

fn authority(value: &str) -> Result<Change, String> {
    let valid = value.parse::<http::uri::Authority>().is_ok() && !value.contains('@');
    if !valid {
        return Err(format!("`{}` is not an authority: write `name` or `name:port`", value.escape_debug()));
    }
    head::parse_value(value).map(Change::Authority)
}

fn path(value: &str) -> Result<Change, String> {
    let help = || format!("`{}` is not a path: write `/path` or `/path?query`", value.escape_debug());
    if !value.starts_with('/') || value.contains('#') {
        return Err(help());
    }
    value.parse::<PathAndQuery>().map(Change::Path).map_err(|_| help())
}
