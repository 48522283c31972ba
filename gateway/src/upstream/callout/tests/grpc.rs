use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use bytes::Bytes;
use filters::callout::{
    Allowed, Body, Callout, Check, Checked, Denied, Descriptor, Fault, Headers, How, RateLimit, Target, Unit,
};
use prost::Message;
use serde_json::json;

use super::super::pb;
use super::server::{self, Way};
use super::{Scene, backend, request, timeout};

/// `status: { code: 0 }`
const ALLOW: &[u8] = &[0x0a, 0];

fn allow() -> Way {
    Way::Answer(Bytes::from_static(ALLOW))
}

/// The attributes of the first call.
fn asked(seen: &server::Seen) -> pb::auth::AttributeContext {
    let message = seen.messages.lock()[0].slice(5..);
    pb::auth::CheckRequest::decode(message).unwrap().attributes.unwrap()
}

#[tokio::test]
async fn a_check_says_who_asks_for_what() {
    let (address, seen) = server::start(allow()).await;
    let scene = Scene::new(address, Vec::new());
    assert_eq!(scene.check().await, Ok(Checked::Allowed(Allowed::default())));
    let head = seen.heads.lock()[0].clone();
    assert_eq!(head.uri.to_string(), format!("http://{address}/envoy.service.auth.v3.Authorization/Check"));
    assert_eq!(head.headers["te"], "trailers");
    let attributes = asked(&seen);
    let port = |peer: Option<pb::auth::attribute_context::Peer>| match peer.unwrap().address.unwrap().address.unwrap() {
        pb::core::address::Address::SocketAddress(it) => format!("{}|{:?}", it.address, it.port_specifier),
    };
    assert_eq!(port(attributes.source), "192.0.2.1|Some(PortValue(4711))");
    assert_eq!(port(attributes.destination), "|Some(PortValue(443))");
    let http = attributes.request.unwrap().http.unwrap();
    assert_eq!((http.method.as_str(), http.path.as_str(), http.host.as_str()), ("POST", "/a?b=1", "api.example.com"));
    assert_eq!((http.scheme.as_str(), http.protocol.as_str(), http.size), ("https", "HTTP/1.1", -1));
    let headers: BTreeMap<_, _> = http.headers.iter().map(|it| (it.key.as_str(), it.value.as_str())).collect();
    let expected = BTreeMap::from([
        (":authority", "api.example.com"),
        (":method", "POST"),
        (":path", "/a?b=1"),
        (":scheme", "https"),
        ("cookie", "a=1; b=2"),
        ("x-a", "1,2"),
    ]);
    assert_eq!(headers, expected);
}

#[tokio::test]
async fn named_headers_context_body_and_metadata_are_sent() {
    let (address, seen) = server::start(allow()).await;
    let scene = Scene::new(address, Vec::new());
    let (head, facts) = request();
    let headers = Headers::These { names: vec!["x-a".to_owned(), "x-none".to_owned(), ":method".to_owned()] };
    let context = BTreeMap::from([("tenant".into(), "a".into())]);
    let bytes = Bytes::from_static(b"\xffhello");
    for packed in [false, true] {
        let metadata = json!({"ns": {"sub": "me", "n": 1}, "not an object": 1}).as_object().unwrap().clone();
        let body = Some(Body { bytes: &bytes, packed, partial: true });
        let check = Check { head: &head, facts: &facts, headers: &headers, body, context: &context, metadata };
        scene.caller().check(&scene.target, check).await.unwrap();
    }
    let attributes = asked(&seen);
    let http = attributes.request.unwrap().http.unwrap();
    let names: Vec<_> = http.headers.iter().map(|it| (it.key.as_str(), it.value.as_str())).collect();
    assert_eq!(names, [("x-a", "1,2"), (":method", "POST"), ("x-envoy-auth-partial-body", "true")]);
    assert_eq!((http.body.as_str(), http.raw_body.len()), ("\u{fffd}hello", 0));
    assert_eq!(attributes.context_extensions[0].value, "a");
    let metadata = attributes.metadata_context.unwrap().filter_metadata;
    assert_eq!(metadata.keys().collect::<Vec<_>>(), ["ns"]);
    let packed = pb::auth::CheckRequest::decode(seen.messages.lock()[1].slice(5..)).unwrap();
    let http = packed.attributes.unwrap().request.unwrap().http.unwrap();
    assert_eq!((http.body.as_str(), &*http.raw_body), ("", &b"\xffhello"[..]));
}

