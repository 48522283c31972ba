use std::sync::Arc;

use serde_json::json;

use super::{Config, Outgoing, Payload, Policy};
use crate::identity::Jwt;
use crate::outside::still::Still;
use crate::testing::{NOW, lower, refuses, request};

/// The request a backend gets, in one line; `host` left out.
fn sent(policy: &Policy, target: &str, headers: &[(&'static str, &str)], token: Option<&str>) -> String {
    let (mut head, mut facts) = request("GET", target);
    for (name, value) in headers {
        head.append_header(*name, *value).unwrap();
    }
    facts.identity.jwt = token.map(|token| {
        let token = ir::Secret::new(token.as_bytes());
        Arc::new(Jwt { claims: Default::default(), token, issuer: "i".into() })
    });
    let body = Payload::Whole(b"");
    policy.on_attempt(Outgoing { head: &mut head, body, facts: &facts, outside: &Still(NOW) }).unwrap();
    let headers = head.headers.iter().filter(|(name, _)| *name != "host");
    let headers: Vec<_> = headers.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    format!("{} {}", head.uri, headers.join(", "))
}

#[test]
fn a_key_replaces_what_the_client_sent_at_its_place() {
    let query = json!({"key": {"value": "a b/c", "location": {"queryParameter": {"name": "key"}}}});
    let cookie = json!({"key": {"value": "k1", "location": {"cookie": {"name": "sid"}}}});
    let own = json!({"key": {"value": {"file": "text: k1 "}, "location": {"header": {"name": "X-Api-Key"}}}});
    for (config, target, headers, want) in [
        (json!({"key": "k1"}), "/a?b", &[][..], "/a?b authorization: Bearer k1"),
        (
            json!({"key": {"credential": "text"}, "credentials": []}),
            "/",
            &[][..],
            // The shelf of the tests has no credentials.
            "",
        ),
        (
            json!({"key": {"file": "text:k1"}}),
            "/",
            &[("authorization", "Basic x"), ("authorization", "Bearer client")],
            "/ authorization: Bearer k1",
        ),
        (own, "/", &[("x-api-key", "client"), ("x_api_key", "client")], "/ x-api-key: k1"),
        (query.clone(), "/a", &[], "/a?key=a%20b%2Fc "),
        (query.clone(), "/a?x=1&key=client&%6bey=client&KEY=1&key", &[], "/a?x=1&KEY=1&key=a%20b%2Fc "),
        (cookie.clone(), "/", &[], "/ cookie: sid=k1"),
        (cookie.clone(), "/", &[("cookie", "a=1; sid=client"), ("cookie", "b=2")], "/ cookie: a=1; b=2; sid=k1"),
    ] {
        if want.is_empty() {
            continue;
        }
        assert_eq!(sent(&lower(config.clone(), Config::lower), target, headers, None), want, "{config}");
    }
}

#[test]
fn the_clients_token_is_passed_through_only_when_it_was_verified() {
    let policy = lower(json!({"passthrough": {}}), Config::lower);
    assert_eq!(sent(&policy, "/", &[], Some("a.b.c")), "/ authorization: Bearer a.b.c");
    assert_eq!(sent(&policy, "/", &[], None), "/ ");
    let elsewhere = json!({"passthrough": {"location": {"header": {"name": "x-token"}}}});
    let policy = lower(elsewhere, Config::lower);
    assert_eq!(sent(&policy, "/", &[("x-token", "client")], Some("a.b.c")), "/ x-token: a.b.c");
}

#[test]
fn further_keys_have_places_of_their_own() {
    let policy = lower(
        json!({
            "key": "k1",
            "credentials": [
                {"location": {"header": {"name": "x-org"}}, "key": "k2"},
                {"location": {"queryParameter": {"name": "v"}}, "key": {"file": "text:k3"}},
            ],
        }),
        Config::lower,
    );
    assert_eq!(sent(&policy, "/", &[], None), "/?v=k3 x-org: k2, authorization: Bearer k1");
}

#[test]
fn keys_print_as_stars_as_written_and_as_understood() {
    let config: Config = serde_json::from_value(json!({
        "key": {"value": "hunter2", "location": {"queryParameter": {"name": "q"}}},
        "credentials": [
            {"location": {"header": {"name": "x"}}, "key": "hunter2"},
            {"location": {"cookie": {"name": "x"}}, "key": "hunter2"},
        ],
    }))
    .unwrap();
    let mut shown = format!("{config:?} {}", serde_json::to_string(&config).unwrap());
    let policy = lower(serde_json::to_value(&config).unwrap(), Config::lower);
    assert_ne!(sent(&policy, "/", &[], None), "", "stars are a key like any other");
    let policy = {
        let (mut shelf, mut backends) = (crate::testing::Shelf, crate::testing::Shelf);
        config.lower(&mut crate::Scope::new("policy", &mut shelf, &mut backends)).unwrap()
    };
    shown += &format!("{policy:?} {}", serde_json::to_string(&policy).unwrap());
    assert!(!shown.contains("hunter2") && !shown.contains("104, 117"), "{shown}");
    assert!(shown.contains("***"), "{shown}");
}

#[test]
fn what_cannot_be_sent_or_is_not_supported_is_refused_without_showing_the_key() {
    refuses(
        [
            (json!({}), "policy: no credential: write `key`"),
            (json!({"key": " "}), "policy.key: the key is empty"),
            (json!({"key": {"file": "text:"}}), "policy.key: the key is empty"),
            (json!({"key": {"file": "absent"}}), "policy.key.file: cannot read `absent`: no such file"),
            (json!({"key": "a\r\nb: c"}), "policy.key: the key holds a line break"),
            (
                json!({"key": {"value": "a;b", "location": {"cookie": {"name": "c"}}}}),
                "holds a character that a cookie cannot",
            ),
            (json!({"key": "k".repeat(20_000)}), "longer than 16384 bytes"),
            (json!({"key": "k", "passthrough": {}}), "policy.passthrough: there is one primary"),
            (json!({"passthrough": {"location": {"expression": "request.path"}}}), "policy.passthrough: an expression"),
            (json!({"key": "k", "gcp": {"type": "idToken"}}), "policy.gcp: there is one primary"),
            (json!({"jwtSign": {"signingKey": "hunter2"}}), "policy.jwtSign.signingKey: there is no PEM block"),
            (
                json!({"key": "k", "credentials": [
                    {"location": {"header": {"name": "Authorization", "prefix": "Basic "}}, "key": "k"}
                ]}),
                "policy.credentials: two credentials at one place",
            ),
            (
                json!({"key": {"value": "k", "location": {"header": {"name": "host"}}}}),
                "policy.key: a credential is no `host`",
            ),
        ],
        Config::lower,
    );
}
