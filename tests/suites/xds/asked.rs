//! Policies that ask servers, told by a control plane.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use filters::callout::{Headers, Target as Server, level};
use filters::expr::{Expression, Site, Vocabulary};
use filters::{Policy, backend_http, ext_authz, remote_rate_limit};
use ir::{BackendKey, BackendRef, ObjectName, Target};
use tests::backend::{Asked, answer};
use tests::control::objects::{backend, policy, route, without};
use tests::pb::{field, holds, number};
use tests::wait::PATIENCE;
use tests::{Backend, Client};
use tokio::io::AsyncReadExt;

use super::{pair, word};

/// The server, which gets so long for an answer.
fn server(patience: Duration) -> Arc<Server> {
    let backend = BackendRef::Backend(BackendKey::new("server"));
    let terms = backend_http::Policy { request_timeout: Some(patience), ..Default::default() };
    Arc::new(Server { backend, policies: level(vec![Policy::BackendHttp(terms)]) })
}

fn of(route: &str) -> Target {
    Target::Route(ObjectName::new("default", route))
}

fn authz(patience: Duration) -> Policy {
    Policy::ExtAuthz(ext_authz::Policy {
        target: server(patience),
        protocol: ext_authz::Protocol::Grpc(ext_authz::Grpc::default()),
        failure: ext_authz::Failure::Deny(503),
        headers: Headers::All,
        body: None,
        mode: Default::default(),
        cache: None,
    })
}

