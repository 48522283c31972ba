//! Control planes that misbehave, or are newer: contained, named, visible; the gateway serves on.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use filters::Change;
use ir::{ListenerKey, Target};
use tests::control::objects::{backend, bind, listener, route, says, without};
use tests::wait::PATIENCE;
use tests::{Client, Gateway, eventually};
use tokio::io::AsyncReadExt;

use super::{open, pair, unready, word};

fn encoded(change: &Change) -> Vec<u8> {
    xds::codec::encode(change).expect("an object")
}

/// A field of a later version: number 99, of bytes, behind what is there.
fn with_a_later_field(change: &Change) -> Bytes {
    let mut bytes = BytesMut::from(&encoded(change)[..]);
    bytes.put_slice(&[0x9a, 0x06, 2, b'h', b'i']);
    bytes.freeze()
}

#[tokio::test]
async fn a_bad_resource_harms_only_itself_and_is_named() {
    let (control, gateway, client) = pair().await;
    control.applied([route("good", "/good", "none"), says("good", "good")]).await;
    // One that was good, and one that never was, beside one that is.
    let bad = Bytes::from_static(b"\x1a\xff");
    control.put("route/good", Some(bad.clone()));
    control.put("policy/never", Some(bad));
    control.apply([route("new", "/new", "none"), says("new", "new")]);
    for name in ["route/good", "policy/never"] {
        assert!(control.refused(name).await.contains("not a message"), "{name}");
    }
    control.answered().await;
    assert_eq!(client.get("/good").await.text(), "good", "the last good one stays");
    assert_eq!(client.get("/new").await.text(), "new");
    let told = word(&gateway).await;
    let names: Vec<_> = told["refused"].as_array().expect("a list").iter().map(|it| it["name"].clone()).collect();
    assert_eq!(names, ["policy/never", "route/good"]);
    assert_eq!(gateway.metric_sum("agentgateway_xds_resources_refused", &[]).await, 2.0);
    assert!(gateway.metric_sum("agentgateway_xds_refusals_total", &[]).await >= 1.0);
    gateway.wait_log(|line| line.contains("resource refused") && line.contains("route/good")).await;
    control.applied([route("good", "/better", "none")]).await;
    control.put("policy/never", None);
    control.answered().await;
    assert_eq!(client.get("/better").await.text(), "good");
    assert_eq!(word(&gateway).await["resourcesRefused"], 0);
    gateway.stop().await;
}

#[tokio::test]
async fn what_a_later_version_says_is_refused_by_name_and_closed_where_it_never_was_good() {
    let (control, gateway, client) = pair().await;
    control.applied([route("known", "/known", "none"), says("known", "known")]).await;
    control.put("route/known", Some(with_a_later_field(&route("known", "/elsewhere", "none"))));
    control.put("route/later", Some(with_a_later_field(&route("later", "/later", "none"))));
    control.answered().await;
    assert!(control.refused("route/later").await.contains("does not know"), "the field is named");
    assert_eq!(client.get("/known").await.text(), "known", "the last version that is understood stays");
    assert_eq!(client.get("/later").await.status, 500, "one that never was understood lets nobody through");

    // A kind of policy that only a later version has, on a listener: everything behind it is closed.
    let target = Target::Listener(ListenerKey::new("b/http"));
    let known = tests::control::objects::timeout("later", target);
    control.put("policy/later", Some(tests::control::objects::of_a_later_kind(&known)));
    control.answered().await;
    assert_eq!(client.get("/known").await.status, 500);
    control.applied([known]).await;
    assert_eq!(client.get("/known").await.text(), "known", "understood, it is what it says");
    gateway.stop().await;
}

