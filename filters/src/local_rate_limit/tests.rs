use std::sync::Arc;
use std::time::Duration;

use ir::PolicyKey;
use serde_json::{Value, json};

use super::{Config, Policy};
use crate::testing::{exchange, lower, refuses, request};
use crate::{Facts, Keep, Reason, Reply, Verdict};

fn policy(rules: Value) -> Policy {
    lower(rules, Config::lower)
}

/// A policy that comes into force under a name.
fn publish(keep: &Keep, rules: Value) -> Policy {
    let policy = policy(rules);
    policy.bind(&PolicyKey::new("p"), keep);
    policy
}

/// A request at so many milliseconds, with headers.
fn ask(policy: &Policy, ms: u64, headers: &[(&str, &str)]) -> (Result<(), Reply>, Facts) {
    let (mut head, mut facts) = request("GET", "/");
    facts.now = Duration::from_millis(ms);
    for (name, value) in headers {
        head.append_header((*name).to_owned(), *value).unwrap();
    }
    let verdict = policy.on_request(&mut exchange(&mut head, &mut facts));
    let answer = match verdict {
        Verdict::Continue => Ok(()),
        Verdict::Reply(reply) => Err(reply),
    };
    (answer, facts)
}

fn passes(policy: &Policy, ms: u64, headers: &[(&str, &str)]) -> bool {
    ask(policy, ms, headers).0.is_ok()
}

fn owed(facts: &Facts, name: &str) -> String {
    let found = facts.owed.iter().find(|(it, _)| it == name);
    found.map_or("", |(_, value)| value.to_str().unwrap()).to_owned()
}

#[test]
fn requests_beyond_the_bucket_get_429_and_are_told_when_to_come_back() {
    let policy = policy(json!([{"maxTokens": 2, "tokensPerFill": 1, "fillInterval": "10s"}]));
    let (answer, facts) = ask(&policy, 1_000, &[]);
    assert!(answer.is_ok());
    assert_eq!(owed(&facts, "x-ratelimit-limit"), "2");
    assert_eq!((owed(&facts, "x-ratelimit-remaining"), owed(&facts, "x-ratelimit-reset")), ("1".into(), "10".into()));
    assert_eq!(owed(&facts, "ratelimit"), "\"requests\";r=1;t=10");
    assert_eq!(owed(&facts, "ratelimit-policy"), "\"requests\";q=2;w=20");
    assert!(passes(&policy, 2_000, &[]));
    let (answer, facts) = ask(&policy, 3_000, &[]);
    let reply = answer.unwrap_err();
    assert_eq!((reply.status, reply.reason), (429, Reason::RateLimit));
    let retry = reply.headers.iter().find(|(name, _)| name == "retry-after").map(|(_, it)| it.to_str().unwrap());
    assert_eq!((retry, owed(&facts, "x-ratelimit-remaining").as_str()), (Some("8"), "0"));
    assert!(passes(&policy, 11_000, &[]));
}

#[test]
fn of_several_rules_all_must_pass_and_a_refused_request_uses_nothing_up() {
    let policy = policy(json!([
        {"name": "day", "maxTokens": 10, "tokensPerFill": 10, "fillInterval": "24h"},
        {"name": "burst", "maxTokens": 2, "tokensPerFill": 2, "fillInterval": "1s"},
    ]));
    assert_eq!((0..20).filter(|_| passes(&policy, 1_000, &[])).count(), 2);
    let (_, facts) = ask(&policy, 2_000, &[]);
    assert_eq!(owed(&facts, "ratelimit"), "\"burst\";r=1;t=1", "the tighter one");
    let passed = (3..50).map(|s| (0..5).filter(|_| passes(&policy, s * 1_000, &[])).count()).sum::<usize>();
    assert_eq!(passed, 7, "3 of the day were used, not those of refused requests");
}

