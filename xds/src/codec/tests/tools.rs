//! Policies for what MCP servers offer.

use std::collections::BTreeMap;

use filters::{mcp_guardrails, mcp_pinning, mcp_tools};
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

pub(super) fn guardrails() -> impl Strategy<Value = mcp_guardrails::Config> {
    use mcp_guardrails::{Config, FailureMode, Phase, ProcessorConfig};
    let phase = select(&[Phase::Off, Phase::Request, Phase::Response, Phase::Full][..]);
    let methods = vec((one_of(&["tools/call", "*/list", "a*", "*"]), phase), 1..3);
    let metadata = vec((one_of(&["user", "é"]), one_of(&["jwt.sub", "mcp.tool.name"])), 0..3);
    let processor = (one_of(&["one", "two"]), methods, metadata, any::<bool>());
    let processor = processor.prop_map(|(backend, methods, metadata, open)| ProcessorConfig {
        backend: Some(backend),
        methods: methods.into_iter().collect(),
        metadata: metadata.into_iter().collect(),
        failure_mode: if open { FailureMode::FailOpen } else { FailureMode::FailClosed },
        ..ProcessorConfig::default()
    });
    vec(processor, 1..3).prop_map(|processors| Config { processors })
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
