//! `ai` backends: each provider is a backend of its own, with what is known of it by name written out.

use std::collections::BTreeSet;
use std::sync::Arc;

use filters::{Policy, backend_auth, backend_tls};
use ir::ai::PROVIDERS_MAX;
use ir::{AiBackend, AiFormat, AiKeyPlace, AiPassthrough, AiProvider, Backend, BackendKey, BackendKind, BackendRef};
use ir::{Phase, Target};
use protocols::llm::{KeyPlace, Operation, Profile, profile};

use super::Lowering;
use super::clouds::{self, Placed};
use super::mcp::place_of;
use crate::local::document as doc;
use crate::local::policies::TargetPolicies;

/// Why a provider cannot be used.
const NOT_YET: &str =
    "not supported by this version yet; what speaks OpenAI's dialect there can be written as `custom`";

/// A provider as written, in whatever form.
pub(super) struct Written {
    pub(super) name: String,
    pub(super) known: Known,
    pub(super) host: Option<String>,
    pub(super) path_override: Option<String>,
    pub(super) path_prefix: Option<String>,
    pub(super) policies: Option<TargetPolicies>,
    /// Policies that follow from other keys.
    pub(super) further: Vec<Policy>,
    pub(super) serves: String,
    pub(super) priority: u32,
    pub(super) internal: bool,
    pub(super) when: Option<String>,
    pub(super) passthrough: Option<AiPassthrough>,
}

/// What is known of a provider.
pub(super) struct Known {
    pub(super) model: Option<String>,
    pub(super) of: Of,
}

pub(super) enum Of {
    Profile(&'static Profile),
    Placed(Placed),
    Custom(doc::AiCustom),
}

impl Lowering<'_> {
    /// The backend `key`, with a backend of its own for each provider.
    pub(super) fn ai_backend(&mut self, path: &str, key: &BackendKey, it: doc::AiBackend) -> Option<BackendRef> {
        let before = self.problems.len();
        let mut providers = Vec::new();
        for (at, written) in self.written(path, it) {
            providers.extend(self.ai_provider(&at, key, written));
        }
        self.ai_names(path, &providers);
        if providers.is_empty() && self.problems.len() == before {
            self.problem(format!("{path}.groups"), "is empty: write at least one provider");
        }
        if self.problems.len() > before {
            return None;
        }
        let backend = AiBackend { providers, ..AiBackend::default() };
        Some(self.ai_declared(path, key, backend))
    }

    pub(super) fn ai_declared(&mut self, path: &str, key: &BackendKey, backend: AiBackend) -> BackendRef {
        let origin = self.origin(path);
        self.out.backends.push(Arc::new(Backend { key: key.clone(), kind: BackendKind::Ai(backend), origin }));
        BackendRef::Backend(key.clone())
    }

    pub(super) fn ai_names(&mut self, path: &str, providers: &[AiProvider]) {
        if providers.len() > PROVIDERS_MAX {
            self.problem(path, format!("at most {PROVIDERS_MAX} providers"));
        }
        let mut names = BTreeSet::new();
        for it in providers {
            if !names.insert(&it.name) {
                self.problem(path, format!("provider `{}` is already there", it.name));
            }
        }
    }

    /// One provider or groups of them, in one form.
    fn written(&mut self, path: &str, it: doc::AiBackend) -> Vec<(String, Written)> {
        let doc::AiBackend { name, provider, host_override, path_override, path_prefix, tokenize, policies, groups } =
            it;
        let mut all = Vec::new();
        match (provider, groups.is_empty()) {
            (Some(_), false) | (None, true) => {
                self.problem(path, "write either `provider` or `groups`");
            }
            (Some(provider), true) => {
                let name = name.unwrap_or_else(|| provider.name().to_owned());
                let single =
                    doc::AiProvider { name, provider, host_override, path_override, path_prefix, tokenize, policies };
                all.push((path.to_owned(), 0, single));
            }
            (None, false) => {
                let single = [name.is_some(), host_override.is_some(), path_override.is_some(), path_prefix.is_some()];
                if single.contains(&true) || tokenize || policies.is_some() {
                    self.problem(path, "beside `groups` nothing else is written: it belongs to each provider");
                }
                for (group, it) in groups.into_iter().enumerate() {
                    let priority = u32::try_from(group).unwrap_or(u32::MAX);
                    let providers = it.providers.into_iter().enumerate();
                    all.extend(
                        providers.map(|(at, it)| (format!("{path}.groups[{group}].providers[{at}]"), priority, it)),
                    );
                }
            }
        }
        let mut written = Vec::with_capacity(all.len());
        for (at, priority, it) in all {
            let doc::AiProvider { name, provider, host_override, path_override, path_prefix, tokenize, policies } = it;
            if tokenize {
                self.problem(format!("{at}.tokenize"), "not supported by this version yet");
            }
            let Some(known) = self.known(&format!("{at}.provider"), provider) else { continue };
            let serves = "*".to_owned();
            let (host, further, internal) = (host_override, Vec::new(), false);
            written.push((
                at,
                Written {
                    name,
                    known,
                    host,
                    path_override,
                    path_prefix,
                    policies,
                    further,
                    serves,
                    priority,
                    internal,
                    when: None,
                    passthrough: None,
                },
            ));
        }
        written
    }