#[test]
fn each_key_has_its_own_bucket_and_those_without_share_one() {
    let policy = policy(json!([
        {"maxTokens": 1, "tokensPerFill": 1, "fillInterval": "1h", "key": "request.headers[\"x-user\"]"},
    ]));
    assert!(passes(&policy, 0, &[("x-user", "a")]));
    assert!(passes(&policy, 0, &[("x-user", "b")]));
    assert!(!passes(&policy, 0, &[("x-user", "a")]));
    assert!(passes(&policy, 0, &[]));
    assert!(!passes(&policy, 0, &[]));
    assert!(passes(&policy, 0, &[("x-user", "")]), "an empty key is a key");
    let huge = "x".repeat(60_000);
    assert!(passes(&policy, 0, &[("x-user", &huge)]));
    assert!(!passes(&policy, 0, &[("x-user", &huge)]));
}

#[test]
fn shadow_counts_and_lets_pass_and_tells_clients_nothing() {
    let policy = policy(json!([{"maxTokens": 1, "tokensPerFill": 1, "fillInterval": "1h", "mode": "shadow"}]));
    assert!(ask(&policy, 0, &[]).1.decisions.is_empty());
    let (answer, facts) = ask(&policy, 0, &[]);
    assert!(answer.is_ok() && facts.owed.is_empty());
    assert_eq!(facts.decisions.len(), 1);
    assert_eq!(facts.decisions[0].mode, crate::exchange::Mode::Shadow);
}

#[test]
fn buckets_survive_an_unrelated_update_and_what_was_used_stays_used_under_another_limit() {
    let keep = Keep::default();
    let rule = |max: u64, interval: &str| json!({"maxTokens": max, "tokensPerFill": 1, "fillInterval": interval});
    let first = publish(&keep, json!([rule(3, "1h")]));
    assert!((0..3).all(|_| passes(&first, 0, &[])) && !passes(&first, 0, &[]));
    let again = publish(&keep, json!([rule(3, "1h")]));
    assert!(!passes(&again, 0, &[]), "nothing was refilled");
    let more = publish(&keep, json!([rule(5, "1h")]));
    assert_eq!((0..5).filter(|_| passes(&more, 0, &[])).count(), 2);
    let less = publish(&keep, json!([rule(2, "1h")]));
    assert!(!passes(&less, 0, &[]));
    assert!(passes(&less, 3_600_000, &[]), "it fills from the lower limit");
    let other = publish(&keep, json!([rule(9, "1s"), rule(2, "1h")]));
    assert!(!passes(&other, 3_600_000, &[]), "a rule put before it takes nothing from it");
}

#[test]
fn a_successor_goes_on_where_the_predecessor_was() {
    let keyed =
        json!([{"maxTokens": 1, "tokensPerFill": 1, "fillInterval": "1h", "key": "request.headers[\"x-user\"]"}]);
    let (old, new) = (Keep::default(), Keep::default());
    let predecessor = publish(&old, keyed.clone());
    assert!(passes(&predecessor, 5_000, &[("x-user", "a")]));
    let ledger = predecessor.ledger.bound().unwrap();
    // Held by the successor until its policies are bound.
    let _seed = new.shared(&crate::quota::Seed::shared_name(), |_| *ledger.seed);
    let successor = publish(&new, keyed);
    let parts = ledger.export(Duration::from_millis(6_000));
    // Another clock, and one second later.
    let day = 86_400_000;
    successor.ledger.bound().unwrap().import(parts, Duration::from_millis(day));
    assert!(!passes(&successor, day, &[("x-user", "a")]));
    assert!(passes(&successor, day, &[("x-user", "b")]));
    assert!(!passes(&successor, day + 3_598_000, &[("x-user", "a")]));
    assert!(passes(&successor, day + 3_599_000, &[("x-user", "a")]), "an hour after it was taken");
}

