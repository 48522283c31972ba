//! `ai`: what requests to language models and their answers may say, and what they are changed to.
//!
//! ```yaml
//! ai:
//!   modelAliases: {"fast": "gpt-5-mini", "claude-*": "claude-sonnet-4-5"}
//!   defaults: {"temperature": 0.2}
//!   overrides: {"store": false}
//!   transformations: {"max_tokens": "min(llmRequest.max_tokens, 4096)"}
//!   clientGone: {"drain": "30s"}
//!   firstTokenTimeout: 5s
//!   prompts: {"prepend": [{"role": "system", "content": "Answer in English."}]}
//!   promptCaching: {"cacheTools": true, "minTokens": 2048}
//!   promptGuard:
//!     holdBack: 128
//!     request: [{"regex": {"action": "mask", "rules": [{"builtin": "email"}, {"pattern": "sk-[a-zA-Z0-9]{20,64}"}]}}]
//!     response: [{"regex": {"action": "reject", "rules": [{"builtin": "creditCard"}]}, "mode": "shadow"}]
//! ```
//!
//! **Changes.** `modelAliases` gives models by another name (with one `*` at most, the first that fits) before a provider
//! is chosen. `defaults` are members of the request where it has none of that name, `overrides` always. Each changes its
//! own place of the body; the rest stays the client's bytes. `transformations` are members by CEL over the request and
//! `llmRequest`, the body as it is after the two; `finalTransformations` over the body as the provider gets it, in its
//! dialect. `null` takes a member away, an expression that fails leaves it as it was. `model` and `stream` are not set
//! this way.
//!
//! **Prompts.** `prompts.prepend` and `append` are messages (`role` and `content`) before and behind those of the client,
//! in chat completions, responses, messages, Gemini's content and Bedrock's conversations. What is for the system (`system`,
//! `developer`) goes where the dialect has it, and stands in its text where that is one. Guards see them as they see
//! the client's.
//!
//! **Caches of prompts.** `promptCaching` sets marks in requests that Anthropic (`cache_control`) or Bedrock (`cachePoint`)
//! gets, whatever the client speaks: behind the system's prompt, behind the last message (or the one `cacheMessageOffset`
//! before it) and, with `cacheTools`, behind the tools; only behind `minTokens` tokens (about; 1024 unless written) from the
//! beginning. A request with marks of the client's own gets none.
//!
//! **Guards.** Each guard is a list of rules: a `builtin` (`email`, `phoneNumber`, `ssn`, `creditCard`, `caSin`; numbers
//! with a check digit are checked) or a `pattern`, a regular expression without look-around. `mask`, the default, puts
//! `<EMAIL_ADDRESS>` and the like in the place of what was found, and `<MASKED>` for patterns; `reject` refuses, with 403
//! and the error that the client's dialect has, or with `rejection`. Of requests, `scope` says which texts are looked
//! at: `systemPrompt` and `messages` unless written, `toolInput`, `toolOutput`. Of answers all are, the arguments of tools
//! as well. JSON in texts of tools is looked through as such, whatever its escapes, in streams as well. All guards of a
//! side look at the same text, and all their masks are put in.
//!
//! **Servers.** In the place of `regex` a guard may have a `webhook`: a server that is asked by POST, with `/request` and
//! `{"body": {"messages": [{"role", "content"}]}}` about requests, with `/response` and
//! `{"body": {"choices": [{"message": {"role", "content"}}]}}` about answers: one entry for each text. It answers with
//! `{"action": {"reason"}}` for what passes, `{"action": {"body": …}}` with as many texts for what they become, each spliced
//! into its place, or `{"action": {"status_code", "body", "reason"}}` for what is refused, in the error of the client's
//! dialect, or with `rejection`. `headers` are headers of the call by CEL (`:path` is what stands before `/request`),
//! `forwardHeaderMatches` headers of the client's that go on (`name`, and `value` as `exact` or `regex`). It has
//! `target.policies.http.requestTimeout` (2 s) to answer; a server that cannot be asked means 503 (`guard_unavailable`)
//! unless `failureMode` is `failOpen`. Servers are asked in their order, behind the rules of the side. Of streams a server
//! is told 1,024 bytes of text at a time; the last 256 of them wait, and are told once more with what follows.
//!
//! **Streams.** Answers that stream are guarded as they pass, event by event, unless `streaming` is `disabled`. An event
//! waits while something that begins in it may still become a match: with builtin rules alone to the end of a word, with
//! patterns for `holdBack` further bytes of its text (256 unless written), never longer than to the end of the stream. What
//! a pattern could only find in more than that many bytes may pass in a stream. A refusal ends the stream with an
//! error event. Lists of tokens (`logprobs`) become `null` where guards enforce. What cannot be looked through, because it
//! is no JSON or in several codings, does not pass. Frames of Bedrock's conversations are
//! guarded as events are, and end with an exception; what its models write in shapes of their own (`invoke`) is refused.
//! Sounds and pictures pass.
//!
//! **Modes.** `enforce`; `shadow` finds, counts and logs (`policy.wouldDeny`), and changes nothing; `audit` only counts
//! (`gen_ai.guardrail.findings` of the access log, which is there in every mode). Texts are never logged.
//!
//! **Client gone.** When a client leaves before its answer has ended, the provider is left at once and the account is an
//! estimate: what came of the answer and, where its provider had the whole request, about what that is. With
//! `clientGone.drain` the rest is read for so long, and accounted to the token.
//!
//! **First token.** With `firstTokenTimeout` the head of an answer that streams waits for the first piece that is for the
//! client; where that does not come in time, counted from the attempt's beginning, the next provider is asked. The last
//! one is waited for, and answers that do not stream are: for them there is `timeout.backendRequestTimeout`.
//!
//! **Codings.** Requests may come in `gzip`, `deflate`, `br` or `zstd`: they are read within the bound of bodies (413), and
//! go on as they came where nothing is changed, else plain. Answers that come in one of them are accounted and looked
//! through as well.
//!
//! **Merging.** Part by part the nearest to the backend holds, each map and list as a whole; guards of all levels hold,
//! those of the nearest last. One with `inheritance: override` stands against all nearer ones. What is attached to a single
//! provider (as `llm.models` do) comes on top, for requests to it: its members, messages and marks are put into what those
//! above have made, and its guards look at that. A provider whose guards refuse a request is not asked; where none is left,
//! the request is refused. `modelAliases` of a provider have no effect.
//!
//! **Order.** Aliases, then defaults and overrides, transformations, prompts and guards, before a provider is chosen and
//! tokens are reserved; then those of the provider, in the same order; then translation, and `finalTransformations`.
//!
//! **Limits.** 16 guards a side, 64 rules each, patterns of 1,024 bytes that compile to 1 MiB at most; `holdBack` 16 to
//! 4,096; bodies up to `frontendPolicies.http.maxBufferSize`. 64 aliases, defaults, overrides and messages a side each.
//!
//! **Outcome.** 403 with code `content_rejected` and reason `Authorization`; an answer that cannot be looked through is
//! 502.
//!
//! **Realtime.** Sessions of OpenAI's realtime API (WebSockets) are guarded by the rules of `regex` guards, message by
//! message. Of what a client says the items of the conversation, and the instructions of sessions and answers, are looked
//! through; what is refused does not go on, the client gets an event `error` (`content_rejected`) that names its event, and
//! the session goes on. Of what a model says texts, transcripts and arguments are held back and masked as in any stream,
//! with the sounds behind them; an answer that is refused goes no further than an `error` and its `response.done` without
//! output, and the provider is told to stop it with what the client says next. Sounds themselves are not listened to. A
//! message is at most 16 MiB; what cannot be read (no JSON, no text, broken frames) is refused, and ends the session where
//! the provider sent it. Frames are never compressed: the extension is taken out of the handshake. Where a `webhook` would
//! have to be asked, a session is refused with 400 (`realtime_not_guarded`). Sessions have no `defaults`, `overrides` and
//! `prompts`; `modelAliases` hold. Limits by tokens are reserved for each answer as it begins, and settled when it is
//! over: a session whose local limits have nothing left then gets an `error` (`rate_limit_exceeded`) and is closed with 1008;
//! servers of limits are asked at the handshake and told when the session is over. What one answer uses beyond its
//! reservation (1,024 tokens where the session has no `max_output_tokens`) is the bound of what goes over.
//!
//! **Where we differ.** `streaming` is on unless switched off. `mode`, `holdBack`, `firstTokenTimeout` and `clientGone` are
//! ours. Guards add up over the levels, where elsewhere the nearest replaces the others. Guards of cloud providers and
//! `routes` are refused: they are not supported by this version yet.

mod builtin;
mod config;
mod policy;
mod prompts;
#[cfg(test)]
mod tests;
mod webhook;

pub use config::{
    BuiltinConfig, ClientGoneConfig, Config, GuardAction, GuardConfig, GuardMode, GuardScope, PromptGuardConfig,
    RegexConfig, RejectionConfig, RuleConfig, Streaming, expressions,
};
pub use policy::{Builtin, Guard, GuardOutcome, Guards, Pattern, Policy, Rejection, Rule, condition};
pub use prompts::{Caching, PromptCachingConfig, PromptConfig, PromptRole, Prompts, PromptsConfig};
pub use webhook::{
    Forward, ForwardConfig, ForwardValue, Forwarded, Webhook, WebhookConfig, WebhookFailureMode, WebhookTarget,
};
