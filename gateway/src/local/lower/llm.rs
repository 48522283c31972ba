//! The shorthand `llm`: a backend that goes by models, a route, and a listener where no gateway is named.

use std::collections::BTreeMap;
use std::sync::Arc;

use filters::expr::Site;
use filters::{Policy, ai, backend_auth};
use ir::ai::VIRTUAL_MODELS_MAX;
use ir::matcher::HeaderTerm;
use ir::{
    AiBackend, AiCase, AiPassthrough, AiProvider, AiRouting, AiShare, AiVirtualModel, BackendKey, ObjectName, Phase,
    Target, ValueMatch,
};
use protocols::json::quoted;
use protocols::llm::Pattern;

use super::Lowering;
use super::ai::{Known, Of, Written};
use super::clouds;
use crate::local::document as doc;
use crate::local::policies::TargetPolicies;

/// The port of a shorthand that names none.
const PORT: u16 = 4000;

impl Lowering<'_> {
    pub fn llm(&mut self, it: doc::SimpleLlm) {
        let doc::SimpleLlm { gateways, port, providers, models, virtual_models, policies } = it;
        let key = BackendKey::new("llm");
        let before = self.problems.len();
        if models.is_empty() {
            self.problem("llm.models", "is empty: write at least one model");
        }
        let mut lowered = Vec::with_capacity(models.len());
        for (position, model) in models.into_iter().enumerate() {
            lowered.extend(self.llm_model(&format!("llm.models[{position}]"), &key, &providers, (position, model)));
        }
        self.ai_names("llm.models", &lowered);
        let virtual_models = self.llm_virtual(virtual_models, &lowered);
        let named = match &gateways {
            doc::GatewayRefs::One(_) => true,
            doc::GatewayRefs::Many(names) => !names.is_empty(),
        };
        if named && port.is_some() {
            self.problem("llm.port", "goes without `gateways` only: write one of the two");
            return;
        }
        let attached = named || (port.is_none() && self.context.gateways.contains_key("default"));
        let parents = match attached {
            true => self.parents("llm", gateways, true),
            false => vec![self.own_listener("llm", port.unwrap_or(PORT))],
        };
        let route = ir::RouteKey::new("llm");
        let at = "llm.policies";
        let held = self.scoped(at, |scope| policies.map(|it| it.lower(scope)).unwrap_or_default());
        self.attach(held, &Target::Rule(route.clone()), Phase::Route, at);
        if self.problems.len() > before {
            return;
        }
        let backend = AiBackend { providers: lowered, virtual_models, routes_models: true };
        let backend = self.ai_declared("llm", &key, backend);
        self.out.routes.push(Arc::new(ir::Route {
            key: route,
            name: ir::RouteName { route: ObjectName::new("default", "llm"), rule: None },
            parents,
            order: 0,
            hostnames: Vec::new(),
            matches: vec![ir::Match { path: ir::PathMatch::prefix("/"), ..ir::Match::default() }],
            backends: vec![ir::RouteBackend { weight: 1, backend }],
            origin: self.origin("llm"),
        }));
    }

    fn llm_model(
        &mut self,
        path: &str,
        owner: &BackendKey,
        providers: &[doc::LlmProvider],
        (position, it): (usize, doc::LlmModel),
    ) -> Option<AiProvider> {
        let doc::LlmModel {
            id,
            name,
            matches,
            visibility,
            provider,
            passthrough,
            params,
            defaults,
            overrides,
            transformation,
            final_transformation,
            authorization,
            guardrails,
            prompt_caching,
            request_headers,
            response_headers,
            health,
            tls,
            auth,
            policies,
        } = it;
        let own = doc::LlmTerms {
            defaults,
            overrides,
            transformation,
            prompt_caching,
            request_headers,
            response_headers,
            health,
            tls,
            auth,
        };
        let model_alone = ModelTerms { final_transformation, authorization, guardrails };
        self.check(format!("{path}.name"), Pattern::parse(&name).map(drop));
        let (provider, params, terms) = self.llm_reference(path, providers, (provider, params, own))?;
        if passthrough.is_some() {
            self.llm_unchanged(path, &terms, &model_alone);
        }
        let (api_key, base_url) = (params.api_key.clone(), params.base_url.clone());
        let known = self.llm_known(path, &name, (provider, params))?;
        let (host, path_prefix) = match base_url {
            None => (None, None),
            Some(url) => {
                self.check(format!("{path}.params.baseUrl"), split(&url)).map(|(host, path)| (Some(host), path))?
            }
        };
        let when = self.llm_matches(&format!("{path}.matches"), matches);
        let mut further = self.llm_terms(path, (terms, model_alone), policies.as_ref());
        let key = self.llm_key(path, api_key);
        further.extend(key);
        let written = Written {
            name: id.unwrap_or_else(|| format!("{position}:{name}")),
            known,
            host,
            path_override: None,
            path_prefix,
            policies,
            further,
            serves: name,
            priority: u32::try_from(position).unwrap_or(u32::MAX),
            internal: visibility == doc::LlmVisibility::Internal,
            when,
            passthrough: passthrough.map(Into::into),
        };
        self.ai_provider(path, owner, written)
    }

    /// The key that is written beside a model.
    fn llm_key(&mut self, path: &str, api_key: Option<backend_auth::ValueConfig>) -> Option<Policy> {
        self.scoped(&format!("{path}.params.apiKey"), |scope| {
            let config = api_key.map(|it| backend_auth::Config {
                key: Some(backend_auth::KeyConfig::Plain(it)),
                ..backend_auth::Config::default()
            });
            config.and_then(|it| it.lower(scope)).map(Policy::BackendAuth)
        })
    }

    /// What changes requests is not written beside a model whose requests go on as they came.
    fn llm_unchanged(&mut self, path: &str, terms: &doc::LlmTerms, alone: &ModelTerms) {
        for (key, written) in [
            ("defaults", !terms.defaults.is_empty()),
            ("overrides", !terms.overrides.is_empty()),
            ("transformation", !terms.transformation.is_empty()),
            ("finalTransformation", !alone.final_transformation.is_empty()),
            ("promptCaching", terms.prompt_caching.is_some()),
        ] {
            if written {
                let why = "changes requests, and `passthrough` leaves them: keep one of the two";
                self.problem(format!("{path}.{key}"), why);
            }
        }
    }

    /// Who serves a model, and what it is called there.
    fn llm_known(
        &mut self,
        path: &str,
        asked: &str,
        (provider, params): (doc::LlmProviderKind, doc::LlmParams),
    ) -> Option<Known> {
        let at = format!("{path}.provider");
        let cloud = match &provider {
            doc::LlmProviderKind::Name(name) => clouds::of(name, asked, &params),
            doc::LlmProviderKind::Written(_) => None,
        };
        let of = match (cloud, provider) {
            (Some(placed), _) => Of::Placed(self.check(format!("{path}.params"), placed)?),
            (None, doc::LlmProviderKind::Name(name)) => Of::Profile(self.named(&at, &name)?),
            (None, doc::LlmProviderKind::Written(doc::LlmWritten { custom: Some(custom), reference: None })) => {
                Of::Custom(custom)
            }
            (None, doc::LlmProviderKind::Written(_)) => {
                self.problem(at, "write a name, or exactly one of `reference` and `custom`");
                return None;
            }
        };
        let model = match &of {
            Of::Custom(custom) => params.model.or_else(|| custom.model.clone()),
            Of::Profile(_) | Of::Placed(_) => params.model,
        };
        Some(Known { model, of })
    }

    /// Which requests a model is there for, as one condition; nothing where it is there for all.
    fn llm_matches(&mut self, path: &str, matches: Vec<doc::LlmMatch>) -> Option<String> {
        let mut any = Vec::with_capacity(matches.len());
        for (position, doc::LlmMatch { headers }) in matches.into_iter().enumerate() {
            let path = format!("{path}[{position}].headers");
            let mut all = Vec::with_capacity(headers.len());
            for (position, it) in self.header_matches(&path, headers).into_iter().enumerate() {
                let of = match &it.name {
                    HeaderTerm::Method => "request.method".to_owned(),
                    HeaderTerm::Path => "request.path".to_owned(),
                    HeaderTerm::Authority => "request.host".to_owned(),
                    HeaderTerm::Scheme => "request.scheme".to_owned(),
                    HeaderTerm::Header(name) => format!("request.headers[{}]", quoted(name.as_str())),
                };
                match &it.value {
                    ValueMatch::Exact(text) => all.push(format!("{of} == {}", quoted(text))),
                    ValueMatch::Regex(it) => {
                        all.push(format!("{of}.matches({})", quoted(&format!("^(?:{})$", it.source()))));
                    }
                    ValueMatch::Invalid => self.problem(format!("{path}[{position}]"), "is no match"),
                }
            }
            any.push(if all.is_empty() { "true".to_owned() } else { all.join(" && ") });
        }
        let when = (!any.is_empty()).then(|| any.join(" || "))?;
        self.check(path, ai::condition(&when)).map(|_| when)
    }

    /// What is written beside a model as the policies that it stands for.
    fn llm_terms(
        &mut self,
        path: &str,
        (it, alone): (doc::LlmTerms, ModelTerms),
        policies: Option<&TargetPolicies>,
    ) -> Vec<Policy> {
        let doc::LlmTerms {
            defaults,
            overrides,
            transformation,
            prompt_caching,
            request_headers,
            response_headers,
            health,
            tls,
            auth,
        } = it;
        let ModelTerms { final_transformation, authorization, guardrails } = alone;
        for (key, other, twice) in [
            (
                "requestHeaders",
                "requestHeaderModifier",
                request_headers.is_some() && policies.is_some_and(|it| it.request_header_modifier.is_some()),
            ),
            ("tls", "backendTLS", tls.is_some() && policies.is_some_and(|it| it.backend_tls.is_some())),
            ("auth", "backendAuth", auth.is_some() && policies.is_some_and(|it| it.backend_auth.is_some())),
        ] {
            if twice {
                self.problem(format!("{path}.{key}"), format!("is what `policies.{other}` is: keep one of the two"));
            }
        }
        self.scoped(path, |scope| {
            scope.site = Site::Backend;
            let request_headers =
                request_headers.and_then(|it| scope.at("requestHeaders", |scope| it.lower_request(scope)));
            let response_headers =
                response_headers.and_then(|it| scope.at("responseHeaders", |scope| it.lower_response(scope)));
            let authorization = authorization.and_then(|it| scope.at("authorization", |scope| it.lower(scope)));
            let health = health.and_then(|it| scope.at("health", |scope| it.lower(scope)));
            let tls = tls.and_then(|it| scope.at("tls", |scope| it.lower(scope)));
            let auth = auth.and_then(|it| scope.at("auth", |scope| it.lower(scope)));
            let written = ai::Config { defaults, overrides, prompt_caching, ..ai::Config::default() };
            let written = (written != ai::Config::default()).then(|| written.lower(scope)).flatten();
            let expressions = ai::Policy {
                transformations: ai::expressions(transformation, "transformation", scope),
                final_transformations: ai::expressions(final_transformation, "finalTransformation", scope),
                ..ai::Policy::default()
            };
            let guards = guardrails.and_then(|it| scope.at("guardrails", |scope| it.lower(scope)));
            let parts = [written, Some(expressions), guards].into_iter().flatten();
            let shape = parts.fold(ai::Policy::default(), |all, it| it.over(&all));
            [
                (shape != ai::Policy::default()).then_some(Policy::Ai(shape)),
                request_headers.map(Policy::RequestHeaderModifier),
                response_headers.map(Policy::ResponseHeaderModifier),
                authorization.map(Policy::Authorization),
                health.map(Policy::Health),
                tls.map(Policy::BackendTls),
                auth.map(Policy::BackendAuth),
            ]
            .into_iter()
            .flatten()
            .collect()
        })
    }

    /// Provider and terms, with those of an entry of `llm.providers` under them where it refers to one.
    fn llm_reference(
        &mut self,
        path: &str,
        providers: &[doc::LlmProvider],
        (provider, params, terms): (doc::LlmProviderKind, doc::LlmParams, doc::LlmTerms),
    ) -> Option<(doc::LlmProviderKind, doc::LlmParams, doc::LlmTerms)> {
        let doc::LlmProviderKind::Written(doc::LlmWritten { reference: Some(name), custom: None }) = &provider else {
            return Some((provider, params, terms));
        };
        let Some(found) = providers.iter().find(|it| it.name == *name) else {
            self.problem(
                format!("{path}.provider.reference"),
                format!("there is no provider `{name}` in `llm.providers`"),
            );
            return None;
        };
        if (doc::LlmParams { model: None, ..params.clone() }) != doc::LlmParams::default() {
            self.problem(format!("{path}.params"), "beside `reference` there is only `model`");
        }
        let params = doc::LlmParams { model: params.model.or(found.params.model.clone()), ..found.params.clone() };
        let is_reference =
            |it: &doc::LlmProviderKind| matches!(it, doc::LlmProviderKind::Written(it) if it.reference.is_some());
        if is_reference(&found.provider) {
            self.problem("llm.providers", format!("provider `{name}` refers to another one"));
            return None;
        }
        Some((found.provider.clone(), params, over(terms, &found.defaults)))
    }

    fn llm_virtual(&mut self, written: Vec<doc::LlmVirtualModel>, models: &[AiProvider]) -> Vec<AiVirtualModel> {
        if written.len() > VIRTUAL_MODELS_MAX {
            self.problem("llm.virtualModels", format!("at most {VIRTUAL_MODELS_MAX}"));
        }
        let mut lowered: Vec<AiVirtualModel> = Vec::with_capacity(written.len());
        for (position, it) in written.into_iter().enumerate() {
            let doc::LlmVirtualModel { name, routing } = it;
            let at = format!("llm.virtualModels[{position}]");
            if name.is_empty() || name.contains('*') || lowered.iter().any(|it| *it.name == *name) {
                self.problem(format!("{at}.name"), format!("`{name}` is not a name of its own"));
            }
            let share = |(model, number): (String, u32)| AiShare { model: model.into(), number };
            let (routing, targets) = match routing {
                doc::LlmRouting::Weighted(it) => {
                    let shares: Vec<_> = it.targets.into_iter().map(|it| share((it.model, it.weight))).collect();
                    (AiRouting::Weighted(shares.clone()), shares)
                }
                doc::LlmRouting::Failover(it) => {
                    let shares: Vec<_> = it.targets.into_iter().map(|it| share((it.model, it.priority))).collect();
                    (AiRouting::Failover(shares.clone()), shares)
                }
                doc::LlmRouting::Conditional(it) => {
                    let cases = self.llm_cases(&format!("{at}.routing.conditional"), it);
                    let shares = cases.iter().map(|it| AiShare { model: it.model.clone(), number: 0 }).collect();
                    (AiRouting::Conditional(cases), shares)
                }
            };
            if targets.is_empty() {
                self.problem(format!("{at}.routing"), "has no targets");
            }
            for it in targets {
                let serves =
                    |model: &AiProvider| Pattern::parse(&model.serves).is_ok_and(|pattern| pattern.matches(&it.model));
                if !models.iter().any(serves) {
                    self.problem(format!("{at}.routing"), format!("no model serves `{}`", it.model));
                }
            }
            lowered.push(AiVirtualModel { name: name.into(), routing });
        }
        lowered
    }

    fn llm_cases(&mut self, path: &str, it: doc::LlmConditional) -> Vec<AiCase> {
        let doc::LlmConditional { targets } = it;
        let last = targets.len().saturating_sub(1);
        let mut cases = Vec::with_capacity(targets.len());
        for (position, doc::LlmCase { when, model }) in targets.into_iter().enumerate() {
            let at = format!("{path}.targets[{position}].when");
            match &when {
                Some(when) => drop(self.check(at, ai::condition(when))),
                None if position < last => self.problem(at, "is missing: only the last target may be without"),
                None => {}
            }
            cases.push(AiCase { when: when.map(Into::into), model: model.into() });
        }
        cases
    }
}

