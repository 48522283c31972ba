mod admission;
mod callouts;
mod changes;
mod policies;
mod resources;
mod tools;

use filters::{Change, Policy};
use ir::{BackendRef, Target};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestRunner};
use prost::Message as _;

use super::{Kind, Name, RESOURCE_BYTES_MAX, decode, encode, substitute, travel};
use crate::pb;

fn runner() -> TestRunner {
    let config = Config { cases: 256, failure_persistence: None, ..Config::default() };
    let seed = proptest::test_runner::TestRng::deterministic_rng(config.rng_algorithm);
    TestRunner::new_with_rng(config, seed)
}

#[track_caller]
fn comes_back(changes: &BoxedStrategy<Change>, what: &str) {
    let back = runner().run(changes, |change| {
        let arrived = travel(&change).map_err(|fault| TestCaseError::fail(fault.to_string()))?;
        prop_assert_eq!(&arrived, &change);
        Ok(())
    });
    back.unwrap_or_else(|error| panic!("{what}: {error}"));
}

#[test]
fn every_resource_comes_back_as_it_was_sent() {
    for kind in Kind::ALL {
        comes_back(&resources::of(kind), kind.as_str());
    }
}

#[test]
fn every_policy_comes_back_as_it_was_sent() {
    for kind in filters::Kind::ALL {
        comes_back(&resources::attached(*kind), kind.key());
    }
}

#[test]
fn policies_with_conditions_come_back_as_they_were_sent() {
    comes_back(&resources::conditional(), "conditional");
}

#[test]
fn conditions_of_several_kinds_or_of_none_are_refused() {
    use pb::conditional::entry::Kind as Entry;
    let answer = || Some(Entry::DirectResponse(pb::DirectResponse { status: 200, ..Default::default() }));
    let other = Some(Entry::Transformations(pb::Transformations::default()));
    let entry =
        |condition: Option<&str>, kind| pb::conditional::Entry { condition: condition.map(str::to_owned), kind };
    for (entries, want) in [
        (vec![], "holds no entry"),
        (vec![entry(None, None)], "holds no entry"),
        (
            vec![entry(Some("true"), answer()), entry(None, other)],
            "`transformations` among entries of `directResponse`",
        ),
        (vec![entry(Some("true"), answer()), entry(None, None)], "holds no kind of policy"),
    ] {
        let policy = pb::Policy {
            key: "p".to_owned(),
            target: Some(pb::Target { kind: Some(pb::target::Kind::Instance(pb::Unit {})) }),
            kind: Some(pb::policy::Kind::Conditional(pb::Conditional { entries })),
            ..Default::default()
        };
        let bytes = pb::Resource { kind: Some(pb::resource::Kind::Policy(policy)) }.encode_to_vec();
        let fault = decode("policy/p", pb::TYPE_URL, &bytes).expect_err("refused").to_string();
        assert!(fault.contains(want), "{fault} lacks {want}");
        let closed = substitute("policy/p", pb::TYPE_URL, &bytes);
        assert!(matches!(closed, Some(Change::Policy(_, Some(it))) if matches!(it.policy, Policy::DirectResponse(_))));
    }
}

