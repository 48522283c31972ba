//! Policies for what MCP servers offer.

use std::collections::BTreeMap;

use filters::{mcp_pinning, mcp_tools};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::policies::{one_of, some_of};

pub(super) fn pinning() -> impl Strategy<Value = mcp_pinning::Config> {
    use mcp_pinning::{ActionConfig, ApprovalsConfig, Config};
    let action = || select(&[ActionConfig::Quarantine, ActionConfig::Warn, ActionConfig::Allow][..]);
    let texts = &[r#"{"version":1}"#, r#"{"version": 1, "targets": {"a": {}}}"#];
    (one_of(texts), action(), action(), action()).prop_map(|(text, on_new, on_change, on_suspect)| Config {
        approvals: ApprovalsConfig::Inline(text),
        on_new,
        on_change,
        on_suspect,
    })
}

pub(super) fn tools() -> impl Strategy<Value = mcp_tools::Config> {
    use mcp_tools::{Config, SearchConfig, SlimConfig, TargetConfig};
    const NAMES: &[&str] = &["a", "list_*", "*", "é"];
    let pairs = |values: &'static [&'static str]| {
        let pair = (one_of(NAMES), one_of(values));
        vec(pair, 0..2).prop_map(|it| it.into_iter().collect::<BTreeMap<_, _>>())
    };
    let shape = (some_of(NAMES), some_of(NAMES), pairs(&["b", "c.d-e"]), pairs(&["", "é\n"]));
    let target = (option::of(one_of(&["a", "b.c"])), shape);
    let target = target.prop_map(|(target, (include, exclude, rename, describe))| TargetConfig {
        target,
        include,
        exclude,
        rename,
        describe,
    });
    let bytes = || option::of(0..1000_usize);
    let slim = (bytes(), bytes(), some_of(&["title", "_meta"]), some_of(&["title", "examples"]));
    let slim = slim.prop_map(|(description_bytes, parameter_bytes, members, keywords)| SlimConfig {
        description_bytes,
        parameter_bytes,
        members,
        keywords,
    });
    let search = option::of((some_of(NAMES), option::of(1..=50_usize)));
    (vec(target, 0..3), option::of(slim), any::<bool>(), search).prop_map(|(targets, slim, sort, search)| Config {
        targets,
        slim,
        sort,
        search: search.map(|(keep, results)| SearchConfig { keep, results }),
    })
}
