use serde_json::json;

use super::{Config, Policy, fits};
use crate::testing::{lower, refuses};

fn policy(config: serde_json::Value) -> Policy {
    lower(config, Config::lower)
}

#[test]
fn tools_are_there_under_one_name_or_not_at_all() {
    let policy = policy(json!({"targets": [
        {"target": "a", "include": ["issue_*", "list"], "exclude": ["*_delete"], "rename": {"list": "issue_list", "issue_a": "b"}},
        {"exclude": ["secret"]},
    ]}));
    let a = policy.shape("a").unwrap();
    for (own, name) in [
        ("issue_get", Some("issue_get")),
        ("issue_delete", None),
        ("list", Some("issue_list")),
        ("issue_list", None),
        ("issue_a", Some("b")),
        ("b", None),
        ("other", None),
    ] {
        assert_eq!(a.name(own), name, "{own}");
        if let Some(name) = name {
            assert_eq!(a.own(name), Some(own), "back again");
        }
    }
    for gone in ["list", "issue_a", "issue_delete", "other"] {
        assert_eq!(a.own(gone), None, "{gone}");
    }
    assert_eq!(policy.shape("z").unwrap().name("secret"), None);
    assert_eq!(policy.shape("z").unwrap().own("list"), Some("list"));
}

#[test]
fn patterns_fit_whole_names() {
    for (pattern, name, fine) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("*", "", true),
        ("a*", "ab", true),
        ("*b", "ab", true),
        ("a*b*c", "axbyc", true),
        ("a*b*c", "acb", false),
        ("ab*ba", "aba", false),
        ("**", "x", true),
        ("", "x", false),
    ] {
        assert_eq!(fits(pattern, name), fine, "{pattern} {name}");
    }
}

#[test]
fn lists_that_come_out_differently_have_another_fingerprint() {
    let plain = json!({"targets": [{"target": "a", "include": ["x"]}]});
    let one = policy(plain.clone()).fingerprint();
    assert_eq!(policy(plain.clone()).fingerprint(), one);
    for other in [
        json!({"targets": [{"target": "b", "include": ["x"]}]}),
        json!({"targets": [{"target": "a", "exclude": ["x"]}]}),
        json!({"targets": [{"target": "a", "include": ["x"]}], "sort": true}),
        json!({"targets": [{"target": "a", "include": ["x"]}], "slim": {"keywords": ["title"]}}),
    ] {
        assert_ne!(policy(other.clone()).fingerprint(), one, "{other}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    refuses(
        [
            (json!({"targets": [{"target": "a_b"}]}), "not a target's name"),
            (json!({"targets": [{"target": "a"}, {"target": "a"}]}), "already"),
            (json!({"targets": [{"rename": {"a": "x y"}}]}), "not a tool's name"),
            (json!({"targets": [{"rename": {"a": "x", "b": "x"}}]}), "the name of two tools"),
            (json!({"targets": [{"include": [""]}]}), "is empty"),
            (json!({"slim": {"members": ["name"]}}), "without `name`"),
            (json!({"slim": {"keywords": ["properties"]}}), "what a tool takes"),
            (json!({"search": {"results": 51}}), "1 to 50"),
        ],
        Config::lower,
    );
}
