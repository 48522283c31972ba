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
fn expressions_and_impossible_answers_are_refused() {
    refuses(
        [
            (
                json!({"status": 200, "headers": {"x": "request.path"}}),
                "policy.headers.x: expressions are not supported",
            ),
            (json!({"status": 200, "headers": {"x": "plain"}}), "write a quoted literal"),
            (json!({"status": 200, "bodyExpression": "'x'"}), "policy.bodyExpression: expressions are not"),
            (json!({"status": 204, "body": "x"}), "policy.body: an answer with status 204 has no body"),
            (json!({"status": 101}), "policy.status: 101 cannot be answered"),
            (json!({"status": 200, "headers": {"x": "'a\\nb'"}}), "holds no line break"),
        ],
        Config::lower,
    );
}
