//! What several servers can do together.
//!
//! A capability is offered where a server has it *and* the way through can carry it; a flag of it (`listChanged`,
//! `subscribe`) where one server at least has it. What is not known here is not promised.

use super::Version;
use crate::json::{Raw, quoted};

/// Capabilities that can be carried for several servers at once, with the flags of each.
const CARRIED: [(&str, &[&str]); 5] = [
    ("tools", &["listChanged"]),
    ("prompts", &["listChanged"]),
    ("resources", &["listChanged", "subscribe"]),
    ("completions", &[]),
    ("logging", &[]),
];

/// Flags that need somebody to tell the client unasked.
const UNASKED: [&str; 2] = ["listChanged", "subscribe"];

/// Who answers.
#[derive(Clone, Copy, Debug)]
pub struct Server<'a> {
    pub name: &'a str,
    pub version: &'a str,
}

/// The result of `initialize` over those of several servers, by target. `unasked`: clients have a stream for what
/// nobody asked for.
pub fn initialized<'a>(
    version: Version,
    server: Server<'_>,
    results: impl Iterator<Item = (&'a str, Raw<'a>)> + Clone,
    unasked: bool,
) -> String {
    let capabilities = merged(results.clone().filter_map(|(_, it)| it.get("capabilities")), unasked);
    let mut out = format!(
        r#"{{"protocolVersion":"{version}","capabilities":{capabilities},"serverInfo":{{"name":{},"version":{}}}"#,
        quoted(server.name),
        quoted(server.version)
    );
    if let Some(text) = instructions(results) {
        out.push_str(r#","instructions":"#);
        out.push_str(&quoted(&text));
    }
    out.push('}');
    out
}

fn merged<'a>(all: impl Iterator<Item = Raw<'a>> + Clone, unasked: bool) -> String {
    let mut parts = Vec::new();
    for (name, flags) in CARRIED {
        let mut offers = all.clone().filter_map(|it| it.get(name)).peekable();
        if offers.peek().is_none() {
            continue;
        }
        let offers: Vec<Raw<'a>> = offers.collect();
        let has = |flag: &&str| offers.iter().any(|it| it.get(flag).and_then(Raw::as_bool) == Some(true));
        let carried = |flag: &&str| unasked || !UNASKED.contains(flag);
        let set: Vec<_> =
            flags.iter().filter(|it| has(it) && carried(it)).map(|it| format!(r#""{it}":true"#)).collect();
        parts.push(format!(r#""{name}":{{{}}}"#, set.join(",")));
    }
    format!("{{{}}}", parts.join(","))
}

fn instructions<'a>(results: impl Iterator<Item = (&'a str, Raw<'a>)>) -> Option<String> {
    let blocks: Vec<_> = results
        .filter_map(|(target, it)| {
            let text = it.get("instructions")?.as_str().filter(|it| !it.is_empty())?;
            Some(format!("[{target}]\n{text}"))
        })
        .collect();
    let intro = "Several servers are behind this one; the names of their tools begin with the server's.";
    (!blocks.is_empty()).then(|| format!("{intro}\n\n{}", blocks.join("\n\n")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    #[test]
    fn servers_offer_together_what_one_of_them_has_and_can_be_carried() {
        let texts = [
            (
                "a",
                r#"{"capabilities":{"tools":{"listChanged":false},"experimental":{"x":{}}},"instructions":"be kind"}"#,
            ),
            ("b", r#"{"capabilities":{"tools":{"listChanged":true},"resources":{"subscribe":true},"logging":{}}}"#),
            ("c", r#"{"capabilities":7,"instructions":""}"#),
        ];
        let results: Vec<_> = texts.iter().map(|(name, it)| (*name, json::parse(it.as_bytes()).unwrap())).collect();
        let server = Server { name: "gw", version: "1" };
        let got = initialized(Version::V2025_06_18, server, results.iter().copied(), true);
        assert_eq!(
            got,
            concat!(
                r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true},"resources":{"subscribe":true},"logging":{}},"#,
                r#""serverInfo":{"name":"gw","version":"1"},"instructions":"Several servers are behind this one; the names of their tools begin with the server's.\n\n[a]\nbe kind"}"#
            )
        );
        let quiet = initialized(Version::V2025_06_18, server, results.iter().copied(), false);
        assert!(quiet.contains(r#""tools":{},"resources":{},"logging":{}"#), "{quiet}");
        let none = initialized(Version::V2025_06_18, server, std::iter::empty(), true);
        assert!(none.contains(r#""capabilities":{},"#) && !none.contains("instructions"), "{none}");
    }
}
