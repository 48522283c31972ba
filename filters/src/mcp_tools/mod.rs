//! `mcpTools`: which tools of MCP servers clients see, what they are called, and how much of a model's context they take.
//!
//! ```yaml
//! mcpTools:
//!   targets:
//!   - target: tickets
//!     include: ["issue_*", list_issues]
//!     exclude: ["*_delete"]
//!     rename:
//!       list_issues: issues
//!     describe:
//!       list_issues: Lists issues of a project, the newest first.
//!   slim:
//!     descriptionBytes: 400
//!     parameterBytes: 120
//!     members: [title, outputSchema, _meta]
//!     keywords: [title, examples, $$schema]
//!   sort: true
//!   search:
//!     keep: [tickets_issues]
//!     results: 10
//! ```
//!
//! **Targets.** The entry of a target, or else the one without `target`, says which tools there are: those that a pattern
//! of `include` fits (all unless written) and none of `exclude` does. A pattern is a name with `*` for any text. `rename`
//! and `describe` go by the server's own name. A tool is not there under its own name once it has another, and a tool of
//! the server's that has a name which another got is not there at all.
//!
//! **Slim.** Descriptions are cut (with `…`), members of tools and keywords of schemas left out. `describe` stands as
//! written. In files a `$` is written `$$`. What a tool takes does not change: keywords that models read go, and nothing is checked by them here.
//!
//! **Sort.** Tools of a target in the order of their names, so that a list is the same bytes whatever order a server has;
//! else in the server's.
//!
//! **Search.** The list is `search_tools`, `describe_tool` and `call_tool`, and those of `keep` (as clients see them).
//! `search_tools` takes words and gives names and first lines, at most `results` (10, at most 50); `describe_tool` gives a
//! definition; `call_tool` calls a tool as it would be called itself: rules, limits and logs see that tool. Tools can be
//! called by their names as well.
//!
//! **Who sees what.** `mcpAuthorization` and `mcpPinning` hold for everything here, and go by the server's own names.
//!
//! **Where.** At routes, and at backends of kind `mcp`.
//!
//! **Merging.** The most specific policy replaces the others whole; one with `inheritance: override` stands against all
//! below it.
//!
//! **Order.** After `mcpPinning`, before `mcpAuthorization`.
//!
//! **Limits.** 100 entries, 1,000 patterns and names each. A list is shaped when it is fetched, not for each client.
//!
//! **Telemetry.** `agentgateway mcp ls --tokens URL` says how many tokens each target's tools are, about.

mod config;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::hash::{Hash as _, Hasher as _};

use ir::Text;
use protocols::mcp::slim::Slim;
use serde::Serialize;
use siphasher::sip::SipHasher13;

pub use config::{Config, SearchConfig, SlimConfig, TargetConfig};

/// What clients see of tools.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// By target; what holds for the others is under the empty name.
    pub targets: BTreeMap<Text, Shape>,
    #[serde(serialize_with = "slimmed")]
    pub slim: Slim,
    pub sort: bool,
    pub search: Option<Search>,
}

/// What clients see of one target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shape {
    pub include: Vec<Text>,
    pub exclude: Vec<Text>,
    pub rename: BTreeMap<Text, Text>,
    pub describe: BTreeMap<Text, Text>,
}

/// Tools are looked for instead of listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Search {
    pub keep: Vec<Text>,
    pub results: usize,
}

impl Policy {
    /// What holds for a target.
    pub fn shape(&self, target: &str) -> Option<&Shape> {
        self.targets.get(target).or_else(|| self.targets.get(""))
    }

    /// A number that differs where lists come out differently.
    pub fn fingerprint(&self) -> u64 {
        let Self { targets, slim, sort, search: _ } = self;
        let mut hasher = SipHasher13::new();
        targets.hash(&mut hasher);
        sort.hash(&mut hasher);
        let Slim { description_bytes, parameter_bytes, members, keywords } = slim;
        (description_bytes, parameter_bytes, members, keywords).hash(&mut hasher);
        hasher.finish()
    }
}

impl Shape {
    /// What a tool of the server's is called; `None` where it is not there.
    pub fn name<'a>(&'a self, own: &'a str) -> Option<&'a str> {
        let fits = |patterns: &[Text]| patterns.iter().any(|it| fits(it, own));
        if (!self.include.is_empty() && !fits(&self.include)) || fits(&self.exclude) {
            return None;
        }
        match self.rename.get(own) {
            Some(name) => Some(name),
            None if self.rename.values().any(|it| **it == *own) => None,
            None => Some(own),
        }
    }

    /// What the server calls a tool that clients call so.
    pub fn own<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        let own = self.rename.iter().find(|(_, it)| ***it == *name).map_or(name, |(own, _)| own);
        (self.name(own) == Some(name)).then_some(own)
    }
}

/// Whether a pattern fits: a name with `*` for any text.
fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

fn slimmed<S: serde::Serializer>(slim: &Slim, serializer: S) -> Result<S::Ok, S::Error> {
    SlimConfig::of(slim).serialize(serializer)
}
