//! Guards that are servers of one's own.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderName;
use ir::Text;
use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policy::Pattern;
use crate::Scope;
use crate::callout::{Target, asks_a_server};
use crate::expr::{Expression, Site, Vocabulary};

const HEADERS_MAX: usize = 64;

/// A server that is asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "AiGuardWebhook")]
pub struct WebhookConfig {
    /// Which.
    pub target: WebhookTarget,
    /// Headers of each call by CEL over the client's request; `:path` is the path before `/request` and `/response`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Headers of the client's that go on to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forward_header_matches: Vec<ForwardConfig>,
    /// What becomes of what it cannot be asked about.
    #[serde(default)]
    pub failure_mode: WebhookFailureMode,
}

asks_a_server! {
    /// A server, and terms beside it.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    #[schemars(rename = "AiGuardWebhookTarget")]
    pub struct WebhookTarget {
        /// Whom it is, where that is known already.
        #[serde(skip)]
        #[schemars(skip)]
        pub known: Option<Arc<Target>>,
    }
}

/// A header of the client's that goes on to a server, where it has this value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "AiGuardForward")]
pub struct ForwardConfig {
    /// Its name.
    pub name: String,
    /// With which value it goes on.
    pub value: ForwardValue,
}

/// A value of a header.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "AiGuardForwardValue")]
pub enum ForwardValue {
    /// This value.
    Exact(String),
    /// A value that this finds itself in as a whole.
    Regex(String),
}

impl Default for ForwardValue {
    fn default() -> Self {
        Self::Exact(String::new())
    }
}

/// What becomes of what a server cannot be asked about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "AiGuardFailureMode")]
pub enum WebhookFailureMode {
    /// It is refused.
    #[default]
    FailClosed,
    /// It passes.
    FailOpen,
}

/// A server that is asked, as understood.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    pub target: Arc<Target>,
    pub headers: Vec<(Text, Expression)>,
    pub forwards: Vec<Forward>,
    pub fail_open: bool,
}

/// A header that goes on.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Forward {
    pub name: Text,
    pub value: Forwarded,
}

/// With which value.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Forwarded {
    Exact(Text),
    Regex(Pattern),
}

impl WebhookConfig {
    pub(super) fn lower(self, scope: &mut Scope<'_>) -> Option<Webhook> {
        let Self { mut target, headers, forward_header_matches, failure_mode } = self;
        let known = target.known.take();
        let target = known.or_else(|| scope.at("target", |scope| target.server().lower(scope)));
        if let Some(target) = &target {
            scope.at("target", |scope| target.refuse_bodies(scope));
        }
        if headers.len() > HEADERS_MAX || forward_header_matches.len() > HEADERS_MAX {
            scope.problem(format!("at most {HEADERS_MAX} headers of a kind"));
        }
        let vocabulary = Vocabulary::of(Site::Request);
        let headers = scope.at("headers", |scope| {
            let lower = |(name, text): (String, String)| {
                if name != ":path" && name.parse::<HeaderName>().is_err() {
                    scope.problem_at(&name, "is no name of a header, nor `:path`");
                }
                Some((name.as_str().into(), scope.check(&name, Expression::parse(&text, &vocabulary))?))
            };
            headers.into_iter().filter_map(lower).collect()
        });
        let forwards = forward_header_matches.into_iter().enumerate();
        let forwards = forwards.filter_map(|(position, it)| {
            scope.at(format!("forwardHeaderMatches[{position}]"), |scope| it.lower(scope))
        });
        let forwards = forwards.collect();
        Some(Webhook { target: target?, headers, forwards, fail_open: failure_mode == WebhookFailureMode::FailOpen })
    }
}

impl ForwardConfig {
    fn lower(self, scope: &mut Scope<'_>) -> Option<Forward> {
        let Self { name, value } = self;
        if name.parse::<HeaderName>().is_err() {
            scope.problem_at("name", "is no name of a header");
        }
        let value = match value {
            ForwardValue::Exact(text) => Forwarded::Exact(text.into()),
            ForwardValue::Regex(text) => {
                let regex = Regex::new(&text).map_err(|it| it.to_string());
                Forwarded::Regex(Pattern(scope.check("value", regex)?))
            }
        };
        Some(Forward { name: name.to_ascii_lowercase().into(), value })
    }
}

impl Forward {
    /// Whether a value goes on.
    pub fn takes(&self, value: &str) -> bool {
        match &self.value {
            Forwarded::Exact(text) => **text == *value,
            Forwarded::Regex(Pattern(regex)) => regex.find(value).is_some_and(|it| it.len() == value.len()),
        }
    }
}