impl From<doc::LlmPassthrough> for AiPassthrough {
    fn from(it: doc::LlmPassthrough) -> Self {
        match it {
            doc::LlmPassthrough::Detect => Self::Detect,
            doc::LlmPassthrough::Opaque => Self::Opaque,
        }
    }
}

/// What a model alone can have: its provider's entry has no such keys.
struct ModelTerms {
    final_transformation: BTreeMap<String, String>,
    authorization: Option<filters::authorization::Config>,
    guardrails: Option<ai::PromptGuardConfig>,
}

/// A model's terms over those of its provider.
fn over(own: doc::LlmTerms, under: &doc::LlmTerms) -> doc::LlmTerms {
    let doc::LlmTerms {
        defaults,
        overrides,
        transformation,
        prompt_caching,
        request_headers,
        response_headers,
        health,
        tls,
        auth,
    } = under.clone();
    doc::LlmTerms {
        defaults: defaults.into_iter().chain(own.defaults).collect(),
        overrides: overrides.into_iter().chain(own.overrides).collect(),
        transformation: transformation.into_iter().chain(own.transformation).collect(),
        prompt_caching: own.prompt_caching.or(prompt_caching),
        request_headers: own.request_headers.or(request_headers),
        response_headers: own.response_headers.or(response_headers),
        health: own.health.or(health),
        tls: own.tls.or(tls),
        auth: own.auth.or(auth),
    }
}

/// A URL as host and prefix of paths.
fn split(url: &str) -> Result<(String, Option<String>), String> {
    let wrong = || format!("`{url}` is not a base URL: write `http://host` or `https://host/path`, without query");
    let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
    if !matches!(scheme, "http" | "https") || rest.contains(['?', '#', '@']) {
        return Err(wrong());
    }
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let path = path.trim_end_matches('/');
    Ok((format!("{scheme}://{authority}"), (!path.is_empty()).then(|| path.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_are_split() {
        for (url, host, path) in [
            ("https://api.example.com", "https://api.example.com", None),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080", None),
            ("https://h/a/v1/", "https://h", Some("/a/v1")),
        ] {
            assert_eq!(split(url).unwrap(), (host.to_owned(), path.map(str::to_owned)));
        }
        for url in ["h:80", "ftp://h", "http://u@h", "http://h?x"] {
            assert!(split(url).is_err(), "{url}");
        }
    }
}
