use serde_json::json;

use super::{Config, Policy};
use crate::exchange::Answer;
use crate::testing::{exchange, lower, problems, refuses, request};

fn run(policy: &Policy, path: &str) -> (pingora_http::RequestHeader, crate::Facts) {
    let (mut head, mut facts) = request("GET", path);
    head.append_header("x-old", "1").unwrap();
    policy.on_request(&mut exchange(&mut head, &mut facts));
    (head, facts)
}

#[test]
fn headers_are_added_then_set_then_removed() {
    let policy = lower(
        json!({"add": {"x-old": "2", "x-both": "a"}, "set": {"x-new": "n", "x-both": "s"}, "remove": ["x-new"]}),
        Config::lower_request,
    );
    let (head, facts) = run(&policy, "/");
    assert_eq!(head.headers.get_all("x-old").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(head.headers.get_all("x-both").iter().collect::<Vec<_>>(), ["s"]);
    assert!(!head.headers.contains_key("x-new"), "removed after it was set");
    assert_eq!(facts.upstream_host, None);
}

#[test]
fn a_host_that_is_set_goes_upstream_and_into_the_head() {
    for name in ["Host", ":authority"] {
        let policy = lower(json!({"set": {name: "b.internal:81"}}), Config::lower_request);
        let (head, facts) = run(&policy, "/");
        assert_eq!(facts.upstream_host.unwrap(), "b.internal:81", "{name}");
        assert_eq!(head.headers.get_all("host").iter().collect::<Vec<_>>(), ["b.internal:81"], "{name}");
    }
}

#[test]
fn method_and_path_can_be_set_on_requests() {
    let policy = lower(json!({"set": {":method": "POST", ":path": "/b?x=1"}}), Config::lower_request);
    let (head, _) = run(&policy, "/a?q");
    assert_eq!((head.method.as_str(), head.raw_path()), ("POST", b"/b?x=1".as_slice()));
}

#[test]
fn responses_are_changed_the_same_way() {
    let config = json!({"add": {"x-a": "1"}, "set": {"server": "gw"}, "remove": ["x-powered-by"]});
    let policy = lower(config, Config::lower_response);
    let mut response = pingora_http::ResponseHeader::build(200, None).unwrap();
    response.append_header("server", "nginx").unwrap();
    response.append_header("x-powered-by", "php").unwrap();
    let (head, mut facts) = request("GET", "/");
    policy.on_response(&mut Answer { response: &mut response, request: &head, facts: &mut facts, body: None });
    assert_eq!(response.headers["server"], "gw");
    assert_eq!(response.headers["x-a"], "1");
    assert!(!response.headers.contains_key("x-powered-by"));
}

#[test]
fn what_frames_a_message_or_is_no_header_is_refused_at_its_place() {
    refuses(
        [
            (json!({"set": {"content-length": "3"}}), "policy.set.content-length: `content-length` frames"),
            (json!({"remove": ["x", "Transfer-Encoding"]}), "policy.remove[1]: `Transfer-Encoding` frames"),
            (json!({"add": {"x": "a\r\nb: c"}}), "policy.add.x: a header value holds no line break"),
            (json!({"add": {"a b": "c"}}), "is not a header name"),
            (json!({"add": {"host": "x"}}), "exactly one `host`"),
            (json!({"remove": ["Host"]}), "exactly one `Host`"),
            (json!({"set": {":path": "x"}}), "is not a path"),
            (json!({"set": {":scheme": "x"}}), "writes it itself"),
            (json!({"set": {"host": "a b"}}), "is not an authority"),
            (json!({"set": {"host": "a", ":authority": "b"}}), "are the same: write one"),
            (json!({"set": {"X-A": "1", "x-a": "2"}}), "here twice"),
        ],
        Config::lower_request,
    );
    refuses([(json!({"set": {":path": "/x"}}), "cannot be set on a response")], Config::lower_response);
    let all = problems(json!({"add": {"te": "x", "a b": "c"}, "remove": [""]}), Config::lower_request);
    assert_eq!(all.len(), 3, "all problems at once: {all:?}");
}