/// Damage on the way, or a peer that is not what it says.
#[test]
fn bytes_that_were_bent_are_refused_or_come_back_as_they_are_and_never_panic() {
    let bent = (select(&Kind::ALL[..]).prop_flat_map(resources::of), vec((any::<Index>(), any::<u8>()), 1..6));
    let survived = runner().run(&bent, |(change, bends)| {
        let name = Name::of(&change).to_string();
        let mut bytes = encode(&change).expect("a change with a value");
        for (at, byte) in bends {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        match decode(&name, pb::TYPE_URL, &bytes) {
            Ok(taken) => prop_assert_eq!(travel(&taken).ok(), Some(taken)),
            Err(fault) => {
                prop_assert!(!fault.to_string().is_empty());
                if let Some(closed) = substitute(&name, pb::TYPE_URL, &bytes) {
                    prop_assert_eq!(Name::of(&closed).to_string(), name);
                }
            }
        }
        Ok(())
    });
    survived.unwrap_or_else(|error| panic!("{error}"));
}

/// The bytes of a resource with this content.
fn resource(kind: pb::resource::Kind) -> Vec<u8> {
    pb::Resource { kind: Some(kind) }.encode_to_vec()
}

fn route(edit: impl FnOnce(&mut pb::Route)) -> Vec<u8> {
    let mut route = pb::Route {
        key: "r".to_owned(),
        name: Some(pb::ObjectName { namespace: "ns".to_owned(), name: "r".to_owned() }),
        ..pb::Route::default()
    };
    edit(&mut route);
    resource(pb::resource::Kind::Route(route))
}

fn policy(target: pb::target::Kind, kind: Option<pb::policy::Kind>) -> Vec<u8> {
    resource(pb::resource::Kind::Policy(pb::Policy {
        key: "p".to_owned(),
        target: Some(pb::Target { kind: Some(target) }),
        kind,
        ..pb::Policy::default()
    }))
}

#[track_caller]
fn refused(name: &str, bytes: &[u8]) -> String {
    decode(name, pb::TYPE_URL, bytes).expect_err("it was taken").to_string()
}

#[test]
fn all_problems_of_a_resource_are_reported_with_their_places() {
    let regex = |text: &str| pb::PathMatch { kind: Some(pb::path_match::Kind::Regex(text.to_owned())) };
    let bytes = route(|it| {
        it.name = None;
        it.hostnames = vec!["ok.example.com".to_owned(), "a b".to_owned()];
        it.matches = vec![pb::Match { path: Some(regex("a(")), ..pb::Match::default() }];
        it.backends = vec![pb::RouteBackend::default()];
        it.parents = vec![pb::Parent::default()];
    });
    let said = refused("route/r", &bytes);
    for want in [
        "route.name: missing",
        "route.hostnames[1]: `a b` is not a host name",
        "route.matches[0].path.regex: regular expression `a(`",
        "route.backends[0].backend: no kind",
        "route.parents[0]: no kind",
    ] {
        assert!(said.contains(want), "{said} lacks {want}");
    }
}

#[test]
fn policies_are_judged_as_in_local_files() {
    let second = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let retry = pb::Retry { attempts: Some(300), codes: vec![200, 70_000], ..pb::Retry::default() };
    let timeout = pb::Timeout { request_timeout: second(1), backend_request_timeout: second(2) };
    let negative = pb::Timeout { request_timeout: second(-1), backend_request_timeout: None };
    let compression = pb::Compression { algorithms: vec![1, 99], ..pb::Compression::default() };
    let rule = || pb::target::Kind::Rule("r".to_owned());
    for (kind, wants) in [
        (pb::policy::Kind::Timeout(timeout), &["policy.timeout.backendRequestTimeout: longer than"][..]),
        (pb::policy::Kind::Timeout(negative), &["policy.timeout.requestTimeout: not a duration"]),
        (
            pb::policy::Kind::Retry(retry),
            &["policy.retry.attempts: 300 is too large", "policy.retry.codes[1]: 70000", "policy.retry.codes[0]: 200"],
        ),
        (pb::policy::Kind::Compression(compression), &["policy.compression.algorithms[1]: 99 is not a value"]),
    ] {
        let said = refused("policy/p", &policy(rule(), Some(kind)));
        for want in wants {
            assert!(said.contains(want), "{said} lacks {want}");
        }
    }
}

#[test]
fn a_phase_that_does_not_fit_is_refused() {
    let timeout = pb::Timeout { request_timeout: Some(Default::default()), backend_request_timeout: None };
    let bytes = resource(pb::resource::Kind::Policy(pb::Policy {
        key: "p".to_owned(),
        target: Some(pb::Target { kind: Some(pb::target::Kind::Listener("l".to_owned())) }),
        phase: pb::Phase::Gateway.into(),
        kind: Some(pb::policy::Kind::Timeout(timeout)),
        ..pb::Policy::default()
    }));
    assert!(refused("policy/p", &bytes).contains("policy.phase: `timeout` has no meaning before"));
}

#[test]
fn names_types_and_contents_must_agree() {
    let bytes = route(|_| {});
    for (name, type_url, bytes, want) in [
        ("route/other", pb::TYPE_URL, &bytes[..], "the name does not fit the content, which is `route/r`"),
        ("tcp_route/r", pb::TYPE_URL, &bytes, "the name does not fit"),
        ("r", pb::TYPE_URL, &bytes, "the name is not `<kind>/<key>`"),
        ("cluster/r", pb::TYPE_URL, &bytes, "the name is not `<kind>/<key>`"),
        ("route/", pb::TYPE_URL, &bytes, "the name is not `<kind>/<key>`"),
        ("route/r", "type.googleapis.com/envoy.config.route.v3.Route", &bytes, "its type is not"),
        ("route/r", pb::TYPE_URL, &b"\xff\xff"[..], "not a message"),
        ("route/r", pb::TYPE_URL, &[], "holds no kind of object"),
        ("route/r", pb::TYPE_URL, &vec![0; RESOURCE_BYTES_MAX + 1], "bytes are more than"),
    ] {
        let said = decode(name, type_url, bytes).expect_err("it was taken").to_string();
        assert!(said.contains(want), "{said} lacks {want}");
    }
}

/// Field `number` of wire type 2 with this content.
fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, &mut bytes);
    prost::encoding::encode_varint(content.len() as u64, &mut bytes);
    bytes.extend(content);
    bytes
}

