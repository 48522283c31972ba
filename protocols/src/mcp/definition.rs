//! What a tool, a prompt or a template of resources says of itself, in one form: for its hash, and for looking at what
//! models are told.
//!
//! The form is that of RFC 8785 (JCS) but for the exponents of large numbers: members in the order of their names'
//! UTF-16, no spaces, numbers as short as they can be. Of a tool it holds `name`, `title`, `description`, `inputSchema`,
//! `outputSchema` and `annotations`, of a prompt `arguments` in the place of the schemas, of a template `uriTemplate` and
//! `mimeType`; what else a server sends (`_meta`, icons) tells models nothing.

use aws_lc_rs::digest::{SHA256, digest};

use super::List;
use crate::json::{Kind, Raw, quoted};

/// Members that are part of a definition, in their order.
fn members_of(list: List) -> &'static [&'static str] {
    match list {
        List::Tools => &["annotations", "description", "inputSchema", "name", "outputSchema", "title"],
        List::Prompts => &["arguments", "description", "name", "title"],
        List::Resources => &["annotations", "description", "mimeType", "name", "title", "uri"],
        List::Templates => &["annotations", "description", "mimeType", "name", "title", "uriTemplate"],
    }
}

/// SHA-256.
pub type Hash = [u8; 32];

/// A definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// The canonical text.
    pub text: String,
    pub hash: Hash,
    /// The same without what it is called by: two that differ in it alone have one.
    pub body: Hash,
}

impl Definition {
    /// A tool's.
    pub fn of(item: Raw<'_>) -> Self {
        Self::in_list(List::Tools, item)
    }

    /// Of an item of this list.
    pub fn in_list(list: List, item: Raw<'_>) -> Self {
        let text = canonical_of(list, item, |_| true);
        let nameless = canonical_of(list, item, |name| name != list.identity());
        Self { hash: sha256(&text), body: sha256(&nameless), text }
    }
}

fn sha256(text: &str) -> Hash {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    out
}

fn canonical_of(list: List, item: Raw<'_>, keeps: impl Fn(&str) -> bool) -> String {
    let mut out = String::from("{");
    for name in members_of(list).iter().copied().filter(|it| keeps(it)) {
        // Twice: both, so that neither hides behind the other.
        for (_, value) in item.members().filter(|(key, _)| &**key == name) {
            member(&mut out, name, value);
        }
    }
    out.push('}');
    out
}

/// A value in its one form.
pub fn canonical(value: Raw<'_>) -> String {
    let mut out = String::new();
    write(&mut out, value);
    out
}

fn member(out: &mut String, name: &str, value: Raw<'_>) {
    if !out.ends_with('{') {
        out.push(',');
    }
    out.push_str(&quoted(name));
    out.push(':');
    write(out, value);
}

/// The depth is that of a checked document, which is bounded.
fn write(out: &mut String, value: Raw<'_>) {
    match value.kind() {
        Kind::Object => {
            let mut members: Vec<_> = value.members().collect();
            members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            out.push('{');
            let mut first = true;
            for (name, value) in members {
                if !std::mem::take(&mut first) {
                    out.push(',');
                }
                out.push_str(&quoted(&name));
                out.push(':');
                write(out, value);
            }
            out.push('}');
        }
        Kind::Array => {
            out.push('[');
            for (position, value) in value.elements().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                write(out, value);
            }
            out.push(']');
        }
        Kind::String => out.push_str(&quoted(&value.as_str().unwrap_or_default())),
        Kind::Number => out.push_str(&number(value.text())),
        Kind::Bool | Kind::Null => out.push_str(value.text()),
    }
}

fn number(text: &str) -> String {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.bytes().all(|it| it.is_ascii_digit()) && digits != "0" {
        return text.to_owned();
    }
    match text.parse::<f64>() {
        Ok(0.0) => "0".to_owned(),
        Ok(number) if number.is_finite() && number.abs() < 1e21 => number.to_string(),
        _ => text.to_ascii_lowercase(),
    }
}

