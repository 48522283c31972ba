//! Keys that seal the session tickets of TLS clients, which a successor takes over: a ticket from before a hand-over
//! is good after it.
//!
//! A key seals for [`ROTATION`] and opens for [`LIFETIME`] longer. Every set of client roots has keys of its own, so
//! that a session agreed on without a certificate does not open a listener that demands one.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Weak};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::{digest, rand};
use parking_lot::Mutex;
use rustls::server::ProducesTickets;

use crate::life::transfer::Transfer;

/// Seconds.
const ROTATION: u64 = 6 * 3600;
/// Seconds; RFC 8446 section 4.6.1 allows seven days.
const LIFETIME: u32 = 12 * 3600;
/// Keys of one set of roots: the one that seals, and those whose tickets are still about.
const KEYS_MAX: usize = 4;
/// Sets of roots whose keys are handed over.
const SETS_MAX: usize = 1024;

const NAME_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;
const DIGEST_BYTES: usize = 32;
/// Digest of the roots, name, secret, birth.
const RECORD_BYTES: usize = DIGEST_BYTES + NAME_BYTES + SECRET_BYTES + 8;

type Digest = [u8; DIGEST_BYTES];

/// Seals and opens the tickets of one set of client roots.
pub struct Ticketer(Mutex<Vec<Key>>);

struct Key {
    name: [u8; NAME_BYTES],
    secret: [u8; SECRET_BYTES],
    /// Unix time.
    born: u64,
    aead: RandomizedNonceKey,
}

impl Key {
    fn new(name: [u8; NAME_BYTES], secret: [u8; SECRET_BYTES], born: u64) -> Option<Self> {
        Some(Self { name, secret, born, aead: RandomizedNonceKey::new(&AES_256_GCM, &secret).ok()? })
    }

    fn fresh(now: u64) -> Option<Self> {
        let (mut name, mut secret) = ([0; NAME_BYTES], [0; SECRET_BYTES]);
        rand::fill(&mut name).ok()?;
        rand::fill(&mut secret).ok()?;
        Self::new(name, secret, now)
    }

    fn is_good(&self, now: u64) -> bool {
        // A clock that was set back does not keep a key alive for ever.
        self.born <= now + ROTATION && self.born + ROTATION + u64::from(LIFETIME) > now
    }
}

impl std::fmt::Debug for Ticketer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ticketer(***)")
    }
}

/// All that is there, and all that was left by a predecessor and not yet asked for.
#[derive(Default)]
struct Register {
    live: HashMap<Digest, Weak<Ticketer>>,
    left: HashMap<Digest, Vec<Key>>,
}

static REGISTER: LazyLock<Mutex<Register>> = LazyLock::new(Mutex::default);

impl Ticketer {
    /// The one for these client roots; with the keys a predecessor left, where it did.
    ///
    /// # Errors
    /// There is no randomness.
    pub fn of(client_roots: Option<&[u8]>) -> Result<Arc<Self>, String> {
        let digest = named(client_roots);
        let mut register = REGISTER.lock();
        if let Some(it) = register.live.get(&digest).and_then(Weak::upgrade) {
            return Ok(it);
        }
        let mut keys = register.left.remove(&digest).unwrap_or_default();
        if keys.is_empty() {
            keys.push(Key::fresh(now()).ok_or("no keys for session tickets: there is no randomness")?);
        }
        let it = Arc::new(Self(Mutex::new(keys)));
        register.live.retain(|_, it| it.strong_count() > 0);
        register.live.insert(digest, Arc::downgrade(&it));
        Ok(it)
    }

    fn seal(&self, plain: &[u8], now: u64) -> Option<Vec<u8>> {
        let mut keys = self.0.lock();
        if keys.first().is_none_or(|it| it.born + ROTATION <= now || !it.is_good(now)) {
            keys.retain(|it| it.is_good(now));
            keys.truncate(KEYS_MAX - 1);
            keys.insert(0, Key::fresh(now)?);
        }
        let key = keys.first()?;
        let mut sealed = plain.to_vec();
        let nonce = key.aead.seal_in_place_append_tag(Aad::from(&key.name), &mut sealed).ok()?;
        Some([&key.name[..], nonce.as_ref(), &sealed].concat())
    }

    fn open(&self, ticket: &[u8], now: u64) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_at_checked(NAME_BYTES)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let keys = self.0.lock();
        let key = keys.iter().find(|it| it.name == *name && it.is_good(now))?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut plain = sealed.to_vec();
        let length = key.aead.open_in_place(nonce, Aad::from(&key.name), &mut plain).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, now())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open(cipher, now())
    }
}

fn now() -> u64 {
    crate::clock::wall().as_secs()
}

fn named(client_roots: Option<&[u8]>) -> Digest {
    let Some(roots) = client_roots else { return [0; DIGEST_BYTES] };
    let found = digest::digest(&digest::SHA256, roots);
    found.as_ref().try_into().unwrap_or([0; DIGEST_BYTES])
}

