//! News of tasks that go through the gateway: the URL that an agent is given in the place of a client's, and what is in it.
//!
//! A [`Ticket`] says all that any process needs to send news on: where to, with which credentials, of which task, for
//! whom ids are sealed. It stands sealed in the query of a URL whose path is the client's own, so that the same route
//! leads there. Tokens and credentials that a client gives along are not shown to the agent: each is sealed in its
//! place ([`hide`]), and comes back to the client that gave it ([`reveal`]).

use super::id::Pin;
use super::shape::{self, Shape};
use crate::json::{Kind, Raw};
use crate::seal::{Fault, Ring};

/// The member of the query that holds a ticket.
pub const KEY: &str = "a2a-push";
/// Headers that news carry the client's token in: agents of either spelling are out there, and so are clients.
pub const TOKEN_HEADERS: [&str; 2] = ["x-a2a-notification-token", "a2a-notification-token"];
/// All texts of a ticket together: what is sealed stands in a URL.
pub const TICKET_BYTES_MAX: usize = 4096;
/// Longest token or credential that is hidden.
const SECRET_BYTES_MAX: usize = 2048;

/// As [`crate::seal`] numbers them.
const FORMAT: u8 = 4;
const SECRET_FORMAT: u8 = 5;
/// The layout of what is sealed.
const LAYOUT: u8 = 1;

/// See the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ticket {
    /// Seconds since 1970 until which it holds.
    pub until: u64,
    /// Where the task is, as ids of it say.
    pub pin: Pin,
    /// Whose it is, as ids of it are sealed.
    pub scope: [u8; 32],
    /// Ids as the agent has them; empty where they were not known.
    pub task: String,
    /// A context that the client made up: it is shown as it is.
    pub context: String,
    /// The configuration's id, where the client gave it one.
    pub config: String,
    /// Where the news go.
    pub url: String,
    /// What the client wants to see in them.
    pub token: String,
    pub scheme: String,
    pub credentials: String,
}

impl Ticket {
    fn texts(&self) -> [&String; 7] {
        let Self { task, context, config, url, token, scheme, credentials, .. } = self;
        [task, context, config, url, token, scheme, credentials]
    }

    /// The text for a query; it opens for the same `place` alone.
    pub fn seal(&self, ring: &Ring, place: &[u8]) -> Result<String, Fault> {
        let texts = self.texts();
        if texts.iter().map(|it| it.len()).sum::<usize>() > TICKET_BYTES_MAX {
            return Err(Fault::Size);
        }
        let mut plain = Vec::with_capacity(256);
        plain.push(LAYOUT);
        for number in [self.until, self.pin.backend, self.pin.endpoint] {
            plain.extend_from_slice(&number.to_be_bytes());
        }
        plain.extend_from_slice(&self.scope);
        for text in texts {
            let length = u16::try_from(text.len()).map_err(|_| Fault::Size)?;
            plain.extend_from_slice(&length.to_be_bytes());
            plain.extend_from_slice(text.as_bytes());
        }
        ring.seal_alike(FORMAT, plain, place)
    }

    pub fn open(ring: &Ring, text: &str, place: &[u8]) -> Result<Self, Fault> {
        let (_, plain) = ring.open_bytes(FORMAT, text, place)?;
        Self::read(&plain).ok_or(Fault::Form)
    }