#[test]
fn tokens_of_models_are_reserved_and_settled() {
    let policy = policy(json!([
        {"maxTokens": 100, "tokensPerFill": 100, "fillInterval": "1m", "type": "tokens"},
        {"maxTokens": 1000, "tokensPerFill": 1, "fillInterval": "1m"},
    ]));
    let at = Duration::from_secs;
    assert!(passes(&policy, 0, &[]));
    let (mut head, mut facts) = request("GET", "/");
    let reservation = policy.reserve(60, &mut exchange(&mut head, &mut facts)).unwrap();
    let left = |ms| owed(&ask(&policy, ms, &[]).1, "ratelimit");
    assert_eq!(left(0), "\"tokens\";r=40;t=60");
    reservation.settle(10, at(0));
    assert_eq!(left(0), "\"tokens\";r=90;t=60", "what was not used came back");
    policy.reserve(0, &mut exchange(&mut head, &mut facts)).unwrap().settle(250, at(0));
    assert!(!passes(&policy, 60_000, &[]), "beyond the bucket is a debt");
    assert!(!passes(&policy, 119_000, &[]), "which is paid first");
    assert!(passes(&policy, 120_000, &[]));
    facts.now = at(120);
    drop(policy.reserve(100, &mut exchange(&mut head, &mut facts)).unwrap());
    assert!(!passes(&policy, 120_000, &[]), "a reservation that nobody settles stays charged");
}

#[test]
fn what_requests_under_way_have_reserved_is_not_there_for_others() {
    let rule = |mode: &str| json!([{"maxTokens": 100, "tokensPerFill": 100, "fillInterval": "1m", "type": "tokens", "mode": mode}]);
    let (mut head, mut facts) = request("GET", "/");
    let limits = policy(rule("enforce"));
    let first = limits.reserve(150, &mut exchange(&mut head, &mut facts)).unwrap();
    let refused = limits.reserve(1, &mut exchange(&mut head, &mut facts)).err().expect("one is beyond the bucket");
    assert_eq!((refused.status, refused.reason, facts.decisions.len()), (429, Reason::RateLimit, 1));
    first.settle(30, Duration::ZERO);
    assert!(limits.reserve(1, &mut exchange(&mut head, &mut facts)).is_ok());
    let shadow = policy(rule("shadow"));
    for _ in 0..2 {
        assert!(shadow.reserve(150, &mut exchange(&mut head, &mut facts)).is_ok(), "only tried out");
    }
}

#[test]
fn a_million_keys_stay_within_the_bound() {
    let policy = policy(json!([
        {"maxTokens": 5, "tokensPerFill": 1, "fillInterval": "1h", "key": "request.headers[\"x-user\"]", "maxKeys": 10_000},
    ]));
    let victim = [("x-user", "victim")];
    assert_eq!((0..9).filter(|_| passes(&policy, 0, &victim)).count(), 5);
    let (mut head, mut facts) = request("GET", "/");
    for n in 0..300_000u32 {
        head.insert_header("x-user", n.to_string()).unwrap();
        assert!(matches!(policy.on_request(&mut exchange(&mut head, &mut facts)), Verdict::Continue));
        facts.owed.clear();
    }
    let table: Vec<_> = policy.ledger.get(&policy.rules).tables().map(Arc::clone).collect();
    assert!(table[0].len() <= 10_000 && table[0].bytes() < 2_000_000, "{} bytes", table[0].bytes());
    assert!(!passes(&policy, 0, &victim), "a flood of keys resets nobody's bucket");
}

#[test]
fn limits_that_never_act_or_never_let_go_are_refused() {
    let with = |key: &str, value: Value| {
        let mut rule = json!({"maxTokens": 1, "tokensPerFill": 1, "fillInterval": "1s"});
        rule[key] = value;
        json!([rule])
    };
    refuses(
        [
            (json!([]), "policy: write at least one limit"),
            (with("maxTokens", json!(0)), "policy[0].maxTokens: 0 lets nothing through"),
            (with("tokensPerFill", json!(0)), "policy[0].tokensPerFill: 0 never fills"),
            (with("fillInterval", json!("0")), "policy[0].fillInterval: write 1ms"),
            (with("maxKeys", json!(2_000_000)), "policy[0].maxKeys: write 1 to 1000000"),
            (with("name", json!("a b")), "policy[0].name: `a b` is not a name"),
            (with("key", json!("request.nothing")), "policy[0].key: "),
            (with("key", json!("response.code")), "policy[0].key: "),
        ],
        Config::lower,
    );
    let names = policy(json!([
        {"maxTokens": 1, "tokensPerFill": 1, "fillInterval": "1s"},
        {"maxTokens": 1, "tokensPerFill": 1, "fillInterval": "1m"},
    ]));
    assert_eq!((&*names.rules[0].name, &*names.rules[1].name), ("requests", "requests-2"));
}
