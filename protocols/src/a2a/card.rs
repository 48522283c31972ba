//! Agent cards that name the gateway in the agent's place.
//!
//! Every URL of an interface is moved to where clients reach the gateway: scheme and authority become the public ones,
//! and a rewrite of the path's beginning is undone, at the boundaries of segments. Which rewrite that was is seen in the
//! card's own request: its path as the client sent it, and as the agent got it. Signatures are over what the card said
//! before; they are taken out.

use super::shape::{CARD, Place};
use super::walk::Walk;
use super::{Version, wire};
use crate::json::{Kind, Raw};
use crate::mcp::Edits;

/// Where cards are: of 0.3 and 1.0, of 0.2, and the extended one where agents of 0.3 show it beside JSON-RPC.
pub const PLACES: [&str; 3] =
    ["/.well-known/agent-card.json", "/.well-known/agent.json", "/agent/authenticatedExtendedCard"];
/// Longest URL of an interface.
pub const URL_BYTES_MAX: usize = 2 * 1024;
/// Interfaces of a card.
pub const INTERFACES_MAX: usize = 64;

/// Why a card is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the agent's card is not a JSON object")]
    Form,
    #[error("the agent's card names no URL to reach it at")]
    NoUrl,
    #[error("a URL of the agent's card is longer than {URL_BYTES_MAX} bytes")]
    Long,
    #[error("the agent's card has more than {INTERFACES_MAX} interfaces")]
    Many,
}

/// How places at the agent become places at the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relocation {
    pub tls: bool,
    /// As clients name the gateway.
    pub authority: String,
    /// Beginning of paths at the gateway, for that at the agent; both without a slash at the end.
    public: String,
    own: String,
}

impl Relocation {
    /// From the path of one request, as the client sent it and as the agent got it.
    pub fn new(tls: bool, authority: &str, public: &str, own: &str) -> Self {
        let (public, own) = without_common_end(public, own);
        Self { tls, authority: authority.to_owned(), public: public.to_owned(), own: own.to_owned() }
    }

    /// A URL at the agent as clients have to write it.
    pub fn url(&self, url: &str) -> String {
        let Self { tls, authority, .. } = self;
        let Some((scheme, rest)) = url.split_once("://") else {
            return match url.starts_with('/') {
                true => format!("{}://{authority}{}", self.scheme("http"), self.path(url)),
                // Targets of gRPC are often an authority alone; its port is not left to guesses then.
                false if has_port(authority) => authority.clone(),
                false => format!("{authority}:{}", if *tls { 443 } else { 80 }),
            };
        };
        let path_at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (_, tail) = rest.split_at_checked(path_at).unwrap_or((rest, ""));
        let end = tail.find(['?', '#']).unwrap_or(tail.len());
        let (path, after) = tail.split_at_checked(end).unwrap_or((tail, ""));
        format!("{}://{authority}{}{after}", self.scheme(scheme), self.path(path))
    }

    fn scheme(&self, scheme: &str) -> String {
        let bare = match scheme.to_ascii_lowercase().as_str() {
            "http" | "https" => "http",
            "ws" | "wss" => "ws",
            "grpc" | "grpcs" => "grpc",
            _ => return scheme.to_owned(),
        };
        if self.tls { format!("{bare}s") } else { bare.to_owned() }
    }

    fn path(&self, path: &str) -> String {
        match path.strip_prefix(&self.own) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{}{rest}", self.public),
            // Not below what the route leads to: there is no better guess than the same path.
            _ => path.to_owned(),
        }
    }
}

/// The two without the segments that they share at their ends.
fn without_common_end<'a, 'b>(a: &'a str, b: &'b str) -> (&'a str, &'b str) {
    let (mut a, mut b) = (a, b);
    while let (Some((a_before, a_last)), Some((b_before, b_last))) = (a.rsplit_once('/'), b.rsplit_once('/'))
        && a_last == b_last
    {
        (a, b) = (a_before, b_before);
    }
    (a.trim_end_matches('/'), b.trim_end_matches('/'))
}