fn quota(patience: Duration) -> Policy {
    let parse = |text| Expression::parse(text, &Vocabulary::of(Site::Request)).expect("an expression");
    let entries = vec![("user".into(), parse("request.headers[\"x-user\"]"))];
    let descriptor =
        remote_rate_limit::Descriptor { entries, unit: Default::default(), cost: Some(parse("2")), limit: None };
    Policy::RemoteRateLimit(remote_rate_limit::Policy {
        target: server(patience),
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
    for (attached, refused) in [(authz(PATIENCE), 403), (quota(PATIENCE), 429)] {
        let attached = policy("asked", of("all"), attached);
        control.applied([attached.clone()]).await;
        client.get("/").header("x-user", "eve").await.expect_status(refused);
        client.get("/").header("x-user", "bob").await.expect_status(200);
        control.applied([without(&attached)]).await;
        client.get("/").header("x-user", "eve").await.expect_status(200);
    }
    assert_eq!(asked.stats().requests(), 4);
    // A server that is not there any more is what the failure mode is for.
    control.applied([policy("asked", of("all"), authz(PATIENCE)), without(&backend("server", asked.addr()))]).await;
    client.get("/").header("x-user", "bob").await.expect_status(503);
    gateway.stop().await;
}

/// Servers that hang, close, lie or answer garbage.
async fn hostile() -> Vec<(&'static str, Backend)> {
    let header = |value: &str| field(2, field(1, [field(1, "x-user"), field(2, value)].concat()));
    let lie = [field(1, number(1, 0)), field(3, header("a\r\nx-admin: 1"))].concat();
    vec![
        ("dead", Backend::dead().await),
        (
            "mute",
            Backend::raw(|mut accepted| async move {
                // It hears all, and says nothing.
                let _ = accepted.stream.read_to_end(&mut Vec::new()).await;
            }),
        ),
        ("closing", Backend::raw(|accepted| async move { drop(accepted) })),
        ("noise", Backend::canned("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")),
        ("junk", Backend::canned(vec![0xff; 64 << 10])),
        ("empty", Backend::http(|_| async { answer::grpc(b"") })),
        ("broken", Backend::http(|_| async { answer::grpc(&[0x0a, 0xff, 0xff, 0xff, 0x7f]) })),
        ("page", Backend::http(|_| async { answer::text(200, "<html>welcome</html>") })),
        (
            "liar",
            Backend::http(move |_| {
                let lie = lie.clone();
                async move { answer::grpc(&lie) }
            }),
        ),
        ("endless", Backend::http(|_| async { answer::grpc(&vec![b'x'; 3 << 20]) })),
    ]
}

#[tokio::test]
async fn servers_that_misbehave_are_what_the_failure_mode_is_for_and_harm_nobody_else() {
    let (control, gateway, client) = pair().await;
    let echo = Backend::echo();
    let routes = [route("all", "/", "echo"), route("asked", "/asked", "echo")];
    control.applied(routes.into_iter().chain([backend("echo", echo.addr())])).await;
    let h2 = Client::h2c(gateway.listens("b").await);
    for (name, server) in hostile().await {
        control.applied([backend("server", server.addr())]).await;
        let patience = if name == "mute" { Duration::from_millis(500) } else { PATIENCE };
        for (attached, why) in [(authz(patience), "extAuthz: "), (quota(patience), "remoteRateLimit: ")] {
            let attached = policy("asked", of("asked"), attached);
            control.applied([attached.clone()]).await;
            let reached = echo.stats().requests();
            for client in [&client, &h2] {
                let reply = client.get("/asked").header("x-user", "canary-5b1d").await;
                assert_eq!(reply.status.as_u16(), 503, "{name}, {why}{}", reply.text());
            }
            assert_eq!(echo.stats().requests(), reached, "{name}, {why}nothing reached the backend");
            client.get("/other").await.expect_status(200);
            control.applied([without(&attached)]).await;
        }
    }
    let lines = gateway.wait_access(60).await;
    for why in ["extAuthz: ", "remoteRateLimit: "] {
        let told = |it: &&serde_json::Value| it["error"].as_str().is_some_and(|it| it.starts_with(why));
        assert_eq!(lines.iter().filter(told).count(), 20, "{why}{lines:?}");
    }
    assert!(!gateway.log().text().contains("canary-5b1d"), "what is asked is in no log");
    assert_eq!(word(&gateway).await["resourcesRefused"], 0);
    client.get("/asked").await.expect_status(200);
    gateway.stop().await;
}

/// Bytes of a policy with this server, which is named in a way that nobody understands.
fn without_a_server(key: &str, target: Target) -> Bytes {
    let whole = xds::codec::encode(&policy(key, target, authz(PATIENCE))).expect("an object");
    // The key of the backend, as a field of its own: one that no version has takes its place.
    let named = field(1, "server");
    let at = whole.windows(named.len()).position(|it| it == named).expect("the key");
    let mut bytes = whole;
    if let Some(tag) = bytes.get_mut(at) {
        *tag = (15 << 3) | 2;
    }
    bytes.into()
}

#[tokio::test]
async fn of_a_backend_a_question_that_never_was_understood_lets_nobody_through() {
    let (control, gateway, client) = pair().await;
    let (asked, echo, other) = (Backend::http(refuse), Backend::echo(), Backend::echo());
    let hosts = [("server", &asked), ("echo", &echo), ("other", &other)];
    control.applied(hosts.map(|(key, it)| backend(key, it.addr()))).await;
    control.applied([route("all", "/", "other"), route("guarded", "/guarded", "echo")]).await;
    let target = Target::Backend(BackendKey::new("echo"));
    client.get("/guarded").await.expect_status(200);
    control.put("policy/guard", Some(without_a_server("guard", target.clone())));
    assert!(!control.refused("policy/guard").await.is_empty());
    control.answered().await;
    let reached = echo.stats().requests();
    let reply = client.get("/guarded").await;
    assert_eq!(reply.status.as_u16(), 403, "{}", reply.text());
    client.get("/").await.expect_status(200);
    assert_eq!((echo.stats().requests(), asked.stats().requests()), (reached, 0));
    // Understood it is what it says; broken again, the last that was understood stays.
    control.applied([policy("guard", target.clone(), authz(PATIENCE))]).await;
    client.get("/guarded").await.expect_status(200);
    control.put("policy/guard", Some(without_a_server("guard", target)));
    control.answered().await;
    client.get("/guarded").header("x-user", "eve").await.expect_status(403);
    client.get("/guarded").await.expect_status(200);
    assert_eq!(asked.stats().requests(), 3);
    control.put("policy/guard", None);
    control.answered().await;
    client.get("/guarded").header("x-user", "eve").await.expect_status(200);
    gateway.stop().await;
}
