//! Requests to language models and their answers, as understood.

use std::sync::Arc;
use std::time::Duration;

use ir::Text;
use protocols::llm::guard::{Action, Find, Found, Part};
use regex::Regex;
use serde::{Serialize, Serializer};

use super::builtin;
pub use super::builtin::Builtin;
use super::prompts::{Caching, Prompts};
use super::webhook::Webhook;
use crate::expr::{Expression, Site, Vocabulary};

pub(super) const HOLD_BACK_DEFAULT: usize = 256;

/// A condition of a virtual model: over the request, and `llmRequest`, which is its body.
///
/// # Errors
/// Every problem, with its place in the text.
pub fn condition(text: &str) -> Result<Expression, String> {
    Expression::parse(text, &Vocabulary::rule(Site::Llm))
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Names with one `*` at most, and what is asked for instead.
    pub aliases: Vec<(Text, Text)>,
    /// Members and their JSON.
    pub defaults: Vec<(Text, Text)>,
    pub overrides: Vec<(Text, Text)>,
    /// Members, and what gives them by the body as the client wrote it.
    pub transformations: Vec<(Text, Expression)>,
    /// The same by the body as its provider gets it.
    pub final_transformations: Vec<(Text, Expression)>,
    pub prompts: Prompts,
    pub caching: Option<Caching>,
    pub request: Guards,
    pub response: Guards,
    /// Whether answers that stream are guarded.
    pub streaming: bool,
    /// How long the rest of an answer is read for its account.
    pub drain: Option<Duration>,
    /// How long the first piece of a stream is waited for while another provider is left.
    pub first_token: Option<Duration>,
}

/// Guards of one side.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Guards {
    pub guards: Vec<Guard>,
    /// Bytes of a text behind which patterns find nothing more.
    pub hold_back: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Guard {
    pub rules: Vec<Rule>,
    /// In the place of rules: a server that is asked.
    pub webhook: Option<Webhook>,
    #[serde(skip)]
    pub parts: Vec<Part>,
    pub rejects: bool,
    pub outcome: GuardOutcome,
    pub rejection: Option<Rejection>,
}

/// What comes of what a guard finds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum GuardOutcome {
    #[default]
    Enforce,
    Shadow,
    Audit,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Rule {
    Builtin(Builtin),
    Pattern(Pattern),
}

/// A regular expression, known by its text.
#[derive(Clone, Debug)]
pub struct Pattern(pub(super) Regex);

impl Pattern {
    pub fn text(&self) -> &str {
        self.0.as_str()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text())
    }
}

/// The answer to what is refused, in place of the dialect's own.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rejection {
    pub status: u16,
    pub body: Option<Text>,
    pub headers: Vec<(Text, Text)>,
}

impl Policy {
    /// What holds where this meets one further from the backend: what is not written here is as there. Guards of both
    /// hold, those from there first, so that nobody can lose one by writing something else.
    #[must_use]
    pub fn over(&self, above: &Self) -> Self {
        fn list<T: Clone>(own: &[T], above: &[T]) -> Vec<T> {
            if own.is_empty() { above.to_vec() } else { own.to_vec() }
        }
        let streaming = match (above.response.is_empty(), self.response.is_empty()) {
            (false, true) => above.streaming,
            (true, _) => self.streaming,
            (false, false) => above.streaming || self.streaming,
        };
        Self {
            aliases: list(&self.aliases, &above.aliases),
            defaults: list(&self.defaults, &above.defaults),
            overrides: list(&self.overrides, &above.overrides),
            transformations: list(&self.transformations, &above.transformations),
            final_transformations: list(&self.final_transformations, &above.final_transformations),
            prompts: if self.prompts.is_empty() { above.prompts.clone() } else { self.prompts.clone() },
            caching: self.caching.or(above.caching),
            request: self.request.behind(&above.request),
            response: self.response.behind(&above.response),
            streaming,
            drain: self.drain.or(above.drain),
            first_token: self.first_token.or(above.first_token),
        }
    }
}

impl Default for Guards {
    fn default() -> Self {
        Self { guards: Vec::new(), hold_back: HOLD_BACK_DEFAULT }
    }
}

impl Guards {
    fn behind(&self, above: &Self) -> Self {
        let guards = above.guards.iter().chain(&self.guards).cloned().collect();
        let written = [above, self].into_iter().filter(|it| !it.is_empty());
        // Who looks further ahead says how far.
        let hold_back = written.map(|it| it.hold_back).max().unwrap_or(self.hold_back);
        Self { guards, hold_back }
    }

    /// Whether there are rules of the gateway's own.
    pub fn finds(&self) -> bool {
        self.guards.iter().any(|it| !it.rules.is_empty())
    }

    /// Whether servers are asked.
    pub fn asks(&self) -> bool {
        self.guards.iter().any(|it| it.webhook.is_some())
    }

    pub fn is_empty(&self) -> bool {
        self.guards.is_empty()
    }
}

impl Rule {
    fn regex(&self) -> &Regex {
        match self {
            Self::Builtin(it) => it.regex(),
            Self::Pattern(it) => &it.0,
        }
    }

    fn holds(&self, text: &str) -> bool {
        match self {
            Self::Builtin(it) => it.holds(text),
            Self::Pattern(_) => !text.is_empty(),
        }
    }

    fn mask(&self) -> &'static str {
        match self {
            Self::Builtin(it) => it.mask(),
            Self::Pattern(_) => "<MASKED>",
        }
    }
}

impl Guard {
    fn enforces(&self) -> bool {
        self.outcome == GuardOutcome::Enforce
    }

    fn action(&self, rule: &Rule) -> Action {
        match (self.outcome, self.rejects) {
            (GuardOutcome::Shadow | GuardOutcome::Audit, _) => Action::Note,
            (GuardOutcome::Enforce, true) => Action::Reject,
            (GuardOutcome::Enforce, false) => Action::Mask(Arc::from(rule.mask())),
        }
    }
}

/// Rules are known by the position of their guard.
impl Find for Guards {
    fn find(&self, part: Part, text: &str) -> Vec<Found> {
        let mut found = Vec::new();
        for (position, guard) in self.guards.iter().enumerate().filter(|(_, it)| it.parts.contains(&part)) {
            for rule in &guard.rules {
                let matches = rule.regex().find_iter(text).filter(|it| rule.holds(it.as_str()));
                found.extend(matches.map(|it| Found { range: it.range(), rule: position, action: guard.action(rule) }));
            }
        }
        found
    }

    fn settled(&self, text: &str, from: usize) -> usize {
        let is_pattern = |it: &Rule| matches!(it, Rule::Pattern(_));
        let rules = || self.guards.iter().flat_map(|it| &it.rules);
        if rules().any(is_pattern) {
            let builtin = if rules().all(is_pattern) { 0 } else { builtin::BYTES_MAX };
            return text.len().saturating_sub(self.hold_back.max(builtin));
        }
        let word = from + text.get(from..).map_or(0, builtin::last_break);
        word.max(text.len().saturating_sub(builtin::BYTES_MAX))
    }

    fn enforces(&self) -> bool {
        self.guards.iter().any(Guard::enforces)
    }
}
