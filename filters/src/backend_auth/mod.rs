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
//!   region: …, serviceName: …, assumeRole: { … } }`. See below.
//! - `gcp`: a token of Google's: `{ type: accessToken, audience: …, credential: … }`. See below.
//! - `azure`: a token of Microsoft Entra: `{ explicitConfig: { … } }`, `{ implicit: {} }` or `{ developerImplicit: {} }`. See
//!   below.
//! - `jwtSign`: a token that the gateway signs: `{ signingKey: …, alg: RS256, kid: …, claims: { … }, ttl: 300s }`. The key
//!   is PEM, as text, `{ file: PATH }` or `{ credential: NAME }`; `alg` one of RS256, RS384, RS512, PS256, ES256, ES384.
//!   `iat` (10 s back, for clocks that are behind), `exp` and nothing else is added to `claims`. A token serves for half of
//!   its `ttl`, then the next request has a new one signed.
//!
//! `credentials` lists further keys, each with a `location` of its own: `[{ location: …, key: … }]`.
//!
//! **AWS.** Each of the three secrets is written like a key; without them those of the process serve, which are looked for
//! where AWS's own programs look: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN` of the environment it
//! was started with, the profile (`AWS_PROFILE`, `default` unless set, in `~/.aws/config` and `~/.aws/credentials`, with
//! roles, single sign-on and programs), the web identity (`AWS_WEB_IDENTITY_TOKEN_FILE`, `AWS_ROLE_ARN`), the container
//! (`AWS_CONTAINER_CREDENTIALS_FULL_URI`, …, as ECS and EKS set them) and the machine (IMDSv2, unless
//! `AWS_EC2_METADATA_DISABLED`). `assumeRole` signs in the name of a role: `roleArn`, with `sessionName` (`agentgateway`
//! unless written) and up to 50 `tags`; name and values are texts or `{ expression: … }`, CEL over the request as it goes to
//! the backend, such as `jwt.sub`: each client then has a session of its own at STS, 1,024 at once. A request whose
//! expression gives nothing that STS takes is answered with 500 and does not leave. What is lent is renewed in the background
//! as Google's tokens are (below); what has no end is looked up again every 15 minutes. `serviceName` and `region` may
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
//! account (its key signs for a token, RS256), a user (`authorized_user`, access tokens alone), who is known elsewhere
//! (`external_account`, whose token is in a file or behind a URL; other sources are refused), or one of these in the name of
//! an account (`impersonated_service_account`). Without it that of the
//! process serves: the file that `GOOGLE_APPLICATION_CREDENTIALS` named at the start, read again for each token, else the
//! machine's own, of its metadata server (`GCE_METADATA_HOST`, 169.254.169.254 unless that is set), which nothing else of the
//! gateway can reach. A token is had when the policy comes into force, shared by all policies with one credential, and
//! renewed in the background 225 s before its end, or at half of a shorter life. Where that fails the last one serves until
//! 5 s before its end, and `/config/status` says why. A request waits up to 10 s for a first token; one that gets none is
//! answered with 500 and does not leave. It is always sent as `Authorization: Bearer`. Providers of language models on
//! Vertex have it unless something else is written.
//!
//! **Azure.** `explicitConfig` names who asks: `clientSecret` (`tenant_id`, `client_id` and a secret written like a key),
//! `managedIdentity` (the machine's own, or `userAssignedIdentity`: `clientId`, `objectId` or `resourceId`), or
//! `workloadIdentity` (`AZURE_FEDERATED_TOKEN_FILE`, `AZURE_TENANT_ID`, `AZURE_CLIENT_ID`). `implicit` is what the
//! environment of the process names: a secret (`AZURE_CLIENT_SECRET`), else a workload identity, else the machine's.
//! `developerImplicit` is who has logged in by `az login`; `az` is run for it. Tokens are for
//! `https://cognitiveservices.azure.com`, or `https://ai.azure.com` where the host that is sent ends in
//! `.services.ai.azure.com`. They are had with the first request and renewed as Google's are.
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
//! only be read, so it is refused here. A credential of Google's has 64 KiB at most, and id tokens 64 audiences: what was not
//! asked for the longest makes room. Claims have 4 KiB as JSON; `ttl` is 1 s to 24 h. `oauthTokenExchange` and
//! `crossAppAccess` are not supported by this version yet, and refused.

pub mod aws;
pub mod azure;
mod config;
mod errand;
mod filter;
mod fresh;
pub mod gcp;
mod outgoing;
mod policy;
mod sign;
#[cfg(test)]
mod tests;

pub use aws::AwsConfig;
pub use azure::AzureConfig;
pub use config::{
    Config, CredentialConfig, GcpConfig, KeyConfig, PassthroughConfig, SecretText, SignConfig, ValueConfig,
};
pub use errand::{Errand, Near, Step, Way, bearer};
pub use fresh::{Fresh, Lease, Renewed};
pub use outgoing::{Outgoing, Payload};
pub use policy::{Credential, Policy, Primary, Waits};
pub(crate) use sign::Signer;
pub use sign::{Algorithm, Sign, TTL_DEFAULT, Terms};
