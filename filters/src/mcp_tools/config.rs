//! What clients see of tools, as written.

use std::collections::{BTreeMap, BTreeSet};

use ir::Text;
use protocols::mcp::name;
use protocols::mcp::slim::Slim;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Policy, Search, Shape};
use crate::Scope;

/// Entries of `targets`.
const TARGETS_MAX: usize = 100;
/// Patterns and names of one list.
const NAMES_MAX: usize = 1000;
/// Longest name of a tool (2025-11-25, tools).
const NAME_BYTES_MAX: usize = 128;
/// Longest description that is written.
const DESCRIPTION_BYTES_MAX: usize = 8192;
/// What a search gives unless written, and at most.
const RESULTS_DEFAULT: usize = 10;
const RESULTS_MAX: usize = 50;

/// Which tools of MCP servers clients see, and what they are called.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "McpTools")]
pub struct Config {
    /// What holds for single targets, and one entry for all others.
    pub targets: Vec<TargetConfig>,
    /// What is left out of definitions.
    pub slim: Option<SlimConfig>,
    /// Tools of a target in the order of their names.
    pub sort: bool,
    /// Tools are looked for instead of listed.
    pub search: Option<SearchConfig>,
}

/// What clients see of one target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "McpToolsTarget")]
pub struct TargetConfig {
    /// Name of the target; all that have no entry of their own unless written.
    pub target: Option<String>,
    /// Patterns of the tools that are there; all unless written.
    pub include: Vec<String>,
    /// Patterns of tools that are not.
    pub exclude: Vec<String>,
    /// Other names, by the server's own.
    pub rename: BTreeMap<String, String>,
    /// Other descriptions, by the server's own names.
    pub describe: BTreeMap<String, String>,
}

/// What is left out of definitions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "McpToolsSlim")]
pub struct SlimConfig {
    /// Longest description of a tool.
    pub description_bytes: Option<usize>,
    /// Longest description of a parameter.
    pub parameter_bytes: Option<usize>,
    /// Members of tools that go, such as `title`, `annotations`, `outputSchema`, `icons` and `_meta`.
    pub members: Vec<String>,
    /// Keywords of schemas that go, such as `title`, `description`, `examples`, `default` and `$schema`.
    pub keywords: Vec<String>,
}

/// How tools are looked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "McpToolsSearch")]
pub struct SearchConfig {
    /// Tools that are listed all the same, as clients see them.
    pub keep: Vec<String>,
    /// Most that one search gives; 10 unless written, at most 50.
    pub results: Option<usize>,
}

impl SlimConfig {
    pub(super) fn of(it: &Slim) -> Self {
        let Slim { description_bytes, parameter_bytes, members, keywords } = it;
        let texts = |set: &BTreeSet<Box<str>>| set.iter().map(|it| it.to_string()).collect();
        Self {
            description_bytes: *description_bytes,
            parameter_bytes: *parameter_bytes,
            members: texts(members),
            keywords: texts(keywords),
        }
    }

    fn lower(self, scope: &mut Scope<'_>) -> Slim {
        let Self { description_bytes, parameter_bytes, members, keywords } = self;
        for needed in ["name", "inputSchema"] {
            if members.iter().any(|it| it == needed) {
                scope.problem_at("members", format!("a tool without `{needed}` is none"));
            }
        }
        const STRUCTURE: [&str; 8] = ["type", "properties", "required", "items", "enum", "const", "$ref", "$defs"];
        if let Some(it) = keywords.iter().find(|it| STRUCTURE.contains(&it.as_str())) {
            scope.problem_at("keywords", format!("without `{it}` nobody could tell what a tool takes"));
        }
        let set = |list: Vec<String>| list.into_iter().map(Into::into).collect();
        Slim { description_bytes, parameter_bytes, members: set(members), keywords: set(keywords) }
    }
}

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let Self { targets: written, slim, sort, search } = self;
        let before = scope.problems.len();
        if written.len() > TARGETS_MAX {
            scope.problem_at("targets", format!("more than {TARGETS_MAX} entries"));
            return None;
        }
        let mut targets = BTreeMap::new();
        scope.at("targets", |scope| {
            for (position, entry) in written.into_iter().enumerate() {
                scope.at(format!("[{position}]"), |scope| {
                    let (target, shape) = entry.lower(scope);
                    if targets.insert(target, shape).is_some() {
                        scope.problem("there is an entry for this target already");
                    }
                });
            }
        });
        let slim = scope.at("slim", |scope| slim.unwrap_or_default().lower(scope));
        let search = search.map(|it| {
            scope.at("search", |scope| {
                let results = it.results.unwrap_or(RESULTS_DEFAULT);
                if !(1..=RESULTS_MAX).contains(&results) {
                    scope.problem_at("results", format!("1 to {RESULTS_MAX}"));
                }
                Search { keep: names(&it.keep, "keep", scope), results }
            })
        });
        (scope.problems.len() == before).then_some(Policy { targets, slim, sort, search })
    }
}

impl TargetConfig {
    fn lower(self, scope: &mut Scope<'_>) -> (Text, Shape) {
        let Self { target, include, exclude, rename, describe } = self;
        if let Some(target) = &target {
            scope.check("target", name::check_target(target));
        }
        if rename.len().max(describe.len()) > NAMES_MAX {
            scope.problem(format!("more than {NAMES_MAX} names"));
        }
        let mut taken = BTreeSet::new();
        for (own, name) in &rename {
            scope.at("rename", |scope| {
                scope.check(own, check_name(name));
                if !taken.insert(name) {
                    scope.problem_at(own, format!("`{name}` is the name of two tools"));
                }
            });
        }
        for (own, text) in describe.iter().filter(|(_, text)| text.len() > DESCRIPTION_BYTES_MAX) {
            scope.at("describe", |scope| scope.problem_at(own, format!("{} bytes are too many", text.len())));
        }
        let pairs = |map: BTreeMap<String, String>| map.into_iter().map(|(a, b)| (a.into(), b.into())).collect();
        let shape = Shape {
            include: names(&include, "include", scope),
            exclude: names(&exclude, "exclude", scope),
            rename: pairs(rename),
            describe: pairs(describe),
        };
        (target.unwrap_or_default().into(), shape)
    }
}

fn names(list: &[String], key: &str, scope: &mut Scope<'_>) -> Vec<Text> {
    if list.len() > NAMES_MAX {
        scope.problem_at(key, format!("more than {NAMES_MAX}"));
        return Vec::new();
    }
    scope.each(key, list, |it| match it.is_empty() {
        true => Err("is empty".to_owned()),
        false => Ok(it.into()),
    })
}

/// What clients of every make take.
fn check_name(name: &str) -> Result<(), String> {
    let fits = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'_' | b'-' | b'.');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(fits) {
        return Err(format!("`{}` is not a tool's name: letters, digits, `_`, `-` and `.`", name.escape_debug()));
    }
    Ok(())
}