    /// What was sealed.
    pub fn read(plain: &[u8]) -> Option<Self> {
        let (&[LAYOUT], mut rest) = plain.split_first_chunk::<1>()? else { return None };
        let mut number = || {
            let (number, after) = rest.split_first_chunk::<8>()?;
            rest = after;
            Some(u64::from_be_bytes(*number))
        };
        let until = number()?;
        let pin = Pin { backend: number()?, endpoint: number()? };
        let (scope, mut rest) = rest.split_first_chunk::<32>()?;
        let mut text = || {
            let (length, after) = rest.split_first_chunk::<2>()?;
            let (text, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            rest = after;
            Some(std::str::from_utf8(text).ok()?.to_owned())
        };
        let (task, context, config, url) = (text()?, text()?, text()?, text()?);
        let (token, scheme, credentials) = (text()?, text()?, text()?);
        rest.is_empty().then_some(Self {
            until,
            pin,
            scope: *scope,
            task,
            context,
            config,
            url,
            token,
            scheme,
            credentials,
        })
    }
}

/// The URL for an agent.
pub fn url(base: &str, sealed: &str) -> String {
    format!("{base}?{KEY}={sealed}")
}

/// The sealed ticket in a query.
pub fn of_query(query: &str) -> Option<&str> {
    query.split('&').find_map(|it| it.strip_prefix(KEY)?.strip_prefix('=')).filter(|it| !it.is_empty())
}

/// The sealed ticket in a URL.
pub fn of_url(url: &str) -> Option<&str> {
    of_query(url.split_once('?')?.1)
}

/// What an agent sees of a secret of the client's, for it to give back.
pub fn hide(ring: &Ring, secret: &str, scope: &[u8]) -> Result<String, Fault> {
    if secret.len() > SECRET_BYTES_MAX {
        return Err(Fault::Size);
    }
    ring.seal_alike(SECRET_FORMAT, secret.as_bytes().to_vec(), scope)
}

/// The secret of the client's own; `None` where it is none that was hidden, or another's.
pub fn reveal(ring: &Ring, shown: &str, scope: &[u8]) -> Option<String> {
    let (_, plain) = ring.open_bytes(SECRET_FORMAT, shown, scope).ok()?;
    String::from_utf8(plain).ok()
}

/// What a piece of news is: a task of 0.3, or an event as streams have them. Some agents leave `kind` out.
pub fn shape_of(news: Raw<'_>) -> Option<&'static Shape> {
    if news.kind() != Kind::Object {
        return None;
    }
    if let Some(kind) = news.get("kind").and_then(Raw::as_str) {
        return shape::of_kind(&kind).map(|_| &shape::EVENT);
    }
    let is_wrapped =
        news.members().any(|(name, it)| it.kind() == Kind::Object && shape::EVENT.by_name(&name).is_some());
    let has = |name: &str| news.get(name).is_some();
    // `message` may be a member of a status as well, but news begin outside.
    match (is_wrapped, has("id") && has("status"), has("taskId") && (has("status") || has("artifact"))) {
        (true, ..) => Some(&shape::EVENT),
        (_, true, _) => Some(&shape::TASK),
        (_, _, true) => Some(&shape::STATUS_UPDATE),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ring() -> Ring {
        Ring::new(&[[1; 32]])
    }

    fn ticket() -> Ticket {
        Ticket {
            until: 9,
            pin: Pin { backend: 1, endpoint: u64::MAX },
            scope: [3; 32],
            url: "https://client.example/news?x=1".into(),
            token: "secret".into(),
            scheme: "Bearer".into(),
            credentials: "abc".into(),
            ..Ticket::default()
        }
    }

    #[test]
    fn a_ticket_opens_where_it_was_sealed_for_and_nowhere_else() {
        let sealed = ticket().seal(&ring(), b"route").unwrap();
        assert_eq!(Ticket::open(&ring(), &sealed, b"route"), Ok(ticket()));
        assert_eq!(Ticket::open(&ring(), &sealed, b"other"), Err(Fault::Seal));
        assert_eq!(Ticket::open(&Ring::new(&[[2; 32]]), &sealed, b"route"), Err(Fault::Seal));
        for cut in 0..sealed.len() {
            assert!(Ticket::open(&ring(), &sealed[..cut], b"route").is_err(), "cut at {cut}");
        }
        for at in 0..sealed.len() {
            let mut bytes = sealed.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert!(Ticket::open(&ring(), std::str::from_utf8(&bytes).unwrap(), b"route").is_err(), "changed at {at}");
        }
        let long = Ticket { url: "x".repeat(TICKET_BYTES_MAX + 1), ..ticket() };
        assert_eq!(long.seal(&ring(), b"route"), Err(Fault::Size));
        let whole = url("https://gw/a", &sealed);
        assert_eq!(of_url(&whole), Some(&*sealed));
        for (url, found) in [
            ("https://gw/a?x=1&a2a-push=t&y", Some("t")),
            ("https://gw/a?a2a-push=", None),
            ("https://gw/a?xa2a-push=t", None),
            ("https://gw/a2a-push=t", None),
        ] {
            assert_eq!(of_url(url), found, "{url}");
        }
    }

    #[test]
    fn a_secret_comes_back_to_whom_it_is_from() {
        let shown = hide(&ring(), "token", b"alice").unwrap();
        assert!(!shown.contains("token"));
        assert_eq!(reveal(&ring(), &shown, b"alice").as_deref(), Some("token"));
        assert_eq!(reveal(&ring(), &shown, b"bob"), None);
        assert_eq!(reveal(&ring(), "token", b"alice"), None, "never hidden");
        let sealed = ticket().seal(&ring(), b"alice").unwrap();
        assert_eq!(reveal(&ring(), &sealed, b"alice"), None, "one is not the other");
    }

    #[test]
    fn news_are_told_by_what_they_hold() {
        for (text, expected) in [
            (r#"{"kind":"task","id":"t"}"#, Some(&shape::EVENT)),
            (r#"{"kind":"status-update","taskId":"t"}"#, Some(&shape::EVENT)),
            (r#"{"statusUpdate":{"taskId":"t"}}"#, Some(&shape::EVENT)),
            (r#"{"task":{"id":"t"}}"#, Some(&shape::EVENT)),
            (r#"{"message":{"messageId":"m"}}"#, Some(&shape::EVENT)),
            (r#"{"id":"t","status":{"state":"working"}}"#, Some(&shape::TASK)),
            (r#"{"taskId":"t","artifact":{}}"#, Some(&shape::STATUS_UPDATE)),
            (r#"{"kind":"other","id":"t"}"#, None),
            (r#"{"task":"t"}"#, None),
            (r#"{"id":"t"}"#, None),
            ("{}", None),
            ("[]", None),
            ("7", None),
        ] {
            let found = shape_of(crate::json::parse(text.as_bytes()).unwrap());
            assert!(found.map(std::ptr::from_ref) == expected.map(std::ptr::from_ref), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_plain_text_makes_reading_panic(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
            let mut bytes = bytes;
            let _ = Ticket::read(&bytes);
            if let Some(first) = bytes.first_mut() {
                *first = LAYOUT;
            }
            let _ = Ticket::read(&bytes);
        }
    }
}
