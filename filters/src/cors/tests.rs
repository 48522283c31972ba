use pingora_http::ResponseHeader;
use serde_json::{Value, json};

use super::{Config, Policy};
use crate::Verdict;
use crate::exchange::Answer;
use crate::testing::{exchange, lower, problems, refuses, request};

type Headers = Vec<(http::HeaderName, http::HeaderValue)>;

/// The preflight's answer (`Err`) or the headers owed (`Ok`).
fn run(policy: &Policy, method: &str, headers: &[(&'static str, &str)]) -> Result<Headers, Headers> {
    let (mut head, mut facts) = request(method, "/");
    for (name, value) in headers {
        head.append_header(*name, *value).unwrap();
    }
    match policy.on_request(&mut exchange(&mut head, &mut facts)) {
        Verdict::Continue => Ok(facts.owed),
        Verdict::Reply(reply) => {
            assert_eq!(reply.status, 200);
            Err(reply.headers)
        }
    }
}

fn get<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.to_str().unwrap())
}

fn policy(config: Value) -> Policy {
    lower(config, Config::lower)
}

#[test]
fn origins_match_exactly_or_by_wildcards_in_host_and_port() {
    for (pattern, origin, want) in [
        ("https://a.com", "https://a.com", true),
        ("https://a.com", "HTTPS://A.com", true),
        ("https://a.com:443", "https://a.com", true),
        ("https://a.com", "http://a.com", false),
        ("https://a.com", "https://a.com:8443", false),
        ("https://a.com", "https://a.com.evil.org", false),
        ("https://*.a.com", "https://x.a.com", true),
        ("https://*.a.com", "https://x.y.a.com", true),
        ("https://*.a.com", "https://a.com", false),
        ("https://*.a.com", "https://xa.com", false),
        ("https://*.a.com", "https://evil.org/x.a.com", false),
        ("https://*.a.com", "https://evil.org?.a.com", false),
        ("https://*.a.com", "https://x.a.com:1", false),
        ("https://*.a.com:*", "https://x.a.com:1", true),
        ("http://localhost:*", "http://localhost:5173", true),
        ("http://localhost:*", "http://localhost", true),
        ("http://localhost:*", "http://localhost:1@evil.org:1", false),
        ("http://[::1]:*", "http://[::1]:99", true),
        ("*", "null", true),
        ("https://*", "null", false),
        ("null", "null", true),
    ] {
        let policy = policy(json!({"allowOrigins": [pattern]}));
        let owed = run(&policy, "GET", &[("origin", origin)]).unwrap();
        assert_eq!(get(&owed, "access-control-allow-origin").is_some(), want, "{pattern} and {origin}");
    }
}

#[test]
fn a_preflight_is_answered_with_the_lists() {
    let policy = policy(json!({
        "allowOrigins": ["https://a.com"], "allowMethods": ["GET", "PUT"], "allowHeaders": ["X-A", "x-b"],
        "maxAge": "10m", "exposeHeaders": ["x-c"],
    }));
    let preflight = [("origin", "https://a.com"), ("access-control-request-method", "PUT")];
    let headers = run(&policy, "OPTIONS", &preflight).unwrap_err();
    for (name, want) in [
        ("access-control-allow-origin", Some("https://a.com")),
        ("access-control-allow-methods", Some("GET, PUT")),
        ("access-control-allow-headers", Some("x-a, x-b")),
        ("access-control-max-age", Some("600")),
        ("access-control-allow-credentials", None),
        ("access-control-expose-headers", None),
    ] {
        assert_eq!(get(&headers, name), want, "{name}");
    }
}

#[test]
fn a_preflight_of_another_origin_is_answered_without_cors_headers() {
    let policy = policy(json!({"allowOrigins": ["https://a.com"], "allowMethods": ["*"]}));
    let preflight = [("origin", "https://b.com"), ("access-control-request-method", "PUT")];
    let headers = run(&policy, "OPTIONS", &preflight).unwrap_err();
    assert!(headers.iter().all(|(name, _)| name == "vary"), "{headers:?}");
}

