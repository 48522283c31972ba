//! `mcpAuthentication`: an MCP endpoint as a protected resource, with what clients need to find out where tokens are
//! from.
//!
//! ```yaml
//! mcpAuthentication:
//!   mode: strict
//!   issuer: https://login.example.com/realms/tools
//!   audiences: [https://gateway.example.com/mcp]
//!   provider:
//!     keycloak: {}
//!   resourceMetadata:
//!     resource_name: Tools
//!   requiredScopes: [tools]
//!   stepUp:
//!   - when: has(mcp.tool) && mcp.tool.name.startsWith("delete_")
//!     scopes: [tools.admin]
//!   jwtValidationOptions:
//!     clockSkew: 30s
//!   clientId: agents
//! ```
//!
//! **Judgement.** As of `jwtAuth`, with one issuer, and `audiences` that must be written: a token for somebody else is
//! none for us (RFC 8707). `jwks` is where the provider has it unless written: `<issuer>/.well-known/jwks.json`,
//! keycloak `<issuer>/protocol/openid-connect/certs`, okta `<issuer>/v1/keys`, authentik `<issuer>/jwks/`, entra
//! `<tenant>/discovery/v2.0/keys`. Tokens are not passed on to servers, unless `backendAuth.passthrough` says so.
//!
//! **Modes.** `strict` (unless set), `optional` and `permissive`, as of `jwtAuth`.
//!
//! **Documents.** The route must match these paths as well (`path.pathPrefix: /.well-known`); no token is asked for.
//! `/.well-known/oauth-protected-resource/<path>` (RFC 9728): `resource` is the endpoint's URL, `authorization_servers`
//! the issuer, or the gateway where it stands in front of it; `resourceMetadata` adds members and replaces them.
//! `/.well-known/oauth-authorization-server/<path>` and `/.well-known/openid-configuration/<path>` (RFC 8414, OpenID
//! Connect Discovery), or the same with the path in front: the issuer's document. URLs are those of the request:
//! its host, and the scheme in `X-Forwarded-Proto` where there is one.
//!
//! **The issuer's document** is fetched when it is first asked for, under the egress rule, believed for 5 min, and longer
//! where it cannot be had anew. It must name the issuer itself (RFC 8414 section 3.3), but for entra.
//!
//! **Providers.** With a `provider` or a `clientId` the gateway stands in front: `issuer` is the gateway's URL.
//! auth0 and okta get `audience` added to `authorization_endpoint`; okta, keycloak and descope are asked to register
//! clients on the client's behalf, at `…/client-registration`; entra, which takes no `resource`, is behind the gateway's
//! own `…/authorize`, which demands PKCE with S256, and `…/token`, which adds `clientSecret` for `clientId`.
//! authentik and entra register nobody: write `clientId`.
//!
//! An authorization server that names itself in its answers (`iss`, RFC 9207), as Keycloak can, names another issuer then
//! than the gateway: clients that compare the two refuse it. Write no `provider` there, so that clients go to it
//! themselves.
//!
//! **Registration.** With `clientId` everybody who registers gets that client, as a public one (RFC 7591); which
//! redirections it may use is up to the authorization server, as ever.
//!
//! **Scopes.** A token lacks `requiredScopes`, or those of an entry of `stepUp` whose `when` holds for the message (or
//! fails): 403 with `insufficient_scope` and the scopes that are needed. They are read from `scope` and `scp`.
//!
//! **Answers.** 401 with `WWW-Authenticate: Bearer resource_metadata="…"` (RFC 9728 section 5.1), `scope`, and
//! `error="invalid_token"` where there was a token; the body is JSON with `error` and `error_description`.
//!
//! **Merging.** The most specific policy replaces the others whole; one with `inheritance: override` stands against all
//! below it.
//!
//! **Limits.** Documents of 256 KiB, registrations and token requests of 64 KiB, 16 of them under way for each policy,
//! 64 scopes, 64 entries of `stepUp`.
//!
//! **Order.** After CORS and before `jwtAuth`.
//!
//! **Where we differ.** `requiredScopes` and `stepUp` are ours. A `clientId` alone puts the gateway in front too: the
//! issuer's own document would have clients register there.
//!
//! **Telemetry.** Refusals end with reason `JwtAuth`, documents with `DirectResponse`.

mod config;
mod document;
mod filter;
mod place;
mod policy;
mod provider;
#[cfg(test)]
mod tests;

pub use config::{Config, Empty, ProviderConfig, StepUpConfig};
pub use policy::{Policy, StepUp};
pub use provider::Provider;
