//! Three tools in the place of hundreds: one that looks for tools, one that describes one, one that calls one
//! (`mcpTools.search`).

use bytes::Bytes;
use filters::mcp_tools::Search;
use protocols::json::{self, Raw, quoted};
use protocols::mcp::{Edits, Message, answer};

/// Words of a query that count.
const WORDS_MAX: usize = 32;
/// Most that is shown of a description's first line.
const LINE_BYTES_MAX: usize = 200;

const SEARCH: &str = "search_tools";
const DESCRIBE: &str = "describe_tool";
const CALL: &str = "call_tool";

const DEFINITIONS: [&str; 3] = [
    r#"{"name":"search_tools","description":"Finds tools by words. Gives names and one line each; describe_tool says how one is called.","inputSchema":{"type":"object","properties":{"query":{"type":"string","description":"What the tool should do, in a few words"},"limit":{"type":"integer","minimum":1}},"required":["query"]},"annotations":{"readOnlyHint":true}}"#,
    r#"{"name":"describe_tool","description":"The whole definition of a tool, with the schema of its arguments.","inputSchema":{"type":"object","properties":{"name":{"type":"string"}},"required":["name"]},"annotations":{"readOnlyHint":true}}"#,
    r#"{"name":"call_tool","description":"Calls a tool by its name, with arguments as describe_tool says.","inputSchema":{"type":"object","properties":{"name":{"type":"string"},"arguments":{"type":"object"}},"required":["name"]}}"#,
];

/// What a call of one of the three is.
pub(super) enum Meta {
    /// To be answered over the tools that there are.
    Search {
        query: String,
        limit: usize,
    },
    Describe(String),
    /// The call that is meant.
    Call(Bytes),
    /// It cannot be meant: a JSON-RPC error of parameters.
    Invalid(&'static str),
}

impl Meta {
    /// `None`: it is a call of another tool.
    pub(super) fn of(search: &Search, message: &Message<'_>, body: &Bytes) -> Option<Self> {
        let name = message.param("name").ok().flatten()?;
        let arguments = message.params.and_then(|it| it.get("arguments"));
        let text = |key: &str| arguments.and_then(|it| it.member(key).ok().flatten()).and_then(Raw::as_str);
        Some(match &*name.as_str()? {
            SEARCH => match text("query").filter(|it| !words(it).is_empty()) {
                Some(query) => {
                    let limit = arguments.and_then(|it| it.get("limit")?.text().parse().ok());
                    let limit = limit.unwrap_or(search.results).clamp(1, search.results);
                    Self::Search { query: query.into_owned(), limit }
                }
                None => Self::Invalid("`query` holds no word"),
            },
            DESCRIBE => match text("name") {
                Some(name) => Self::Describe(name.into_owned()),
                None => Self::Invalid("`name` is missing or not a string"),
            },
            CALL => match (text("name"), arguments) {
                (Some(meant), Some(given)) if ![SEARCH, DESCRIBE, CALL].contains(&&*meant) => {
                    let mut edits = Edits::default();
                    edits.replace(name.range(), quoted(&meant));
                    let inner = given.get("arguments").map_or("{}", Raw::text);
                    edits.replace(given.range(), inner);
                    let document = std::str::from_utf8(body).unwrap_or_default();
                    Self::Call(edits.apply(document, 0..document.len()).into())
                }
                _ => Self::Invalid("`name` is not the name of a tool"),
            },
            _ => return None,
        })
    }
}

/// The list that clients get: the three, and those that are kept.
pub(super) fn list<'a>(search: &Search, all: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let kept = all.filter(|it| name_of(it).is_some_and(|name| search.keep.iter().any(|it| **it == *name)));
    DEFINITIONS.into_iter().chain(kept).collect()
}

fn name_of(item: &str) -> Option<String> {
    Some(json::parse(item.as_bytes()).ok()?.get("name")?.as_str()?.into_owned())
}