#[test]
fn wildcards_echo_what_the_preflight_asks_for() {
    let policy = policy(json!({
        "allowOrigins": ["*"], "allowMethods": ["*"], "allowHeaders": ["*"], "allowCredentials": true,
    }));
    let preflight = [
        ("origin", "https://b.com"),
        ("access-control-request-method", "PATCH"),
        ("access-control-request-headers", "x-1, x-2"),
    ];
    let headers = run(&policy, "OPTIONS", &preflight).unwrap_err();
    assert_eq!(get(&headers, "access-control-allow-origin"), Some("https://b.com"));
    assert_eq!(get(&headers, "access-control-allow-methods"), Some("PATCH"));
    assert_eq!(get(&headers, "access-control-allow-headers"), Some("x-1, x-2"));
    assert_eq!(get(&headers, "access-control-allow-credentials"), Some("true"));
}

#[test]
fn options_that_is_no_preflight_and_requests_without_origin_go_on() {
    let policy = policy(json!({"allowOrigins": ["*"]}));
    let owed = run(&policy, "OPTIONS", &[("origin", "https://a.com")]).unwrap();
    assert_eq!(get(&owed, "access-control-allow-origin"), Some("*"));
    assert!(run(&policy, "OPTIONS", &[("access-control-request-method", "GET")]).unwrap().is_empty());
    assert!(run(&policy, "GET", &[]).unwrap().is_empty());
}

#[test]
fn actual_requests_owe_credentials_and_exposed_headers() {
    let policy = policy(json!({
        "allowOrigins": ["*"], "allowCredentials": true, "exposeHeaders": ["X-Id", "etag"],
    }));
    let owed = run(&policy, "GET", &[("origin", "https://a.com")]).unwrap();
    assert_eq!(get(&owed, "access-control-allow-origin"), Some("https://a.com"));
    assert_eq!(get(&owed, "access-control-allow-credentials"), Some("true"));
    assert_eq!(get(&owed, "access-control-expose-headers"), Some("x-id, etag"));
}

#[test]
fn vary_names_the_origin_once_where_the_answer_depends_on_it() {
    for (origins, credentials, before, want) in [
        ("https://a.com", false, None, vec!["Origin"]),
        ("https://a.com", false, Some("Accept"), vec!["Accept", "Origin"]),
        ("https://a.com", false, Some("accept, origin"), vec!["accept, origin"]),
        ("https://a.com", false, Some("*"), vec!["*"]),
        ("*", true, None, vec!["Origin"]),
        ("*", false, None, vec![]),
    ] {
        let policy = policy(json!({"allowOrigins": [origins], "allowCredentials": credentials}));
        let mut response = ResponseHeader::build(200, None).unwrap();
        if let Some(before) = before {
            response.append_header("vary", before).unwrap();
        }
        let (head, mut facts) = request("GET", "/");
        policy.on_response(&mut Answer { response: &mut response, request: &head, facts: &mut facts, body: None });
        let vary: Vec<_> = response.headers.get_all("vary").iter().collect();
        assert_eq!(vary, want, "{origins} {credentials} {before:?}");
    }
}

#[test]
fn origins_with_paths_and_broken_names_are_refused_at_their_place() {
    refuses(
        [
            (
                json!({"allowOrigins": ["*", "https://a.com/"]}),
                "policy.allowOrigins[1]: `https://a.com/` is not an origin",
            ),
            (json!({"allowOrigins": ["a.com"]}), "is not an origin"),
            (json!({"allowOrigins": ["https://a.*.com"]}), "is not an origin"),
            (json!({"allowOrigins": ["https://a.com:x"]}), "is not an origin"),
            (json!({"allowMethods": ["A B"]}), "policy.allowMethods[0]: `A B` is not a method"),
            (json!({"exposeHeaders": ["a b"]}), "policy.exposeHeaders[0]"),
        ],
        Config::lower,
    );
    assert_eq!(problems(json!({"allowOrigins": ["x", "y"], "allowHeaders": [""]}), Config::lower).len(), 3);
}
