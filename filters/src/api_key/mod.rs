//! `apiKey`: let in who knows a key.
//!
//! ```yaml
//! apiKey:
//!   mode: strict
//!   location:
//!     header:
//!       name: x-api-key
//!   keys: [{"keyHash": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "metadata": {"owner": "alice"}}]
//!   file: /etc/gateway/api-keys
//!   forward: false
//! ```
//!
//! **Keys.** Written as `keyHash` (`sha256:` and the hash in hexadecimal, as `printf %s KEY | sha256sum` prints it), or
//! in plain as `key`: then it is hashed when the configuration is read. Only hashes are kept, so no dump and no
//! control plane ever shows a key. Choose long random keys: a hash protects no word from a dictionary.
//!
//! `file` holds more of them, one a line, watched: a key, a `sha256:` hash, or an entry as in `keys` as a JSON object
//! (`{"keyHash": "sha256:…", "metadata": {"owner": "bob"}}`). Empty lines and lines with `#` in front are passed over.
//!
//! **Metadata** is what is known of the key's owner: it becomes `apiKey.*` for authorization, limits and logs.
//!
//! **Modes.** `strict` (unless set): no request without a known key. `optional`: a request without key goes on, an
//! unknown key is refused. `permissive`: an unknown key counts as none.
//!
//! **Key in the request.** Taken from `location` (unless set, `Authorization: Bearer`) and not passed on, unless
//! `forward` is true. One that is there twice is refused.
//!
//! **Answers.** 401 with `WWW-Authenticate`: `Bearer` where the key stands in `Authorization`, else `ApiKey` with the
//! place. Nothing in it tells how near a guess came.
//!
//! **Cost.** One SHA-256 and one look-up, however many keys there are; the comparison takes the same time for every
//! hash. A key takes about 100 bytes and its metadata.
//!
//! **Merging.** The most specific policy replaces the others whole; one with `inheritance: override` stands against all
//! below it. Of the gateway phase and of the route phase one each may hold, and both run.
//!
//! **Models.** `allowedModels` of a key are the models that its owner may ask for of backends that route by model, with
//! one `*` at most each; all unless written, and none where the list is empty. Others are answered 403 with code
//! `model_not_allowed`, and are in no list of models. What is asked for is the name as the client writes it: that of a
//! virtual model allows it whole.
//!
//! **Limits.** 100,000 keys; keys of 1 to 512 bytes; metadata of 4 KiB and 64 models a key.
//!
//! **Order.** After `jwtAuth` and `basicAuth`. In the gateway phase also before route selection.
//!
//! **Where we differ.** The usual default of such gateways is `optional`, which lets in whoever sends nothing; here it
//! is `strict`.
//!
//! **Telemetry.** Refusals end with reason `APIKeyAuth`.

mod config;
mod filter;
mod policy;
#[cfg(test)]
mod tests;

pub use config::{Config, EntryConfig};
pub use policy::{Entry, Hash, Known, Policy};
