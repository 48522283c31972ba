//! Signed tokens (JWS compact, RFC 7515; claims of RFC 7519), their keys, and who may vouch for what.
//!
//! Used by every policy that accepts tokens. It verifies with AWS-LC directly rather than through a
//! token library: keys are parsed once per algorithm and kept parsed, claims are read once and
//! strictly (no member twice), and what is not wanted is not there to be misused. There is no
//! `none`, and no HMAC at all: a key here is public, and a public key must never be taken for a
//! shared secret (RFC 8725 section 3.1). A key lists the algorithms it may be used with, by its own
//! `alg` or its family; the header of a token can only choose among them.
//!
//! Order: [`token`] takes a compact text apart, [`verify`] finds provider and key and judges,
//! [`key`] reads key sets, [`source`] is where a provider's keys come from as time goes by.

pub mod algorithm;
pub mod json;
pub mod key;
pub mod source;
#[cfg(test)]
pub(crate) mod testing;
pub mod token;
pub mod verify;

pub use algorithm::Algorithm;
pub use key::KeySet;
pub use source::{KeySource, Keys, RemoteKeys};
pub use verify::{Fault, Provider, Verified};
