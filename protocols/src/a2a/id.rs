//! Ids of tasks and contexts as clients see them: sealed, with whose they are.
//!
//! The same id in the same scope is sealed alike as long as the key stands, for clients compare ids.

use super::shape::Place;
use crate::seal::{Fault, Ring};

/// As [`crate::seal`] numbers them.
const FORMAT: u8 = 2;
/// Longest id of an agent's that is sealed.
pub const OWN_BYTES_MAX: usize = 512;
/// Longest token of a page.
pub const PAGE_BYTES_MAX: usize = 4096;

/// Whose an id is: digests of the backend's name and of the endpoint's address, the same in every process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pin {
    pub backend: u64,
    pub endpoint: u64,
}

/// What an id is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Of {
    Task = 1,
    Context = 2,
    /// A page of a list: whose it is, and where it begins there.
    Page = 3,
}

impl Of {
    /// What the text at a place is of; names of tasks hold their id.
    pub fn place(place: Place) -> Option<Self> {
        match place {
            Place::Task | Place::TaskName => Some(Self::Task),
            Place::Context => Some(Self::Context),
            Place::PageToken => Some(Self::Page),
            Place::PushUrl
            | Place::PushId
            | Place::PushToken
            | Place::PushScheme
            | Place::PushCredentials
            | Place::CardUrl => None,
        }
    }
}

/// Flags that an id is a UUID in its usual spelling, and kept in 16 bytes.
const SHORT: u8 = 0x80;

/// The id for clients.
pub fn seal(ring: &Ring, of: Of, pin: Pin, own: &str, scope: &[u8]) -> Result<String, Fault> {
    let most = if of == Of::Page { PAGE_BYTES_MAX } else { OWN_BYTES_MAX };
    if own.len() > most {
        return Err(Fault::Size);
    }
    let short = uuid(own);
    let mut plain = Vec::with_capacity(64 + own.len());
    plain.push(of as u8 | if short.is_some() { SHORT } else { 0 });
    plain.extend_from_slice(&pin.backend.to_be_bytes());
    plain.extend_from_slice(&pin.endpoint.to_be_bytes());
    match short {
        Some(bytes) => plain.extend_from_slice(&bytes),
        None => plain.extend_from_slice(own.as_bytes()),
    }
    ring.seal_alike(FORMAT, plain, scope)
}

/// The agent's own id, and where the agent is.
pub fn open(ring: &Ring, of: Of, text: &str, scope: &[u8]) -> Result<(Pin, String), Fault> {
    let (_, plain) = ring.open_bytes(FORMAT, text, scope)?;
    read(&plain, of).ok_or(Fault::Form)
}

/// Whether a text has the form of a sealed id, whoever sealed it.
pub fn is_sealed(text: &str) -> bool {
    use base64::Engine as _;
    // Tag, nonce and seal, and what is in every id.
    let whole = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text);
    whole.is_ok_and(|it| it.first() == Some(&FORMAT) && it.len() > 2 + 12 + 16 + 17)
}

fn read(plain: &[u8], of: Of) -> Option<(Pin, String)> {
    let ([kind], rest) = plain.split_first_chunk::<1>()?;
    let (backend, rest) = rest.split_first_chunk::<8>()?;
    let (endpoint, own) = rest.split_first_chunk::<8>()?;
    if kind & !SHORT != of as u8 {
        return None;
    }
    let pin = Pin { backend: u64::from_be_bytes(*backend), endpoint: u64::from_be_bytes(*endpoint) };
    let own = match kind & SHORT {
        0 => std::str::from_utf8(own).ok()?.to_owned(),
        _ => spelled(own.try_into().ok()?),
    };
    Some((pin, own))
}

/// The bytes of a UUID that is written in lower case with its hyphens.
fn uuid(text: &str) -> Option<[u8; 16]> {
    if text.len() != 36 {
        return None;
    }
    let mut digits = text.bytes().enumerate().filter_map(|(at, byte)| match at {
        8 | 13 | 18 | 23 => (byte != b'-').then_some(None),
        _ => Some(match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        }),
    });
    let mut out = [0; 16];
    for slot in &mut out {
        *slot = digits.next()?? << 4 | digits.next()??;
    }
    digits.next().is_none().then_some(out)
}

fn spelled(bytes: [u8; 16]) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(36);
    for (at, byte) in bytes.into_iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        for digit in [byte >> 4, byte & 15] {
            out.push(HEX.get(usize::from(digit)).copied().map_or('0', char::from));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PIN: Pin = Pin { backend: 7, endpoint: u64::MAX };

    fn ring() -> Ring {
        Ring::new(&[[1; 32]])
    }

    #[test]
    fn an_id_opens_as_what_and_for_whom_it_was_sealed() {
        let ring = ring();
        for own in ["3f2504e0-4f89-41d3-9a0c-0305e82c3301", "3F2504E0-4F89-41D3-9A0C-0305E82C3301", "task-1", "\u{e4}"]
        {
            let id = seal(&ring, Of::Task, PIN, own, b"alice").unwrap();
            assert_eq!(id, seal(&ring, Of::Task, PIN, own, b"alice").unwrap(), "clients compare ids");
            assert_eq!(open(&ring, Of::Task, &id, b"alice"), Ok((PIN, own.to_owned())));
            assert_eq!(open(&ring, Of::Task, &id, b"bob"), Err(Fault::Seal));
            assert!(open(&ring, Of::Context, &id, b"alice").is_err());
            assert!(is_sealed(&id) && !is_sealed(own));
            assert!(id.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_')), "{id}");
        }
        let id = seal(&ring, Of::Task, PIN, "3f2504e0-4f89-41d3-9a0c-0305e82c3301", b"").unwrap();
        assert_eq!(id.len(), 84);
        assert_eq!(seal(&ring, Of::Task, PIN, &"x".repeat(OWN_BYTES_MAX + 1), b""), Err(Fault::Size));
    }

    #[test]
    fn ids_that_were_cut_or_changed_do_not_open() {
        let ring = ring();
        let id = seal(&ring, Of::Task, PIN, "task-1", b"s").unwrap();
        for cut in 0..id.len() {
            assert!(open(&ring, Of::Task, &id[..cut], b"s").is_err(), "cut at {cut}");
        }
        for at in 0..id.len() {
            let mut bytes = id.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert!(open(&ring, Of::Task, std::str::from_utf8(&bytes).unwrap(), b"s").is_err(), "changed at {at}");
        }
    }

    proptest! {
        #[test]
        fn every_id_comes_back_as_it_was(own in "\\PC{1,60}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}") {
            let id = seal(&ring(), Of::Context, PIN, &own, b"s").unwrap();
            prop_assert_eq!(open(&ring(), Of::Context, &id, b"s").unwrap().1, own);
        }

        #[test]
        fn no_plain_text_makes_reading_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = read(&bytes, Of::Task);
        }
    }
}
