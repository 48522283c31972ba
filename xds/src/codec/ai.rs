//! Providers of language models behind one endpoint.

use std::collections::BTreeSet;

use filters::Scope;
use ir::ai::{PROVIDERS_MAX, VIRTUAL_MODELS_MAX};
use ir::{
    AiBackend, AiCase, AiFormat, AiKeyPlace, AiPassthrough, AiProvider, AiRouting, AiShare, AiVirtualModel, Text,
};
use protocols::llm::{Operation, Pattern};

use super::{backend, read};
use crate::pb;
use pb::ai_provider::{KeyPlace, Passthrough};

pub(super) fn encode(it: &AiBackend) -> pb::AiBackend {
    let AiBackend { providers, virtual_models, routes_models } = it;
    pb::AiBackend {
        providers: providers.iter().map(encode_provider).collect(),
        virtual_models: virtual_models.iter().map(encode_virtual).collect(),
        routes_models: *routes_models,
    }
}

fn encode_provider(it: &AiProvider) -> pb::AiProvider {
    let AiProvider { name, backend, system, key, base, formats, model, serves, priority, internal, when, passthrough } =
        it;
    let key = match key {
        AiKeyPlace::Authorization => KeyPlace::Authorization,
        AiKeyPlace::XApiKey => KeyPlace::XApiKey,
        AiKeyPlace::XGoogApiKey => KeyPlace::XGoogApiKey,
        AiKeyPlace::ApiKey => KeyPlace::ApiKey,
    };
    let format = |it: &AiFormat| pb::AiFormat { kind: it.kind.to_string(), path: it.path.to_string() };
    pb::AiProvider {
        name: name.to_string(),
        backend: Some(backend::encode_ref(backend)),
        system: system.to_string(),
        key: key.into(),
        base: base.to_string(),
        formats: formats.iter().map(format).collect(),
        model: model.as_ref().map(ToString::to_string),
        serves: serves.to_string(),
        priority: *priority,
        internal: *internal,
        when: when.as_ref().map(ToString::to_string),
        passthrough: match passthrough {
            None => Passthrough::Unspecified,
            Some(AiPassthrough::Detect) => Passthrough::Detect,
            Some(AiPassthrough::Opaque) => Passthrough::Opaque,
        }
        .into(),
    }
}

fn encode_virtual(it: &AiVirtualModel) -> pb::AiVirtualModel {
    let AiVirtualModel { name, routing } = it;
    let share = |AiShare { model, number }: &AiShare| pb::AiShare { model: model.to_string(), number: *number };
    let case = |AiCase { when, model }: &AiCase| pb::AiCase {
        when: when.as_ref().map(ToString::to_string),
        model: model.to_string(),
    };
    let (weighted, targets, cases) = match routing {
        AiRouting::Weighted(targets) => (true, targets.iter().map(share).collect(), Vec::new()),
        AiRouting::Failover(targets) => (false, targets.iter().map(share).collect(), Vec::new()),
        AiRouting::Conditional(cases) => (false, Vec::new(), cases.iter().map(case).collect()),
    };
    pb::AiVirtualModel { name: name.to_string(), weighted, targets, cases }
}

pub(super) fn decode(it: pb::AiBackend, scope: &mut Scope<'_>) -> Option<AiBackend> {
    let pb::AiBackend { providers, virtual_models, routes_models } = it;
    if providers.is_empty() || providers.len() > PROVIDERS_MAX {
        scope.problem_at("providers", format!("1 to {PROVIDERS_MAX} providers"));
    }
    if virtual_models.len() > VIRTUAL_MODELS_MAX {
        scope.problem_at("virtualModels", format!("at most {VIRTUAL_MODELS_MAX}"));
    }
    let mut names = BTreeSet::new();
    let providers = scope.at("providers", |scope| {
        let decoded = providers.into_iter().enumerate().filter_map(|(position, it)| {
            scope.at(format!("[{position}]"), |scope| {
                if !names.insert(it.name.clone()) {
                    scope.problem_at("name", format!("`{}` is already there", it.name));
                }
                decode_provider(it, scope)
            })
        });
        decoded.collect()
    });
    let virtual_models = scope.at("virtualModels", |scope| {
        let decoded = virtual_models.into_iter().enumerate();
        decoded.map(|(position, it)| scope.at(format!("[{position}]"), |scope| decode_virtual(it, scope))).collect()
    });
    Some(AiBackend { providers, virtual_models, routes_models })
}