#[tokio::test]
async fn a_message_of_a_hundred_megabytes_is_not_taken_and_what_serves_goes_on() {
    let (control, gateway, client) = pair().await;
    control.applied([route("r", "/", "none"), says("r", "hello")]).await;
    let before = gateway.rss_kib();
    control.put("route/huge", Some(Bytes::from(vec![b'x'; 100 << 20])));
    eventually(PATIENCE, || async {
        word(&gateway).await["lastError"].as_str().is_some_and(|it| it.contains("limit"))
    })
    .await;
    assert_eq!(client.get("/").await.text(), "hello");
    let grown = gateway.rss_kib().saturating_sub(before);
    assert!(grown < 90 << 10, "{grown} KiB for a message that is refused by its length");
    let ends = gateway.metric_sum("agentgateway_xds_connection_terminations_total", &[("reason", "Error")]).await;
    assert!(ends >= 1.0, "{ends}");
    control.put("route/huge", None);
    control.applied([says("r", "mended")]).await;
    assert_eq!(client.get("/").await.text(), "mended");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_changes_is_taken_as_fast_as_it_can_be_and_the_last_one_counts() {
    let (control, gateway, client) = pair().await;
    control.applied([route("r", "/", "none"), says("r", "0")]).await;
    let before = control.clients()[0].responses;
    for number in 1..=5_000 {
        control.apply([
            says("r", &number.to_string()),
            route(&format!("x{}", number % 50), &format!("/x{number}"), "none"),
        ]);
        if number % 500 == 0 {
            client.get("/").await.expect_status(200);
        }
    }
    control.answered().await;
    assert_eq!(client.get("/").await.text(), "5000");
    let responses = control.clients()[0].responses - before;
    assert!(responses <= 5_000, "no response for what was overtaken: {responses}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_control_plane_that_accepts_and_says_nothing_is_left_and_asked_again() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    let config = format!("config:\n  xdsAddress: http://{addr}\n  namespace: default\n  gateway: edge\n");
    let own = "gateways: {own: {port: 0}}\nroutes:\n- name: all\n  gateways: [own]\n  policies: {directResponse: {status: 200, body: own}}\n";
    let gateway = Gateway::setup(&(config + own)).spawn();
    let (mut first, _) = tests::within(PATIENCE, listener.accept()).await.expect("a connection");
    let mut preface = [0; 24];
    tests::within(PATIENCE, first.read_exact(&mut preface)).await.expect("the preface of HTTP/2");
    // What is local serves meanwhile; the gateway is not ready.
    gateway.wait_log(|line| line.contains("\"ready\"")).await;
    gateway.status().await;
    let local = gateway.client();
    assert_eq!(local.get("/").await.text(), "own");
    assert!(unready(&gateway).await.contains("xds"));
    drop(first);
    tests::within(PATIENCE, listener.accept()).await.expect("another connection");
    gateway.stop().await;
}

#[tokio::test]
async fn a_control_plane_that_comes_and_goes_costs_nothing_but_its_news() {
    let (mut control, gateway, client) = pair().await;
    control.applied([route("r", "/", "none"), says("r", "0")]).await;
    for round in 1..=5 {
        let away = control.stop().await;
        assert_eq!(client.get("/").await.text(), (round - 1).to_string(), "it serves on");
        eventually(PATIENCE, || async { word(&gateway).await["connected"] == false }).await;
        assert_eq!(word(&gateway).await["stale"], true);
        away.apply([says("r", &round.to_string())]);
        control = away.back();
        control.answered().await;
        assert_eq!(client.get("/").await.text(), round.to_string());
        assert_eq!(control.clients()[0].resources, 1, "round {round}");
        assert_eq!(word(&gateway).await["stale"], false);
    }
    assert_eq!(client.connections(), 1);
    let reconnects = gateway.metric_sum("agentgateway_xds_connection_terminations_total", &[]).await;
    assert!(reconnects >= 5.0, "{reconnects}");
    gateway.stop().await;
}

#[tokio::test]
async fn references_that_lead_nowhere_answer_500_and_are_mended_by_what_they_miss() {
    let (control, gateway, client) = pair().await;
    control.applied([route("r", "/", "missing")]).await;
    client.get("/").await.expect_status(500);
    let echo = tests::Backend::echo();
    control.applied([backend("missing", echo.addr())]).await;
    client.get("/").await.expect_status(200);
    control.applied([without(&backend("missing", echo.addr()))]).await;
    client.get("/").await.expect_status(500);
    // A listener whose bind is missing, and a bind without a listener.
    control.applied([listener("nowhere"), bind("bare")]).await;
    let bare = Client::h1(gateway.listens("bare").await).deadline(Duration::from_secs(5));
    assert!(bare.get("/").try_send().await.map_or(true, |it| it.status == 404), "nobody is let in");
    open(&control, &gateway, vec![bind("nowhere")]).await;
    let found = Client::h1(gateway.listens("nowhere").await);
    found.get("/").await.expect_status(500);
    gateway.stop().await;
}
