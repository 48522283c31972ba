//! Hashes of passwords: read once, checked within bounds.

use std::fmt;

use argon2::password_hash::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordVerifier, Version};
use aws_lc_rs::{constant_time, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::apr1;

const BCRYPT_COST_MAX: u32 = 14;
const BCRYPT_COST_MIN: u32 = 4;
const ARGON2_KIB_MAX: u32 = 256 * 1024;
const ARGON2_PASSES_MAX: u32 = 10;
const ARGON2_LANES_MAX: u32 = 8;

/// A hash as `htpasswd` files have it, with its text.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Hash {
    pub(super) text: Box<str>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Sha,
    Apr1,
    /// With its cost.
    Bcrypt(u32),
    /// With its memory in KiB times passes.
    Argon2(u64),
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Hash {
    /// Reads a hash; the fault says what to do, and nothing of the hash.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let kind = if let Some(encoded) = text.strip_prefix("{SHA}") {
            let length = STANDARD.decode(encoded).map(|it| it.len());
            if length != Ok(20) {
                return Err("not a SHA-1 in base64 behind {SHA}".to_owned());
            }
            Kind::Sha
        } else if text.starts_with(apr1::PREFIX) {
            apr1::salt(text).ok_or("not an $apr1$ hash")?;
            Kind::Apr1
        } else if ["$2a$", "$2b$", "$2x$", "$2y$"].iter().any(|it| text.starts_with(it)) {
            bcrypt(text)?
        } else if text.starts_with("$argon2") {
            argon2(text)?
        } else {
            return Err("not a hash this gateway knows: make one with `htpasswd -B`".to_owned());
        };
        Ok(Self { text: text.into(), kind })
    }

    /// Whether this is the hash of the password. May take long: not on a traffic thread.
    pub(super) fn fits(&self, password: &[u8]) -> bool {
        match self.kind {
            Kind::Sha => {
                let sum = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, password);
                let encoded = STANDARD.encode(sum.as_ref());
                let known = self.text.get("{SHA}".len()..).unwrap_or_default();
                constant_time::verify_slices_are_equal(encoded.as_bytes(), known.as_bytes()).is_ok()
            }
            Kind::Apr1 => apr1::salt(&self.text).is_some_and(|salt| {
                let made = apr1::hash(password, salt);
                constant_time::verify_slices_are_equal(made.as_bytes(), self.text.as_bytes()).is_ok()
            }),
            Kind::Bcrypt(_) => bcrypt::verify(password, &self.text).unwrap_or(false),
            Kind::Argon2(_) => PasswordHash::new(&self.text)
                .is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok()),
        }
    }

    /// For comparison only: which of two takes longer.
    pub(super) fn weight(&self) -> (u8, u64) {
        match self.kind {
            Kind::Sha => (0, 0),
            Kind::Apr1 => (1, 0),
            // A cost of 10 takes about as long as 64 MiB once.
            Kind::Bcrypt(cost) => (2, 1 << (cost + 6)),
            Kind::Argon2(work) => (2, work),
        }
    }

    /// Made to be slow for who tries passwords.
    pub(super) fn is_strong(&self) -> bool {
        matches!(self.kind, Kind::Bcrypt(_) | Kind::Argon2(_))
    }
}

fn bcrypt(text: &str) -> Result<Kind, String> {
    let bad = "not a bcrypt hash";
    let cost: u32 = text.get(4..6).and_then(|it| it.parse().ok()).ok_or(bad)?;
    let alphabet = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'/');
    let rest = text.get(7..).ok_or(bad)?;
    if text.len() != 60 || text.as_bytes().get(6) != Some(&b'$') || !rest.bytes().all(alphabet) {
        return Err(bad.to_owned());
    }
    if !(BCRYPT_COST_MIN..=BCRYPT_COST_MAX).contains(&cost) {
        return Err(format!("a bcrypt cost of {cost}: {BCRYPT_COST_MIN} to {BCRYPT_COST_MAX} are accepted"));
    }
    Ok(Kind::Bcrypt(cost))
}

fn argon2(text: &str) -> Result<Kind, String> {
    let bad = "not an argon2 hash";
    let hash = PasswordHash::new(text).map_err(|_| bad)?;
    let params = Params::try_from(&hash).map_err(|_| bad)?;
    let known = Algorithm::try_from(hash.algorithm).is_ok();
    let version = hash.version.is_none_or(|it| Version::try_from(it).is_ok());
    if !known || !version || hash.hash.is_none() || hash.salt.is_none() {
        return Err(bad.to_owned());
    }
    if params.m_cost() > ARGON2_KIB_MAX || params.t_cost() > ARGON2_PASSES_MAX || params.p_cost() > ARGON2_LANES_MAX {
        return Err(format!(
            "an argon2 hash that costs more than {} MiB, {ARGON2_PASSES_MAX} passes or {ARGON2_LANES_MAX} lanes",
            ARGON2_KIB_MAX / 1024
        ));
    }
    Ok(Kind::Argon2(u64::from(params.m_cost()) * u64::from(params.t_cost())))
}
