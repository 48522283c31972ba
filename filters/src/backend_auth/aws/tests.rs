use pingora_http::RequestHeader;
use serde_json::{Value, json};

use super::super::{Config, Policy};
use super::*;
use crate::outside::still::Still;
use crate::testing::{lower, refuses, request};
use crate::{HeldBody, RequestBody};

const ROLE: &str = "arn:aws:iam::123456789012:role/r";

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
}

/// The policy in force.
fn bound(aws: Value) -> (Policy, Arc<Sessions>) {
    let keep = Keep::default();
    let policy = lower(json!({ "aws": aws }), Config::lower);
    policy.bind(&keep);
    let sessions = keep.all_shared::<Sessions>().pop().expect("sessions");
    (policy, sessions)
}

fn lent(token: &'static str) -> Arc<Lent> {
    let secret = |it: &'static str| Secret::new(it.as_bytes());
    let keys = Keys::new(secret("ASIAEXAMPLE"), secret("hunter2"), Some(secret(token))).unwrap();
    Arc::new(Lent::new(keys, Some("ap-south-1".into())))
}

#[test]
fn what_the_process_is_lent_signs_where_nothing_is_written() {
    // The process of the tests has none in its environment.
    let (policy, sessions) = bound(json!({"serviceName": "bedrock"}));
    let at = ("/", "proxy.internal");
    let refused = |policy| sign(policy, at, Payload::Whole(b"")).unwrap_err();
    assert_eq!(refused(&policy), "there is no credential of AWS yet");
    assert_eq!(sessions.fresh().due(THEN, 99), [Who::Process]);
    sessions.fresh().fail(&Who::Process, "nobody has one".to_owned(), THEN);
    assert_eq!(refused(&policy), "there is no credential of AWS: nobody has one");
    let life = Some(Duration::from_secs(900));
    sessions.fresh().accept(&Who::Process, lent("t0"), life, THEN);
    let head = sign(&policy, at, Payload::Whole(b"")).unwrap();
    assert_eq!(header(&head, "x-amz-security-token"), "t0");
    let value = header(&head, "authorization");
    assert!(value.contains("Credential=ASIAEXAMPLE/20150830/ap-south-1/bedrock/"), "where the process is: {value}");
    let later = THEN + Duration::from_secs(675);
    assert_eq!(
        (sessions.fresh().next(), sessions.fresh().due(later, 99).len()),
        (Some(later), 1),
        "renewed before its end"
    );
}

#[test]
fn a_role_has_a_session_for_each_name_and_tags() {
    let role = json!({
        "roleArn": "arn:aws:iam::123456789012:role/agents",
        "sessionName": {"expression": "request.headers['x-user']"},
        "tags": [{"key": "team", "value": "red"}, {"key": "who", "expression": "request.headers['x-user'] + '/1'"}],
    });
    let (policy, sessions) = bound(json!({"serviceName": "bedrock", "region": "eu-west-1", "assumeRole": role}));
    assert!(sessions.fresh().due(THEN, 99).is_empty(), "requests say who");
    let signed = |user: &str| {
        let (mut head, facts) = request("POST", "/");
        head.insert_header("host", "proxy.internal").unwrap();
        head.insert_header("x-user", user).unwrap();
        let waits = policy.waits(&head, &facts, Some("proxy.internal")).is_some();
        let body = Payload::Whole(b"");
        let done = policy.on_attempt(Outgoing { head: &mut head, body, facts: &facts, outside: &Still(THEN) });
        (waits, done.map(|()| header(&head, "x-amz-security-token").to_owned()))
    };
    assert_eq!(signed("ann"), (true, Err("there is no credential of AWS yet".to_owned())));
    let due = sessions.fresh().due(THEN, 99);
    let [Who::Role(ann)] = &due[..] else { panic!("{due:?}") };
    assert_eq!((&*ann.arn, &*ann.name), ("arn:aws:iam::123456789012:role/agents", "ann"));
    assert_eq!(ann.tags, [("team".into(), "red".into()), ("who".into(), "ann/1".into())]);
    assert_eq!(ann.region.as_deref(), Some("eu-west-1"));
    sessions.fresh().accept(&due[0], lent("t1"), Some(Duration::from_secs(3600)), THEN);
    assert_eq!(signed("ann"), (false, Ok("t1".to_owned())));
    assert!(signed("bob").0, "somebody else");
    // Nobody signs in a name that AWS would not take.
    let why = signed("a b").1.unwrap_err();
    assert!(why.starts_with("assumeRole.sessionName: a name of a session is of 2 to 64"), "{why}");
    let shown = format!("{policy:?} {}", serde_json::to_string(&policy).unwrap());
    assert!(shown.contains("role/agents") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn one_session_for_all_is_had_when_the_policy_comes_into_force() {
    let role = json!({"roleArn": "arn:aws:iam::123456789012:role/agents", "tags": [{"key": "a", "value": ""}]});
    let (_policy, sessions) = bound(json!({"region": "eu-west-1", "assumeRole": role}));
    let due = sessions.fresh().due(THEN, 99);
    assert!(matches!(&due[..], [Who::Role(it)] if &*it.name == "agentgateway"), "{due:?}");
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
            (json!({"aws": {"assumeRole": {"roleArn": "a"}}}), "policy.aws.assumeRole.roleArn: the ARN of a role"),
            (
                json!({"aws": {"assumeRole": {"roleArn": ROLE, "sessionName": "a b"}}}),
                "policy.aws.assumeRole.sessionName: a name of a session",
            ),
            (
                json!({"aws": {"assumeRole": {"roleArn": ROLE, "sessionName": {"expression": "request.body"}}}}),
                "policy.aws.assumeRole.sessionName.expression: ",
            ),
            (
                json!({"aws": {"assumeRole": {"roleArn": ROLE, "tags": [{"key": "k"}]}}}),
                "policy.aws.assumeRole.tags[0]: write exactly one of",
            ),
            (
                json!({"aws": {"assumeRole": {"roleArn": ROLE, "tags": [{"key": "k", "value": "1"}, {"key": "K", "value": "2"}]}}}),
                "policy.aws.assumeRole.tags: `K` is there twice",
            ),
            (
                json!({"aws": {"accessKeyId": "a", "secretAccessKey": "b", "assumeRole": {"roleArn": ROLE}}}),
                "policy.aws.assumeRole: a role is assumed with the credentials of the process",
            ),
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