/// What an answer comes to.
async fn answered(answer: pb::auth::CheckResponse) -> Result<Checked, Fault> {
    let (address, _) = server::start(Way::Answer(answer.encode_to_vec().into())).await;
    Scene::new(address, Vec::new()).check().await
}

#[tokio::test]
async fn an_answer_allows_only_what_it_says_it_allows() {
    use pb::auth::check_response::HttpResponse;
    use pb::auth::{CheckResponse, DeniedHttpResponse, OkHttpResponse};
    let response = |status: Option<i32>, http_response: Option<HttpResponse>| CheckResponse {
        status: status.map(|code| pb::rpc::Status { code, message: String::new() }),
        http_response,
        dynamic_metadata: None,
    };
    let ok = || Some(HttpResponse::OkResponse(OkHttpResponse::default()));
    let denied = || Some(HttpResponse::DeniedResponse(DeniedHttpResponse::default()));
    for (status, http, expected) in [
        (Some(0), None, "allowed"),
        (Some(0), ok(), "allowed"),
        (None, ok(), "allowed"),
        (Some(7), None, "denied"),
        (Some(7), ok(), "denied"),
        (Some(7), denied(), "denied"),
        (Some(0), denied(), "denied"),
        (None, denied(), "denied"),
        (None, None, "nothing"),
    ] {
        let text = format!("{status:?} {http:?}");
        let found = match answered(response(status, http)).await {
            Ok(Checked::Allowed(_)) => "allowed",
            Ok(Checked::Denied(_)) => "denied",
            Err(Fault::Garbage(_)) => "nothing",
            Err(other) => panic!("{text}: {other}"),
        };
        assert_eq!(found, expected, "{text}");
    }
}

#[tokio::test]
async fn the_changes_of_an_answer_are_read() {
    use pb::auth::check_response::HttpResponse;
    use pb::core::{HeaderValue, HeaderValueOption, QueryParameter};
    let header = |key: &str, append: Option<bool>, action: i32| HeaderValueOption {
        header: Some(HeaderValue { key: key.to_owned(), value: "v".to_owned(), raw_value: Bytes::new() }),
        append,
        append_action: action,
    };
    let metadata = super::super::value::encode(json!({"a": {"b": [1]}}).as_object().unwrap());
    let ok = pb::auth::OkHttpResponse {
        headers: vec![
            header("a", Some(true), 0),
            header("b", None, 0),
            header("c", Some(false), 3),
            header("d", None, 1),
        ],
        headers_to_remove: vec!["authorization".to_owned()],
        query_parameters_to_set: vec![QueryParameter { key: "q".to_owned(), value: "1".to_owned() }],
        query_parameters_to_remove: vec!["r".to_owned()],
        ..Default::default()
    };
    let answer = pb::auth::CheckResponse {
        status: None,
        http_response: Some(HttpResponse::OkResponse(ok)),
        dynamic_metadata: Some(metadata),
    };
    let Ok(Checked::Allowed(allowed)) = answered(answer).await else { panic!("not allowed") };
    let how: Vec<_> = allowed.request.iter().map(|it| (it.name.as_str(), it.how)).collect();
    let expected = [("a", How::Append), ("b", How::Overwrite), ("c", How::OverwriteIfExists), ("d", How::AddIfAbsent)];
    assert_eq!(how, expected);
    assert_eq!(allowed.remove, ["authorization"]);
    assert_eq!((allowed.query_set.len(), allowed.query_remove.len()), (1, 1));
    assert_eq!(serde_json::Value::Object(allowed.metadata), json!({"a": {"b": [1]}}));

    let denied = pb::auth::DeniedHttpResponse {
        status: Some(pb::kind::HttpStatus { code: 418 }),
        headers: vec![header("x", None, 0)],
        body: "no".to_owned(),
    };
    let answer =
        pb::auth::CheckResponse { http_response: Some(HttpResponse::DeniedResponse(denied)), ..Default::default() };
    let Ok(Checked::Denied(Denied { status, headers, body, .. })) = answered(answer).await else { panic!("allowed") };
    assert_eq!((status, headers.len(), &*body), (Some(418), 1, &b"no"[..]));
}

