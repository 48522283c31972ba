//! `$apr1$`: a thousand rounds of MD5, as the tool `htpasswd` has made them since the nineties. Weak.

use md5::{Digest, Md5};

pub(super) const PREFIX: &str = "$apr1$";

const ROUNDS: u32 = 1000;
const SALT_MAX: usize = 8;
const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// In which order the sixteen bytes are written, three at a time.
const ORDER: [[usize; 3]; 5] = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]];

/// The salt of a hash of the right form.
pub(super) fn salt(hash: &str) -> Option<&str> {
    let (salt, sum) = hash.strip_prefix(PREFIX)?.split_once('$')?;
    let plain = |it: u8| ALPHABET.contains(&it);
    let formed = (1..=SALT_MAX).contains(&salt.len()) && sum.len() == 22 && sum.bytes().all(plain);
    (formed && salt.bytes().all(|it| matches!(it, b'!'..=b'~'))).then_some(salt)
}

/// The whole hash of a password.
pub(super) fn hash(password: &[u8], salt: &str) -> String {
    let salt_bytes = salt.as_bytes();
    let inner: [u8; 16] =
        Md5::new().chain_update(password).chain_update(salt_bytes).chain_update(password).finalize().into();
    let mut sum = Md5::new().chain_update(password).chain_update(PREFIX).chain_update(salt_bytes);
    for part in password.chunks(inner.len()) {
        sum.update(inner.get(..part.len()).unwrap_or_default());
    }
    let mut length = password.len();
    while length > 0 {
        match length & 1 {
            1 => sum.update([0]),
            _ => sum.update(password.get(..1).unwrap_or_default()),
        }
        length >>= 1;
    }
    let mut sum: [u8; 16] = sum.finalize().into();
    for round in 0..ROUNDS {
        let mut next = Md5::new();
        match round & 1 {
            1 => next.update(password),
            _ => next.update(sum),
        }
        if round % 3 != 0 {
            next.update(salt_bytes);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        match round & 1 {
            1 => next.update(sum),
            _ => next.update(password),
        }
        sum = next.finalize().into();
    }
    format!("{PREFIX}{salt}${}", encode(&sum))
}

fn encode(sum: &[u8; 16]) -> String {
    let byte = |at: usize| u32::from(sum.get(at).copied().unwrap_or_default());
    let mut out = String::with_capacity(22);
    let mut write = |mut bits: u32, digits: usize| {
        for _ in 0..digits {
            out.push(char::from(ALPHABET.get((bits & 63) as usize).copied().unwrap_or(b'.')));
            bits >>= 6;
        }
    };
    for [a, b, c] in ORDER {
        write(byte(a) << 16 | byte(b) << 8 | byte(c), 4);
    }
    write(byte(11), 2);
    out
}
