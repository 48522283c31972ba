use ir::PolicyKey;
use serde_json::{Value, json};

use super::{Config, Policy};
use crate::exchange::Mode;
use crate::testing::{exchange, lower, refuses, request};
use crate::{Facts, Keep, Reason, Reply, Verdict};

fn publish(keep: &Keep, rules: Value) -> Policy {
    let policy = lower(rules, Config::lower);
    policy.bind(&PolicyKey::new("p"), keep);
    policy
}

/// A request of a user that begins; it goes on while its facts are kept.
fn begin(policy: &Policy, user: &str) -> Result<Facts, Reply> {
    let (mut head, mut facts) = request("GET", "/");
    head.insert_header("x-user", user).unwrap();
    match policy.on_request(&mut exchange(&mut head, &mut facts)) {
        Verdict::Continue => Ok(facts),
        Verdict::Reply(reply) => Err(reply),
    }
}

#[test]
fn a_place_is_held_while_the_request_is_under_way() {
    let policy = publish(&Keep::default(), json!([{"maxInFlight": 2}]));
    let (one, _two) = (begin(&policy, "a").unwrap(), begin(&policy, "b").unwrap());
    let reply = begin(&policy, "c").unwrap_err();
    assert_eq!((reply.status, reply.reason), (503, Reason::ConcurrencyLimit));
    assert!(reply.headers.iter().any(|(name, _)| name == "retry-after"));
    drop(one);
    let _three = begin(&policy, "c").unwrap();
    assert!(begin(&policy, "d").is_err(), "who was refused has taken no place and given none back");
}

#[test]
fn each_key_has_its_own_places_and_a_refused_request_holds_none() {
    let rules = json!([
        {"maxInFlight": 3},
        {"maxInFlight": 1, "key": "request.headers[\"x-user\"]"},
    ]);
    let policy = publish(&Keep::default(), rules);
    let _a = begin(&policy, "a").unwrap();
    assert_eq!(begin(&policy, "a").unwrap_err().status, 429);
    let (_b, _c) = (begin(&policy, "b").unwrap(), begin(&policy, "c").unwrap());
    assert_eq!(begin(&policy, "d").unwrap_err().status, 503, "three are under way, not four");
}

#[test]
fn requests_under_way_count_across_an_update() {
    let keep = Keep::default();
    let first = publish(&keep, json!([{"maxInFlight": 2}]));
    let (one, _two) = (begin(&first, "a").unwrap(), begin(&first, "a").unwrap());
    let next = publish(&keep, json!([{"maxInFlight": 3}]));
    let _three = begin(&next, "a").unwrap();
    assert!(begin(&next, "a").is_err());
    drop(one);
    begin(&next, "a").unwrap();
}

#[test]
fn shadow_lets_pass_and_says_so() {
    let policy = publish(&Keep::default(), json!([{"maxInFlight": 1, "mode": "shadow"}]));
    let one = begin(&policy, "a").unwrap();
    assert!(one.decisions.is_empty());
    let two = begin(&policy, "a").unwrap();
    assert_eq!((two.decisions.len(), two.decisions[0].mode), (1, Mode::Shadow));
}

#[test]
fn keys_beyond_the_bound_are_refused_and_nobody_loses_a_place() {
    let rules = json!([{"maxInFlight": 1, "key": "request.headers[\"x-user\"]", "maxKeys": 100}]);
    let policy = publish(&Keep::default(), rules);
    let held: Vec<_> = (0..1000).filter_map(|n| begin(&policy, &n.to_string()).ok()).collect();
    assert_eq!(held.len(), 100);
    assert!(begin(&policy, "0").is_err(), "the first is still under way");
    drop(held);
    assert_eq!((0..1000).filter(|n| begin(&policy, &n.to_string()).is_ok()).count(), 1000);
}

#[test]
fn limits_that_let_nothing_through_are_refused() {
    refuses(
        [
            (json!([]), "policy: write at least one limit"),
            (json!([{"maxInFlight": 0}]), "policy[0].maxInFlight: 0 lets nothing through"),
            (json!([{"maxInFlight": 1, "status": 500}]), "policy[0].status: 500 does not say so"),
            (json!([{"maxInFlight": 1, "maxKeys": 0}]), "policy[0].maxKeys: write 1"),
            (json!([{"maxInFlight": 1, "key": "backend.name"}]), "policy[0].key: "),
        ],
        Config::lower,
    );
}
