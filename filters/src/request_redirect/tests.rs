use serde_json::{Value, json};

use super::Config;
use crate::testing::{exchange, lower, refuses, request};
use crate::{Facts, Reason, Verdict};

fn location(config: Value, facts: impl FnOnce(&mut Facts)) -> (u16, String) {
    let policy = lower(config, Config::lower);
    let (mut head, mut known) = request("GET", "/foo/bar?q=1");
    known.matched_prefix = 4;
    facts(&mut known);
    let verdict = policy.on_request(&mut exchange(&mut head, &mut known));
    let Verdict::Reply(reply) = verdict else { panic!("a redirect answers") };
    assert_eq!(reply.reason, Reason::DirectResponse);
    (reply.status, reply.headers[0].1.to_str().unwrap().to_owned())
}

/// Gateway API, `HTTPRequestRedirectFilter`: the port is the one written; else the scheme's own
/// where a scheme is written; else the listener's. Well-known ports are not shown.
#[test]
fn the_location_is_absolute_and_its_port_follows_gateway_api() {
    for (config, port, want) in [
        (json!({}), 3000, "http://api.example.com:3000/foo/bar?q=1"),
        (json!({}), 80, "http://api.example.com/foo/bar?q=1"),
        (json!({"scheme": "https"}), 3000, "https://api.example.com/foo/bar?q=1"),
        (json!({"scheme": "HTTPS", "authority": {"port": 8443}}), 80, "https://api.example.com:8443/foo/bar?q=1"),
        (json!({"scheme": "https", "authority": {"port": 443}}), 80, "https://api.example.com/foo/bar?q=1"),
        (json!({"authority": {"host": "www.b.org"}}), 8080, "http://www.b.org:8080/foo/bar?q=1"),
        (json!({"authority": {"full": "www.b.org"}}), 8080, "http://www.b.org/foo/bar?q=1"),
        (json!({"authority": {"full": "b.org:80"}}), 8080, "http://b.org/foo/bar?q=1"),
        (json!({"authority": "auto"}), 80, "http://api.example.com/foo/bar?q=1"),
        (json!({"path": {"full": "/x"}}), 80, "http://api.example.com/x?q=1"),
        (json!({"path": {"prefix": "/new"}}), 80, "http://api.example.com/new/bar?q=1"),
    ] {
        assert_eq!(location(config.clone(), |facts| facts.port = port), (302, want.to_owned()), "{config} on {port}");
    }
}

#[test]
fn a_tls_client_stays_on_https() {
    let (status, location) = location(json!({"status": 308}), |facts| (facts.tls, facts.port) = (true, 443));
    assert_eq!((status, location.as_str()), (308, "https://api.example.com/foo/bar?q=1"));
}

#[test]
fn without_a_host_the_location_names_none_not_even_by_two_slashes() {
    let (_, location) = location(json!({"path": {"full": "//evil.example"}}), |facts| facts.host.clear());
    assert_eq!(location, "/evil.example?q=1");
}

#[test]
fn other_statuses_and_schemes_are_refused() {
    refuses(
        [
            (json!({"status": 200}), "policy.status: 200 is not a redirect"),
            (json!({"status": 304}), "304 is not a redirect"),
            (json!({"scheme": "ftp"}), "policy.scheme: `ftp` is not a scheme"),
            (json!({"authority": {"full": "a b"}}), "policy.authority.full"),
        ],
        Config::lower,
    );
}
