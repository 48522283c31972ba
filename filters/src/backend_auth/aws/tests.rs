use pingora_http::RequestHeader;
use serde_json::{Value, json};

use super::super::{Config, Policy};
use super::*;
use crate::outside::still::Still;
use crate::testing::{lower, refuses, request};
use crate::{HeldBody, RequestBody};

/// The moment of the published suite.
const THEN: Duration = Duration::from_secs(1_440_938_160);

fn policy(more: Value) -> Policy {
    let mut aws = json!({"accessKeyId": "AKIDEXAMPLE", "secretAccessKey": "hunter2", "region": "eu-west-1"});
    for (key, value) in more.as_object().unwrap() {
        aws[key] = value.clone();
    }
    lower(json!({ "aws": aws }), Config::lower)
}

/// Signs a request to such a host.
fn sign(policy: &Policy, (target, host): (&str, &str), body: Payload<'_>) -> Result<RequestHeader, String> {
    let (mut head, facts) = request("POST", target);
    head.insert_header("host", host).unwrap();
    head.insert_header("content-type", "application/json").unwrap();
    for name in ["authorization", "x-amz-security-token", "x_amz_date", "x-amz-content-sha256"] {
        head.insert_header(name, "the client's").unwrap();
    }
    policy.on_attempt(Outgoing { head: &mut head, body, facts: &facts, outside: &Still(THEN) })?;
    Ok(head)
}

fn header<'a>(head: &'a RequestHeader, name: &str) -> &'a str {
    head.headers.get(name).map_or("", |it| it.to_str().unwrap())
}

#[test]
fn the_whole_message_is_signed_in_place_of_what_the_client_sent() {
    let policy = policy(json!({"sessionToken": "t/0"}));
    let at = ("/model/a.b:0/invoke?x=a+b&x=%7e", "bedrock-runtime.us-west-2.amazonaws.com:443");
    let head = sign(&policy, at, Payload::Whole(b"{}")).unwrap();
    let value = header(&head, "authorization");
    assert!(value.starts_with(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/eu-west-1/bedrock/aws4_request, \
         SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature="
    ));
    assert_eq!(head.uri.to_string(), "/model/a.b%3A0/invoke?x=a%20b&x=~", "sent as it is signed");
    assert_eq!(header(&head, "x-amz-date"), "20150830T123600Z");
    assert_eq!(header(&head, "x-amz-security-token"), "t/0");
    assert_eq!(header(&head, "content-length"), "2");
    assert!(!head.headers.contains_key("x_amz_date") && !head.headers.contains_key("x-amz-content-sha256"));
    assert!(head.headers["authorization"].is_sensitive() && head.headers["x-amz-security-token"].is_sensitive());
    // Everything that is signed changes it.
    for (at, body) in [
        (("/model/a.b:1/invoke?x=a+b&x=%7e", at.1), &b"{}"[..]),
        (("/model/a.b:0/invoke?x=a+b", at.1), b"{}"),
        ((at.0, "bedrock-runtime.us-west-2.amazonaws.com"), b"{}"),
        (at, b"{ }"),
    ] {
        let other = sign(&policy, at, Payload::Whole(body)).unwrap();
        assert_ne!(header(&other, "authorization"), value, "{at:?}");
    }
    assert_eq!(header(&sign(&policy, at, Payload::Whole(b"{}")).unwrap(), "authorization"), value);
}

#[test]
fn to_s3_a_body_may_stream_and_to_others_it_is_read_first() {
    let s3 = policy(json!({"serviceName": "s3"}));
    assert_eq!((s3.wants(), policy(json!({})).wants()), (Wanted::Nothing, Wanted::Whole));
    let head = sign(&s3, ("/a//b%2Fc/../d", "h"), Payload::Streams).unwrap();
    assert_eq!(header(&head, "x-amz-content-sha256"), "UNSIGNED-PAYLOAD");
    assert_eq!(head.uri.path(), "/a//b%2Fc/../d");
    assert!(header(&head, "authorization").contains("host;x-amz-content-sha256;x-amz-date"));
    let whole = sign(&s3, ("/", "h"), Payload::Whole(b"")).unwrap();
    assert_eq!(header(&whole, "x-amz-content-sha256").len(), 64);
    let refused = sign(&policy(json!({"serviceName": "lambda"})), ("/", "h"), Payload::Streams);
    assert!(refused.unwrap_err().contains("the body streams"));
    let held = |whole| RequestBody::Held(HeldBody { whole, ..HeldBody::default() });
    assert!(matches!(Payload::of(&held(true)), Payload::Whole(b"")));
    for body in [held(false), RequestBody::Unread, RequestBody::Streams] {
        assert!(matches!(Payload::of(&body), Payload::Streams));
    }
}

