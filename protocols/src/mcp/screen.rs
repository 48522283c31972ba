//! What is suspicious in what a tool says of itself: text that people do not see and models read, names that look like
//! others, words about other servers' tools.
//!
//! Nothing here decides: a finding is a reason to look.

use std::borrow::Cow;

use crate::json::{Kind, Raw};

/// Shortest name that counts as mentioned: shorter ones are words.
const MENTION_BYTES_MIN: usize = 6;
/// Words of one description that are looked at.
const WORDS_MAX: usize = 10_000;

/// The first character in any text of a value, names of members included, that people do not see.
pub fn hidden(value: Raw<'_>) -> Option<char> {
    match value.kind() {
        Kind::String => hidden_in(&value.as_str()?),
        Kind::Array => value.elements().find_map(hidden),
        Kind::Object => value.members().find_map(|(name, value)| hidden_in(&name).or_else(|| hidden(value))),
        Kind::Number | Kind::Bool | Kind::Null => None,
    }
}

fn hidden_in(text: &str) -> Option<char> {
    let mut before = ' ';
    text.chars().find(|&it| {
        let joins = it == '\u{200d}' && u32::from(before) > 0x2000;
        before = it;
        is_hidden(it) && !joins
    })
}

fn is_hidden(character: char) -> bool {
    match character {
        '\n' | '\r' | '\t' => false,
        it if it.is_control() => true,
        // Soft hyphen, fillers, zero width, directions, invisible operators.
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{3164}'
        | '\u{ffa0}' => true,
        '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => true,
        '\u{fe00}'..='\u{fe0e}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}' => true,
        // Tags, by which whole texts are written unseen, and further variation selectors.
        '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}' => true,
        '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}' => true,
        _ => false,
    }
}

/// What a name looks like: two names of one skeleton are taken for each other.
pub fn skeleton(name: &str) -> String {
    name.chars().flat_map(char::to_lowercase).map(lookalike).filter(|it| it.is_alphanumeric()).collect()
}

fn lookalike(character: char) -> char {
    match character {
        // Cyrillic and Greek, after UTS 39.
        '\u{430}' | '\u{3b1}' => 'a',
        '\u{435}' | '\u{3b5}' => 'e',
        '\u{43e}' | '\u{3bf}' | '0' => 'o',
        '\u{440}' | '\u{3c1}' => 'p',
        '\u{441}' => 'c',
        '\u{443}' => 'y',
        '\u{445}' | '\u{3c7}' => 'x',
        '\u{455}' => 's',
        '\u{456}' | '\u{3b9}' | '1' | 'l' | '|' => 'i',
        '\u{458}' => 'j',
        '\u{43a}' | '\u{3ba}' => 'k',
        '\u{43c}' => 'm',
        '\u{432}' => 'b',
        '\u{442}' | '\u{3c4}' => 't',
        '\u{3bd}' => 'v',
        '\u{ff21}'..='\u{ff3a}' | '\u{ff41}'..='\u{ff5a}' => {
            let letter = (u32::from(character) - 0xff21) % 32;
            char::from_u32(u32::from('a') + letter).unwrap_or(character)
        }
        it => it,
    }
}

/// Words of a description that could be names of tools: with `_`, `-` or a capital inside.
pub fn mentions(description: &str) -> Vec<Cow<'_, str>> {
    let inside = |it: char| it.is_alphanumeric() || matches!(it, '_' | '-');
    let words = description.split(|it: char| !inside(it)).map(|it| it.trim_matches('-')).take(WORDS_MAX);
    let is_name = |it: &&str| {
        let joined = it.contains(['_', '-']) || it.chars().skip(1).any(char::is_uppercase);
        it.len() >= MENTION_BYTES_MIN && joined
    };
    words.filter(is_name).map(Cow::Borrowed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    #[test]
    fn what_people_do_not_see_is_found_wherever_it_is() {
        for (text, found) in [
            (r#"{"description":"plain, caf\u00e9 \ud83d\ude00\n"}"#, None),
            ("{\"description\":\"a family: \u{1F468}\u{200d}\u{1F469}\"}", None),
            ("{\"description\":\"a\u{200d}b\"}", Some('\u{200d}')),
            ("{\"description\":\"ignore\u{e0041}\"}", Some('\u{e0041}')),
            (r#"{"inputSchema":{"properties":{"a\u200bb":{}}}}"#, Some('\u{200b}')),
            (r#"{"annotations":["x","\u202e"]}"#, Some('\u{202e}')),
            (r#"{"name":"a\u0007"}"#, Some('\u{7}')),
            (r#"{"title":"\uE000"}"#, Some('\u{e000}')),
            (r#"{"description":"\u2764\ufe0f"}"#, None),
        ] {
            assert_eq!(hidden(json::parse(text.as_bytes()).unwrap()), found, "{text}");
        }
    }

    #[test]
    fn names_that_look_alike_have_one_skeleton() {
        for (a, b) in [
            ("send_email", "Send-Email"),
            ("send_email", "s\u{435}nd_\u{435}mail"),
            ("list", "1ist"),
            ("read", "\u{ff52}\u{ff45}\u{ff41}\u{ff44}"),
        ] {
            assert_eq!(skeleton(a), skeleton(b), "{a} {b}");
        }
        assert_ne!(skeleton("send_email"), skeleton("send_mail"));
    }

    #[test]
    fn names_in_descriptions_are_found_and_words_are_not() {
        let text = "Before `send_email`, call fileWriter or x-y or delete-all-files! It is well-known.";
        assert_eq!(mentions(text), ["send_email", "fileWriter", "delete-all-files", "well-known"]);
    }
}
