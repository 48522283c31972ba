//! `mcpGuardrails`.

use filters::Scope;
use filters::mcp_guardrails::{FailureMode, PROCESSORS_MAX, Phase, Policy, Processor, ProcessorConfig};

use super::callout;
use crate::codec::read;
use crate::pb;
use crate::pb::mcp_guardrails::{Phase as Wire, Processor as WireProcessor};

pub(super) fn encode(it: &Policy) -> pb::McpGuardrails {
    pb::McpGuardrails { processors: it.processors.iter().map(encode_processor).collect() }
}

fn encode_processor(it: &Processor) -> WireProcessor {
    let Processor { target, methods, metadata, fail_open } = it;
    let phase = |it: &Phase| match it {
        Phase::Off => Wire::Off.into(),
        Phase::Request => Wire::Request.into(),
        Phase::Response => Wire::Response.into(),
        Phase::Full => Wire::Full.into(),
    };
    WireProcessor {
        target: Some(callout::encode(target)),
        methods: methods.iter().map(|(pattern, it)| (pattern.to_string(), phase(it))).collect(),
        metadata: metadata.iter().map(|(name, it)| (name.to_string(), it.text().to_owned())).collect(),
        fail_open: *fail_open,
    }
}

pub(super) fn decode(it: pb::McpGuardrails, scope: &mut Scope<'_>) -> Option<Policy> {
    let before = scope.problems.len();
    if it.processors.is_empty() || it.processors.len() > PROCESSORS_MAX {
        scope.problem_at("processors", format!("1 to {PROCESSORS_MAX}"));
    }
    let processors = scope.at("processors", |scope| {
        let all = it.processors.into_iter().enumerate();
        all.filter_map(|(at, it)| scope.at(format!("[{at}]"), |scope| decode_processor(it, scope))).collect()
    });
    (scope.problems.len() == before).then_some(Policy { processors })
}

fn decode_processor(it: WireProcessor, scope: &mut Scope<'_>) -> Option<Processor> {
    let WireProcessor { target, methods, metadata, fail_open } = it;
    let target = scope.at("target", |scope| callout::decode(target, scope));
    let mut read_methods = std::collections::BTreeMap::new();
    for (pattern, number) in methods {
        let phase = match read::choice(scope, "methods", number) {
            Wire::Unspecified | Wire::Off => Phase::Off,
            Wire::Request => Phase::Request,
            Wire::Response => Phase::Response,
            Wire::Full => Phase::Full,
        };
        read_methods.insert(pattern, phase);
    }
    let failure_mode = if fail_open { FailureMode::FailOpen } else { FailureMode::FailClosed };
    let config = ProcessorConfig {
        methods: read_methods,
        metadata: metadata.into_iter().collect(),
        failure_mode,
        ..ProcessorConfig::default()
    };
    config.asking(target, scope)
}