#[tokio::test]
async fn quotas_are_asked_for_and_read() {
    use pb::rls::rate_limit_response::{Code, DescriptorStatus};
    let status = DescriptorStatus {
        code: Code::OverLimit.into(),
        current_limit: Some(pb::rls::rate_limit_response::RateLimit { requests_per_unit: 5, unit: 2 }),
        limit_remaining: 0,
        duration_until_reset: Some(prost_types::Duration { seconds: 7, nanos: 0 }),
    };
    let answer = pb::rls::RateLimitResponse {
        overall_code: Code::OverLimit.into(),
        statuses: vec![status],
        raw_body: Bytes::from_static(b"slow down"),
        ..Default::default()
    };
    let (address, seen) = server::start(Way::Answer(answer.encode_to_vec().into())).await;
    let scene = Scene::new(address, Vec::new());
    let descriptor =
        Descriptor { entries: vec![("user".to_owned(), "me".to_owned())], limit: Some((9, Unit::Hour)), hits: Some(4) };
    let (_, facts) = request();
    let asked = RateLimit { facts: &facts, domain: "d", descriptors: vec![descriptor], hits: 3 };
    let limited = scene.caller().rate_limit(&scene.target, asked).await.unwrap();
    assert!(limited.over);
    assert_eq!(limited.statuses[0].limit, Some((5, Some(Unit::Minute))));
    assert_eq!(limited.statuses[0].reset, Some(Duration::from_secs(7)));
    assert_eq!(&*limited.body, b"slow down");
    let sent = pb::rls::RateLimitRequest::decode(seen.messages.lock()[0].slice(5..)).unwrap();
    assert_eq!((sent.domain.as_str(), sent.hits_addend, sent.descriptors[0].hits_addend), ("d", 3, Some(4)));
    let (address, _) = server::start(Way::Answer(Bytes::new())).await;
    let scene = Scene::new(address, Vec::new());
    let asked = RateLimit { facts: &facts, domain: "d", descriptors: Vec::new(), hits: 0 };
    let unknown = scene.caller().rate_limit(&scene.target, asked).await;
    assert!(matches!(unknown, Err(Fault::Garbage(_))), "an unknown code is no answer: {unknown:?}");
}

