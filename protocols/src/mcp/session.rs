//! Sessions without storage: the id that a client holds says everything that any process needs to go on with it.
//!
//! What is in it is sealed by a [`Ring`] and bound to a *scope*, which says where and whose it is. Nonces are the
//! caller's to draw, and name the session.

use super::Version;
pub use crate::seal::{Fault, KEYS_MAX, Name, Ring, TEXT_BYTES_MAX};

/// Most of what a client said of itself that is kept, to say it again to servers.
pub const CLIENT_BYTES_MAX: usize = 2 * 1024;
/// Longest session id of a server that is kept.
pub const SERVER_ID_BYTES_MAX: usize = 512;

/// As [`crate::seal`] numbers them.
const FORMAT: u8 = 3;

/// What an id carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Seconds of Unix time.
    pub began: u64,
    /// The process that has what is bound to one: the stream of a client of the first revision. 0: nothing is.
    pub owner: u64,
    pub version: Version,
    /// The parameters of `initialize`, to be said again to a server that has forgotten.
    pub client: String,
    pub servers: Servers,
}

/// Sessions with servers, as they are sealed: of many, most messages ask for one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Servers {
    count: u16,
    bytes: Vec<u8>,
}

/// A session with a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    pub target: String,
    /// Absent where the server has none.
    pub id: Option<String>,
    pub version: Version,
}

impl Ring {
    /// The id of a session. `name` is random and used once.
    pub fn seal(&self, session: &Session, name: Name, scope: &[u8]) -> Result<String, Fault> {
        self.seal_bytes(FORMAT, session.encode()?, name, scope)
    }

    /// Opens an id.
    pub fn open(&self, text: &str, scope: &[u8]) -> Result<(Name, Session), Fault> {
        let (name, plain) = self.open_bytes(FORMAT, text, scope)?;
        Session::decode(&plain).map(|it| (name, it)).ok_or(Fault::Form)
    }
}

impl Session {
    /// What is held about a server.
    pub fn server(&self, target: &str) -> Option<Opened> {
        self.servers.iter().find(|it| it.target == target).map(Entry::opened)
    }

    /// What is spoken with a server.
    pub fn version_with(&self, target: &str) -> Option<Version> {
        self.servers.iter().find(|it| it.target == target).map(|it| it.version)
    }

    fn encode(&self) -> Result<Vec<u8>, Fault> {
        let Self { began, owner, version, client, servers } = self;
        if client.len() > CLIENT_BYTES_MAX {
            return Err(Fault::Size);
        }
        let mut out = Vec::with_capacity(32 + client.len() + servers.bytes.len());
        out.extend_from_slice(&began.to_be_bytes());
        out.extend_from_slice(&owner.to_be_bytes());
        out.push(*version as u8);
        put(&mut out, client)?;
        out.extend_from_slice(&servers.count.to_be_bytes());
        out.extend_from_slice(&servers.bytes);
        Ok(out)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (began, rest) = bytes.split_first_chunk::<8>()?;
        let (owner, rest) = rest.split_first_chunk::<8>()?;
        let ([version], rest) = rest.split_first_chunk::<1>()?;
        let (client, rest) = take(rest)?;
        let (count, rest) = rest.split_first_chunk::<2>()?;
        let servers = Servers { count: u16::from_be_bytes(*count), bytes: rest.to_vec() };
        let (began, owner) = (u64::from_be_bytes(*began), u64::from_be_bytes(*owner));
        Some(Self { began, owner, version: Version::of_byte(*version)?, client: client.to_owned(), servers })
    }
}

impl Servers {
    /// # Errors
    /// One of them has a name or an id that is too long, or they are too many.
    pub fn new(opened: &[Opened]) -> Result<Self, Fault> {
        let mut bytes = Vec::with_capacity(opened.len() * 64);
        for Opened { target, id, version } in opened {
            put(&mut bytes, target)?;
            bytes.push(*version as u8);
            bytes.push(u8::from(id.is_some()));
            put(&mut bytes, id.as_deref().unwrap_or_default())?;
        }
        Ok(Self { count: u16::try_from(opened.len()).map_err(|_| Fault::Size)?, bytes })
    }

    /// All that can be read: fewer than are said to be there, if they were not made by us.
    fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        let mut rest = &*self.bytes;
        (0..self.count).map_while(move |_| {
            let (entry, after) = Entry::take(rest)?;
            rest = after;
            Some(entry)
        })
    }
}

/// One of [`Servers`], in place.
struct Entry<'a> {
    target: &'a str,
    id: Option<&'a str>,
    version: Version,
}

impl<'a> Entry<'a> {
    fn take(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (target, rest) = take(bytes)?;
        let ([version, has_id], rest) = rest.split_first_chunk::<2>()?;
        let (id, rest) = take(rest)?;
        Some((Self { target, id: (*has_id == 1).then_some(id), version: Version::of_byte(*version)? }, rest))
    }

