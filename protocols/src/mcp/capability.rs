//! What several servers can do together.
//!
//! A capability is offered where a server has it *and* the way through can carry it; a flag of it (`listChanged`,
//! `subscribe`) where one server at least has it. What is not known here is not promised.

use std::collections::BTreeMap;

use super::Version;
use super::modern::{SERVER_KEY, spoken};
use crate::json::{Kind, Raw, quoted};

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

/// The result of `initialize` of a server that has none, from what `server/discover` says of it.
pub fn introduced(version: Version, result: Raw<'_>) -> String {
    let part = |name: &str| result.get(name).filter(|it| it.kind() == Kind::Object).map(Raw::text);
    let server = result.get("_meta").and_then(|it| it.get(SERVER_KEY)).map(Raw::text).or_else(|| part("serverInfo"));
    let mut out = format!(
        r#"{{"protocolVersion":"{version}","capabilities":{},"serverInfo":{}"#,
        part("capabilities").unwrap_or("{}"),
        server.unwrap_or(r#"{"name":"unknown","version":"0"}"#)
    );
    if let Some(text) = result.get("instructions").filter(|it| it.kind() == Kind::String) {
        out.push_str(r#","instructions":"#);
        out.push_str(text.text());
    }
    out.push('}');
    out
}

/// The result of `server/discover` over what several servers say of themselves in either era, by target; `single`: as the
/// only one has it.
pub fn discovered<'a>(
    server: Server<'_>,
    results: impl Iterator<Item = (&'a str, Raw<'a>)> + Clone,
    single: bool,
) -> String {
    let one = results.clone().next().filter(|_| single).map(|(_, it)| it);
    let raw = |name: &str| one.and_then(|it| it.get(name)).map(|it| it.text().to_owned());
    let info = format!(r#"{{"name":{},"version":{}}}"#, quoted(server.name), quoted(server.version));
    let info = raw("serverInfo").unwrap_or(info);
    let capabilities = raw("capabilities").unwrap_or_else(|| {
        let merged = merged(results.clone().filter_map(|(_, it)| it.get("capabilities")), true);
        match extensions(results.clone().filter_map(|(_, it)| it.get("capabilities")?.get("extensions"))) {
            Some(extensions) => {
                let comma = if merged == "{}" { "" } else { "," };
                format!(r#"{{"extensions":{extensions}{comma}{}"#, merged.trim_start_matches('{'))
            }
            None => merged,
        }
    });
    let mut out = format!(
        r#"{{"resultType":"complete","supportedVersions":{},"capabilities":{capabilities},"serverInfo":{info},"#,
        spoken()
    );
    let text = match one {
        Some(one) => one.get("instructions").filter(|it| it.kind() == Kind::String).map(|it| it.text().to_owned()),
        None => instructions(results).map(|it| quoted(&it)),
    };
    if let Some(text) = text {
        out.push_str(&format!(r#""instructions":{text},"#));
    }
    out.push_str(&format!(r#""ttlMs":0,"cacheScope":"private","_meta":{{"{SERVER_KEY}":{info}}}}}"#));
    out
}

/// Extensions that one server at least has; settings count where all that have it agree.
fn extensions<'a>(all: impl Iterator<Item = Raw<'a>>) -> Option<String> {
    let mut found: BTreeMap<String, Option<&str>> = BTreeMap::new();
    for (name, settings) in all.flat_map(Raw::members) {
        let held = found.entry(name.into_owned()).or_insert(Some(settings.text()));
        if *held != Some(settings.text()) {
            *held = None;
        }
    }
    let members: Vec<_> =
        found.iter().map(|(name, settings)| format!("{}:{}", quoted(name), settings.unwrap_or("{}"))).collect();
    (!members.is_empty()).then(|| format!("{{{}}}", members.join(",")))
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
    parts.extend(tasks(all));
    format!("{{{}}}", parts.join(","))
}

/// What servers can do with tasks (2025-11-25): what one of them can.
fn tasks<'a>(all: impl Iterator<Item = Raw<'a>> + Clone) -> Option<String> {
    let offers = all.filter_map(|it| it.get("tasks"));
    let has = |name: &str| offers.clone().any(|it| it.get(name).is_some());
    let calls = |it: Raw<'a>| it.get("requests").and_then(|it| it.get("tools")).and_then(|it| it.get("call")).is_some();
    let mut parts: Vec<_> =
        ["list", "cancel"].into_iter().filter(|it| has(it)).map(|it| format!(r#""{it}":{{}}"#)).collect();
    if offers.clone().any(calls) {
        parts.push(r#""requests":{"tools":{"call":{}}}"#.to_owned());
    }
    offers.clone().next().map(|_| format!(r#""tasks":{{{}}}"#, parts.join(",")))
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

    #[test]
    fn what_servers_of_either_era_say_becomes_one() {
        let texts = [
            (
                "a",
                r#"{"capabilities":{"tools":{"listChanged":true},"extensions":{"x":{"v":1},"y":{}}},"serverInfo":{"name":"a"}}"#,
            ),
            ("b", r#"{"capabilities":{"prompts":{},"extensions":{"x":{"v":2}}},"instructions":"be kind"}"#),
        ];
        let results: Vec<_> = texts.iter().map(|(name, it)| (*name, json::parse(it.as_bytes()).unwrap())).collect();
        let server = Server { name: "gw", version: "1" };
        let several = discovered(server, results.iter().copied(), false);
        for part in [
            r#""capabilities":{"extensions":{"x":{},"y":{}},"tools":{"listChanged":true},"prompts":{}}"#,
            r#""supportedVersions":["2026-07-28","2025-11-25","#,
            r#""serverInfo":{"name":"gw","version":"1"}"#,
            r#"[b]\nbe kind"#,
            r#""ttlMs":0,"cacheScope":"private""#,
        ] {
            assert!(several.contains(part), "{part} in {several}");
        }
        assert!(json::parse(several.as_bytes()).is_ok());
        let one = discovered(server, results.iter().copied().take(1), true);
        assert!(
            one.contains(r#""serverInfo":{"name":"a"}"#) && one.contains(r#""extensions":{"x":{"v":1},"y":{}}"#),
            "{one}"
        );
        assert_eq!(
            introduced(Version::LEGACY, results[1].1),
            concat!(
                r#"{"protocolVersion":"2025-11-25","capabilities":{"prompts":{},"extensions":{"x":{"v":2}}},"#,
                r#""serverInfo":{"name":"unknown","version":"0"},"instructions":"be kind"}"#
            )
        );
    }
}
