use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use parking_lot::Mutex;
use pingora_http::RequestHeader;
use serde_json::{Value, json};

use super::{Config, Policy};
use crate::callout::{
    Allowed, Call, Callout, Check, Checked, Denied, Fault, HeaderChange, How, HttpAnswer, HttpRequest, Kind, Limited,
    RateLimit, Target,
};
use crate::outside::{Later, Outside, Work};
use crate::testing::{lower, refuses, request};
use crate::{Exchange, Facts, HeldBody, Reason, RequestBody, Verdict};

/// A world with one authorization server, whose answers are known beforehand.
struct World {
    now: Mutex<Duration>,
    checks: Mutex<Vec<Result<Checked, Fault>>>,
    answers: Mutex<Vec<Result<HttpAnswer, Fault>>>,
    /// What was asked.
    asked: Mutex<Vec<String>>,
}

impl World {
    fn new(checks: Vec<Result<Checked, Fault>>, answers: Vec<Result<HttpAnswer, Fault>>) -> Self {
        let now = Mutex::new(Duration::from_secs(1_000_000));
        Self { now, checks: Mutex::new(checks), answers: Mutex::new(answers), asked: Mutex::default() }
    }
}

impl Outside for World {
    fn now(&self) -> Duration {
        *self.now.lock()
    }

    fn callout(&self) -> &dyn Callout {
        self
    }

    fn work(&self, work: Work) -> Later<'_, Option<bool>> {
        Box::pin(async move { Some(work()) })
    }
}

impl Callout for World {
    fn check<'a>(&'a self, _: &'a Arc<Target>, check: Check<'a>) -> Call<'a, Checked> {
        let body = check.body.map(|it| (it.bytes.len(), it.partial));
        self.asked.lock().push(format!("{} {:?} {}", check.head.uri, body, Value::Object(check.metadata)));
        let answer = self.checks.lock().remove(0);
        Box::pin(async { answer })
    }

    fn rate_limit<'a>(&'a self, _: &'a Arc<Target>, _: RateLimit<'a>) -> Call<'a, Limited> {
        Box::pin(async { Err(Fault::Overflow) })
    }

    fn http<'a>(&'a self, _: &'a Arc<Target>, _: Kind, request: HttpRequest<'a>) -> Call<'a, HttpAnswer> {
        let HttpRequest { head, body, .. } = request;
        let headers: Vec<_> =
            head.headers.iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap())).collect();
        let body = String::from_utf8_lossy(&body).into_owned();
        self.asked.lock().push(format!("{} {} [{}] {body}", head.method, head.uri, headers.join(", ")));
        let answer = self.answers.lock().remove(0);
        Box::pin(async { answer })
    }
}

fn policy(config: Value) -> Policy {
    let mut whole = json!({"host": "authz:9000"});
    whole.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
    lower(whole, Config::lower)
}

/// Polls what never waits here.
fn run(policy: &Policy, world: &World, head: &mut RequestHeader, facts: &mut Facts) -> Verdict {
    let mut exchange = Exchange { request: head, facts, outside: world };
    let mut asking = std::pin::pin!(policy.on_request(&mut exchange));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match asking.as_mut().poll(&mut cx) {
        std::task::Poll::Ready(verdict) => verdict,
        std::task::Poll::Pending => panic!("the world answers at once"),
    }
}

fn status(verdict: &Verdict) -> u16 {
    match verdict {
        Verdict::Continue => 0,
        Verdict::Reply(reply) => reply.status,
    }
}

fn change(name: &str, value: &str) -> HeaderChange {
    HeaderChange { name: name.to_owned(), value: Bytes::copy_from_slice(value.as_bytes()), how: How::Overwrite }
}

fn answer(status: u16, headers: &[(&'static str, &'static str)]) -> Result<HttpAnswer, Fault> {
    let headers: HeaderMap = headers.iter().map(|(a, b)| (a.parse().unwrap(), b.parse().unwrap())).collect();
    Ok(HttpAnswer { status, headers, body: Bytes::from_static(b"said") })
}

