//! What an answer says was used, one way for every dialect.
//!
//! `input` counts everything that went in, cached or not. Anthropic and Bedrock report what was read from and written to
//! a cache beside the rest, the others within; which convention a report follows is told by its keys. Reports of a
//! stream complete each other: the last number of each kind counts, for they are running totals.

use crate::json::{Kind, Raw};

/// Bytes kept of a report as it came.
const RAW_BYTES_MAX: usize = 4 << 10;

/// Members of a report that are looked at.
const MEMBERS_MAX: usize = 64;

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
        let mut said = Said::default();
        report.members().take(MEMBERS_MAX).for_each(|(key, value)| said.note(&key, value));
        if said.is_camel {
            self.gemini(&said);
        } else {
            self.plain(&said);
        }
        if let Some(tier) = said.tier.and_then(Raw::as_str) {
            self.service_tier = Some(tier.into_owned());
        }
    }

    /// OpenAI's two ways, Anthropic's, Bedrock's, and what resembles them.
    fn plain(&mut self, said: &Said<'_>) {
        self.input_is_fresh |= said.is_fresh;
        let (input, output) = (any(&said.input), any(&said.output));
        // Embeddings of some say only how much it was in all.
        let input = input.or(said.total.filter(|_| output.is_none()));
        update(&mut self.reported_input, input);
        update(&mut self.output, output);
        let (input, output) = (Details::of(&said.input_details), Details::of(&said.output_details));
        update(&mut self.cache_read, any(&said.cache_read).or(input.cached));
        update(&mut self.cache_write, any(&said.cache_write).or(input.written));
        update(&mut self.reasoning, any(&output.reasoning).or(said.reasoning));
        update(&mut self.input_audio, input.audio);
        update(&mut self.output_audio, output.audio);
        update(&mut self.input_image, input.image);
        update(&mut self.output_image, output.image);
    }

    /// Thoughts and prompts of tools are counted beside the rest there.
    fn gemini(&mut self, said: &Said<'_>) {
        let sum = |parts: [Option<u64>; 2]| match parts {
            [None, None] => None,
            [one, other] => Some(one.unwrap_or(0).saturating_add(other.unwrap_or(0))),
        };
        update(&mut self.reported_input, sum([said.prompt, said.tools]));
        update(&mut self.output, sum([said.candidates, said.thoughts]));
        update(&mut self.reasoning, said.thoughts);
        update(&mut self.cache_read, said.cached_content);
        let of = |details: Option<Raw<'_>>, modality: &str| {
            let mut list = details?.elements();
            let found = list.find(|it| it.get("modality").and_then(Raw::as_str).as_deref() == Some(modality))?;
            number(found.get("tokenCount")?)
        };
        update(&mut self.input_audio, of(said.prompt_details, "AUDIO"));
        update(&mut self.output_audio, of(said.candidates_details, "AUDIO"));
        update(&mut self.input_image, of(said.prompt_details, "IMAGE"));
        update(&mut self.output_image, of(said.candidates_details, "IMAGE"));
    }
}

/// Members of a report, walked once. What dialects have different names for is there for each, in the order in which it
/// counts.
#[derive(Default)]
struct Said<'a> {
    input: [Option<u64>; 3],
    output: [Option<u64>; 3],
    total: Option<u64>,
    reasoning: Option<u64>,
    cache_read: [Option<u64>; 3],
    cache_write: [Option<u64>; 2],
    /// What is cached is counted beside the rest.
    is_fresh: bool,
    input_details: [Option<Raw<'a>>; 3],
    output_details: [Option<Raw<'a>>; 3],
    tier: Option<Raw<'a>>,
    is_camel: bool,
    prompt: Option<u64>,
    tools: Option<u64>,
    candidates: Option<u64>,
    thoughts: Option<u64>,
    cached_content: Option<u64>,
    prompt_details: Option<Raw<'a>>,
    candidates_details: Option<Raw<'a>>,
}

impl<'a> Said<'a> {
    fn note(&mut self, key: &str, value: Raw<'a>) {
        let [prompt, input, camel_input] = &mut self.input;
        let [completion, output, camel_output] = &mut self.output;
        let [cache_read, camel_cache_read, hit] = &mut self.cache_read;
        let [cache_write, camel_cache_write] = &mut self.cache_write;
        let slot = match key {
            "prompt_tokens" => prompt,
            "input_tokens" => input,
            "inputTokens" => camel_input,
            "completion_tokens" => completion,
            "output_tokens" => output,
            "outputTokens" => camel_output,
            "total_tokens" => &mut self.total,
            "reasoning_tokens" => &mut self.reasoning,
            "cache_read_input_tokens" => cache_read,
            "cacheReadInputTokens" => camel_cache_read,
            "prompt_cache_hit_tokens" => hit,
            "cache_creation_input_tokens" => cache_write,
            "cacheWriteInputTokens" => camel_cache_write,
            "promptTokenCount" => &mut self.prompt,
            "toolUsePromptTokenCount" => &mut self.tools,
            "candidatesTokenCount" => &mut self.candidates,
            "thoughtsTokenCount" => &mut self.thoughts,
            "cachedContentTokenCount" => &mut self.cached_content,
            _ => return self.note_other(key, value),
        };
        *slot = slot.or(number(value));
        self.is_camel |= matches!(key, "promptTokenCount" | "candidatesTokenCount");
        self.is_fresh |= matches!(
            key,
            "cache_read_input_tokens"
                | "cacheReadInputTokens"
                | "cache_creation_input_tokens"
                | "cacheWriteInputTokens"
        );
    }

    fn note_other(&mut self, key: &str, value: Raw<'a>) {
        let [prompt, inputs, input] = &mut self.input_details;
        let [completion, outputs, output] = &mut self.output_details;
        let slot = match key {
            "prompt_tokens_details" => prompt,
            "input_tokens_details" => inputs,
            "input_token_details" => input,
            "completion_tokens_details" => completion,
            "output_tokens_details" => outputs,
            "output_token_details" => output,
            "service_tier" => &mut self.tier,
            "promptTokensDetails" => &mut self.prompt_details,
            "candidatesTokensDetails" => &mut self.candidates_details,
            _ => return,
        };
        *slot = slot.or(Some(value));
    }
}

/// Of tokens that went in, or came out.
#[derive(Default)]
struct Details {
    cached: Option<u64>,
    written: Option<u64>,
    reasoning: [Option<u64>; 2],
    audio: Option<u64>,
    image: Option<u64>,
}

impl Details {
    /// Those of the first that is there.
    fn of(named: &[Option<Raw<'_>>]) -> Self {
        let mut of = Self::default();
        let Some(found) = named.iter().flatten().find(|it| it.kind() == Kind::Object) else { return of };
        for (key, value) in found.members().take(MEMBERS_MAX) {
            let [reasoning, thinking] = &mut of.reasoning;
            let slot = match &*key {
                "cached_tokens" => &mut of.cached,
                "cache_write_tokens" => &mut of.written,
                "reasoning_tokens" => reasoning,
                "thinking_tokens" => thinking,
                "audio_tokens" => &mut of.audio,
                "image_tokens" => &mut of.image,
                _ => continue,
            };
            *slot = slot.or(number(value));
        }
        of
    }
}

/// The first that is there.
fn any(named: &[Option<u64>]) -> Option<u64> {
    named.iter().copied().flatten().next()
}

fn update(held: &mut Option<u64>, said: Option<u64>) {
    if said.is_some() {
        *held = said;
    }
}

/// A whole number; a few providers write `12.0`.
fn number(value: Raw<'_>) -> Option<u64> {
    let text = value.text();
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
