//! Both sources at once: whose an object is, and what of both a route is under.

use ir::{ObjectName, Target};
use tests::control::objects::{backend, bind, gateway as edge, header, listener, policy, route, says};
use tests::{Backend, Client, Control, Gateway};

use super::word;

/// A local port with a route to a backend `shared`, which it has itself.
const LOCAL: &str = "gateways: {own: {port: 0}}
backends:
- name: shared
  host: '{{ADDR}}'
routes:
- name: local
  gateways: [own]
  backends: [{backend: shared}]
";

/// The key of a local backend.
async fn key_of_shared(gateway: &Gateway) -> String {
    let dump = gateway.config_dump().await;
    let found = dump["backends"].as_array().and_then(|all| all.iter().find(|it| it["origin"]["source"] != "xds"));
    found.expect("a local backend")["key"].as_str().expect("a key").to_owned()
}

#[tokio::test]
async fn where_both_have_a_key_the_document_serves_and_the_other_waits_and_says_so() {
    let control = Control::start().await;
    let [local, remote] = ["local", "remote"].map(Backend::echo_named);
    let document = control.config(&[]) + &LOCAL.replace("{{ADDR}}", &local.addr().to_string());
    let gateway = Gateway::start(&document).await;
    let key = key_of_shared(&gateway).await;
    control.applied([bind("b"), listener("b"), route("r", "/", &key), backend(&key, remote.addr())]).await;
    let client = Client::h1(gateway.listens("b").await);
    client.get("/").await.expect_status(200);
    assert_eq!((local.stats().requests(), remote.stats().requests()), (1, 0), "one object serves both");
    let reason = control.refused(&format!("backend/{key}")).await;
    assert!(reason.contains("config.yaml") && reason.contains("backends[0]"), "{reason}");
    let told = word(&gateway).await;
    assert_eq!((&told["refused"][0]["name"], &told["resourcesRefused"]), (&format!("backend/{key}").into(), &1.into()));

    // The document lets go of the key: what waited serves, without another word of the control plane.
    let sent = control.clients()[0].resources;
    let status = gateway.reload(&control.config(&[])).await;
    assert!(status.last_error.is_none());
    client.get("/").await.expect_status(200);
    assert_eq!((local.stats().requests(), remote.stats().requests(), control.clients()[0].resources), (1, 1, sent));
    assert_eq!(word(&gateway).await["resourcesRefused"], 0);

    // And takes it again.
    gateway.reload(&document).await;
    client.get("/").await.expect_status(200);
    assert_eq!((local.stats().requests(), remote.stats().requests()), (2, 1));
    gateway.stop().await;
}

#[tokio::test]
async fn a_reload_leaves_alone_what_the_control_plane_said() {
    let control = Control::start().await;
    let gateway = Gateway::start(&control.config(&[])).await;
    control.applied([bind("b"), listener("b"), route("r", "/", "none"), says("r", "remote")]).await;
    let client = Client::h1(gateway.listens("b").await);
    let own = "gateways: {own: {port: 0}}\nroutes:\n- name: all\n  gateways: [own]\n  policies: {directResponse: {status: 200, body: local}}\n";
    for document in [control.config(&[]) + own, control.config(&[]), control.config(&[]) + own] {
        assert!(gateway.reload(&document).await.last_error.is_none());
        assert_eq!(client.get("/").await.text(), "remote");
    }
    assert!(gateway.reload(&(control.config(&[]) + "routes: 7\n")).await.last_error.is_some());
    control.applied([says("r", "newer")]).await;
    assert_eq!(client.get("/").await.text(), "newer");
    let status = gateway.status().await;
    assert!(status.last_error.is_some(), "the refused document stays visible: {:?}", status.document);
    assert_eq!(client.connections(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_document_may_lead_to_what_the_control_plane_has() {
    let control = Control::start().await;
    let echo = Backend::echo();
    let own = "gateways: {own: {port: 0}}\nroutes:\n- name: all\n  gateways: [own]\n  backends: [{backend: there}]\n";
    let gateway = Gateway::start(&(control.config(&[]) + own)).await;
    let said = "backend `there` is not in this document, and until the control plane names it, its requests get 500";
    gateway.wait_log(|line| line.contains(said)).await;
    let client = gateway.client();
    client.get("/").await.expect_status(500);
    control.applied([backend("there", echo.addr())]).await;
    client.get("/").await.expect_status(200);
    gateway.stop().await;
}

#[tokio::test]
async fn the_effective_policies_of_a_route_name_both_sources() {
    let control = Control::start().await;
    let local = "policies:\n- {name: {name: t}, target: {gateway: {gatewayName: edge, gatewayNamespace: default}}, policy: {timeout: {requestTimeout: 7s}}}\n";
    let gateway = Gateway::start(&(control.config(&[]) + local)).await;
    let target = Target::Route(ObjectName::new("default", "r"));
    let tagged = header("x-tag", "1");
    let echo = Backend::echo();
    control
        .applied([
            bind("b"),
            listener("b"),
            backend("x", echo.addr()),
            route("r", "/", "x"),
            policy("tagged", target, tagged),
        ])
        .await;
    let client = Client::h1(gateway.listens("b").await);
    client.get("/").await.expect_status(200);
    let effective = gateway.admin("GET", "/config/effective?route=r").await.expect_status(200).json();
    let parts = effective["listeners"]["b/http"]["route"].as_array().expect("parts").clone();
    let sources: Vec<_> =
        parts.iter().map(|it| it["origin"]["source"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(parts.len(), 2, "{effective}");
    assert!(
        sources.iter().any(|it| it == "xds") && sources.iter().any(|it| it.ends_with("config.yaml")),
        "{effective}"
    );
    let on_gateway = Target::Gateway { gateway: edge(), port: None };
    let timeout = filters::timeout::Policy { request: Some(std::time::Duration::from_secs(3)), backend_request: None };
    control.applied([policy("t", on_gateway, filters::Policy::Timeout(timeout))]).await;
    let effective = gateway.admin("GET", "/config/effective?route=r").await.expect_status(200).json();
    assert!(effective.to_string().contains("\"source\":\"xds\""), "{effective}");
    gateway.stop().await;
}

#[tokio::test]
async fn everything_but_the_static_settings_may_be_in_a_file_of_its_own() {
    let control = Control::start().await;
    let other = "gateways: {own: {port: 0}}\nroutes:\n- name: all\n  gateways: [own]\n  policies: {directResponse: {status: 200, body: other}}\n";
    let gateway = Gateway::setup(&(control.config(&["localXdsPath: '{{dir}}/other.yaml'"]) + "routes: []\n"))
        .file("other.yaml", other)
        .start()
        .await;
    assert_eq!(gateway.client().get("/").await.text(), "other");
    assert!(gateway.status().await.document["source"].as_str().is_some_and(|it| it.ends_with("other.yaml")));
    std::fs::write(gateway.dir().join("other.yaml"), other.replace("body: other", "body: newer")).expect("written");
    let client = gateway.client();
    tests::eventually(tests::wait::PATIENCE, || async { client.get("/").await.text() == "newer" }).await;
    gateway.stop().await;
}
