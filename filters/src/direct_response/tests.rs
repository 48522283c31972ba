use serde_json::json;

use super::Config;
use crate::testing::{exchange, lower, refuses, request};
use crate::{Reason, Verdict};

fn reply(config: serde_json::Value) -> crate::Reply {
    let (mut head, mut facts) = request("GET", "/");
    match lower(config, Config::lower).on_request(&mut exchange(&mut head, &mut facts)) {
        Verdict::Reply(reply) => reply,
        Verdict::Continue => panic!("a direct response answers"),
    }
}

#[test]
fn status_body_and_headers_are_as_written() {
    let reply = reply(json!({
        "status": 503, "body": "closed",
        "headers": {"retry-after": "\"60\"", "content-type": "'text/html'"},
    }));
    assert_eq!((reply.status, &*reply.body, reply.reason), (503, b"closed".as_slice(), Reason::DirectResponse));
    let headers: Vec<_> = reply.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    assert_eq!(headers, [("content-type", "text/html"), ("retry-after", "60")]);
}

#[test]
fn a_body_without_content_type_is_plain_text_and_no_body_has_none() {
    let (name, value) = reply(json!({"status": 200, "body": "x"})).headers.remove(0);
    assert_eq!((name.as_str(), value.to_str().unwrap()), ("content-type", "text/plain; charset=utf-8"));
    assert!(reply(json!({"status": 204})).headers.is_empty());
}

#[test]
fn what_cannot_be_answered_is_refused() {
    refuses(
        [
            (json!({"status": 200, "headers": {"x": "plain"}}), "policy.headers.x: "),
            (json!({"status": 200, "headers": {"x": "[1]"}}), "this constant cannot be the value of a header"),
            (json!({"status": 200, "headers": {"x": "response.code"}}), "policy.headers.x: "),
            (json!({"status": 200, "body": "x", "bodyExpression": "'x'"}), "policy.bodyExpression: there is one body"),
            (json!({"status": 200, "bodyExpression": "request.pth"}), "policy.bodyExpression: "),
            (json!({"status": 204, "bodyExpression": "'x'"}), "policy.body: an answer with status 204 has no body"),
            (json!({"status": 204, "body": "x"}), "policy.body: an answer with status 204 has no body"),
            (json!({"status": 101}), "policy.status: 101 cannot be answered"),
            (json!({"status": 200, "headers": {"x": "'a\\nb'"}}), "this constant cannot be the value of a header"),
        ],
        Config::lower,
    );
}

#[test]
fn expressions_are_computed_for_each_request() {
    let found = |body: &str, extra: serde_json::Value| {
        let mut config = json!({"status": 200, "bodyExpression": body});
        config["headers"] = extra;
        let reply = reply(config);
        let headers = reply.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
        (reply.status, String::from_utf8(reply.body.to_vec()).unwrap(), headers.collect::<Vec<_>>().join(", "))
    };
    let text = |it: &str| it.to_owned();
    assert_eq!(
        found("request.host", json!({"x-m": "request.method", "x-gone": "request.headers['absent']"})),
        (200, text("api.example.com"), text("x-m: GET, content-type: text/plain; charset=utf-8")),
    );
    assert_eq!(
        found("{'a': [1, true]}", json!({})),
        (200, text("{\"a\":[1,true]}"), text("content-type: application/json"))
    );
    assert_eq!(
        found("b'x'", json!({"Content-Type": "'text/' + 'html'"})),
        (200, text("x"), text("content-type: text/html"))
    );
    let (status, body, _) = found("request.headers['absent']", json!({}));
    assert_eq!((status, body.as_str()), (500, "the answer could not be made\n"));
    let bomb = "'x'.replace('x', 'xxxxxxxxxxxxxxxx').replace('x', 'xxxxxxxxxxxxxxxx').replace('x', 'xxxxxxxxxxxxxxxx')\
                .replace('x', 'xxxxxxxxxxxxxxxx').replace('x', request.method + 'xxxxxxxxxxxxxxxxx')";
    assert_eq!(found(bomb, json!({})).0, 500, "more than an answer may hold");
}

#[test]
fn a_value_that_would_write_a_second_header_is_left_out() {
    let (mut head, mut facts) = request("GET", "/");
    head.insert_header("x-in", "a%0d%0aset-cookie: b").unwrap();
    let config = json!({"status": 200, "headers": {"x-out": "url.decode(request.headers['x-in'])", "x-ok": "'1'"}});
    let policy = lower(config, Config::lower);
    let Verdict::Reply(reply) = policy.on_request(&mut exchange(&mut head, &mut facts)) else { panic!("it answers") };
    let names: Vec<_> = reply.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["x-ok"]);
}