#[test]
fn what_an_allowing_server_says_is_done() {
    let allowed = Allowed {
        request: vec![change("x-user", "me")],
        remove: vec!["x-secret".to_owned()],
        query_set: vec![("a".to_owned(), "1".to_owned())],
        response: vec![change("x-seen", "yes")],
        metadata: json!({"tier": "gold"}).as_object().unwrap().clone(),
        ..Allowed::default()
    };
    let world = World::new(vec![Ok(Checked::Allowed(allowed))], Vec::new());
    let (mut head, mut facts) = request("GET", "/p");
    head.insert_header("x-secret", "s").unwrap();
    assert!(matches!(run(&policy(json!({})), &world, &mut head, &mut facts), Verdict::Continue));
    assert_eq!(head.headers.get("x-user").unwrap(), "me");
    assert!(!head.headers.contains_key("x-secret"));
    assert_eq!(head.uri.to_string(), "/p?a=1");
    assert_eq!(facts.response_changes.len(), 1);
    assert_eq!(facts.extauthz.unwrap().get("tier"), Some(&json!("gold")));
}

#[test]
fn a_denial_is_answered_as_the_server_says() {
    for (said, expected) in [(None, 403), (Some(401), 401), (Some(200), 200), (Some(100), 403), (Some(9999), 403)] {
        let headers = vec![change("www-authenticate", "Bearer"), change("content-length", "999"), change("x", "a\nb")];
        let denied = Denied { status: said, headers, body: Bytes::from_static(b"no"), ..Denied::default() };
        let world = World::new(vec![Ok(Checked::Denied(denied))], Vec::new());
        let (mut head, mut facts) = request("GET", "/");
        let Verdict::Reply(reply) = run(&policy(json!({})), &world, &mut head, &mut facts) else { panic!("allowed") };
        let names: Vec<_> = reply.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            (reply.status, reply.reason, names.as_slice()),
            (expected, Reason::ExtAuth, &["content-type", "www-authenticate"][..])
        );
    }
}

#[test]
fn a_failure_is_answered_by_the_failure_mode() {
    let garbage = Allowed { request: vec![change("x-user", "a\r\nb")], ..Allowed::default() };
    for (mode, expected) in [(json!("deny"), 403), (json!({"denyWithStatus": 503}), 503), (json!("allow"), 0)] {
        let policy = policy(json!({"failureMode": mode}));
        for said in [Err(Fault::Timeout(Duration::from_secs(2))), Ok(Checked::Allowed(garbage.clone()))] {
            let world = World::new(vec![said], Vec::new());
            let (mut head, mut facts) = request("GET", "/");
            let verdict = run(&policy, &world, &mut head, &mut facts);
            assert_eq!(status(&verdict), expected, "{mode}");
            assert!(facts.fault.unwrap().starts_with("extAuthz: "));
        }
    }
}

#[test]
fn a_body_is_cut_or_too_large() {
    let prefix = |bytes: &'static [u8], whole| {
        RequestBody::Held(HeldBody { bytes: Bytes::from_static(bytes), whole, ..HeldBody::default() })
    };
    for (partial, body, expected) in [
        (false, prefix(b"1234", true), "Some((4, false))"),
        (true, prefix(b"12345", true), "Some((4, true))"),
        (true, prefix(b"1234", false), "Some((4, true))"),
        (false, prefix(b"12345", false), "413"),
        (false, prefix(b"12345", true), "413"),
        (false, prefix(b"", true), "Some((0, false))"),
    ] {
        let body_options = json!({"maxRequestBytes": 4, "allowPartialMessage": partial});
        let world = World::new(vec![Ok(Checked::Allowed(Allowed::default()))], Vec::new());
        let (mut head, mut facts) = request("POST", "/");
        facts.body = body;
        let verdict = run(&policy(json!({"includeRequestBody": body_options})), &world, &mut head, &mut facts);
        let found = match status(&verdict) {
            0 => world.asked.lock()[0].clone(),
            status => status.to_string(),
        };
        assert!(found.contains(expected), "{found} lacks {expected}");
    }
}

