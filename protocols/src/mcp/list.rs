//! Lists of tools, prompts, resources and templates of several servers as one.
//!
//! Items go on as they are written, but for the names and URIs that say whose they are. Order is that of the targets
//! and then the servers' own, so that a list is the same bytes as long as nothing changed.

use std::borrow::Cow;

use super::{Edits, Naming};
use crate::json::{Raw, quoted};

/// What is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum List {
    Tools,
    Prompts,
    Resources,
    Templates,
}

impl List {
    pub const ALL: [Self; 4] = [Self::Tools, Self::Prompts, Self::Resources, Self::Templates];

    /// The list a method asks for.
    pub fn of(method: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.method() == method)
    }

    pub fn method(self) -> &'static str {
        match self {
            Self::Tools => "tools/list",
            Self::Prompts => "prompts/list",
            Self::Resources => "resources/list",
            Self::Templates => "resources/templates/list",
        }
    }

    /// The lists that a notification says have changed.
    pub fn changed(notification: &str) -> &'static [Self] {
        match notification {
            "notifications/tools/list_changed" => &[Self::Tools],
            "notifications/prompts/list_changed" => &[Self::Prompts],
            "notifications/resources/list_changed" => &[Self::Resources, Self::Templates],
            _ => &[],
        }
    }

    /// The member of the result.
    pub fn key(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }

    /// The capability of a server that has such a list.
    pub fn capability(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources | Self::Templates => "resources",
        }
    }

    /// What an item is called by.
    pub fn identity(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
            Self::Templates => "uriTemplate",
        }
    }

    /// Items of a result, with what each is called by; what has no name is no item.
    pub fn items<'a>(self, result: Raw<'a>) -> impl Iterator<Item = (Cow<'a, str>, Raw<'a>)> {
        let items = result.get(self.key()).map(Raw::elements).into_iter().flatten();
        items.filter_map(move |item| Some((item.member(self.identity()).ok()??.as_str()?, item)))
    }

    /// An item as the client sees it.
    pub fn renamed(self, naming: Naming, target: &str, item: Raw<'_>, document: &str) -> String {
        let mut edits = Edits::default();
        match self {
            Self::Tools | Self::Prompts => {
                if let Some(raw) = item.get("name").filter(|_| naming.names)
                    && let Some(name) = raw.as_str()
                {
                    edits.replace(raw.range(), quoted(&naming.name(target, &name)));
                }
                if let Some(meta) = item.get("_meta") {
                    // A tool's page (MCP Apps), in its two spellings.
                    naming.edit_uri(target, meta.get("ui").and_then(|it| it.get("resourceUri")), &mut edits);
                    naming.edit_uri(target, meta.get("ui/resourceUri"), &mut edits);
                }
            }
            Self::Resources | Self::Templates => naming.edit_uri(target, item.get(self.identity()), &mut edits),
        }
        edits.apply(document, item.range())
    }

    /// The result over items that are ready.
    pub fn result<'a>(self, items: impl Iterator<Item = &'a str>) -> String {
        let mut out = format!(r#"{{"{}":["#, self.key());
        for (position, item) in items.enumerate() {
            if position > 0 {
                out.push(',');
            }
            out.push_str(item);
        }
        out.push_str("]}");
        out
    }
}

/// Notes what of a result, or of a notification's parameters, names resources.
pub fn edit_uris(naming: Naming, target: &str, value: Raw<'_>, edits: &mut Edits) {
    if !naming.uris {
        return;
    }
    for content in value.get("content").map(Raw::elements).into_iter().flatten() {
        edit_content(naming, target, content, edits);
    }
    for message in value.get("messages").map(Raw::elements).into_iter().flatten() {
        if let Some(content) = message.get("content") {
            edit_content(naming, target, content, edits);
        }
    }
    for content in value.get("contents").map(Raw::elements).into_iter().flatten() {
        naming.edit_uri(target, content.get("uri"), edits);
    }
}

fn edit_content(naming: Naming, target: &str, content: Raw<'_>, edits: &mut Edits) {
    match content.get("type").and_then(Raw::as_str).as_deref() {
        Some("resource_link") => naming.edit_uri(target, content.get("uri"), edits),
        Some("resource") => {
            naming.edit_uri(target, content.get("resource").and_then(|it| it.get("uri")), edits);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    const ALL: Naming = Naming { names: true, uris: true, ids: true };

    #[test]
    fn items_change_in_their_names_and_nowhere_else() {
        let text = r#"{"tools" : [ {"description":"d", "name" : "echo","inputSchema":{"name":1e2}}, {"x":1}, {"name":"\u0062",
            "_meta":{"ui":{"resourceUri":"ui://page"},"ui/resourceUri":"ui://page"}} ], "nextCursor":"z"}"#;
        let result = json::parse(text.as_bytes()).unwrap();
        let renamed: Vec<_> =
            List::Tools.items(result).map(|(_, item)| List::Tools.renamed(ALL, "t", item, text)).collect();
        assert_eq!(
            renamed,
            [
                r#"{"description":"d", "name" : "t_echo","inputSchema":{"name":1e2}}"#,
                "{\"name\":\"t_b\",\n            \"_meta\":{\"ui\":{\"resourceUri\":\"ui://t+page\"},\"ui/resourceUri\":\"ui://t+page\"}}",
            ]
        );
        let names: Vec<_> = List::Tools.items(result).map(|(name, _)| name.into_owned()).collect();
        assert_eq!(names, ["echo", "b"]);
        let plain: Vec<_> =
            List::Tools.items(result).map(|(_, item)| List::Tools.renamed(Naming::PLAIN, "t", item, text)).collect();
        assert!(text.contains(&plain[0]) && text.contains(&plain[1]));
        assert_eq!(List::Tools.result(["{}", "1"].into_iter()), r#"{"tools":[{},1]}"#);
    }

    #[test]
    fn resources_in_results_say_whose_they_are() {
        for (text, want) in [
            (
                r#"{"content":[{"type":"text","text":"a","uri":"b"},{"type":"resource_link","uri":"file:///a"},{"type":"resource","resource":{"uri":"x:1"}}]}"#,
                r#"{"content":[{"type":"text","text":"a","uri":"b"},{"type":"resource_link","uri":"t+file:///a"},{"type":"resource","resource":{"uri":"t+x:1"}}]}"#,
            ),
            (
                r#"{"messages":[{"role":"user","content":{"type":"resource","resource":{"uri":"x:1"}}},{}]}"#,
                r#"{"messages":[{"role":"user","content":{"type":"resource","resource":{"uri":"t+x:1"}}},{}]}"#,
            ),
            (r#"{"contents":[{"uri":"x:1","text":""},7]}"#, r#"{"contents":[{"uri":"t+x:1","text":""},7]}"#),
            (r#"{"content":7,"messages":{},"contents":null}"#, r#"{"content":7,"messages":{},"contents":null}"#),
        ] {
            let value = json::parse(text.as_bytes()).unwrap();
            let mut edits = Edits::default();
            edit_uris(ALL, "t", value, &mut edits);
            assert_eq!(edits.apply(text, value.range()), want);
            let mut edits = Edits::default();
            edit_uris(Naming::PLAIN, "t", value, &mut edits);
            assert!(edits.is_empty());
        }
    }
}
