use serde_json::{Value, json};

use super::Config;
use crate::testing::{exchange, lower, refuses, request};

/// Target and host sent upstream for `/foo/bar?q=1` under the prefix `/foo`.
fn check(config: Value, target: &str, host: Option<&str>) {
    let policy = lower(config.clone(), Config::lower);
    let (mut head, mut facts) = request("GET", "/foo/bar?q=1");
    facts.matched_prefix = 4;
    policy.on_request(&mut exchange(&mut head, &mut facts));
    assert_eq!(String::from_utf8_lossy(head.raw_path()), target, "{config}");
    let sent = facts.upstream_host.as_ref().map(|value| value.to_str().unwrap());
    assert_eq!(sent, host, "{config}");
    if let Some(host) = host {
        assert_eq!(head.headers["host"], host, "{config}");
    }
}

#[test]
fn paths_are_rewritten_and_keep_their_query() {
    check(json!({"path": {"full": "/x"}}), "/x?q=1", None);
    check(json!({"path": {"prefix": "/v2"}}), "/v2/bar?q=1", None);
    check(json!({"path": {"prefix": ""}}), "/bar?q=1", None);
    check(json!({"path": {"prefix": "/"}}), "/bar?q=1", None);
}

#[test]
fn authorities_are_replaced_in_whole_or_in_part() {
    for (authority, want) in [
        (json!({"full": "B.internal"}), "b.internal"),
        (json!({"full": "b.internal:81"}), "b.internal:81"),
        (json!({"host": "b.internal"}), "b.internal:3000"),
        (json!({"port": 9}), "api.example.com:9"),
        (json!("none"), "api.example.com:3000"),
    ] {
        check(json!({"authority": authority}), "/foo/bar?q=1", Some(want));
    }
}

#[test]
fn auto_follows_the_backend_even_after_a_host_was_set() {
    let policy = lower(json!({"authority": "auto"}), Config::lower);
    let (mut head, mut facts) = request("GET", "/");
    facts.upstream_host = Some("x".parse().unwrap());
    policy.on_request(&mut exchange(&mut head, &mut facts));
    assert!(facts.upstream_host_auto && facts.upstream_host.is_none());
}

#[test]
fn a_target_that_is_no_path_is_left_alone() {
    let policy = lower(json!({"path": {"full": "/x"}}), Config::lower);
    let (mut head, mut facts) = request("OPTIONS", "*");
    policy.on_request(&mut exchange(&mut head, &mut facts));
    assert_eq!(head.raw_path(), b"*");
}

#[test]
fn what_is_no_path_or_authority_is_refused() {
    refuses(
        [
            (json!({"path": {"full": "x"}}), "policy.path.full: `x` is not a path"),
            (json!({"path": {"full": ""}}), "policy.path.full"),
            (json!({"path": {"prefix": "/x?y"}}), "policy.path.prefix: `/x?y` is not a path"),
            (json!({"path": {"prefix": "/a b"}}), "is not a path"),
            (json!({"authority": {"host": "a:1"}}), "policy.authority.host: `a:1` is not a host"),
            (json!({"authority": {"port": 0}}), "policy.authority.port: port 0"),
        ],
        Config::lower,
    );
}
