//! Definitions made shorter, for what models are told of hundreds of tools is paid for again and again.

use std::collections::BTreeSet;

use crate::json::{Kind, Raw, quoted};

/// What is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slim {
    /// Longest description of a tool; what is longer ends with `…`.
    pub description_bytes: Option<usize>,
    /// Longest description of a parameter.
    pub parameter_bytes: Option<usize>,
    /// Members of tools that go: `title`, `annotations`, `outputSchema`, `_meta`, `icons`.
    pub members: BTreeSet<Box<str>>,
    /// Keywords of schemas that go: `title`, `examples`, `default`, `$schema`, …
    pub keywords: BTreeSet<Box<str>>,
}

impl Slim {
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// A tool, shorter; `description` in the place of its own.
    pub fn tool(&self, item: Raw<'_>, description: Option<&str>) -> String {
        let mut out = String::with_capacity(item.text().len());
        out.push('{');
        let mut described = false;
        for (name, value) in item.members() {
            if self.members.contains(&*name) {
                continue;
            }
            key(&mut out, &name);
            match &*name {
                "description" => {
                    described = true;
                    let own = value.as_str().unwrap_or_default();
                    let text = description.map_or_else(|| cut(&own, self.description_bytes), str::to_owned);
                    out.push_str(&quoted(&text));
                }
                "inputSchema" | "outputSchema" => self.schema(&mut out, value),
                _ => out.push_str(value.text()),
            }
        }
        if let Some(description) = description.filter(|_| !described) {
            key(&mut out, "description");
            out.push_str(&quoted(description));
        }
        out.push('}');
        out
    }

    /// A schema. Members of `properties` and the like are names, not keywords.
    fn schema(&self, out: &mut String, schema: Raw<'_>) {
        match schema.kind() {
            Kind::Object => {
                out.push('{');
                for (name, value) in schema.members() {
                    if self.keywords.contains(&*name) {
                        continue;
                    }
                    key(out, &name);
                    match &*name {
                        "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas" => {
                            self.named(out, value);
                        }
                        "description" if value.kind() == Kind::String => {
                            let own = value.as_str().unwrap_or_default();
                            out.push_str(&quoted(&cut(&own, self.parameter_bytes)));
                        }
                        // Values, in which nothing is a keyword.
                        "enum" | "const" | "default" | "examples" | "required" => out.push_str(value.text()),
                        _ => self.schema(out, value),
                    }
                }
                out.push('}');
            }
            Kind::Array => {
                out.push('[');
                for (position, value) in schema.elements().enumerate() {
                    if position > 0 {
                        out.push(',');
                    }
                    self.schema(out, value);
                }
                out.push(']');
            }
            _ => out.push_str(schema.text()),
        }
    }

    fn named(&self, out: &mut String, value: Raw<'_>) {
        if value.kind() != Kind::Object {
            return out.push_str(value.text());
        }
        out.push('{');
        for (name, value) in value.members() {
            key(out, &name);
            self.schema(out, value);
        }
        out.push('}');
    }
}

fn key(out: &mut String, name: &str) {
    if !out.ends_with('{') {
        out.push(',');
    }
    out.push_str(&quoted(name));
    out.push(':');
}

fn cut(text: &str, bytes_max: Option<usize>) -> String {
    match bytes_max {
        Some(max) if text.len() > max => {
            let end = text.floor_char_boundary(max);
            format!("{}…", text.get(..end).unwrap_or_default().trim_end())
        }
        _ => text.to_owned(),
    }
}

/// About how many tokens a text is for a model: four bytes each, as a rule of thumb. It is for comparing.
pub fn tokens(bytes: usize) -> usize {
    bytes.div_ceil(4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    fn slim() -> Slim {
        let set = |list: &[&str]| list.iter().map(|it| Box::from(*it)).collect();
        Slim {
            description_bytes: Some(10),
            parameter_bytes: Some(4),
            members: set(&["title", "outputSchema"]),
            keywords: set(&["title", "examples", "description2"]),
        }
    }

    #[test]
    fn what_goes_goes_and_names_stay_names() {
        let text = r#"{"name":"a","title":"T","description":"a long description","inputSchema":{"type":"object","title":"X",
            "properties":{"title":{"type":"string","title":"Y","description":"abcdef","examples":[1]},"b":true},
            "anyOf":[{"title":"Z","const":{"title":1}}],"required":["title"]},"outputSchema":{}}"#;
        let item = json::parse(text.as_bytes()).unwrap();
        let slimmed = slim().tool(item, None);
        assert_eq!(
            slimmed,
            concat!(
                r#"{"name":"a","description":"a long des…","inputSchema":{"type":"object","properties":{"#,
                r#""title":{"type":"string","description":"abcd…"},"b":true},"anyOf":[{"const":{"title":1}}],"required":["title"]}}"#
            )
        );
        assert_eq!(
            slim().tool(json::parse(slimmed.as_bytes()).unwrap(), Some("short")),
            slimmed.replace("a long des…", "short")
        );
        let bare = json::parse(br#"{"name":"a"}"#).unwrap();
        assert_eq!(slim().tool(bare, Some("x")), r#"{"name":"a","description":"x"}"#);
        assert_eq!(Slim::default().tool(bare, None), r#"{"name":"a"}"#);
    }

    #[test]
    fn letters_are_cut_whole() {
        assert_eq!(cut("ééé", Some(3)), "é…");
        assert_eq!(cut("abc", Some(3)), "abc");
        assert_eq!((tokens(0), tokens(1), tokens(8)), (0, 1, 2));
    }
}
