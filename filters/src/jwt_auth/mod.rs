//! `jwtAuth`: let in who carries a token that an issuer we trust has signed.
//!
//! ```yaml
//! jwtAuth:
//!   mode: strict
//!   issuer: https://login.example.com/
//!   audiences: [api]
//!   jwks:
//!     url: https://login.example.com/keys
//!   jwtValidationOptions:
//!     requiredClaims: [exp, sub]
//!     algorithms: [RS256, ES256]
//!     clockSkew: 30s
//!   claimsToHeaders:
//!     x-user: sub
//!     x-groups: realm_access.roles
//!   forward: false
//! ```
//!
//! Several issuers are written as a list, `providers`, of entries with `issuer`, `audiences`, `jwks`
//! and `jwtValidationOptions`, in place of these at the top.
//!
//! **Judgement.** The issuer the token claims selects the provider; only that provider's keys are
//! tried, the one that the token names by `kid`. A token needs one of the `audiences` if there are
//! any, must not have expired nor begin later (`clockSkew`, 60 s unless set, at most 10 min), and
//! must have the required claims (`exp` unless set). Accepted are RSA (PKCS #1 and PSS, from 2048
//! bits), ECDSA (P-256, P-384, P-521) and Ed25519: those that the key itself allows (`alg`, or its
//! kind), and where `algorithms` is set only those of them. `none` and HMAC do not exist here.
//!
//! **Modes.** `strict` (unless set): no request without a valid token. `optional`: a request
//! without token goes on, a wrong token is refused. `permissive`: a wrong token counts as none.
//!
//! **Token.** Taken from `location` (unless set, `Authorization: Bearer`) and not passed on, unless
//! `forward` is true. A credential that is there twice is refused.
//!
//! **Claims in headers.** `claimsToHeaders` writes a claim (a name, or a path with dots) into a
//! header: texts, numbers and booleans as they are, lists of these joined by commas. What a client
//! itself sends under such a name is always removed, in any mode, written with `_` for `-` too. A
//! claim that would not fit a header safely (control characters, a comma inside a list, spaces at
//! the ends, more than 4 KiB) is left out.
//!
//! **Keys.** `jwks` is written in place, in a file (watched), or behind a URL. From a URL they are
//! fetched in the background, never while a request or a configuration waits: `Cache-Control` is
//! heeded (60 s to 24 h), failures are tried again, the last good set stays in force, and a `kid`
//! nobody knows asks for new ones, at most every 30 s. Until the first set arrives, tokens of that
//! issuer are answered with 503. `/config/status` shows sets that are missing or old.
//!
//! **Answers.** 401 with `WWW-Authenticate: Bearer` (RFC 6750), and `error="invalid_token"` with
//! the reason where there was a token.
//!
//! **Cost.** A token that was verified is remembered until it expires, at most an hour, and only
//! under the same keys: then it costs a hash and a look-up. All policies share 64 MiB.
//!
//! **Merging.** The most specific policy replaces the others whole; one with `inheritance: override` stands against all
//! below it. Of the gateway phase and of the route phase one each may hold, and both run.
//!
//! **Limits.** Tokens of 16 KiB, key sets of 256 KiB and 64 keys, 16 providers.
//!
//! **Order.** After CORS and network rules, before everything that asks who it is. In the gateway
//! phase also before route selection; a policy of the route then judges the same token again, by its
//! own terms.
//!
//! **Where we differ.** The usual default of such gateways is `optional`, which lets in whoever
//! sends nothing; here it is `strict`. Any claim may be required, not only registered ones. Keys
//! without `kid` are taken.
//!
//! **Telemetry.** Refusals end with reason `JwtAuth`.

mod config;
mod filter;
mod policy;
#[cfg(test)]
mod tests;

pub use config::{Config, JwksConfig, OptionsConfig, ProviderConfig};
pub use filter::Judged;
pub use policy::{ClaimHeader, Policy};
