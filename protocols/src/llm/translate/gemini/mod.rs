//! Google's content.
//!
//! Calls of tools carry signed thoughts there, which the provider wants back. Other dialects have no place for them but the
//! id of the call, so they travel in that. What has no id gets one by its position.

mod answer;
mod decode;
mod encode;
mod stream;

pub(super) use answer::{decode as decode_answer, encode as encode_answer};
pub(super) use decode::decode;
pub(super) use encode::encode;
pub(super) use stream::{Decoder, Encoder};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use super::super::Usage;
use super::model::Stop;
use super::write::{Text, Writer};

/// Between an id and what is carried in it.
const CARRIED: &str = "__thought__";

fn stop(word: &str) -> Stop {
    match word {
        "MAX_TOKENS" => Stop::Length,
        "SAFETY" | "RECITATION" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" | "IMAGE_SAFETY" | "LANGUAGE" => {
            Stop::Refused
        }
        _ => Stop::End,
    }
}

fn stop_word(stop: Stop) -> &'static str {
    match stop {
        Stop::End | Stop::Sequence | Stop::Call => "STOP",
        Stop::Length => "MAX_TOKENS",
        Stop::Refused => "SAFETY",
    }
}

/// An id with a signature in it, in characters that all dialects allow in ids.
fn with_signature(id: &Text<'_>, signature: Option<&Text<'_>>) -> Text<'static> {
    let Some(signature) = signature else { return id.clone().into_owned() };
    let safe: String = signature
        .read()
        .chars()
        .filter_map(|it| match it {
            '+' => Some('-'),
            '/' => Some('_'),
            '=' => None,
            it => Some(it),
        })
        .collect();
    Text::plain(&format!("{}{CARRIED}{safe}", id.read()))
}

/// The id, and the signature as it was.
fn without_signature(id: &Text<'_>) -> (Text<'static>, Option<Text<'static>>) {
    let read = id.read();
    let Some((id, safe)) = read.split_once(CARRIED) else { return (id.clone().into_owned(), None) };
    let mut signature = safe.replace('-', "+").replace('_', "/");
    while !signature.len().is_multiple_of(4) {
        signature.push('=');
    }
    (Text::plain(id), Some(Text::plain(&signature)))
}

/// A signature of another dialect as this one's clients take it: they want bytes in base64.
fn in_base64(signature: &Text<'_>) -> Text<'static> {
    Text::plain(&STANDARD.encode(signature.read().as_bytes()))
}

/// The same back; clients may have written it in the other alphabet.
fn from_base64<'a>(signature: Text<'a>) -> Text<'a> {
    let plain = signature.read().replace('-', "+").replace('_', "/");
    let bytes = STANDARD_NO_PAD.decode(plain.trim_end_matches('=')).ok();
    match bytes.and_then(|it| String::from_utf8(it).ok()) {
        Some(text) => Text::plain(&text),
        None => signature,
    }
}

/// What was used. Thoughts stand beside the rest in this dialect.
fn tokens(json: &mut Writer<'_>, usage: &Usage) {
    let (output, thoughts) = (usage.output.unwrap_or(0), usage.reasoning.unwrap_or(0));
    json.object("usageMetadata");
    json.number("promptTokenCount", usage.input().unwrap_or(0));
    json.number("candidatesTokenCount", output.saturating_sub(thoughts));
    json.number("totalTokenCount", usage.total().unwrap_or(0));
    usage.cache_read.iter().for_each(|it| json.number("cachedContentTokenCount", *it));
    usage.reasoning.iter().for_each(|it| json.number("thoughtsTokenCount", *it));
    json.end();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_travel_in_ids() {
        for signature in ["AAA=", "+/+/", "YQ==", "YWJj"] {
            let id = with_signature(&Text::part("c1"), Some(&Text::part(signature)));
            assert!(id.read().chars().all(|it| it.is_ascii_alphanumeric() || matches!(it, '-' | '_')), "{id:?}");
            assert_eq!(without_signature(&id), (Text::plain("c1"), Some(Text::plain(signature))));
        }
        for signature in ["rs:A_-=", "YQ==", "\u{e4}?"] {
            let there = in_base64(&Text::plain(signature)).read().replace('+', "-").replace('/', "_");
            assert!(from_base64(Text::plain(&there)).is(signature), "{there}");
        }
        assert_eq!(without_signature(&Text::part("c1")), (Text::plain("c1"), None));
    }
}
