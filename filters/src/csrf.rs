//! `csrf`: refuse what another site makes a visitor's browser send.
//!
//! ```yaml
//! csrf:
//!   additionalOrigins: ["https://app.example.com", "https://*.example.org"]
//! ```
//!
//! **Decision.** In this order:
//!
//! 1. `GET`, `HEAD` and `OPTIONS` pass, but for a WebSocket handshake, which is a `GET` that may do anything.
//! 2. `Sec-Fetch-Site: same-origin` or `none` passes: the browser vouches for the page.
//! 3. An `Origin` that is the request's own (`scheme://host[:port]` as asked for here) or one of
//!    `additionalOrigins` passes; any other, `null` included, is refused.
//! 4. Without `Origin`: refused where `Sec-Fetch-Site` says another site, passed otherwise. What sends neither is no
//!    browser, and no visitor's cookies are at stake.
//!
//! A header that comes twice counts as foreign. Behind a proxy that terminates TLS, pages are `https` and requests
//! here `http`: name the public origin in `additionalOrigins`.
//!
//! **Order.** After `cors`, so that refusals carry CORS headers; before identity, so that they cost little.
//!
//! **Merging.** The most specific policy replaces the others whole; one with `inheritance: override` stands against all
//! below it. Of the gateway phase and of the route phase one each may hold, and both run.
//!
//! **Limits.** 100 origins.
//!
//! **Outcome.** 403 `CSRF validation failed` with reason `Csrf`.
//!
//! **Where we differ.** The reference lets a request pass that says `Sec-Fetch-Site: cross-site` and no `Origin`, and
//! every WebSocket handshake; it checks after transformations, which could have changed what is looked at.

use http::header::{HOST, HeaderMap, ORIGIN, UPGRADE};
use http::{HeaderName, Method};
use protocols::http::authority;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cors::{self, Origin};
use crate::{Exchange, Reason, Reply, Scope, Verdict};

/// Most origins in the list.
const ORIGINS_MAX: usize = 100;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuse what another site makes a visitor's browser send.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "Csrf")]
pub struct Config {
    /// Origins trusted beside the request's own: `https://app.example.com`, `https://*.example.com`,
    /// `http://localhost:*`.
    pub additional_origins: Vec<String>,
}

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let Self { additional_origins } = self;
        let before = scope.problems.len();
        if additional_origins.len() > ORIGINS_MAX {
            scope.problem_at("additionalOrigins", format!("more than {ORIGINS_MAX} origins"));
        }
        let additional_origins =
            scope.each("additionalOrigins", &additional_origins, |text| match cors::origin(text)? {
                Origin::Any => Err("`*` trusts every site: leave `csrf` out instead".to_owned()),
                Origin::Exact(text) if &*text == "null" => {
                    Err("`null` is what any sandboxed page sends: name the origins".to_owned())
                }
                origin => Ok(origin),
            });
        (scope.problems.len() == before).then_some(Policy { additional_origins })
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Trusted beside the request's own. Not `*`.
    pub additional_origins: Vec<Origin>,
}

impl Policy {
    pub fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        if self.passes(exchange) {
            return Verdict::Continue;
        }
        Verdict::Reply(Reply::text(403, Reason::Csrf, "CSRF validation failed"))
    }

    fn passes(&self, exchange: &Exchange<'_>) -> bool {
        let head = &*exchange.request;
        let safe = matches!(head.method, Method::GET | Method::HEAD | Method::OPTIONS);
        if safe && !is_websocket(&head.headers) {
            return true;
        }
        let site = single(&head.headers, &SEC_FETCH_SITE);
        if matches!(site, Some(Some("same-origin" | "none"))) {
            return true;
        }
        match single(&head.headers, &ORIGIN) {
            Some(Some(origin)) => {
                self.additional_origins.iter().any(|known| known.covers(origin)) || is_own(exchange, origin)
            }
            Some(None) => false,
            None => site.is_none(),
        }
    }
}

/// The value of a header that must not come twice: outer `None` where it is absent, inner where it cannot be trusted.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Option<&'a str>> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    Some(first.to_str().ok().filter(|_| values.next().is_none()))
}

