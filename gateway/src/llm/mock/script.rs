//! What a script can change, by model: JSON such as
//!
//! ```json
//! {"key": "secret", "models": ["mock", "mock-large"],
//!  "rules": [{"model": "flaky", "times": 2, "status": 503, "headers": {"retry-after": "1"}},
//!            {"model": "slow-*", "delayMs": 500, "pauseMs": 20},
//!            {"model": "thinks", "thinking": "hm", "toolInput": {"city": "Bern"}},
//!            {"model": "*", "text": "as written", "cachedTokens": 7, "reasoningTokens": 3, "cutAfter": 4}]}
//! ```
//!
//! The first rule that fits and is not used up holds. Without a script every model answers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use protocols::llm::Pattern;
use serde::Deserialize;

use super::Question;

/// See the file.
#[derive(Default)]
pub struct Script {
    pub(super) key: Option<String>,
    pub(super) models: Vec<String>,
    rules: Vec<(Pattern, Rule, AtomicU64)>,
}

/// What holds for a request.
#[derive(Clone)]
pub(super) struct Rule {
    pub(super) status: Option<u16>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) delay: Option<Duration>,
    pub(super) pause: Option<Duration>,
    /// Events of a stream after which the connection breaks.
    pub(super) cut_after: Option<usize>,
    text: Option<String>,
    thinking: Option<String>,
    tool_input: Option<serde_json::Value>,
    pub(super) cached_tokens: u64,
    reasoning_tokens: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ScriptText {
    key: Option<String>,
    #[serde(default)]
    models: Vec<String>,
    #[serde(default)]
    rules: Vec<RuleText>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RuleText {
    #[serde(default = "any")]
    model: String,
    times: Option<u64>,
    status: Option<u16>,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    delay_ms: Option<u64>,
    pause_ms: Option<u64>,
    cut_after: Option<usize>,
    text: Option<String>,
    thinking: Option<String>,
    tool_input: Option<serde_json::Value>,
    #[serde(default)]
    cached_tokens: u64,
    #[serde(default)]
    reasoning_tokens: u64,
}

fn any() -> String {
    "*".to_owned()
}

impl Script {
    pub fn parse(text: &str) -> Result<Self, String> {
        let ScriptText { key, models, rules } = serde_json::from_str(text).map_err(|it| format!("the script: {it}"))?;
        let rules: Result<_, String> = rules.into_iter().map(RuleText::read).collect();
        Ok(Self { key, models, rules: rules? })
    }

    /// The rule for a request, counted.
    pub(super) fn rule(&self, model: &str) -> Option<Rule> {
        let left =
            |left: &AtomicU64| left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |it| it.checked_sub(1)).is_ok();
        let fits = self.rules.iter().filter(|(pattern, ..)| pattern.matches(model));
        fits.into_iter().find(|(_, _, times)| left(times)).map(|(_, rule, _)| rule.clone())
    }
}

impl RuleText {
    fn read(self) -> Result<(Pattern, Rule, AtomicU64), String> {
        let Self {
            model,
            times,
            status,
            headers,
            delay_ms,
            pause_ms,
            cut_after,
            text,
            thinking,
            tool_input,
            cached_tokens,
            reasoning_tokens,
        } = self;
        if status.is_some_and(|it| !(400..600).contains(&it)) {
            return Err(format!("the script: `status` of `{model}` is not between 400 and 599"));
        }
        let header = |(name, value): (String, String)| Some((name.parse().ok()?, value.parse().ok()?));
        let rule = Rule {
            status,
            headers: headers.into_iter().filter_map(header).collect(),
            delay: delay_ms.map(Duration::from_millis),
            pause: pause_ms.map(Duration::from_millis),
            cut_after,
            text,
            thinking,
            tool_input,
            cached_tokens,
            reasoning_tokens,
        };
        Ok((Pattern::parse(&model)?, rule, AtomicU64::new(times.unwrap_or(u64::MAX))))
    }
}

impl Rule {
    /// What is said whatever is asked.
    pub(super) fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// The question with the answer of the script.
    pub(super) fn apply(&self, mut question: Question) -> Question {
        if let Some(text) = &self.text {
            question.words = text.split_inclusive(' ').map(str::to_owned).collect();
            question.tool = None;
        }
        question.thinking.clone_from(&self.thinking);
        if let Some(input) = &self.tool_input {
            question.tool_input = input.clone();
        }
        question.cached_tokens = self.cached_tokens.min(question.input_tokens);
        question.reasoning_tokens = self.reasoning_tokens;
        question
    }
}

/// Whether a request carries the key, wherever dialects have it.
pub(super) fn carries(headers: &HeaderMap, query: Option<&str>, key: &str) -> bool {
    let is = |name: &str, before: &str| {
        let value = headers.get(name).and_then(|it| it.to_str().ok());
        value.and_then(|it| it.strip_prefix(before)) == Some(key)
    };
    is("authorization", "Bearer ")
        || is("x-api-key", "")
        || is("x-goog-api-key", "")
        || is("api-key", "")
        // A signature of AWS names the key that it was made with.
        || headers.get("authorization").and_then(|it| it.to_str().ok()).is_some_and(|it| it.contains(&format!("Credential={key}/")))
        || query.is_some_and(|it| it.split('&').any(|it| it.strip_prefix("key=") == Some(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_fits_and_is_left_holds() {
        let script = r#"{"rules": [{"model": "a", "times": 2, "status": 503}, {"model": "a*", "delayMs": 5}]}"#;
        let script = Script::parse(script).unwrap();
        let statuses: Vec<_> = (0..3).map(|_| script.rule("a").unwrap().status).collect();
        assert_eq!(statuses, [Some(503), Some(503), None]);
        assert!(script.rule("b").is_none());
        for wrong in ["{", r#"{"rules": [{"status": 200}]}"#, r#"{"rules": [{"modle": "a"}]}"#] {
            assert!(Script::parse(wrong).is_err(), "{wrong}");
        }
    }
}
