//! What an answer says was used, one way for every dialect.
//!
//! `input` counts everything that went in, cached or not. Anthropic and Bedrock report what was read from and written to
//! a cache beside the rest, the others within; which convention a report follows is told by its keys. Reports of a
//! stream complete each other: the last number of each kind counts, for they are running totals.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::json::{Kind, Raw};

/// Bytes kept of a report as it came.
const RAW_BYTES_MAX: usize = 4 << 10;

/// Members of a report that are looked at.
const MEMBERS_MAX: usize = 64;
/// As many as most reports have.
const MEMBERS_USUAL: usize = 8;

/// Tokens by kind; nothing where the provider did not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// As reported: with what is cached or, where `input_is_fresh`, without.
    reported_input: Option<u64>,
    input_is_fresh: bool,
    pub cache_read: Option<u64>,
    pub cache_write: Option<u64>,
    /// With what the model thought.
    pub output: Option<u64>,
    pub reasoning: Option<u64>,
    pub input_audio: Option<u64>,
    pub output_audio: Option<u64>,
    pub input_image: Option<u64>,
    pub output_image: Option<u64>,
    pub service_tier: Option<String>,
    /// The last report as it came.
    pub raw: Option<String>,
}

impl Usage {
    /// Everything that went in, cached or not.
    pub fn input(&self) -> Option<u64> {
        let cached = self.cache_read.unwrap_or(0).saturating_add(self.cache_write.unwrap_or(0));
        match self.input_is_fresh {
            true => Some(self.reported_input?.saturating_add(cached)),
            false => self.reported_input,
        }
    }

    pub fn total(&self) -> Option<u64> {
        match (self.input(), self.output) {
            (None, None) => None,
            (input, output) => Some(input.unwrap_or(0).saturating_add(output.unwrap_or(0))),
        }
    }

    /// What was used in all, with what another answer has used.
    pub fn add(&mut self, other: Self) {
        let sum = |one: Option<u64>, other: Option<u64>| match (one, other) {
            (Some(one), Some(other)) => Some(one.saturating_add(other)),
            (one, other) => one.or(other),
        };
        self.reported_input = sum(self.input(), other.input());
        self.input_is_fresh = false;
        self.service_tier = other.service_tier.or(self.service_tier.take());
        self.raw = other.raw.or(self.raw.take());
        for (held, more) in [
            (&mut self.cache_read, other.cache_read),
            (&mut self.cache_write, other.cache_write),
            (&mut self.output, other.output),
            (&mut self.reasoning, other.reasoning),
            (&mut self.input_audio, other.input_audio),
            (&mut self.output_audio, other.output_audio),
            (&mut self.input_image, other.input_image),
            (&mut self.output_image, other.output_image),
        ] {
            *held = sum(*held, more);
        }
    }