#[test]
fn metadata_is_what_is_written_or_the_claims_of_the_token() {
    let world = World::new(vec![Ok(Checked::Allowed(Allowed::default())); 2], Vec::new());
    let (mut head, mut facts) = request("GET", "/p");
    let claims = json!({"sub": "me"}).as_object().unwrap().clone();
    let jwt = crate::identity::Jwt { claims, token: ir::Secret::new(*b"t"), issuer: "i".into() };
    facts.identity.jwt = Some(Arc::new(jwt));
    run(&policy(json!({})), &world, &mut head, &mut facts);
    let written = json!({"grpc": {"metadata": {"ns": "{'path': request.path}", "bad": "{'a': jwt.none}"}}});
    run(&policy(json!({"protocol": written})), &world, &mut head, &mut facts);
    let asked = world.asked.lock();
    assert!(asked[0].ends_with(r#"{"envoy.filters.http.jwt_authn":{"jwt_payload":{"sub":"me"}}}"#), "{asked:?}");
    assert!(asked[1].ends_with(r#"{"ns":{"path":"/p"}}"#), "{asked:?}");
}

#[test]
fn over_http_a_server_is_asked_and_its_answer_taken() {
    let http = json!({
        "includeResponseHeaders": ["x-user", "x-absent"],
        "addRequestHeaders": {"x-path": "request.path", "x-none": "request.headers['none']"},
        "metadata": {"user": "response.headers['x-user']", "none": "response.headers['none']"},
        "path": "'/check' + request.path",
        "redirect": "'https://login.example.com/?to=' + request.path",
    });
    let policy = policy(json!({"protocol": {"http": http}}));
    let answers = vec![
        answer(200, &[("x-user", "me"), ("x-other", "1")]),
        answer(401, &[("set-cookie", "s=1")]),
        answer(429, &[("retry-after", "7"), ("connection", "close")]),
        answer(500, &[]),
    ];
    let world = World::new(Vec::new(), answers);
    let (mut head, mut facts) = request("POST", "/p");
    head.insert_header("authorization", "Bearer t").unwrap();
    head.insert_header("x-absent", "forged").unwrap();
    assert_eq!(status(&run(&policy, &world, &mut head, &mut facts)), 0);
    assert_eq!(world.asked.lock()[0], "POST /check/p [authorization=Bearer t, x-path=/p] ");
    assert_eq!(head.headers.get("x-user").unwrap(), "me");
    assert!(!head.headers.contains_key("x-absent") && !head.headers.contains_key("x-other"));
    assert_eq!(Value::Object(*facts.extauthz.clone().unwrap()), json!({"user": "me"}));
    let Verdict::Reply(reply) = run(&policy, &world, &mut head, &mut facts) else { panic!("allowed") };
    assert_eq!((reply.status, reply.headers.len()), (302, 2));
    assert_eq!(reply.headers[0].1, "https://login.example.com/?to=/p");
    let Verdict::Reply(reply) = run(&policy, &world, &mut head, &mut facts) else { panic!("allowed") };
    assert_eq!((reply.status, reply.headers.len(), &*reply.body), (429, 1, &b"said"[..]));
    assert_eq!(status(&run(&policy, &world, &mut head, &mut facts)), 500, "an answer like any other");
}

#[test]
fn an_expression_that_fails_refuses_whatever_the_failure_mode() {
    for http in [json!({"path": "request.headers['none']"}), json!({"path": "'no slash'"}), json!({"body": "jwt.sub"})]
    {
        let policy = policy(json!({"failureMode": "allow", "protocol": {"http": http}}));
        let (mut head, mut facts) = request("GET", "/");
        let verdict = run(&policy, &World::new(Vec::new(), Vec::new()), &mut head, &mut facts);
        assert_eq!(status(&verdict), 403, "{http}");
    }
    let policy = policy(json!({"failureMode": "allow", "protocol": {"http": {}}}));
    let (mut head, mut facts) = request("GET", "/");
    let verdict = run(&policy, &World::new(Vec::new(), vec![answer(503, &[])]), &mut head, &mut facts);
    assert_eq!(status(&verdict), 0, "a server in trouble is a failure");
}

#[test]
fn answers_are_remembered_and_asked_for_again_by_one() {
    let cache = json!({"key": ["request.headers['x-user']"], "ttl": "duration('100s')", "maxEntries": 32});
    let policy = policy(json!({"cache": cache}));
    let allowed = || Ok(Checked::Allowed(Allowed::default()));
    let denied = || Ok(Checked::Denied(Denied::default()));
    let world = World::new(vec![allowed(), denied(), Err(Fault::Overflow), allowed(), allowed()], Vec::new());
    let ask = |user: Option<&'static str>| {
        let (mut head, mut facts) = request("GET", "/");
        if let Some(user) = user {
            head.insert_header("x-user", user).unwrap();
        }
        status(&run(&policy, &world, &mut head, &mut facts))
    };
    let asked = || world.asked.lock().len();
    assert_eq!((ask(Some("a")), ask(Some("a")), asked()), (0, 0, 1));
    assert_eq!((ask(Some("b")), ask(Some("b")), asked()), (403, 403, 2), "denials are remembered too");
    *world.now.lock() += Duration::from_secs(96);
    assert_eq!((ask(Some("a")), asked()), (0, 3), "one asks; its failure changes nothing");
    assert_eq!((ask(Some("a")), asked()), (0, 3), "the others do not");
    *world.now.lock() += Duration::from_secs(4);
    assert_eq!((ask(Some("a")), asked()), (0, 4), "the end");
    assert_eq!((ask(None), asked()), (0, 5), "no key, no memory");
}

#[test]
fn the_memory_is_bounded() {
    let cache = json!({"key": ["request.path"], "ttl": "duration('1h')", "maxEntries": 64});
    let policy = policy(json!({"cache": cache}));
    let large = Allowed { request: vec![change("x", &"y".repeat(9000))], ..Allowed::default() };
    let mut checks = vec![Ok(Checked::Allowed(large))];
    checks.extend(vec![Ok(Checked::Allowed(Allowed::default())); 1000]);
    let world = World::new(checks, Vec::new());
    for number in 0..1001 {
        let (mut head, mut facts) = request("GET", &format!("/{number}"));
        run(&policy, &world, &mut head, &mut facts);
        if number == 0 {
            assert_eq!(policy.cache.as_ref().unwrap().store.get(&policy).len(), 0, "too large to keep");
        }
    }
    let kept = policy.cache.as_ref().unwrap().store.get(&policy).len();
    assert!((32..=64).contains(&kept), "{kept}");
}

#[test]
fn an_unrelated_reload_forgets_nothing_and_a_changed_policy_everything() {
    let keep = crate::Keep::default();
    let key = ir::PolicyKey::new("p");
    let publish = |ttl: &str| {
        let policy = policy(json!({"cache": {"key": ["request.path"], "ttl": ttl}}));
        policy.bind(&key, &keep);
        policy
    };
    let world = World::new(vec![Ok(Checked::Allowed(Allowed::default())); 2], Vec::new());
    for (ttl, asked) in [("duration('1h')", 1), ("duration('1h')", 1), ("duration('2h')", 2)] {
        let (mut head, mut facts) = request("GET", "/");
        run(&publish(ttl), &world, &mut head, &mut facts);
        assert_eq!(world.asked.lock().len(), asked, "{ttl}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    refuses(
        [
            (json!({}), "policy: name the server to ask"),
            (json!({"host": "a:1", "failureMode": {"denyWithStatus": 200}}), "policy.failureMode.denyWithStatus: 200"),
            (json!({"host": "a:1", "includeRequestHeaders": ["a b"]}), "policy.includeRequestHeaders[0]: `a b`"),
            (json!({"host": "a:1", "includeRequestBody": {"maxRequestBytes": 99_999_999}}), "includeRequestBody.maxRe"),
            (
                json!({"host": "a:1", "protocol": {"http": {"includeResponseHeaders": ["content-length"]}}}),
                "policy.protocol.http.includeResponseHeaders[0]: `content-length` is never",
            ),
            (json!({"host": "a:1", "protocol": {"http": {"path": "request.pathh"}}}), "policy.protocol.http.path: "),
            (json!({"host": "a:1", "cache": {"key": [], "ttl": "1"}}), "policy.cache.key: at least one"),
            (json!({"host": "a:1", "cache": {"key": ["1"], "ttl": "1", "maxEntries": 0}}), "policy.cache.maxEntries"),
        ],
        Config::lower,
    );
}