/// The keys on their way to a successor. They travel through a socket between the two and touch no disk.
pub struct Keys;

impl Transfer for Keys {
    fn name(&self) -> &'static str {
        "tls-tickets"
    }

    fn export(&self) -> Vec<u8> {
        let register = REGISTER.lock();
        let mut bytes = Vec::new();
        for (digest, ticketer) in register.live.iter().take(SETS_MAX) {
            let Some(ticketer) = ticketer.upgrade() else { continue };
            for Key { name, secret, born, aead: _ } in ticketer.0.lock().iter() {
                bytes.extend_from_slice(&[&digest[..], name, secret, &born.to_be_bytes()].concat());
            }
        }
        bytes
    }

    fn import(&self, version: u32, bytes: &[u8]) -> Result<(), String> {
        let left = read(version, bytes, now())?;
        REGISTER.lock().left = left;
        Ok(())
    }
}

fn read(version: u32, bytes: &[u8], now: u64) -> Result<HashMap<Digest, Vec<Key>>, String> {
    if version != Keys.version() {
        return Err(format!("ticket keys of version {version} are not known"));
    }
    if !bytes.len().is_multiple_of(RECORD_BYTES) || bytes.len() > SETS_MAX * KEYS_MAX * RECORD_BYTES {
        return Err(format!("{} bytes are no ticket keys", bytes.len()));
    }
    let mut left: HashMap<Digest, Vec<Key>> = HashMap::new();
    for record in bytes.chunks_exact(RECORD_BYTES) {
        let Some((digest, rest)) = record.split_first_chunk() else { continue };
        let Some((name, rest)) = rest.split_first_chunk() else { continue };
        let Some((secret, born)) = rest.split_first_chunk() else { continue };
        let born = born.try_into().map_or(0, u64::from_be_bytes).min(u64::MAX >> 1);
        let keys = left.entry(*digest).or_default();
        let key = Key::new(*name, *secret, born).filter(|it| it.is_good(now));
        if let Some(key) = key.filter(|_| keys.len() < KEYS_MAX) {
            keys.push(key);
        }
    }
    left.retain(|_, keys| !keys.is_empty());
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn ticketer() -> Ticketer {
        Ticketer(Mutex::new(vec![Key::fresh(NOW).unwrap()]))
    }

    #[test]
    fn a_ticket_opens_until_its_key_is_too_old() {
        let ticketer = ticketer();
        let ticket = ticketer.seal(b"session", NOW).unwrap();
        assert_ne!(ticket, ticketer.seal(b"session", NOW).unwrap(), "no two are alike");
        for (after, good) in [(0, true), (ROTATION, true), (ROTATION + u64::from(LIFETIME), false)] {
            // Sealing is what makes new keys.
            ticketer.seal(b"other", NOW + after).unwrap();
            assert_eq!(ticketer.open(&ticket, NOW + after).is_some(), good, "{after}s later");
        }
    }

    #[test]
    fn a_ticket_that_was_changed_does_not_open() {
        let ticketer = ticketer();
        let ticket = ticketer.seal(b"session", NOW).unwrap();
        assert_eq!(ticketer.open(&ticket, NOW).as_deref(), Some(&b"session"[..]));
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(ticketer.open(&changed, NOW), None, "byte {at}");
            assert_eq!(ticketer.open(&ticket[..at], NOW), None, "cut at {at}");
        }
    }

    #[test]
    fn keys_that_were_handed_over_open_the_same_tickets() {
        let (open, closed) = (Ticketer::of(None).unwrap(), Ticketer::of(Some(b"roots")).unwrap());
        let ticket = open.encrypt(b"session").unwrap();
        let mut left = read(1, &Keys.export(), now()).unwrap();
        let heir = |keys| Ticketer(Mutex::new(keys));
        let (open, closed) =
            (heir(left.remove(&named(None)).unwrap()), (heir(left.remove(&named(Some(b"roots"))).unwrap()), closed).0);
        assert_eq!(open.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert_eq!(closed.decrypt(&ticket), None, "the keys of other roots stay apart");
    }

    #[test]
    fn what_is_no_list_of_keys_is_refused() {
        for (version, bytes, good) in [
            (1, vec![], true),
            (2, vec![], false),
            (1, vec![7; RECORD_BYTES - 1], false),
            (1, vec![7; RECORD_BYTES], true),
            (1, vec![0; RECORD_BYTES * SETS_MAX * (KEYS_MAX + 1)], false),
        ] {
            let got = read(version, &bytes, NOW);
            assert_eq!(got.is_ok(), good, "{version} {}", bytes.len());
            assert!(got.is_err() || got.is_ok_and(|it| it.is_empty()), "born in the year zero, or beyond time");
        }
    }
}