    /// What was used at least, as far as nobody has said more.
    pub fn guess(&mut self, input: u64, output: u64) {
        self.reported_input.get_or_insert(input);
        self.output = self.output.max(Some(output));
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Takes a report: the value of `usage`, `usageMetadata` and the like, in whatever dialect. Keeps it as it came.
    pub fn read(&mut self, report: Raw<'_>) {
        self.count(report);
        if report.kind() == Kind::Object && report.text().len() <= RAW_BYTES_MAX {
            self.raw = Some(report.text().to_owned());
        }
    }

    /// As [`Usage::read`], of the numbers alone.
    pub fn count(&mut self, report: Raw<'_>) {
        if report.kind() != Kind::Object {
            return;
        }
        let members = Members::of(report);
        let is_camel = members.get("promptTokenCount").is_some() || members.get("candidatesTokenCount").is_some();
        match is_camel {
            true => self.gemini(&members),
            false => self.plain(&members),
        }
        if let Some(tier) = members.get("service_tier").and_then(Raw::as_str) {
            self.service_tier = Some(tier.into_owned());
        }
    }

    /// OpenAI's two ways, Anthropic's, Bedrock's, and what resembles them.
    fn plain(&mut self, report: &Members<'_>) {
        let beside =
            ["cache_read_input_tokens", "cache_creation_input_tokens", "cacheReadInputTokens", "cacheWriteInputTokens"];
        self.input_is_fresh |= beside.iter().any(|name| report.get(name).is_some());
        let input = report.first(&["prompt_tokens", "input_tokens", "inputTokens"]);
        let output = report.first(&["completion_tokens", "output_tokens", "outputTokens"]);
        // Embeddings of some say only how much it was in all.
        let input = input.or_else(|| if output.is_none() { report.first(&["total_tokens"]) } else { None });
        update(&mut self.reported_input, input);
        update(&mut self.output, output);
        let input = report.details(&["prompt_tokens_details", "input_tokens_details", "input_token_details"]);
        let output = report.details(&["completion_tokens_details", "output_tokens_details", "output_token_details"]);
        let detail = |of: &Members<'_>, name: &str| number(of.get(name));
        let read = report.first(&["cache_read_input_tokens", "cacheReadInputTokens", "prompt_cache_hit_tokens"]);
        update(&mut self.cache_read, read.or_else(|| detail(&input, "cached_tokens")));
        let write = report.first(&["cache_creation_input_tokens", "cacheWriteInputTokens"]);
        update(&mut self.cache_write, write.or_else(|| detail(&input, "cache_write_tokens")));
        let reasoning = detail(&output, "reasoning_tokens").or_else(|| detail(&output, "thinking_tokens"));
        update(&mut self.reasoning, reasoning.or_else(|| report.first(&["reasoning_tokens"])));
        update(&mut self.input_audio, detail(&input, "audio_tokens"));
        update(&mut self.output_audio, detail(&output, "audio_tokens"));
        update(&mut self.input_image, detail(&input, "image_tokens"));
        update(&mut self.output_image, detail(&output, "image_tokens"));
    }

    /// Thoughts and prompts of tools are counted beside the rest there.
    fn gemini(&mut self, report: &Members<'_>) {
        let get = |name: &str| number(report.get(name));
        let sum = |names: [&str; 2]| {
            let found: Vec<_> = names.into_iter().filter_map(get).collect();
            (!found.is_empty()).then(|| found.into_iter().fold(0, u64::saturating_add))
        };
        update(&mut self.reported_input, sum(["promptTokenCount", "toolUsePromptTokenCount"]));
        update(&mut self.output, sum(["candidatesTokenCount", "thoughtsTokenCount"]));
        update(&mut self.reasoning, get("thoughtsTokenCount"));
        update(&mut self.cache_read, get("cachedContentTokenCount"));
        let of = |details: &str, modality: &str| {
            let mut list = report.get(details)?.elements();
            let found = list.find(|it| it.get("modality").and_then(Raw::as_str).as_deref() == Some(modality))?;
            number(found.get("tokenCount"))
        };
        update(&mut self.input_audio, of("promptTokensDetails", "AUDIO"));
        update(&mut self.output_audio, of("candidatesTokensDetails", "AUDIO"));
        update(&mut self.input_image, of("promptTokensDetails", "IMAGE"));
        update(&mut self.output_image, of("candidatesTokensDetails", "IMAGE"));
    }
}

/// Members of a report, walked once: some thirty names are looked for.
struct Members<'a>(SmallVec<[(Cow<'a, str>, Raw<'a>); MEMBERS_USUAL]>);

impl<'a> Members<'a> {
    fn of(object: Raw<'a>) -> Self {
        Self(object.members().take(MEMBERS_MAX).collect())
    }

    fn get(&self, name: &str) -> Option<Raw<'a>> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| *value)
    }

    /// The number of the first of these names that has one.
    fn first(&self, names: &[&str]) -> Option<u64> {
        names.iter().find_map(|name| number(self.get(name)))
    }

    /// The members of the first of these that is there.
    fn details(&self, names: &[&str]) -> Self {
        let found = names.iter().find_map(|name| self.get(name).filter(|it| it.kind() == Kind::Object));
        found.map_or(Self(SmallVec::new()), Self::of)
    }
}

fn update(held: &mut Option<u64>, said: Option<u64>) {
    if said.is_some() {
        *held = said;
    }
}