    fn known(&mut self, path: &str, provider: doc::AiProviderKind) -> Option<Known> {
        use doc::AiProviderKind as Kind;
        let name = provider.name();
        let model = match provider {
            Kind::Custom(custom) => return Some(Known { model: custom.model.clone(), of: Of::Custom(custom) }),
            Kind::Vertex(it) => return self.placed(&format!("{path}.{name}"), it.model.clone(), clouds::vertex(&it)),
            Kind::Bedrock(it) => return self.placed(&format!("{path}.{name}"), it.model.clone(), clouds::bedrock(&it)),
            Kind::Azure(it) => return self.placed(&format!("{path}.{name}"), it.model.clone(), clouds::azure(&it)),
            Kind::Copilot(_) => {
                self.problem(format!("{path}.{name}"), NOT_YET);
                return None;
            }
            Kind::OpenAi(it)
            | Kind::Anthropic(it)
            | Kind::Gemini(it)
            | Kind::Cohere(it)
            | Kind::Ollama(it)
            | Kind::Baseten(it)
            | Kind::Cerebras(it)
            | Kind::Deepinfra(it)
            | Kind::Deepseek(it)
            | Kind::Groq(it)
            | Kind::Huggingface(it)
            | Kind::Mistral(it)
            | Kind::Openrouter(it)
            | Kind::Togetherai(it)
            | Kind::Xai(it)
            | Kind::Fireworks(it) => it.model,
        };
        self.named(path, name).map(|it| Known { model, of: Of::Profile(it) })
    }

    fn placed(&mut self, path: &str, model: Option<String>, placed: Result<Placed, String>) -> Option<Known> {
        self.check(path, placed).map(|it| Known { model, of: Of::Placed(it) })
    }

    /// A provider that is known by name.
    pub(super) fn named(&mut self, path: &str, name: &str) -> Option<&'static Profile> {
        let found = profile(name);
        if found.is_none() {
            let text = match name {
                "copilot" => NOT_YET.to_owned(),
                name => format!("`{name}` is not a provider that is known by name: write `custom` with its formats"),
            };
            self.problem(path, text);
        }
        found
    }

    /// Paths that a `custom` provider has for kinds of requests.
    fn format_paths(&mut self, path: &str, of: &Of) {
        let Of::Custom(custom) = of else { return };
        let written = custom.formats.iter().enumerate();
        let wrong = written.filter_map(|(at, it)| Some((at, it.path.as_ref().filter(|it| !it.starts_with('/'))?)));
        for (at, text) in wrong {
            let at = format!("{path}.provider.custom.formats[{at}].path");
            self.problem(at, format!("`{text}` is not a path: it begins with `/`"));
        }
    }

    /// The provider, with a backend of its own below `owner`.
    pub(super) fn ai_provider(&mut self, path: &str, owner: &BackendKey, it: Written) -> Option<AiProvider> {
        let Written {
            name,
            known,
            host,
            path_override,
            path_prefix,
            policies,
            further,
            serves,
            priority,
            internal,
            when,
            passthrough,
        } = it;
        let key = BackendKey::new(format!("{owner}/{name}"));
        for (at, text) in [("pathOverride", &path_override), ("pathPrefix", &path_prefix)] {
            let Some(text) = text else { continue };
            if !text.starts_with('/') || text.contains(['?', '#']) {
                self.problem(
                    format!("{path}.{at}"),
                    format!("`{text}` is not a path: it begins with `/`, and has no query"),
                );
            }
        }
        self.format_paths(path, &known.of);
        let origin = match (&known.of, &host) {
            (_, Some(host)) => host.as_str(),
            (Of::Profile(profile), None) => profile.origin,
            (Of::Placed(placed), None) => placed.origin.as_str(),
            (Of::Custom(_), None) => {
                self.problem(path, "a `custom` provider needs `hostOverride`: where it is");
                return None;
            }
        };
        let place = self.check(format!("{path}.hostOverride"), place_of(origin, None, None, ""))?;
        if !place.path.is_empty() {
            self.problem(format!("{path}.hostOverride"), "has a path, which belongs into `pathPrefix`");
        }
        let tls = place.tls || (!origin.contains("://") && origin.ends_with(":443"));
        let at = format!("{path}.policies");
        let lowered = self.ai_policies(&at, (policies, further), &known.of, tls);
        self.attach(lowered, &Target::Backend(key.clone()), Phase::Route, &at);
        let origin = self.origin(path);
        self.out.backends.push(Arc::new(Backend { key: key.clone(), kind: BackendKind::Host(place.host), origin }));
        let model = known.model.map(Into::into);
        let Paths { system, key: place, base, formats } =
            paths(known.of, path_prefix.as_deref(), path_override.as_deref());
        for (at, it) in formats.iter().enumerate().filter(|it| !it.1.path.starts_with('/')) {
            let text = format!("`{}` does not begin with `/`", it.path);
            self.problem(format!("{path}.provider.custom.formats[{at}].path"), text);
        }
        Some(AiProvider {
            name: name.into(),
            backend: BackendRef::Backend(key),
            system: system.into(),
            key: place,
            base: base.into(),
            formats,
            model,
            serves: serves.into(),
            priority,
            internal,
            when: when.map(Into::into),
            passthrough,
        })
    }
}

