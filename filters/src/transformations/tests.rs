use bytes::Bytes;
use pingora_http::{RequestHeader, ResponseHeader};
use serde_json::{Value, json};

use super::{Config, Policy};
use crate::exchange::Answer;
use crate::testing::{exchange, lower, refuses, request};
use crate::{Facts, HeldBody, RequestBody, Verdict, Wanted};

const BODY: &str = r#"{"a": 1}"#;

fn policy(request: Value) -> Policy {
    lower(json!({ "request": request }), Config::lower)
}

/// A request with a body of [`BODY`], after the policy; the verdict's status where it was refused.
fn run(policy: &Policy, target: &str, headers: &[(&'static str, &str)]) -> (RequestHeader, Facts, Option<u16>) {
    let (mut head, mut facts) = request("POST", target);
    for (name, value) in headers {
        head.append_header(*name, *value).unwrap();
    }
    facts.body =
        RequestBody::Held(HeldBody { bytes: Bytes::from_static(BODY.as_bytes()), whole: true, ..HeldBody::default() });
    let verdict = policy.on_request(&mut exchange(&mut head, &mut facts));
    let status = match verdict {
        Verdict::Continue => None,
        Verdict::Reply(reply) => Some(reply.status),
    };
    (head, facts, status)
}

fn all(head: &http::HeaderMap) -> Vec<String> {
    head.iter()
        .filter(|it| it.0 != "host")
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect()
}

#[test]
fn headers_change_in_their_order_and_every_expression_sees_the_request_as_it_came() {
    let policy = policy(json!({
        "metadata": {"who": "request.headers['x-a'].upperAscii()"},
        "add": {"x-a": "'2'", "x-n": "1 + 1", "x-t": "true"},
        "set": {"x-b": "request.headers['x-a']", "X-C": "metadata.who", "x-gone": "'z'"},
        "remove": ["x-gone"],
    }));
    let (head, facts, status) = run(&policy, "/", &[("x-a", "one"), ("x-b", "old")]);
    assert_eq!(status, None);
    assert_eq!(all(&head.headers), ["x-a: one", "x-a: 2", "x-b: one", "x-n: 2", "x-t: true", "x-c: ONE"]);
    assert_eq!(facts.metadata.unwrap()["who"], "ONE");
}

#[test]
fn a_map_replaces_all_headers_but_what_makes_the_message() {
    let policy = policy(json!({
        "replace": "request.headers.filterKeys(k, k != 'x-secret').merge({'x-n': 1, 'x-l': ['a', 'b'], 'content-length': '9'})",
        "set": {"x-after": "request.headers['x-secret']"},
    }));
    let (head, _, status) = run(&policy, "/", &[("x-a", "1"), ("x-secret", "s"), ("content-length", "8")]);
    assert_eq!(status, None);
    let mut left = all(&head.headers);
    left.sort();
    assert_eq!(left, ["content-length: 8", "x-a: 1", "x-after: s", "x-l: a", "x-l: b", "x-n: 1"]);
    assert_eq!(head.headers["host"], "api.example.com:3000");
    for failing in ["request.headers['absent']", "1", "{'a b': 'c'}", "{'a': {'b': 1}}", "{'a': 'b\\r\\nc: d'}"] {
        let policy = self::policy(json!({ "replace": failing }));
        let (head, facts, status) = run(&policy, "/", &[("x-a", "1")]);
        assert_eq!(status, Some(500), "{failing}");
        assert_eq!(all(&head.headers), ["x-a: 1"], "{failing}: nothing is half done");
        assert!(facts.fault.unwrap().starts_with("`replace`: "), "{failing}");
    }
}

#[test]
fn a_failing_value_takes_what_it_would_set_away_and_adds_nothing() {
    let absent = "request.headers['absent']";
    let policy = policy(json!({
        "metadata": {"m": absent}, "add": {"x-a": absent}, "set": {"x-b": absent, ":path": absent, ":method": "'no ' + request.method"},
    }));
    let (head, facts, status) = run(&policy, "/p", &[("x-a", "1"), ("x-b", "1")]);
    assert_eq!(status, None);
    assert_eq!((all(&head.headers), head.uri.path(), head.method.as_str()), (vec!["x-a: 1".into()], "/p", "POST"));
    assert!(facts.metadata.is_none_or(|it| it.is_empty()));
}

#[test]
fn no_value_writes_a_second_header() {
    let policy = policy(json!({"set": {
        "x-a": "url.decode(request.headers['x-in'])", "host": "url.decode(request.headers['x-in'])",
        ":path": "'/' + url.decode(request.headers['x-in'])",
    }}));
    for evil in ["a%0d%0ax-evil: 1", "a%0ab", "a%00b", "a%0db"] {
        let (head, facts, status) = run(&policy, "/p", &[("x-in", evil), ("x-a", "old")]);
        assert_eq!(status, None);
        assert_eq!(all(&head.headers), [format!("x-in: {evil}")], "{evil}");
        assert_eq!((head.uri.path(), facts.upstream_host), ("/p", None), "{evil}");
    }
}

#[test]
fn method_path_and_host_are_parts_like_headers() {
    let policy = policy(json!({"set": {
        ":method": "'PUT'", ":path": "request.path + '/../v2/' + request.headers['x'] + '?' + 'q=1'",
        ":authority": "request.headers['x'] + '.internal:81'",
    }}));
    let (head, facts, _) = run(&policy, "/a?old", &[("x", "b")]);
    assert_eq!((head.method.as_str(), head.raw_path()), ("PUT", b"/v2/b?q=1".as_slice()));
    assert_eq!(head.headers.get_all("host").iter().collect::<Vec<_>>(), ["b.internal:81"]);
    assert_eq!((facts.upstream_host.unwrap().to_str().unwrap(), facts.host.as_str()), ("b.internal:81", "b.internal"));
    // A path that climbs out of the root is none.
    let policy = self::policy(
        json!({"set": {":path": "'/../../x' + request.headers['x']", ":method": "'HEAD' + request.headers['e']"}}),
    );
    let (head, _, _) = run(&policy, "/a", &[("x", "b"), ("e", "")]);
    assert_eq!(head.method.as_str(), "POST", "HEAD frames the response");
    assert!(!head.uri.path().contains(".."), "{}", head.uri);
}

#[test]
fn a_body_is_replaced_with_its_length_and_what_described_the_old_one() {
    let policy = policy(json!({"body": "{'was': json(request.body), 'from': metadata.m}", "metadata": {"m": "'x'"}}));
    assert_eq!(policy.wants(), Wanted::Whole);
    let sent = [("content-encoding", "gzip"), ("transfer-encoding", "chunked"), ("etag", "1"), ("content-type", "a/b")];
    let (head, facts, status) = run(&policy, "/", &sent);
    assert_eq!(status, None);
    let held = facts.body.held().unwrap();
    assert_eq!(&held.bytes[..], br#"{"was":{"a":1},"from":"x"}"#);
    assert!(held.replaced);
    assert_eq!(all(&head.headers), ["content-type: a/b", "content-length: 26"]);
    // The same bytes are no new body.
    let (head, facts, _) = run(&self::policy(json!({"body": "request.body"})), "/", &sent);
    assert!(!facts.body.held().unwrap().replaced);
    assert_eq!(head.headers["content-encoding"], "gzip");
}

#[test]
fn a_body_that_fails_refuses_the_request_and_empties_nothing() {
    let bomb = "'x'.replace('x', 'xxxxxxxxxxxxxxxx').replace('x', 'xxxxxxxxxxxxxxxx').replace('x', 'xxxxxxxxxxxxxxxx')\
                .replace('x', 'xxxxxxxxxxxxxxxx').replace('x', 'xxxxxxxxxxxxxxxx').replace('x', 'xxxxxxxxxxxxxxxx')\
                .replace('x', request.method + 'xxxxxxxxxxxxxxxx')";
    let wide = "json(request.body).map(k, k + request.method).map(a, [1,2,3,4,5,6,7,8,9].map(b, [1,2,3,4,5,6,7,8,9]\
                .map(c, [1,2,3,4,5,6,7,8,9].map(d, [1,2,3,4,5,6,7,8,9].map(e, [1,2,3,4,5,6,7,8,9].map(f, [1,2,3,4,5,6,7,8,9].map(g, g)))))))";
    for failing in ["json(request.body).b", "request.headers['absent']", bomb, wide] {
        let (head, facts, status) = run(&policy(json!({ "body": failing })), "/", &[]);
        assert_eq!(status, Some(500), "{failing}");
        assert_eq!(
            (&facts.body.held().unwrap().bytes[..], head.headers.get("content-length")),
            (BODY.as_bytes(), None)
        );
        assert!(facts.fault.unwrap().starts_with("`body`: "), "{failing}");
    }
}

#[test]
fn what_streams_has_no_body_to_set_and_an_upgrade_none_at_all() {
    let policy = policy(json!({"body": "'x'", "set": {"x-a": "string(request.body)"}}));
    let (mut head, mut facts) = request("POST", "/");
    facts.body = RequestBody::Streams;
    assert!(matches!(policy.on_request(&mut exchange(&mut head, &mut facts)), Verdict::Reply(it) if it.status == 500));
    head.insert_header("upgrade", "websocket").unwrap();
    assert!(matches!(policy.on_request(&mut exchange(&mut head, &mut facts)), Verdict::Continue));
    assert!(!head.headers.contains_key("x-a"));
}

#[test]
fn an_attempt_changes_its_own_head_only() {
    let policy = policy(json!({"set": {"x-a": "request.host", "host": "'b.internal'"}, "body": "'new'"}));
    let (mut head, mut facts) = request("POST", "/");
    facts.body = RequestBody::Held(HeldBody { bytes: Bytes::from_static(b"old"), whole: true, ..HeldBody::default() });
    assert!(matches!(policy.on_attempt(&mut exchange(&mut head, &mut facts)), Verdict::Continue));
    assert_eq!(
        (&head.headers["host"], &head.headers["x-a"]),
        (&"b.internal".parse().unwrap(), &"api.example.com".parse().unwrap())
    );
    assert_eq!((facts.host.as_str(), &facts.body.held().unwrap().bytes[..]), ("api.example.com", &b"old"[..]));
    assert!(matches!(policy.on_body(&mut exchange(&mut head, &mut facts)), Verdict::Continue));
    assert_eq!(&facts.body.held().unwrap().bytes[..], b"new");
}

fn answer(config: Value, status: u16, body: Option<&'static str>) -> (ResponseHeader, Option<Bytes>, Option<u16>) {
    let policy: Policy = lower(json!({ "response": config }), Config::lower);
    let (mut head, mut facts) = request("GET", "/p");
    head.insert_header("x-in", "in").unwrap();
    facts.metadata = Some(Box::new([("m".to_owned(), json!("of the request"))].into_iter().collect()));
    let mut response = ResponseHeader::build(status, None).unwrap();
    response.append_header("x-old", "old").unwrap();
    response.append_header("content-encoding", "gzip").unwrap();
    let mut body = body.map(Bytes::from);
    let mut answer = Answer { response: &mut response, request: &head, facts: &mut facts, body: body.as_mut() };
    let refused = policy.on_response(&mut answer).err().map(|it| it.status);
    (response, body, refused)
}

#[test]
fn responses_see_their_request_and_what_was_carried_along() {
    let config = json!({
        "set": {"x-p": "request.path + request.headers['x-in']", "x-m": "metadata.m", ":status": "response.code + 1"},
        "remove": ["x-old"],
        "body": "string(response.body) + '!'",
    });
    let (head, body, refused) = answer(config.clone(), 200, Some("hello"));
    assert_eq!((refused, body.as_deref(), head.status.as_u16()), (None, Some(&b"hello!"[..]), 201));
    assert_eq!(all(&head.headers), ["x-p: /pin", "x-m: of the request", "content-length: 6"]);
    // A head whose body is not held: everything else is done.
    let (head, body, refused) = answer(config, 200, None);
    assert_eq!((refused, body, head.status.as_u16()), (None, None, 201));
    assert_eq!(head.headers["content-encoding"], "gzip");
}

#[test]
fn a_response_that_cannot_be_transformed_is_refused_and_statuses_keep_their_framing() {
    let (_, body, refused) = answer(json!({"body": "json(response.body).x"}), 200, Some("not json"));
    assert_eq!((refused, body.as_deref()), (Some(502), Some(&b"not json"[..])));
    let status = |from, to: &str| answer(json!({"set": {":status": to}}), from, None).0.status.as_u16();
    assert_eq!(status(204, "200 + int(request.headers['absent'])"), 204);
    assert_eq!(status(204, "response.code - 4"), 204, "it has no body");
    assert_eq!(status(200, "response.code + 4"), 200, "it has one");
    assert_eq!(status(200, "response.code - 100"), 200);
    assert_eq!(status(200, "'418'"), 418);
}

#[test]
fn what_can_never_be_written_is_refused_at_its_place() {
    let request = |it: Value| json!({ "request": it });
    refuses(
        [
            (json!({}), "policy: write `request`, `response` or both"),
            (
                request(json!({"set": {"content-length": "'3'"}})),
                "policy.request.set.content-length: `content-length` frames",
            ),
            (request(json!({"set": {":scheme": "'http'"}})), "policy.request.set.:scheme: `:scheme` follows"),
            (request(json!({"set": {":status": "200"}})), "cannot be set on a request"),
            (json!({"response": {"set": {":path": "'/'"}}}), "cannot be set on a response"),
            (json!({"response": {"set": {":status": "204"}}}), "this constant cannot be a `:status`"),
            (request(json!({"add": {"host": "'a'"}})), "exactly one `host`"),
            (request(json!({"remove": [":path"]})), "policy.request.remove[0]: a message has exactly one"),
            (request(json!({"set": {"x": "'a\\nb'"}})), "this constant cannot be the value"),
            (request(json!({"set": {":method": "'HEAD'"}})), "this constant cannot be a `:method`"),
            (request(json!({"set": {"X-a": "'1'", "x-a": "'2'"}})), "here twice"),
            (request(json!({"set": {"x": "response.code"}})), "policy.request.set.x: "),
            (request(json!({"body": "request.bdy"})), "policy.request.body: "),
            (request(json!({"metadata": {"a b": "'1'"}})), "policy.request.metadata.a b: a name is of"),
            (request(json!({"set": {"host": "'a'", ":authority": "'b'"}})), "are the same: write one"),
        ],
        Config::lower,
    );
}

#[test]
fn nothing_is_read_that_nobody_asks_for() {
    let wants = |it: Value| policy(it).wants();
    assert_eq!(wants(json!({"set": {"x": "request.path"}})), Wanted::Nothing);
    assert_eq!(wants(json!({"set": {"x": "string(request.body)"}})), Wanted::Whole);
    assert_eq!(wants(json!({"set": {"x": "string(request.bodyPrefix)"}})), Wanted::Prefix);
    assert_eq!(wants(json!({"body": "'x'"})), Wanted::Whole);
    let response = |it: Value| lower::<Config, Policy>(json!({ "response": it }), Config::lower).wants_response_body();
    assert!(
        response(json!({"set": {"x": "size(response.body)"}})) && !response(json!({"set": {"x": "response.code"}}))
    );
}

#[test]
fn credentials_in_constants_are_shown_nowhere() {
    let policy = policy(
        json!({"set": {"authorization": "'Bearer canary'", "x-ok": "'seen'"}, "add": {"x-api-key": "'canary'"}}),
    );
    let shown = format!("{policy:?} {}", serde_json::to_string(&policy).unwrap());
    assert!(!shown.contains("canary") && shown.contains("seen") && shown.contains("***"), "{shown}");
    let (head, ..) = run(&policy, "/", &[]);
    assert!(head.headers["authorization"].is_sensitive());
}
