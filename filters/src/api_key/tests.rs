use serde_json::{Value, json};

use super::{Config, Hash, Policy};
use crate::testing::{exchange, lower, refuses, request};
use crate::{Reason, Verdict};

fn policy(changed: Value) -> Policy {
    let mut config = json!({"keys": [
        {"key": "alpha-key", "metadata": {"owner": "alice"}},
        {"keyHash": format!("sha256:{}", hex("beta-key"))},
    ]});
    config.as_object_mut().unwrap().extend(changed.as_object().unwrap().clone());
    lower(config, Config::lower)
}

fn hex(key: &str) -> String {
    Hash::of(key.as_bytes()).0.iter().map(|it| format!("{it:02x}")).collect()
}

/// The owner let in, or the challenge.
fn run(policy: &Policy, headers: &[(&'static str, &str)]) -> (Result<String, String>, http::HeaderMap) {
    let (mut head, mut facts) = request("GET", "/");
    for (name, value) in headers {
        head.append_header(*name, *value).unwrap();
    }
    let outcome = match policy.on_request(&mut exchange(&mut head, &mut facts)) {
        Verdict::Continue => Ok(facts.identity.api_key.as_ref().map_or("-".to_owned(), |key| {
            key.metadata().get("owner").and_then(Value::as_str).unwrap_or("?").to_owned()
        })),
        Verdict::Reply(reply) => {
            assert_eq!((reply.status, reply.reason), (401, Reason::ApiKeyAuth));
            let challenge = reply.headers.iter().find(|(name, _)| *name == "www-authenticate").unwrap();
            Err(challenge.1.to_str().unwrap().to_owned())
        }
    };
    (outcome, head.headers.clone())
}

#[test]
fn a_known_key_is_let_in_and_taken_out() {
    let it = policy(json!({}));
    let (outcome, left) = run(&it, &[("authorization", "Bearer alpha-key")]);
    assert_eq!(outcome, Ok("alice".to_owned()));
    assert!(!left.contains_key("authorization"));
    assert_eq!(run(&it, &[("authorization", "Bearer beta-key")]).0, Ok("?".to_owned()), "by its hash");
    let forwarding = policy(json!({"forward": true, "location": {"header": {"name": "X-Api-Key"}}}));
    let (outcome, left) = run(&forwarding, &[("x-api-key", "alpha-key")]);
    assert_eq!(outcome, Ok("alice".to_owned()));
    assert_eq!(left["x-api-key"], "alpha-key");
}

#[test]
fn modes_differ_in_what_they_do_without_a_known_key() {
    for (mode, missing, unknown) in [("strict", false, false), ("optional", true, false), ("permissive", true, true)] {
        let it = policy(json!({"mode": mode}));
        assert_eq!(run(&it, &[]).0.is_ok(), missing, "{mode}");
        assert_eq!(run(&it, &[("authorization", "Bearer alpha")]).0.is_ok(), unknown, "{mode}");
        let twice = [("authorization", "Bearer alpha-key"), ("authorization", "Bearer alpha-key")];
        assert_eq!(run(&it, &twice).0.is_ok(), unknown, "{mode}, twice");
        let huge = format!("Bearer {}", "a".repeat(10_000));
        assert_eq!(run(&it, &[("authorization", &huge)]).0.is_ok(), unknown, "{mode}, huge");
        // The hash is not the key.
        assert_eq!(run(&it, &[("authorization", &format!("Bearer sha256:{}", hex("alpha-key")))]).0.is_ok(), unknown);
    }
    assert_eq!(run(&policy(json!({})), &[]).0, Err("Bearer realm=\"gateway\"".to_owned()), "strict is the default");
    let own = policy(json!({"location": {"header": {"name": "x-api-key"}}}));
    assert_eq!(run(&own, &[]).0, Err("ApiKey realm=\"gateway\", header=\"x-api-key\"".to_owned()));
}

#[test]
fn keys_are_shown_nowhere_and_a_thousand_cost_little() {
    let keys: Vec<_> = (0..1000)
        .map(|it| json!({"key": format!("canary-{it}"), "metadata": {"owner": format!("user-{it}")}}))
        .collect();
    let it: Policy = lower(json!({"keys": keys}), Config::lower);
    let shown = format!("{it:?} {}", serde_json::to_string(&it).unwrap());
    assert!(!shown.contains("canary") && !shown.contains(&hex("canary-7")), "{shown}");
    assert!(it.known.bytes() <= 1000 * 200, "{} bytes a key", it.known.bytes() / 1000);
    assert_eq!(run(&it, &[("authorization", "Bearer canary-999")]).0, Ok("user-999".to_owned()));
    assert_eq!(it.clone(), it);
    assert_ne!(policy(json!({})), it);
}

#[test]
fn a_file_holds_keys_hashes_and_entries() {
    let it: Policy = lower(json!({"file": "api-keys"}), Config::lower);
    for (key, owner) in [("file-key", "?"), ("hashed-key", "?"), ("entry-key", "bob")] {
        assert_eq!(run(&it, &[("authorization", &format!("Bearer {key}"))]).0, Ok(owner.to_owned()), "{key}");
    }
    refuses([(json!({"file": "junk-keys"}), "policy.file: line 3: a hash is")], Config::lower);
}

#[test]
fn configurations_that_cannot_be_meant_are_refused_without_showing_keys() {
    refuses(
        [
            (json!({}), "there is no key"),
            (json!({"keys": [{}]}), "policy.keys.[0]".trim_end_matches(".[0]")),
            (json!({"keys": [{"key": "a", "keyHash": "b"}]}), "either `key` or `keyHash`"),
            (json!({"keys": [{"key": ""}]}), "1 to 512 bytes"),
            (json!({"keys": [{"key": "hunter2 "}]}), "no spaces around"),
            (json!({"keys": [{"keyHash": "hunter2"}]}), "`sha256:` and 64"),
            (json!({"keys": [{"keyHash": "sha256:zz"}]}), "`sha256:` and 64"),
            (json!({"keys": [{"key": "hunter2"}, {"keyHash": format!("sha256:{}", hex("hunter2"))}]}), "here twice"),
            (json!({"file": "absent"}), "cannot read `absent`"),
        ],
        |config: Config, scope| {
            let policy = config.lower(scope);
            assert!(scope.problems.iter().all(|it| !it.to_string().contains("hunter2")));
            policy
        },
    );
}