#[test]
fn service_and_region_are_those_of_the_host_name_unless_written() {
    let by_name: Policy = lower(json!({"aws": {"accessKeyId": "a", "secretAccessKey": "b"}}), Config::lower);
    for (host, scope) in [
        ("bedrock-runtime.us-east-1.amazonaws.com", Some("us-east-1/bedrock/")),
        ("Bedrock-Runtime.us-east-1.amazonaws.com:443", Some("us-east-1/bedrock/")),
        ("x1.execute-api.eu-central-1.amazonaws.com", Some("eu-central-1/execute-api/")),
        ("lambda.cn-north-1.amazonaws.com.cn", Some("cn-north-1/lambda/")),
        ("amazonaws.com", None),
        ("us-east-1.amazonaws.com", None),
        ("bedrock-runtime.us-east-1.amazonaws.com.evil.test", None),
        ("127.0.0.1:80", None),
    ] {
        match (sign(&by_name, ("/", host), Payload::Whole(b"")), scope) {
            (Ok(head), Some(scope)) => assert!(header(&head, "authorization").contains(scope), "{host}"),
            (Err(why), None) => assert!(why.contains("write `serviceName`"), "{host}: {why}"),
            (other, _) => panic!("{host}: {other:?}"),
        }
    }
    let written = policy(json!({"serviceName": "bedrock"}));
    let head = sign(&written, ("/", "proxy.internal"), Payload::Whole(b"")).unwrap();
    assert!(header(&head, "authorization").contains("eu-west-1/bedrock/"));
}

#[test]
fn the_environment_of_the_process_says_who_signs_where_nothing_else_does() {
    let of = |pairs: &[(&str, &str)]| {
        let pairs: Vec<(String, String)> = pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        Ambient::of(move |name| pairs.iter().find(|it| it.0 == name).map(|it| it.1.clone()))
    };
    let none = of(&[("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", ""), ("AWS_DEFAULT_REGION", "no region")]);
    assert!(none.keys.is_none() && none.region.is_none());
    let all = of(&[
        ("AWS_ACCESS_KEY_ID", "a"),
        ("AWS_SECRET_ACCESS_KEY", "b"),
        ("AWS_SESSION_TOKEN", "c"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_DEFAULT_REGION", "us-east-2"),
    ]);
    let keys = all.keys.unwrap();
    assert_eq!(
        (keys.id.expose(), keys.secret.expose(), keys.token.unwrap().expose()),
        (&b"a"[..], &b"b"[..], &b"c"[..])
    );
    assert_eq!(all.region.as_deref(), Some("us-east-1"));
    // The process of the tests was given none.
    let policy: Policy = lower(json!({"aws": {"region": "us-east-1", "serviceName": "bedrock"}}), Config::lower);
    let refused = sign(&policy, ("/", "h"), Payload::Whole(b"")).unwrap_err();
    assert!(refused.contains("AWS_SECRET_ACCESS_KEY"), "{refused}");
}

#[test]
fn further_credentials_are_written_before_all_is_signed() {
    let further = json!([{"location": {"header": {"name": "x-amz-key"}}, "key": "k2"}]);
    let aws = json!({"accessKeyId": "a", "secretAccessKey": "b", "region": "r", "serviceName": "s"});
    let policy: Policy = lower(json!({"aws": aws, "credentials": further}), Config::lower);
    let head = sign(&policy, ("/", "h"), Payload::Whole(b"")).unwrap();
    assert!(header(&head, "authorization").contains("x-amz-date;x-amz-key,"), "{head:?}");
}

#[test]
fn what_cannot_sign_is_refused_and_nothing_secret_is_shown() {
    refuses(
        [
            (json!({"aws": {"accessKeyId": "a"}}), "policy.aws.secretAccessKey: missing"),
            (json!({"aws": {"secretAccessKey": "a"}}), "policy.aws.accessKeyId: missing"),
            (json!({"aws": {"sessionToken": "a"}}), "policy.aws.accessKeyId: missing"),
            (json!({"aws": {"accessKeyId": "a b", "secretAccessKey": "c"}}), "policy.aws.accessKeyId: 1 to"),
            (json!({"aws": {"accessKeyId": "a", "secretAccessKey": ""}}), "policy.aws.secretAccessKey: 1 to"),
            (
                json!({"aws": {"accessKeyId": "a", "secretAccessKey": {"file": "absent"}}}),
                "policy.aws.secretAccessKey.file: cannot read",
            ),
            (json!({"aws": {"region": "US East"}}), "policy.aws.region: 1 to"),
            (json!({"aws": {"serviceName": "a/b"}}), "policy.aws.serviceName: 1 to"),
            (json!({"aws": {"assumeRole": {"roleArn": "a"}}}), "policy.aws.assumeRole: not supported"),
            (json!({"key": "k", "aws": {}}), "policy.aws: there is one primary"),
            (
                json!({"aws": {}, "credentials": [{"location": {"header": {"name": "authorization"}}, "key": "k"}]}),
                "policy.credentials: two credentials at one place",
            ),
        ],
        Config::lower,
    );
    let policy = policy(json!({"sessionToken": "canary"}));
    sign(&policy, ("/", "lambda.us-east-1.amazonaws.com"), Payload::Whole(b"")).unwrap();
    let shown = format!("{policy:?} {}", serde_json::to_string(&policy).unwrap());
    assert!(!shown.contains("hunter2") && !shown.contains("canary") && !shown.contains("AKID"), "{shown}");
    assert!(shown.contains("***") && shown.contains("eu-west-1"), "{shown}");
}
