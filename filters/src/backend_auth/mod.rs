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
//! - `aws`: a signature of AWS (version 4) over the whole message: `{ accessKeyId: …, secretAccessKey: …, sessionToken: …,
//!   region: …, serviceName: … }`. See below.
//! - `gcp`: a token of Google's: `{ type: accessToken, audience: …, credential: … }`. See below.
//! - `jwtSign`: a token that the gateway signs: `{ signingKey: …, alg: RS256, kid: …, claims: { … }, ttl: 300s }`. The key
//!   is PEM, as text, `{ file: PATH }` or `{ credential: NAME }`; `alg` one of RS256, RS384, RS512, PS256, ES256, ES384.
//!   `iat` (10 s back, for clocks that are behind), `exp` and nothing else is added to `claims`. A token serves for half of
//!   its `ttl`, then the next request has a new one signed.
//!
//! `credentials` lists further keys, each with a `location` of its own: `[{ location: …, key: … }]`.
//!
//! **AWS.** Each of the three secrets is written like a key; without them those of the process serve: `AWS_ACCESS_KEY_ID`,
//! `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN` of the environment it was started with. `serviceName` and `region` may
//! be left out where the host name that is sent says them (`bedrock-runtime.us-east-1.amazonaws.com`, which is service
//! `bedrock`), `region` also where `AWS_REGION` or `AWS_DEFAULT_REGION` does. Signed are method, path, query, body, `host`,
//! `content-type` and every `x-amz-*` header; what the client sent as `authorization`, `x-amz-date`,
//! `x-amz-security-token` and `x-amz-content-sha256` is taken away. Path and query are sent in the encoding that is
//! signed. The body is read before the backend is dialled, up to `frontendPolicies.http.maxBufferSize` (413 beyond), and
//! sent with its length; to `s3` it streams as `UNSIGNED-PAYLOAD` unless it was read anyway. A request that cannot be
//! signed (no credentials, no region, a body of gRPC) is answered with 500 and does not leave; the log's `error` says why.
//!
//! **Google.** `type` is `accessToken`, the default (scope `cloud-platform`), or `idToken`, whose `audience` is `https://` and
//! the host that is sent unless it is written. `credential` is a document of Google's tools, written like a key: a service
//! account (its key signs for a token, RS256), a user (`authorized_user`, access tokens alone), or who is known elsewhere
//! (`external_account`, whose token is in a file or behind a URL; other sources are refused). Without it that of the
//! process serves: the file that `GOOGLE_APPLICATION_CREDENTIALS` named at the start, read again for each token, else the
//! machine's own, of its metadata server (`GCE_METADATA_HOST`, 169.254.169.254 unless that is set), which nothing else of the
//! gateway can reach. A token is had when the policy comes into force, shared by all policies with one credential, and
//! renewed in the background 225 s before its end, or at half of a shorter life. Where that fails the last one serves until
//! 5 s before its end, and `/config/status` says why. A request waits up to 10 s for a first token; one that gets none is
//! answered with 500 and does not leave. It is always sent as `Authorization: Bearer`. Providers of language models on
//! Vertex have it unless something else is written.
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
//! only be read, so it is refused here. A credential of Google's has 64 KiB at most, and id tokens 64 audiences. `azure`, `oauthTokenExchange` and `crossAppAccess` are not supported
//! by this version yet, and refused; so is `assumeRole` of `aws`, and its file of credentials with profiles is not read. Claims have 4 KiB as JSON; `ttl` is 1 s to 24 h.

pub mod aws;
mod config;
mod filter;
pub mod gcp;
mod outgoing;
mod policy;
mod sign;
#[cfg(test)]
mod tests;

pub use config::{
    AwsConfig, Config, CredentialConfig, GcpConfig, KeyConfig, PassthroughConfig, SecretText, SignConfig, ValueConfig,
};
pub use outgoing::{Outgoing, Payload};
pub use policy::{Credential, Policy, Primary};
pub(crate) use sign::Signer;
pub use sign::{Algorithm, Sign, TTL_DEFAULT, Terms};
