use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use pingora_http::RequestHeader;
use serde_json::{Value, json};

use super::{Config, Policy};
use crate::callout::{
    Call, Callout, Check, Checked, Fault, HeaderChange, How, HttpAnswer, HttpRequest, Kind, LimitStatus, Limited,
    RateLimit, Target, Unit,
};
use crate::outside::{Later, Outside, Work};
use crate::testing::{NOW, lower, refuses, request};
use crate::{Exchange, Facts, Reason, Verdict};

/// A world with one rate limit server, which always says the same.
struct World {
    answer: Result<Limited, Fault>,
    asked: Mutex<Vec<String>>,
}

impl World {
    fn new(answer: Result<Limited, Fault>) -> Self {
        Self { answer, asked: Mutex::default() }
    }
}

impl Outside for World {
    fn now(&self) -> Duration {
        NOW
    }

    fn callout(&self) -> &dyn Callout {
        self
    }

    fn work(&self, work: Work) -> Later<'_, Option<bool>> {
        Box::pin(async move { Some(work()) })
    }
}

impl Callout for World {
    fn check<'a>(&'a self, _: &'a Arc<Target>, _: Check<'a>) -> Call<'a, Checked> {
        Box::pin(async { Err(Fault::Overflow) })
    }

    fn rate_limit<'a>(&'a self, _: &'a Arc<Target>, asked: RateLimit<'a>) -> Call<'a, Limited> {
        let RateLimit { domain, descriptors, hits, .. } = asked;
        let texts = descriptors.iter().map(|it| {
            let entries: Vec<_> = it.entries.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("[{} {:?} {:?}]", entries.join(","), it.limit, it.hits)
        });
        self.asked.lock().push(format!("{domain} {hits} {}", texts.collect::<Vec<_>>().concat()));
        let answer = self.answer.clone();
        Box::pin(async { answer })
    }

    fn http<'a>(&'a self, _: &'a Arc<Target>, _: Kind, _: HttpRequest<'a>) -> Call<'a, HttpAnswer> {
        Box::pin(async { Err(Fault::Overflow) })
    }
}

fn policy(descriptors: Value, failure: &str) -> Policy {
    let config = json!({"host": "l:1", "domain": "d", "descriptors": descriptors, "failureMode": failure});
    lower(config, Config::lower)
}

fn by_user() -> Policy {
    policy(json!([{"entries": [{"key": "user", "value": "request.headers['x-user']"}]}]), "failClosed")
}

fn run(policy: &Policy, world: &World) -> (Verdict, RequestHeader, Facts) {
    let (mut head, mut facts) = request("GET", "/p");
    head.insert_header("x-user", "me").unwrap();
    let mut exchange = Exchange { request: &mut head, facts: &mut facts, outside: world };
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let verdict = match std::pin::pin!(policy.on_request(&mut exchange)).poll(&mut cx) {
        std::task::Poll::Ready(verdict) => verdict,
        std::task::Poll::Pending => panic!("the world answers at once"),
    };
    (verdict, head, facts)
}

fn status(over: bool, limit: u32, remaining: u32, reset: Option<u64>) -> LimitStatus {
    let reset = reset.map(|ms| Duration::from_millis(ms));
    LimitStatus { over, limit: Some((limit, Some(Unit::Minute))), remaining, reset }
}

fn header(name: &str, value: &str) -> HeaderChange {
    HeaderChange { name: name.to_owned(), value: Bytes::copy_from_slice(value.as_bytes()), how: How::Append }
}

#[test]
fn descriptors_are_evaluated_and_those_that_fail_are_left_out() {
    let policy = policy(
        json!([
            {"entries": [{"key": "user", "value": "request.headers['x-user']"}, {"key": "p", "value": "request.path"}]},
            {"entries": [{"key": "none", "value": "request.headers['none']"}]},
            {"entries": [{"key": "empty", "value": "''"}]},
            {"entries": [{"key": "n", "value": "7"}], "cost": "2 + 3",
             "limitOverride": "{'unit': 'hour', 'requestsPerUnit': 9}"},
            {"entries": [{"key": "n", "value": "7"}], "limitOverride": "{'unit': 'fortnight', 'requestsPerUnit': 9}"},
            {"entries": [{"key": "n", "value": "7"}], "cost": "-1"},
        ]),
        "failClosed",
    );
    let world = World::new(Ok(Limited::default()));
    run(&policy, &world);
    assert_eq!(*world.asked.lock(), ["d 0 [user=me,p=/p None Some(1)][n=7 Some((9, Hour)) Some(5)]"]);
}

#[test]
fn one_cost_for_all_is_said_once() {
    let entry = json!([{"key": "a", "value": "'b'"}]);
    let policy = policy(json!([{"entries": entry, "cost": "4"}, {"entries": entry, "cost": "4u"}]), "failClosed");
    let world = World::new(Ok(Limited::default()));
    run(&policy, &world);
    assert_eq!(*world.asked.lock(), ["d 4 [a=b None None][a=b None None]"]);
}