impl Lowering<'_> {
    /// Policies of a provider as written, and what follows from other keys and from what it is.
    fn ai_policies(
        &mut self,
        path: &str,
        (written, further): (Option<TargetPolicies>, Vec<Policy>),
        of: &Of,
        tls: bool,
    ) -> Vec<Policy> {
        let mut lowered = self.scoped(path, |scope| {
            scope.site = filters::expr::Site::Backend;
            written.map(|it| it.lower(scope)).unwrap_or_default()
        });
        for policy in further {
            if !lowered.iter().any(|it| it.kind() == policy.kind()) {
                lowered.push(policy);
            }
        }
        if !lowered.iter().any(|it| it.kind() == filters::Kind::BackendAuth) {
            lowered.extend(self.own_credential(path, of));
        }
        if tls && !lowered.iter().any(|it| it.kind() == filters::Kind::BackendTls) {
            lowered.push(Policy::BackendTls(backend_tls::Policy::default()));
        }
        lowered
    }

    /// The process's own credential at a cloud, where nothing else is written.
    fn own_credential(&mut self, path: &str, of: &Of) -> Option<Policy> {
        match of {
            Of::Placed(Placed { region: Some(region), .. }) => self.aws(path, region),
            Of::Placed(it) if it.system == "gcp.vertex_ai" => self.gcp(path),
            Of::Placed(_) | Of::Profile(_) | Of::Custom(_) => None,
        }
    }

    /// The signature of the process for a region.
    fn aws(&mut self, path: &str, region: &str) -> Option<Policy> {
        let aws = backend_auth::AwsConfig {
            region: Some(region.to_owned()),
            service_name: Some("bedrock".to_owned()),
            ..backend_auth::AwsConfig::default()
        };
        let config = backend_auth::Config { aws: Some(aws), ..backend_auth::Config::default() };
        self.scoped(path, |scope| config.lower(scope)).map(Policy::BackendAuth)
    }

    /// The token of the process for Google's cloud.
    fn gcp(&mut self, path: &str) -> Option<Policy> {
        let gcp = Some(backend_auth::GcpConfig::default());
        let config = backend_auth::Config { gcp, ..backend_auth::Config::default() };
        self.scoped(path, |scope| config.lower(scope)).map(Policy::BackendAuth)
    }
}

struct Paths {
    system: String,
    key: AiKeyPlace,
    base: String,
    formats: Vec<AiFormat>,
}