fn is_websocket(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Whether an origin is the one that the request itself is for.
fn is_own(exchange: &Exchange<'_>, origin: &str) -> bool {
    let head = &*exchange.request;
    let host = match head.uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => head.headers.get(HOST).and_then(|host| host.to_str().ok()),
    };
    let Some(own) = host.and_then(|host| authority::parse(host).ok()) else { return false };
    let scheme = exchange.facts.scheme();
    let Some((_, theirs)) = origin.split_once("://").filter(|(it, _)| it.eq_ignore_ascii_case(scheme)) else {
        return false;
    };
    let Ok(theirs) = authority::parse(theirs) else { return false };
    let default = if exchange.facts.tls { 443 } else { 80 };
    theirs.host.eq_ignore_ascii_case(own.host) && theirs.port.unwrap_or(default) == own.port.unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{exchange, lower, refuses, request};

    fn passes(method: &str, tls: bool, headers: &[(&str, &str)]) -> bool {
        let policy =
            lower(json!({"additionalOrigins": ["https://App.example", "http://*.wide.example"]}), Config::lower);
        let (mut head, mut facts) = request(method, "/");
        facts.tls = tls;
        for (name, value) in headers {
            head.append_header((*name).to_owned(), *value).unwrap();
        }
        match policy.on_request(&mut exchange(&mut head, &mut facts)) {
            Verdict::Continue => true,
            Verdict::Reply(reply) => {
                assert_eq!((reply.status, reply.reason), (403, Reason::Csrf));
                false
            }
        }
    }

    #[test]
    fn what_another_site_sends_is_refused() {
        let own = "http://api.example.com:3000";
        for (method, headers, want) in [
            ("GET", &[("origin", "http://evil.example")][..], true),
            ("HEAD", &[("origin", "http://evil.example")], true),
            ("OPTIONS", &[("sec-fetch-site", "cross-site")], true),
            ("POST", &[], true),
            ("POST", &[("origin", own)], true),
            ("POST", &[("origin", "HTTP://API.example.com:3000")], true),
            ("POST", &[("origin", "http://api.example.com")], false),
            ("POST", &[("origin", "https://api.example.com:3000")], false),
            ("POST", &[("origin", "http://evil.example")], false),
            ("POST", &[("origin", "http://api.example.com:3000@evil.example")], false),
            ("POST", &[("origin", "null")], false),
            ("POST", &[("origin", "")], false),
            ("POST", &[("origin", own), ("origin", "http://evil.example")], false),
            ("POST", &[("origin", "https://app.example")], true),
            ("POST", &[("origin", "http://a.wide.example")], true),
            ("POST", &[("origin", "http://wide.example")], false),
            ("PUT", &[("sec-fetch-site", "same-origin"), ("origin", "http://elsewhere")], true),
            ("PUT", &[("sec-fetch-site", "none")], true),
            ("PUT", &[("sec-fetch-site", "cross-site")], false),
            ("PUT", &[("sec-fetch-site", "same-site")], false),
            ("PUT", &[("sec-fetch-site", "cross-site"), ("origin", "https://app.example")], true),
            ("DELETE", &[("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")], false),
            ("GET", &[("upgrade", "WebSocket"), ("origin", "http://evil.example")], false),
            ("GET", &[("upgrade", "websocket"), ("origin", own)], true),
        ] {
            assert_eq!(passes(method, false, headers), want, "{method} {headers:?}");
        }
    }

    #[test]
    fn the_own_origin_has_the_scheme_of_the_request_and_may_leave_its_port_out() {
        let policy = Policy::default();
        for (tls, host, origin, want) in [
            (true, "a.example", "https://a.example", true),
            (true, "a.example:443", "https://a.example", true),
            (true, "a.example", "https://a.example:443", true),
            (true, "a.example", "http://a.example", false),
            (false, "a.example:80", "http://a.example", true),
            (false, "[2001:db8::1]:81", "http://[2001:db8::1]:81", true),
        ] {
            let (mut head, mut facts) = request("POST", "/");
            facts.tls = tls;
            head.insert_header("host", host).unwrap();
            head.insert_header("origin", origin).unwrap();
            let passed = policy.passes(&exchange(&mut head, &mut facts));
            assert_eq!(passed, want, "{tls} {host} {origin}");
        }
    }

    #[test]
    fn trusting_everybody_is_refused() {
        refuses(
            [
                (json!({"additionalOrigins": ["*"]}), "policy.additionalOrigins[0]: `*` trusts every site"),
                (json!({"additionalOrigins": ["null"]}), "any sandboxed page"),
                (json!({"additionalOrigins": ["example.com"]}), "is not an origin"),
            ],
            Config::lower,
        );
    }
}