fn has_port(authority: &str) -> bool {
    authority.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|it| it.is_ascii_digit()))
}

/// Whether a path is that of a card.
pub fn is_card(path: &str) -> bool {
    PLACES.iter().any(|it| path.ends_with(it))
}

/// The card with its URLs moved and without its signatures.
pub fn relocated(card: Raw<'_>, relocation: &Relocation) -> Result<String, Fault> {
    let edits = edits(card, relocation)?;
    Ok(card.edited(edits))
}

fn edits(card: Raw<'_>, relocation: &Relocation) -> Result<Edits, Fault> {
    if card.kind() != Kind::Object {
        return Err(Fault::Form);
    }
    let mut urls = 0;
    let mut place = |place, text: &str| moved(place, text, relocation, &mut urls);
    let mut walk = Walk::new(&mut place);
    walk.value(card, &CARD)?;
    let edits = walk.edits;
    if urls == 0 { Err(Fault::NoUrl) } else { Ok(edits) }
}

fn moved(place: Place, text: &str, relocation: &Relocation, urls: &mut usize) -> Result<Option<String>, Fault> {
    if place != Place::CardUrl {
        return Ok(None);
    }
    if text.len() > URL_BYTES_MAX {
        return Err(Fault::Long);
    }
    *urls += 1;
    if *urls > INTERFACES_MAX {
        return Err(Fault::Many);
    }
    Ok(Some(relocation.url(text)))
}

/// As [`relocated`], for a card in Protocol Buffers.
pub fn relocated_message(card: &[u8], version: Version, relocation: &Relocation) -> Result<Vec<u8>, Fault> {
    let mut urls = 0;
    let mut place = |place, text: &str| moved(place, text, relocation, &mut urls);
    let rewritten = wire::Wire::new(version, &mut place).message(card, &CARD);
    match rewritten {
        Ok(_) if urls == 0 => Err(Fault::NoUrl),
        Ok(rewritten) => Ok(rewritten),
        Err(wire::Fault::Malformed) => Err(Fault::Form),
        Err(wire::Fault::Refused(fault)) => Err(fault),
    }
}