fn decode_provider(it: pb::AiProvider, scope: &mut Scope<'_>) -> Option<AiProvider> {
    let pb::AiProvider {
        name,
        backend,
        system,
        key,
        base,
        formats,
        model,
        serves,
        priority,
        internal,
        when,
        passthrough,
    } = it;
    let name = read::text(scope, "name", &name);
    let key = match read::choice(scope, "key", key) {
        KeyPlace::Unspecified | KeyPlace::Authorization => AiKeyPlace::Authorization,
        KeyPlace::XApiKey => AiKeyPlace::XApiKey,
        KeyPlace::XGoogApiKey => AiKeyPlace::XGoogApiKey,
        KeyPlace::ApiKey => AiKeyPlace::ApiKey,
    };
    let or = |text: String, default: &str| Text::from(if text.is_empty() { default } else { &text });
    let serves = or(serves, "*");
    scope.check("serves", Pattern::parse(&serves).map(drop));
    let formats = scope.at("formats", |scope| {
        let decoded = formats.into_iter().enumerate();
        decoded.map(|(position, it)| scope.at(format!("[{position}]"), |scope| decode_format(it, scope))).collect()
    });
    let Some(backend) = backend else {
        scope.problem_at("backend", "missing");
        return None;
    };
    let backend = scope.at("backend", |scope| backend::decode_ref(backend, scope))?;
    if let Some(when) = &when {
        scope.check("when", filters::ai::condition(when).map(drop));
    }
    let (system, model, when) = (or(system, "custom"), model.map(Into::into), when.map(Into::into));
    let passthrough = match read::choice(scope, "passthrough", passthrough) {
        Passthrough::Unspecified => None,
        Passthrough::Detect => Some(AiPassthrough::Detect),
        Passthrough::Opaque => Some(AiPassthrough::Opaque),
    };
    let base = base.into();
    let terms =
        AiProvider { name, backend, system, key, base, formats, model, serves, priority, internal, when, passthrough };
    Some(terms)
}

fn decode_format(it: pb::AiFormat, scope: &mut Scope<'_>) -> AiFormat {
    let pb::AiFormat { kind, path } = it;
    if Operation::parse(&kind).is_none() {
        scope.problem_at("kind", format!("`{kind}` is not a kind of request"));
    }
    if !path.starts_with('/') {
        scope.problem_at("path", format!("`{path}` does not begin with `/`"));
    }
    AiFormat { kind: kind.into(), path: path.into() }
}

fn decode_virtual(it: pb::AiVirtualModel, scope: &mut Scope<'_>) -> AiVirtualModel {
    let pb::AiVirtualModel { name, weighted, targets, cases } = it;
    let name = read::text(scope, "name", &name);
    if targets.is_empty() == cases.is_empty() {
        scope.problem_at("targets", "write either targets or cases");
    }
    if !cases.is_empty() {
        let last = cases.len() - 1;
        let case = |(position, it): (usize, pb::AiCase)| {
            scope.at(format!("cases[{position}]"), |scope| decode_case(it, position == last, scope))
        };
        return AiVirtualModel {
            name,
            routing: AiRouting::Conditional(cases.into_iter().enumerate().map(case).collect()),
        };
    }
    let targets = targets.into_iter().map(|it| AiShare { model: it.model.into(), number: it.number }).collect();
    let routing = if weighted { AiRouting::Weighted(targets) } else { AiRouting::Failover(targets) };
    AiVirtualModel { name, routing }
}

fn decode_case(it: pb::AiCase, is_last: bool, scope: &mut Scope<'_>) -> AiCase {
    let pb::AiCase { when, model } = it;
    match &when {
        Some(when) => drop(scope.check("when", filters::ai::condition(when))),
        None if !is_last => scope.problem_at("when", "only the last case may be without"),
        None => {}
    }
    AiCase { when: when.map(Into::into), model: read::text(scope, "model", &model) }
}
