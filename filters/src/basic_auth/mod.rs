//! `basicAuth`: let in who knows a user's password (RFC 7617).
//!
//! ```yaml
//! basicAuth:
//!   mode: strict
//!   realm: Restricted
//!   htpasswd:
//!     file: /etc/gateway/htpasswd
//!   forward: false
//! ```
//!
//! **Users.** `htpasswd` is a file (watched) or the text itself: one `user:hash` a line, as the tool `htpasswd` writes
//! it. A text written in place may have its `$` as they are: only `${NAME}` is a variable there, or a `$NAME` that is
//! the whole text; `$$` is a `$` here as everywhere. Known hashes: bcrypt (`$2a$`, `$2b$`, `$2x$`, `$2y$`), argon2
//! (`$argon2id$`, `$argon2i$`, `$argon2d$`), `$apr1$` and `{SHA}`. The last two are weak: who gets hold of the file finds most passwords. Use `htpasswd -B`. Passwords in
//! plain and `crypt` are refused.
//!
//! **Modes.** `strict` (unless set): no request without user and password. `optional`: a request without them goes on,
//! wrong ones are refused. `permissive`: wrong ones count as none.
//!
//! **Credentials in the request.** Taken from `authorizationLocation` (unless set, `Authorization: Basic`) and not passed
//! on, unless `forward` is true. The user becomes `basicAuth.username`.
//!
//! **Answers.** 401 with `WWW-Authenticate: Basic`, or 407 with `Proxy-Authenticate` where the location is
//! `Proxy-Authorization`. The answer to an unknown user takes as long as to a wrong password, and says the same. 503
//! where more passwords wait to be checked than the gateway takes on.
//!
//! **Cost.** A good hash takes a tenth of a second of a processor, by intention. It is computed off the traffic threads,
//! half the processors at most, 64 waiting. What was right is remembered for a minute, as a keyed hash that is of no
//! use to anybody else; wrong passwords are not.
//!
//! **Merging.** The most specific policy replaces the others whole; one with `inheritance: override` stands against all
//! below it. Of the gateway phase and of the route phase one each may hold, and both run.
//!
//! **Limits.** 10,000 users; user and password together 1 KiB; bcrypt cost 4 to 14; argon2 up to 256 MiB, 10 passes and 8
//! lanes.
//!
//! **Order.** After `jwtAuth`. In the gateway phase also before route selection.
//!
//! **Where we differ.** The usual default of such gateways is `optional`, which lets in whoever sends nothing; here it
//! is `strict`.
//!
//! **Telemetry.** Refusals end with reason `BasicAuth`.

mod apr1;
mod config;
mod filter;
mod hash;
mod policy;
#[cfg(test)]
mod tests;

pub use config::Config;
pub use policy::{Policy, Users};