/// The card with these signatures, a JSON list.
pub fn with_signatures(card: Raw<'_>, signatures: &str) -> String {
    let mut edits = Edits::default();
    match card.get("signatures") {
        Some(held) => edits.replace(held.range(), signatures),
        None => {
            let comma = if card.members().next().is_some() { "," } else { "" };
            edits.insert(card.range().end - 1, format!(r#"{comma}"signatures":{signatures}"#));
        }
    }
    card.edited(edits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse;

    #[test]
    fn urls_are_moved_with_the_rewrite_of_their_path_undone() {
        const CARD: &str = "/.well-known/agent-card.json";
        for (tls, public, own, url, moved) in [
            (false, CARD.to_owned(), CARD.to_owned(), "http://10.0.0.1:9999/", "http://gw:8080/"),
            (true, CARD.to_owned(), CARD.to_owned(), "http://agent", "https://gw:8080"),
            (
                true,
                format!("/agents/echo{CARD}"),
                CARD.to_owned(),
                "http://agent/a2a/rpc",
                "https://gw:8080/agents/echo/a2a/rpc",
            ),
            (true, format!("/agents/echo{CARD}"), CARD.to_owned(), "https://agent", "https://gw:8080/agents/echo"),
            (
                false,
                format!("/x/agent{CARD}"),
                format!("/agent{CARD}"),
                "http://a/agent/rpc?q=1#f",
                "http://gw:8080/x/agent/rpc?q=1#f",
            ),
            (
                false,
                format!("/pub{CARD}"),
                format!("/own/base{CARD}"),
                "http://a/own/base/rpc",
                "http://gw:8080/pub/rpc",
            ),
            (
                false,
                format!("/pub{CARD}"),
                format!("/own/base{CARD}"),
                "http://a/own/baseless",
                "http://gw:8080/own/baseless",
            ),
            (false, format!("/pub{CARD}"), format!("/own{CARD}"), "http://a/own", "http://gw:8080/pub"),
            (false, CARD.to_owned(), CARD.to_owned(), "10.0.0.1:50051", "gw:8080"),
            (true, CARD.to_owned(), CARD.to_owned(), "grpc://10.0.0.1:50051", "grpcs://gw:8080"),
            (true, CARD.to_owned(), CARD.to_owned(), "ws://a/x", "wss://gw:8080/x"),
            (false, CARD.to_owned(), CARD.to_owned(), "/rpc", "http://gw:8080/rpc"),
        ] {
            let relocation = Relocation::new(tls, "gw:8080", &public, &own);
            assert_eq!(relocation.url(url), moved, "{public} {own} {url}");
        }
        assert_eq!(Relocation::new(true, "gw", "/", "/").url("localhost:1"), "gw:443");
        assert_eq!(Relocation::new(false, "[::1]", "/", "/").url("localhost:1"), "[::1]:80");
    }

    #[test]
    fn a_card_changes_in_its_urls_and_signatures_and_nowhere_else() {
        let relocation = Relocation::new(true, "gw", "/p/.well-known/agent.json", "/.well-known/agent.json");
        for (card, moved) in [
            (
                r#"{"name" : "A","url":"http://a:1/","additionalInterfaces":[{"transport":"GRPC","url":"a:2"}],"provider":{"url":"https://maker"}}"#,
                r#"{"name" : "A","url":"https://gw/p/","additionalInterfaces":[{"transport":"GRPC","url":"gw:443"}],"provider":{"url":"https://maker"}}"#,
            ),
            (
                r#"{"supportedInterfaces":[{"url":"http://a/x","protocolVersion":"1.0"},{"url":"http://b/y"}], "signatures" : [{"a":1}] }"#,
                r#"{"supportedInterfaces":[{"url":"https://gw/p/x","protocolVersion":"1.0"},{"url":"https://gw/p/y"}], "signatures" : [] }"#,
            ),
        ] {
            assert_eq!(relocated(parse(card.as_bytes()).unwrap(), &relocation).unwrap(), moved);
        }
        for (card, fault) in [
            ("[]", Fault::Form),
            ("\"card\"", Fault::Form),
            ("{}", Fault::NoUrl),
            (r#"{"url":7,"supportedInterfaces":{}}"#, Fault::NoUrl),
        ] {
            assert_eq!(relocated(parse(card.as_bytes()).unwrap(), &relocation), Err(fault), "{card}");
        }
        let many =
            format!(r#"{{"supportedInterfaces":[{}{{}}]}}"#, r#"{"url":"http://a"},"#.repeat(INTERFACES_MAX + 1));
        assert_eq!(relocated(parse(many.as_bytes()).unwrap(), &relocation), Err(Fault::Many));
        let long = format!(r#"{{"url":"http://{}"}}"#, "a".repeat(URL_BYTES_MAX));
        assert_eq!(relocated(parse(long.as_bytes()).unwrap(), &relocation), Err(Fault::Long));
    }

    #[test]
    fn signatures_are_put_where_they_belong() {
        for (card, expected) in [
            (r#"{"a":1}"#, r#"{"a":1,"signatures":[2]}"#),
            (r#"{"signatures":[],"a":1}"#, r#"{"signatures":[2],"a":1}"#),
            ("{ }", r#"{ "signatures":[2]}"#),
        ] {
            assert_eq!(with_signatures(parse(card.as_bytes()).unwrap(), "[2]"), expected);
        }
        assert!(is_card("/x/.well-known/agent-card.json") && is_card("/.well-known/agent.json"));
        assert!(!is_card("/agent-card.json"));
    }
}