#[test]
fn nobody_is_asked_about_nothing() {
    let world = World::new(Err(Fault::Overflow));
    let none = policy(json!([{"entries": [{"key": "u", "value": "jwt.sub"}]}]), "failClosed");
    assert!(matches!(run(&none, &world).0, Verdict::Continue));
    assert!(world.asked.lock().is_empty());
}

#[test]
fn over_the_limit_is_429_with_when_to_come_back() {
    for (statuses, headers, after) in [
        (vec![status(true, 5, 0, Some(6_500)), status(false, 9, 3, None)], vec![], "7"),
        (vec![status(true, 5, 0, None)], vec![], "60"),
        (vec![], vec![], "1"),
        (vec![status(true, 5, 0, None)], vec![header("retry-after", "3"), header("x-ratelimit-remaining", "0")], "3"),
    ] {
        let own = headers.is_empty();
        let limited = Limited { over: true, statuses, response: headers, ..Limited::default() };
        let (verdict, ..) = run(&by_user(), &World::new(Ok(limited)));
        let Verdict::Reply(reply) = verdict else { panic!("allowed") };
        let value =
            |wanted: &str| reply.headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
        assert_eq!((reply.status, reply.reason), (429, Reason::RateLimit));
        assert_eq!(value("retry-after").unwrap(), after);
        assert!(!own || value("x-ratelimit-limit").is_none_or(|it| it == "5"));
        assert_eq!(&*reply.body, b"rate limit exceeded\n");
    }
}

#[test]
fn within_the_limit_the_tightest_is_told() {
    let limited = Limited {
        statuses: vec![status(false, 100, 40, Some(1)), status(false, 9, 3, Some(20_000))],
        request: vec![header("x-plan", "gold")],
        response: vec![header("x-limits", "2")],
        ..Limited::default()
    };
    let (verdict, head, facts) = run(&by_user(), &World::new(Ok(limited)));
    assert!(matches!(verdict, Verdict::Continue));
    assert_eq!(head.headers.get("x-plan").unwrap(), "gold");
    assert_eq!(facts.response_changes.len(), 1);
    let told: Vec<_> = facts.owed.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    assert_eq!(told, [("x-ratelimit-limit", "9"), ("x-ratelimit-remaining", "3"), ("x-ratelimit-reset", "20")]);
}

#[test]
fn a_failure_closes_or_opens() {
    let garbage = Limited { request: vec![header("x", "a\nb")], ..Limited::default() };
    for answer in [Err(Fault::Timeout(Duration::from_secs(2))), Ok(garbage)] {
        let entry = json!([{"entries": [{"key": "a", "value": "'b'"}]}]);
        let world = World::new(answer);
        let (closed, _, facts) = run(&policy(entry.clone(), "failClosed"), &world);
        let Verdict::Reply(reply) = closed else { panic!("allowed") };
        assert_eq!((reply.status, reply.reason), (503, Reason::RateLimit));
        assert!(facts.fault.unwrap().starts_with("remoteRateLimit: "));
        assert!(matches!(run(&policy(entry, "FailOpen"), &world).0, Verdict::Continue));
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let entry = json!({"key": "a", "value": "'b'"});
    refuses(
        [
            (json!({"domain": "d", "descriptors": []}), "policy: name the server"),
            (json!({"host": "l:1", "domain": "", "descriptors": []}), "policy.domain: empty"),
            (json!({"host": "l:1", "domain": "d", "descriptors": [{"entries": []}]}), "policy.descriptors[0].entries"),
            (
                json!({"host": "l:1", "domain": "d", "descriptors": [{"entries": [{"key": "", "value": "1"}]}]}),
                "policy.descriptors[0].entries[0].key: empty",
            ),
            (
                json!({"host": "l:1", "domain": "d", "descriptors": [{"entries": [{"key": "a", "value": "jwtt.sub"}]}]}),
                "policy.descriptors[0].entries[0].value: ",
            ),
            (
                json!({"host": "l:1", "domain": "d", "descriptors": [{"entries": [entry], "cost": "llm.totalTokens"}]}),
                "policy.descriptors[0].cost: ",
            ),
            (
                json!({"host": "l:1", "domain": "d", "descriptors": [],
                    "policies": {"transformations": {"request": {"body": "'x'"}}}}),
                "policy.policies.transformations.request: calls of gRPC have a body of their own",
            ),
            (
                json!({"host": "l:1", "domain": "d", "descriptors": [],
                    "policies": {"transformations": {"response": {"remove": ["x-a"]}}}}),
                "policy.policies.transformations.response: the answer of a server",
            ),
        ],
        Config::lower,
    );
}

#[test]
fn tokens_are_asked_for_by_calls_of_models_only() {
    let tokens =
        json!({"entries": [{"key": "a", "value": "request.body"}], "type": "tokens", "cost": "llm.totalTokens"});
    let policy: Policy = lower(json!({"host": "l:1", "domain": "d", "descriptors": [tokens]}), Config::lower);
    assert_eq!(policy.wants(), crate::Wanted::Nothing);
    let (head, facts) = request("GET", "/");
    assert!(policy.question(&facts, &facts.inputs(&head)).is_none());
}