    fn opened(self) -> Opened {
        Opened { target: self.target.to_owned(), id: self.id.map(str::to_owned), version: self.version }
    }
}

fn put(out: &mut Vec<u8>, text: &str) -> Result<(), Fault> {
    out.extend_from_slice(&u16::try_from(text.len()).map_err(|_| Fault::Size)?.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn take(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (text, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn session() -> Session {
        let opened = |target: &str, id: Option<&str>| Opened {
            target: target.to_owned(),
            id: id.map(str::to_owned),
            version: Version::V2025_06_18,
        };
        Session {
            began: 1_700_000_000,
            owner: 0x5d2b,
            version: Version::V2025_11_25,
            client: r#"{"capabilities":{}}"#.to_owned(),
            servers: Servers::new(&[opened("a", Some("5d2b")), opened("b", None)]).unwrap(),
        }
    }

    #[test]
    fn what_is_held_of_a_server_is_found_by_its_name() {
        let (id, session) = (|it: Opened| it.id, session());
        assert_eq!(session.server("a").map(id), Some(Some("5d2b".to_owned())));
        assert_eq!(session.server("b").map(id), Some(None));
        assert_eq!(session.server("c"), None);
    }

    #[test]
    fn an_id_opens_for_whom_and_where_it_was_sealed_and_nowhere_else() {
        let ring = Ring::new(&[[1; 32]]);
        let id = ring.seal(&session(), [9; 12], b"alice@route").unwrap();
        assert_eq!(ring.open(&id, b"alice@route"), Ok(([9; 12], session())));
        assert!(id.bytes().all(|it| it.is_ascii_graphic()), "the specification wants visible ASCII");
        for scope in ["mallory@route", "alice@other", ""] {
            assert_eq!(ring.open(&id, scope.as_bytes()), Err(Fault::Seal), "{scope}");
        }
        assert_eq!(Ring::new(&[[2; 32]]).open(&id, b"alice@route"), Err(Fault::Seal));
        assert_eq!(Ring::default().open(&id, b"alice@route"), Err(Fault::Seal));
    }

    #[test]
    fn a_rotated_ring_opens_what_its_elder_keys_sealed() {
        let old = Ring::new(&[[1; 32]]).seal(&session(), [1; 12], b"").unwrap();
        let ring = Ring::new(&[[2; 32], [1; 32]]);
        assert!(ring.open(&old, b"").is_ok());
        let new = ring.seal(&session(), [2; 12], b"").unwrap();
        assert!(Ring::new(&[[2; 32]]).open(&new, b"").is_ok());
        assert_eq!(Ring::new(&[[1; 32]]).open(&new, b""), Err(Fault::Seal));
    }

    #[test]
    fn ids_that_were_cut_or_changed_do_not_open() {
        let ring = Ring::new(&[[1; 32]]);
        let id = ring.seal(&session(), [9; 12], b"s").unwrap();
        for cut in 0..id.len() {
            assert!(ring.open(&id[..cut], b"s").is_err(), "cut at {cut}");
        }
        for at in 0..id.len() {
            let mut bytes = id.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert!(ring.open(std::str::from_utf8(&bytes).unwrap(), b"s").is_err(), "changed at {at}");
        }
        for text in ["", "AQ", "not base64!", "5d2b7a90-1111-4222-8333-444455556666", &"A".repeat(TEXT_BYTES_MAX + 1)] {
            assert!(ring.open(text, b"s").is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_too_large_is_not_sealed() {
        let ring = Ring::new(&[[1; 32]]);
        let large = Session { client: "x".repeat(CLIENT_BYTES_MAX + 1), ..session() };
        assert_eq!(ring.seal(&large, [0; 12], b""), Err(Fault::Size));
        let many = Opened { target: "t".into(), id: Some("x".repeat(SERVER_ID_BYTES_MAX)), version: Version::LEGACY };
        let large = Session { servers: Servers::new(&vec![many; 40]).unwrap(), ..session() };
        assert_eq!(ring.seal(&large, [0; 12], b""), Err(Fault::Size));
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_to_the_same(
            began in any::<u64>(), owner in any::<u64>(), client in "\\PC{0,40}",
            servers in prop::collection::vec(("[a-z]{1,9}", prop::option::of("\\PC{0,20}"), 1_u8..6), 0..5),
        ) {
            let opened: Vec<_> = servers.into_iter().map(|(target, id, version)| {
                Opened { target, id, version: Version::of_byte(version).unwrap() }
            }).collect();
            let servers = Servers::new(&opened).unwrap();
            let session = Session { began, owner, version: Version::LEGACY, client, servers };
            let ring = Ring::new(&[[7; 32]]);
            let id = ring.seal(&session, [3; 12], b"x").unwrap();
            prop_assert_eq!(ring.open(&id, b"x").unwrap().1, session);
        }

        #[test]
        fn no_plain_text_makes_reading_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Session::decode(&bytes);
        }
    }
}