/// In lower case, as lists of approvals write hashes.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |it: u8| char::from_digit(it.into(), 16).unwrap_or_default();
    bytes.iter().flat_map(|it| [digit(it >> 4), digit(it & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    fn of(text: &str) -> Definition {
        Definition::of(json::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn the_same_said_in_another_way_is_the_same() {
        let one = of(
            r#"{"name":"a","description":"d\u0065","inputSchema":{"type":"object","x":1.0,"y":[1e2,-0]},"_meta":{"v":1}}"#,
        );
        let two = of(
            "{ \"inputSchema\" : {\"y\":[100,0],\"x\":1, \"type\":\"object\"},\"_meta\":7,\"description\":\"de\", \"name\":\"a\" }",
        );
        assert_eq!(one, two);
        assert_eq!(one.text, r#"{"description":"de","inputSchema":{"type":"object","x":1,"y":[100,0]},"name":"a"}"#);
    }

    #[test]
    fn whatever_a_model_is_told_counts() {
        let plain = r#"{"name":"a","description":"d","inputSchema":{"type":"object"}}"#;
        for other in [
            r#"{"name":"a","description":"D","inputSchema":{"type":"object"}}"#,
            r#"{"name":"a","description":"d","inputSchema":{"type":"object","description":"x"}}"#,
            r#"{"name":"a","description":"d","inputSchema":{"type":"object"},"title":"t"}"#,
            r#"{"name":"a","description":"d","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}}"#,
            r#"{"name":"a","description":"d","inputSchema":{"type":"object"},"outputSchema":{}}"#,
            r#"{"name":"a","description":"d","description":"e","inputSchema":{"type":"object"}}"#,
        ] {
            assert_ne!(of(plain).hash, of(other).hash, "{other}");
        }
        let renamed = of(r#"{"name":"b","description":"d","inputSchema":{"type":"object"}}"#);
        assert_ne!(of(plain).hash, renamed.hash);
        assert_eq!(of(plain).body, renamed.body, "known again under another name");
        assert_eq!(hex(&of(plain).hash).len(), 64);
    }

    #[test]
    fn prompts_and_templates_have_definitions_of_their_own() {
        let in_list = |list, text: &str| Definition::in_list(list, json::parse(text.as_bytes()).unwrap());
        let prompt = r#"{"name":"p","arguments":[{"required":true,"name":"who"}],"inputSchema":{},"icons":[]}"#;
        let one = in_list(List::Prompts, prompt);
        assert_eq!(one.text, r#"{"arguments":[{"name":"who","required":true}],"name":"p"}"#);
        assert_ne!(one.hash, in_list(List::Prompts, r#"{"name":"p","arguments":[{"name":"who"}]}"#).hash);
        let template = in_list(List::Templates, r#"{"uriTemplate":"a://{x}","name":"n","mimeType":"m"}"#);
        assert_eq!(template.text, r#"{"mimeType":"m","name":"n","uriTemplate":"a://{x}"}"#);
        let moved = in_list(List::Templates, r#"{"uriTemplate":"b://{x}","name":"n","mimeType":"m"}"#);
        assert!(template.hash != moved.hash && template.body == moved.body);
    }

    #[test]
    fn members_are_in_the_order_of_their_utf16() {
        let value = json::parse("{\"\u{1F600}\":1,\"\u{FB33}\":2,\"\\r\":3,\"1\":4}".as_bytes()).unwrap();
        assert_eq!(canonical(value), "{\"\\r\":3,\"1\":4,\"\u{1F600}\":1,\"\u{FB33}\":2}");
    }

    #[test]
    fn numbers_are_as_short_as_they_can_be() {
        for (text, want) in [
            ("1.50", "1.5"),
            ("-0", "0"),
            ("1E3", "1000"),
            ("12345678901234567890", "12345678901234567890"),
            ("1e400", "1e400"),
            ("-7", "-7"),
            ("0.0", "0"),
        ] {
            assert_eq!(canonical(json::parse(text.as_bytes()).unwrap()), want, "{text}");
        }
    }
}