/// A whole number; a few providers write `12.0`.
fn number(value: Option<Raw<'_>>) -> Option<u64> {
    let text = value?.text();
    text.strip_suffix(".0").unwrap_or(text).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    fn read(reports: &[&str]) -> Usage {
        let mut usage = Usage::default();
        for report in reports {
            usage.read(json::parse(report.as_bytes()).unwrap());
        }
        usage
    }

    #[track_caller]
    fn check(reports: &[&str], [input, read_, write, output, reasoning]: [Option<u64>; 5]) {
        let got = read(reports);
        let seen = [got.input(), got.cache_read, got.cache_write, got.output, got.reasoning];
        assert_eq!(seen, [input, read_, write, output, reasoning], "{reports:?}");
    }

    #[test]
    fn every_dialect_is_understood_in_its_own_convention() {
        check(
            &[r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,
            "prompt_tokens_details":{"cached_tokens":4,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":3}}"#],
            [Some(10), Some(4), None, Some(5), Some(3)],
        );
        check(
            &[
                r#"{"input_tokens":36,"input_tokens_details":{"cached_tokens":6,"cache_write_tokens":2},"output_tokens":87,
            "output_tokens_details":{"reasoning_tokens":80},"total_tokens":123}"#,
            ],
            [Some(36), Some(6), Some(2), Some(87), Some(80)],
        );
        check(
            &[r#"{"input_tokens":10,"cache_creation_input_tokens":20,"cache_read_input_tokens":300,"output_tokens":7,
            "output_tokens_details":{"thinking_tokens":2}}"#],
            [Some(330), Some(300), Some(20), Some(7), Some(2)],
        );
        check(
            &[
                r#"{"inputTokens":10,"outputTokens":4,"totalTokens":29,"cacheReadInputTokens":12,"cacheWriteInputTokens":3}"#,
            ],
            [Some(25), Some(12), Some(3), Some(4), None],
        );
        check(
            &[
                r#"{"promptTokenCount":100,"cachedContentTokenCount":60,"candidatesTokenCount":20,"thoughtsTokenCount":30,
            "toolUsePromptTokenCount":5,"totalTokenCount":155}"#,
            ],
            [Some(105), Some(60), None, Some(50), Some(30)],
        );
        check(&[r#"{"prompt_tokens":8,"total_tokens":8}"#], [Some(8), None, None, None, None]);
        check(&[r#"{"total_tokens":9}"#], [Some(9), None, None, None, None]);
        check(
            &[r#"{"prompt_tokens":10,"completion_tokens":1,"prompt_cache_hit_tokens":8,"prompt_cache_miss_tokens":2}"#],
            [Some(10), Some(8), None, Some(1), None],
        );
        check(&["null", "[]", "{}", r#"{"prompt_tokens":-1,"completion_tokens":"7"}"#], [None; 5]);
    }

    #[test]
    fn reports_of_a_stream_complete_each_other() {
        check(
            &[
                r#"{"input_tokens":10,"cache_read_input_tokens":5,"cache_creation_input_tokens":0,"output_tokens":1}"#,
                r#"{"output_tokens":99}"#,
            ],
            [Some(15), Some(5), Some(0), Some(99), None],
        );
        check(
            &[
                r#"{"promptTokenCount":7,"totalTokenCount":7}"#,
                r#"{"promptTokenCount":7,"candidatesTokenCount":3,"totalTokenCount":10}"#,
            ],
            [Some(7), None, None, Some(3), None],
        );
    }

    #[test]
    fn answers_of_one_session_add_up_whatever_their_convention() {
        let mut all = Usage::default();
        all.add(read(&[
            r#"{"input_tokens":75,"output_tokens":48,"input_token_details":{"text_tokens":50,"audio_tokens":25,
            "cached_tokens":10},"output_token_details":{"text_tokens":8,"audio_tokens":40}}"#,
        ]));
        all.add(read(&[r#"{"input_tokens":5,"cache_read_input_tokens":20,"output_tokens":2}"#]));
        let got = (all.input(), all.cache_read, all.output, all.input_audio, all.output_audio, all.reasoning);
        assert_eq!(got, (Some(100), Some(30), Some(50), Some(25), Some(40), None));
    }

    #[test]
    fn sounds_and_images_are_told_apart_and_the_report_is_kept() {
        let got =
            read(&[r#"{"input_tokens":3,"input_tokens_details":{"image_tokens":2,"text_tokens":1},"output_tokens":4,
            "output_tokens_details":{"image_tokens":4},"service_tier":"priority"}"#]);
        assert_eq!(
            (got.input_image, got.output_image, got.service_tier.as_deref()),
            (Some(2), Some(4), Some("priority"))
        );
        assert!(got.raw.unwrap().contains("\"image_tokens\":2"));
        let got = read(&[r#"{"promptTokenCount":9,"promptTokensDetails":[{"modality":"TEXT","tokenCount":1},
            {"modality":"AUDIO","tokenCount":8}]}"#]);
        assert_eq!((got.input_audio, got.total()), (Some(8), Some(9)));
    }
}