#[test]
fn fields_of_a_newer_control_plane_are_named_and_never_left_out_silently() {
    let mut inner = pb::Route {
        key: "r".to_owned(),
        name: Some(pb::ObjectName { namespace: String::new(), name: "r".to_owned() }),
        ..pb::Route::default()
    }
    .encode_to_vec();
    // A match with a condition that is not known, and a field of the route itself.
    inner.extend(field(7, &field(9, b"x")));
    inner.extend(field(99, b""));
    let said = refused("route/r", &field(3, &inner));
    assert_eq!(said, "this version does not know field route.matches.9, field route.99");
    // A kind of object, and a kind of policy.
    assert_eq!(refused("route/r", &field(200, b"x")), "this version does not know field 200");
    let target = pb::Target { kind: Some(pb::target::Kind::Instance(pb::Unit {})) }.encode_to_vec();
    let newer = [field(1, b"p"), field(2, &target), field(77, b"")].concat();
    assert_eq!(refused("policy/p", &field(6, &newer)), "this version does not know field policy.77");
}

#[test]
fn a_refused_route_answers_with_an_error_where_it_can_be_read() {
    let regex = |text: &str| pb::Match {
        path: Some(pb::PathMatch { kind: Some(pb::path_match::Kind::Regex(text.to_owned())) }),
        ..pb::Match::default()
    };
    let bytes = route(|it| {
        it.matches = vec![regex("a("), regex("/b")];
        it.backends = vec![pb::RouteBackend::default()];
    });
    let Some(Change::Route(_, Some(closed))) = substitute("route/r", pb::TYPE_URL, &bytes) else {
        panic!("no substitute")
    };
    assert_eq!(closed.matches.len(), 1, "the match that cannot be read never matches");
    assert!(matches!(&closed.backends[..], [it] if matches!(it.backend, BackendRef::Invalid(_))));
    for bad in [
        route(|it| it.matches = vec![regex("a(")]),
        route(|it| it.hostnames = vec!["a b".to_owned()]),
        field(200, b"x"),
    ] {
        assert_eq!(substitute("route/r", pb::TYPE_URL, &bad), None, "it must not match more than it says");
    }
}

#[test]
fn a_refused_policy_closes_what_it_should_have_guarded() {
    let access = pb::policy::Kind::IpAccess(pb::IpAccess { allow: vec!["x".to_owned()], deny: Vec::new() });
    let tls =
        || pb::policy::Kind::BackendTls(pb::BackendTls { hostname: Some("a b".to_owned()), ..Default::default() });
    let redirect = pb::policy::Kind::RequestRedirect(pb::RequestRedirect { status: Some(1), ..Default::default() });
    let retry = pb::policy::Kind::Retry(pb::Retry::default());
    let rule = || pb::target::Kind::Rule("r".to_owned());
    let backend = || pb::target::Kind::Backend("b".to_owned());
    let kind = |bytes: &[u8]| {
        let Change::Policy(_, Some(it)) = substitute("policy/p", pb::TYPE_URL, bytes)? else { panic!("no policy") };
        assert!(matches!(it.target, Target::Rule(_) | Target::Backend(_)));
        assert_eq!(it.inheritance, ir::Inheritance::Override);
        Some(it.policy.clone())
    };
    let Some(Policy::IpAccess(nobody)) = kind(&policy(rule(), Some(access))) else { panic!("open") };
    assert!(!nobody.permits("192.0.2.1".parse().unwrap()) && !nobody.permits("::1".parse().unwrap()));
    for bytes in [policy(rule(), Some(redirect)), policy(rule(), Some(tls())), policy(rule(), None)] {
        let Some(Policy::DirectResponse(answer)) = kind(&bytes) else { panic!("open") };
        assert_eq!(answer.status, 500);
    }
    for bytes in [policy(backend(), Some(tls())), policy(backend(), None)] {
        let Some(Policy::BackendTls(terms)) = kind(&bytes) else { panic!("open") };
        assert!(!terms.insecure && !terms.insecure_host && !terms.subject_alt_names.is_empty());
    }
    assert_eq!(kind(&policy(rule(), Some(retry))), None, "without retries nobody gets in");
}

#[test]
fn secrets_are_not_in_what_is_said() {
    let header = pb::Header { name: "authorization".to_owned(), value: "hunter2\nx".to_owned() };
    let modifier = pb::HeaderModifier { set: vec![header], ..pb::HeaderModifier::default() };
    let tls = pb::BackendTls { key: Some(b"hunter2".to_vec()), ..pb::BackendTls::default() };
    for kind in [pb::policy::Kind::RequestHeaderModifier(modifier), pb::policy::Kind::BackendTls(tls)] {
        let shown = format!("{kind:?}");
        let said = refused("policy/p", &policy(pb::target::Kind::Rule("r".to_owned()), Some(kind)));
        assert!(!said.contains("hunter2") && !shown.contains("hunter2"), "{said} {shown}");
    }
}

#[test]
fn names_are_read_as_they_are_written() {
    for text in ["route/a/b", "tcp_route/x", "bind/bind/3000", "policy/é"] {
        let name = Name::parse(text).unwrap();
        assert_eq!(name.to_string(), text);
        assert_eq!(Name::of(&name.removal()), name);
    }
}
