//! `backendAuth`: the gateway's own credentials towards a backend.
//!
//! ```yaml
//! backendAuth:
//!   key:
//!     value:
//!       file: /run/secrets/backend-key
//!     location:
//!       header:
//!         name: x-api-key
//! ```
//!
//! **Kinds.** Exactly one, or `credentials` alone:
//! - `key`: a fixed one: the text itself, `{ file: PATH }`, `{ credential: NAME }` for a credential of the service
//!   (systemd's `LoadCredential=`), or `{ value: …, location: … }`.
//! - `passthrough`: the token of the client that `jwtAuth` has verified, and has taken out of the request. Where none was
//!   verified the request goes on as it is.
//! - `jwtSign`: a token that the gateway signs: `{ signingKey: …, alg: RS256, kid: …, claims: { … }, ttl: 300s }`. The key
//!   is PEM, as text, `{ file: PATH }` or `{ credential: NAME }`; `alg` one of RS256, RS384, RS512, PS256, ES256, ES384.
//!   `iat` (10 s back, for clocks that are behind), `exp` and nothing else is added to `claims`. A token serves for half of
//!   its `ttl`, then the next request has a new one signed.
//!
//! `credentials` lists further keys, each with a `location` of its own: `[{ location: …, key: … }]`.
//!
//! **Location.** `header` (with `prefix`), `queryParameter` or `cookie`; `Authorization: Bearer` unless written. What the
//! client sent there itself is replaced, in every spelling and however often it was there.
//!
//! **Order.** The last thing done to a request, for each attempt at a backend: neither filters nor transformations see the
//! credential, and none can change it. A mirror's copy does not get it.
//!
//! **Merging.** Most specific first: the backend reference, the backend, then what the route hands down. One policy
//! replaces another whole.
//!
//! **Rotation.** Files and credentials are watched. New content takes effect for the next attempt, without a new version
//! of the document or of any route; a file that cannot be read, or holds nothing that can be sent, changes nothing and is
//! reported. White space around the content of a file is no part of the key.
//!
//! **Secrets.** Keys print as stars, and are marked as never to be indexed on HTTP/2. Over xDS they travel inline.
//!
//! **Limits.** A key has at most 16 KiB; there are at most 16 further credentials. A location that is an expression can
//! only be read, so it is refused here. `gcp`, `aws`, `azure`, `oauthTokenExchange` and `crossAppAccess` are not supported
//! by this version yet, and refused. Claims have 4 KiB as JSON; `ttl` is 1 s to 24 h.

mod config;
mod filter;
mod policy;
mod sign;
#[cfg(test)]
mod tests;

pub use config::{Config, CredentialConfig, KeyConfig, PassthroughConfig, SecretText, SignConfig, ValueConfig};
pub use policy::{Credential, Policy, Primary};
pub(crate) use sign::Signer;
pub use sign::{Algorithm, Sign, TTL_DEFAULT, Terms};