/// Where each kind of request goes.
fn paths(of: Of, prefix: Option<&str>, whole: Option<&str>) -> Paths {
    let prefix = prefix.map(|it| it.trim_end_matches('/'));
    let (system, key, base, before, formats) = match of {
        Of::Profile(it) => {
            let replaced = matches!(it.name, "openAI" | "anthropic");
            let before = if replaced { "" } else { prefix.unwrap_or_default() };
            let base = match prefix {
                Some(prefix) if replaced => prefix.to_owned(),
                _ => format!("{before}{}", it.base),
            };
            let key = match it.key {
                KeyPlace::Authorization => AiKeyPlace::Authorization,
                KeyPlace::XApiKey => AiKeyPlace::XApiKey,
                KeyPlace::XGoogApiKey => AiKeyPlace::XGoogApiKey,
            };
            let formats = it.formats.iter().map(|(kind, path)| (*kind, (*path).to_owned())).collect();
            (it.system.to_owned(), key, base, before, formats)
        }
        Of::Placed(it) => {
            let Placed { system, key, origin: _, base, formats, region: _ } = it;
            (system.to_owned(), key, base, prefix.unwrap_or_default(), formats)
        }
        Of::Custom(it) => {
            let formats: Vec<_> =
                it.formats.into_iter().map(|it| (it.kind.operation(), it.path.unwrap_or_default())).collect();
            let system = it.provider_override.unwrap_or_else(|| "custom".to_owned());
            (system, AiKeyPlace::Authorization, prefix.unwrap_or("/v1").to_owned(), "", formats)
        }
    };
    let format = |(kind, path): (Operation, String)| AiFormat {
        kind: kind.key().into(),
        path: match (whole, path.as_str()) {
            (Some(whole), _) => whole.into(),
            (None, "") => format!("{base}{}", kind.ending().unwrap_or_default()).into(),
            (None, path) => format!("{before}{path}").into(),
        },
    };
    let formats = formats.into_iter().map(format).collect();
    Paths { system, key, base, formats }
}

impl doc::AiProviderKind {
    /// As it is written.
    fn name(&self) -> &'static str {
        match self {
            Self::OpenAi(_) => "openAI",
            Self::Anthropic(_) => "anthropic",
            Self::Gemini(_) => "gemini",
            Self::Custom(_) => "custom",
            Self::Cohere(_) => "cohere",
            Self::Ollama(_) => "ollama",
            Self::Baseten(_) => "baseten",
            Self::Cerebras(_) => "cerebras",
            Self::Deepinfra(_) => "deepinfra",
            Self::Deepseek(_) => "deepseek",
            Self::Groq(_) => "groq",
            Self::Huggingface(_) => "huggingface",
            Self::Mistral(_) => "mistral",
            Self::Openrouter(_) => "openrouter",
            Self::Togetherai(_) => "togetherai",
            Self::Xai(_) => "xai",
            Self::Fireworks(_) => "fireworks",
            Self::Vertex(_) => "vertex",
            Self::Bedrock(_) => "bedrock",
            Self::Azure(_) => "azure",
            Self::Copilot(_) => "copilot",
        }
    }
}

impl doc::AiFormatKind {
    fn operation(self) -> Operation {
        match self {
            Self::Completions => Operation::Completions,
            Self::Messages => Operation::Messages,
            Self::Responses => Operation::Responses,
            Self::Embeddings => Operation::Embeddings,
            Self::AnthropicTokenCount => Operation::CountTokens,
            Self::GenerateContent => Operation::GenerateContent,
            Self::GeminiCountTokens => Operation::GeminiCountTokens,
            Self::Converse => Operation::Converse,
            Self::Realtime => Operation::Realtime,
            Self::Rerank => Operation::Rerank,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_written_out_with_what_is_asked_for() {
        let of = |name: &str| Of::Profile(profile(name).unwrap());
        let custom = || {
            Of::Custom(doc::AiCustom {
                model: None,
                provider_override: None,
                formats: vec![
                    doc::AiFormat { kind: doc::AiFormatKind::Completions, path: None },
                    doc::AiFormat { kind: doc::AiFormatKind::Rerank, path: Some("/rank".into()) },
                ],
            })
        };
        for (of, prefix, whole, base, first, second) in [
            (of("openai"), None, None, "/v1", "/v1/chat/completions", "/v1/responses"),
            (of("openai"), Some("/x/v9/"), None, "/x/v9", "/x/v9/chat/completions", "/x/v9/responses"),
            (of("anthropic"), None, Some("/all"), "/v1", "/all", "/all"),
            (of("deepseek"), Some("/p"), None, "/p/v1", "/p/v1/chat/completions", "/p/anthropic/v1/messages"),
            (custom(), None, None, "/v1", "/v1/chat/completions", "/rank"),
            (custom(), Some("/api"), None, "/api", "/api/chat/completions", "/rank"),
        ] {
            let got = paths(of, prefix, whole);
            let path = |at: usize| got.formats[at].path.to_string();
            assert_eq!((got.base.as_str(), path(0).as_str(), path(1).as_str()), (base, first, second));
        }
    }
}