/// The answer to a search or a description, over the tools that somebody may see.
pub(super) fn answered(meta: &Meta, id: &str, all: &[&str]) -> String {
    match meta {
        Meta::Search { query, limit } => answer::result(id, &found(query, *limit, all)),
        Meta::Describe(name) => match all.iter().find(|it| name_of(it).as_ref() == Some(name)) {
            Some(item) => answer::result(
                id,
                &format!(r#"{{"content":[{{"type":"text","text":{}}}],"structuredContent":{item}}}"#, quoted(item)),
            ),
            None => answer::error(id, answer::INVALID_PARAMS, &format!("Unknown tool: {name}")),
        },
        Meta::Invalid(why) => answer::error(id, answer::INVALID_PARAMS, why),
        Meta::Call(_) => answer::error(id, answer::INTERNAL_ERROR, "a call is not answered here"),
    }
}

fn found(query: &str, limit: usize, all: &[&str]) -> String {
    let wanted = words(query);
    let mut scored = Vec::new();
    for item in all {
        let Ok(item) = json::parse(item.as_bytes()) else { continue };
        let text = |key: &str| item.get(key).and_then(Raw::as_str).unwrap_or_default();
        let (name, description) = (text("name"), text("description"));
        let score = score(&wanted, &name, &description);
        if score > 0 {
            scored.push((score, name, description));
        }
    }
    // Of equals the order of the list: the same question has the same answer.
    scored.sort_by_key(|it| std::cmp::Reverse(it.0));
    let (mut lines, mut items) = (String::new(), Vec::new());
    for (_, name, description) in scored.iter().take(limit) {
        let line = description.lines().next().unwrap_or_default();
        let line = line.get(..line.floor_char_boundary(LINE_BYTES_MAX)).unwrap_or_default();
        lines.push_str(format!("{name}: {line}").trim_end_matches([':', ' ']));
        lines.push('\n');
        items.push(format!(r#"{{"name":{},"description":{}}}"#, quoted(name), quoted(line)));
    }
    if items.is_empty() {
        lines.push_str("No tool fits: try other words.\n");
    }
    format!(
        r#"{{"content":[{{"type":"text","text":{}}}],"structuredContent":{{"tools":[{}],"found":{}}}}}"#,
        quoted(&lines),
        items.join(","),
        scored.len()
    )
}

/// How well a tool fits: words of its name count more than those of its description.
fn score(wanted: &[String], name: &str, description: &str) -> usize {
    let (named, described) = (words(name), description.to_lowercase());
    let lower = name.to_lowercase();
    let one = |word: &String| match word.as_str() {
        word if named.iter().any(|it| it == word) => 6,
        word if lower.contains(word) => 3,
        word if described.contains(word) => 2,
        _ => 0,
    };
    wanted.iter().map(one).sum()
}

fn words(text: &str) -> Vec<String> {
    let mut apart = String::with_capacity(text.len() + 8);
    let mut small = false;
    for character in text.chars() {
        if small && character.is_uppercase() {
            apart.push(' ');
        }
        small = character.is_lowercase();
        apart.extend(character.to_lowercase());
    }
    let words = apart.split(|it: char| !it.is_alphanumeric()).filter(|it| !it.is_empty());
    words.take(WORDS_MAX).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOLS: [&str; 4] = [
        r#"{"name":"tickets_listIssues","description":"Lists issues.\nMore."}"#,
        r#"{"name":"tickets_close","description":"Closes an issue"}"#,
        r#"{"name":"mail_send","description":"Sends mail"}"#,
        r#"{"name":"odd"}"#,
    ];

    fn search() -> Search {
        Search { keep: vec!["mail_send".into()], results: 2 }
    }

    fn meta(name: &str, arguments: &str) -> Option<Meta> {
        let body = Bytes::from(format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{name}","arguments":{arguments},"_meta":{{"a":1}}}}}}"#
        ));
        Meta::of(&search(), &Message::parse(&body).unwrap(), &body)
    }

    #[test]
    fn the_list_is_short_and_always_the_same() {
        let list = list(&search(), TOOLS.into_iter());
        let names: Vec<_> = list.iter().filter_map(|it| name_of(it)).collect();
        assert_eq!(names, ["search_tools", "describe_tool", "call_tool", "mail_send"]);
    }

    #[test]
    fn tools_are_found_by_words_of_names_and_descriptions() {
        for (query, names) in [
            ("list issue", "tickets_listIssues: Lists issues.\ntickets_close: Closes an issue\n"),
            ("MAIL", "mail_send: Sends mail\n"),
            ("odd", "odd\n"),
            ("nothing of this", "No tool fits: try other words.\n"),
        ] {
            let Some(meta) = meta(SEARCH, &format!(r#"{{"query":"{query}"}}"#)) else { panic!("a search") };
            let answer = answered(&meta, "1", &TOOLS);
            let answer = json::parse(answer.as_bytes()).unwrap();
            let text = answer.get("result").and_then(|it| it.get("content")).and_then(|it| it.elements().next());
            assert_eq!(text.and_then(|it| it.get("text")?.as_str()).unwrap(), names, "{query}");
        }
        let Some(Meta::Search { limit, .. }) = meta(SEARCH, r#"{"query":"a","limit":99}"#) else { panic!() };
        assert_eq!(limit, 2, "no more than was configured");
    }

    #[test]
    fn a_call_becomes_the_call_that_is_meant() {
        let Some(Meta::Call(body)) = meta(CALL, r#"{"name":"mail_send","arguments":{"to":"x"}}"#) else { panic!() };
        assert_eq!(
            std::str::from_utf8(&body).unwrap(),
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"mail_send","arguments":{"to":"x"},"_meta":{"a":1}}}"#
        );
        let Some(Meta::Call(body)) = meta(CALL, r#"{"name":"odd"}"#) else { panic!() };
        assert!(std::str::from_utf8(&body).unwrap().contains(r#""name":"odd","arguments":{}"#));
        for bad in [r#"{"name":"call_tool"}"#, r#"{"name":7}"#, "{}", r#"{"name":"a","name":"b"}"#] {
            assert!(matches!(meta(CALL, bad), Some(Meta::Invalid(_))), "{bad}");
        }
        assert!(meta("mail_send", "{}").is_none());
        let unknown = meta(DESCRIBE, r#"{"name":"gone"}"#).unwrap();
        assert!(answered(&unknown, "1", &TOOLS).contains("Unknown tool: gone"));
        let known = meta(DESCRIBE, r#"{"name":"odd"}"#).unwrap();
        assert!(answered(&known, "1", &TOOLS).contains(r#""structuredContent":{"name":"odd"}"#));
    }
}