#[tokio::test]
async fn calls_share_one_connection() {
    let (address, seen) = server::start(allow()).await;
    let scene = Scene::new(address, Vec::new());
    let calls = (0..50).map(|_| scene.check());
    for answer in futures::future::join_all(calls).await {
        assert_eq!(answer, Ok(Checked::Allowed(Allowed::default())));
    }
    assert_eq!((seen.connections.load(SeqCst), seen.calls.load(SeqCst)), (1, 50));
    assert!(scene.metrics().contains(r#"policy_calls_total{subtype="ExtAuthz",outcome="ok"} 50"#));
}

#[tokio::test]
async fn a_hostile_server_costs_one_call_and_is_named() {
    let long = |fault: &Fault| matches!(fault, Fault::Timeout(_));
    type Fits = fn(&Fault) -> bool;
    let cases: [(Way, Fits, &str); 14] = [
        (Way::Hang, long, "timeout"),
        (Way::Mute, long, "timeout"),
        (Way::Drip, long, "timeout"),
        (Way::Endless, |it| *it == Fault::TooLarge, "too_large"),
        (Way::Close, |it| matches!(it, Fault::Unreachable(_)), "unreachable"),
        (Way::Noise, |it| matches!(it, Fault::Unreachable(_) | Fault::Garbage(_)), ""),
        (Way::Status("14", "try%20later"), |it| *it == Fault::refused(14, "try later"), "refused"),
        (Way::Status("x", ""), |it| matches!(it, Fault::Garbage(_)), "garbage"),
        (Way::NoStatus, |it| matches!(it, Fault::Garbage(_)), "garbage"),
        (Way::HtmlError, |it| matches!(it, Fault::Refused { code: 14, .. }), "refused"),
        (Way::Reset, |it| matches!(it, Fault::Garbage(_)), "garbage"),
        (Way::Body(Bytes::from_static(b"\0\0")), |it| matches!(it, Fault::Garbage(_)), "garbage"),
        (Way::Body(Bytes::from_static(&[1, 0, 0, 0, 1, 0])), |it| matches!(it, Fault::Garbage(_)), "garbage"),
        (Way::Answer(Bytes::from_static(b"\xff\xff\xff")), |it| matches!(it, Fault::Garbage(_)), "garbage"),
    ];
    for (number, (way, fits, label)) in cases.into_iter().enumerate() {
        let (address, _) = server::start(way).await;
        let scene = Scene::new(address, vec![timeout("300ms")]);
        let fault = scene.check().await.unwrap_err();
        assert!(fits(&fault), "case {number}: {fault:?}");
        let counted = format!(r#"outcome="{}"#, if label.is_empty() { fault.label() } else { label });
        assert!(scene.metrics().contains(&counted), "case {number}: {counted}");
    }
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_is_reset() {
    let (address, seen) = server::start(Way::Hang).await;
    let scene = Arc::new(Scene::new(address, Vec::new()));
    let asking = scene.clone();
    let call = tokio::spawn(async move { asking.check().await });
    seen.arrived.notified().await;
    call.abort();
    let _ = call.await;
    crate::upstream::tests::fixture::eventually("the reset", || seen.resets.load(SeqCst) == 1).await;
}

#[tokio::test]
async fn a_server_that_goes_away_is_dialled_again() {
    let (address, seen) = server::start(Way::GoAway(Bytes::from_static(ALLOW))).await;
    let scene = Scene::new(address, Vec::new());
    for _ in 0..5 {
        assert_eq!(scene.check().await, Ok(Checked::Allowed(Allowed::default())));
    }
    assert!(seen.connections.load(SeqCst) > 1);
    assert_eq!(seen.calls.load(SeqCst), 5, "nothing is asked twice");
}

#[tokio::test]
async fn connections_that_nobody_uses_are_closed() {
    let (address, _) = server::start(allow()).await;
    let policy = json!({"poolIdleTimeout": "100ms"});
    let config: filters::backend_http::Config = serde_json::from_value(policy).unwrap();
    let policy = filters::Policy::BackendHttp(super::lowered(|scope| config.lower(scope)));
    let scene = Scene::new(address, vec![policy]);
    scene.check().await.unwrap();
    assert_eq!(scene.callouts.channels.count(), 1);
    crate::upstream::tests::fixture::eventually("the end", || scene.callouts.channels.count() == 0).await;
    scene.check().await.unwrap();
}

#[tokio::test]
async fn a_target_follows_the_plan() {
    let (first, _) = server::start(Way::Status("7", "")).await;
    let (second, _) = server::start(allow()).await;
    let mut scene = Scene::new(first, Vec::new());
    assert!(scene.check().await.is_err());
    scene.plan = scene.plan.with(&backend(second));
    assert!(scene.check().await.is_ok());
    let absent = Target { backend: ir::BackendRef::Backend(ir::BackendKey::new("absent")), policies: [].into() };
    scene.target = Arc::new(absent);
    assert_eq!(scene.check().await, Err(Fault::Broken("backend `absent` does not exist".to_owned())));
}

#[tokio::test]
async fn headers_of_calls_can_be_changed() {
    let (address, seen) = server::start(allow()).await;
    let changes = json!({"set": {"x-token": "t", "host": "authz.internal"}});
    let config: filters::header_modifier::Config = serde_json::from_value(changes).unwrap();
    let policy = filters::Policy::RequestHeaderModifier(super::lowered(|scope| config.lower_request(scope)));
    Scene::new(address, vec![policy]).check().await.unwrap();
    let head = seen.heads.lock()[0].clone();
    assert_eq!(
        (head.headers["x-token"].as_bytes(), head.uri.authority().unwrap().as_str()),
        (&b"t"[..], "authz.internal")
    );
}
