//! Policies that ask servers, told by a control plane.

use filters::callout::{Headers, Target as Server, level};
use filters::expr::{Expression, Site, Vocabulary};
use filters::{Policy, ext_authz, remote_rate_limit};
use ir::{BackendKey, BackendRef, ObjectName, Target};
use std::sync::Arc;
use tests::Backend;
use tests::backend::{Asked, answer};
use tests::control::objects::{backend, policy, route, without};
use tests::pb::{field, holds, number};

use super::pair;

fn server() -> Arc<Server> {
    let backend = BackendRef::Backend(BackendKey::new("server"));
    Arc::new(Server { backend, policies: level(Vec::new()) })
}

fn of(route: &str) -> Target {
    Target::Route(ObjectName::new("default", route))
}

fn authz() -> Policy {
    Policy::ExtAuthz(ext_authz::Policy {
        target: server(),
        protocol: ext_authz::Protocol::Grpc(ext_authz::Grpc::default()),
        failure: ext_authz::Failure::Deny(503),
        headers: Headers::All,
        body: None,
        mode: Default::default(),
        cache: None,
    })
}

fn quota() -> Policy {
    let parse = |text| Expression::parse(text, &Vocabulary::of(Site::Request)).expect("an expression");
    let entries = vec![("user".into(), parse("request.headers[\"x-user\"]"))];
    let descriptor =
        remote_rate_limit::Descriptor { entries, unit: Default::default(), cost: Some(parse("2")), limit: None };
    Policy::RemoteRateLimit(remote_rate_limit::Policy {
        target: server(),
        domain: "shop".into(),
        descriptors: vec![descriptor],
        fail_open: false,
        mode: Default::default(),
    })
}

/// Refuses who is called eve, both as a question of authorization and as one of quota.
async fn refuse(asked: Asked) -> tests::backend::Answer {
    let eve = holds(&asked.body, "eve");
    if asked.uri.path().ends_with("/ShouldRateLimit") {
        assert!(holds(&asked.body, "shop"));
        return answer::grpc(&number(1, if eve { 2 } else { 1 }));
    }
    answer::grpc(&field(1, number(1, if eve { 7 } else { 0 })))
}

#[tokio::test]
async fn a_control_plane_says_whom_to_ask_and_no_longer() {
    let (control, gateway, client) = pair().await;
    let (asked, echo) = (Backend::http(refuse), Backend::echo());
    control.applied([backend("server", asked.addr()), backend("echo", echo.addr()), route("all", "/", "echo")]).await;
    client.get("/").header("x-user", "eve").await.expect_status(200);
    for (attached, refused) in [(authz(), 403), (quota(), 429)] {
        let attached = policy("asked", of("all"), attached);
        control.applied([attached.clone()]).await;
        client.get("/").header("x-user", "eve").await.expect_status(refused);
        client.get("/").header("x-user", "bob").await.expect_status(200);
        control.applied([without(&attached)]).await;
        client.get("/").header("x-user", "eve").await.expect_status(200);
    }
    assert_eq!(asked.stats().requests(), 4);
    // A server that is not there any more is what the failure mode is for.
    control.applied([policy("asked", of("all"), authz()), without(&backend("server", asked.addr()))]).await;
    client.get("/").header("x-user", "bob").await.expect_status(503);
    gateway.stop().await;
}
