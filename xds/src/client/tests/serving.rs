//! What the server does for and against its clients, besides sending what changed.

use std::collections::BTreeSet;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::identity::{Authority, secure};
use super::*;
use crate::server::{Chooser, Grouping, Limits, Tls};

fn limited(edit: impl FnOnce(&mut Limits)) -> server::Settings {
    let mut settings = server::Settings::default();
    edit(&mut settings.limits);
    settings
}

#[tokio::test]
async fn changes_made_while_a_client_is_slow_are_sent_as_one() {
    let control = Control::start(server::Settings::default()).await;
    let mut client = Client::start(control.address);
    let slow = client.update().await;
    for number in 1..50 {
        control.apply([backend("a", &format!("a:{number}"))]);
    }
    control.apply([backend("b", "b:1"), backend("gone", "c:1")]);
    control.apply([name("gone").removal()]);
    slow.reply.send(Vec::new()).unwrap();
    assert_eq!(client.taken().await.0, [backend("a", "a:49"), backend("b", "b:1")]);
    assert_eq!(control.log.clients()[0].responses, 2);
}

#[tokio::test]
async fn a_large_set_is_sent_in_bits_and_a_small_change_in_one() {
    let control = Control::start(limited(|it| it.response_bytes = 1000)).await;
    control.apply((0..100).map(|number| backend(&format!("b{number}"), "a:1")));
    let mut client = Client::start(control.address);
    let mut found = BTreeSet::new();
    let mut updates = 0;
    while found.len() < 100 {
        let (changes, _) = client.taken().await;
        assert!(changes.len() < 10, "{} resources in one response", changes.len());
        found.extend(changes.iter().map(|it| Name::of(it).to_string()));
        updates += 1;
    }
    assert!(updates >= 12, "in {updates}");
    control.apply([backend("b1", "a:2"), backend("b99", "a:2"), name("b2").removal()]);
    assert_eq!(client.taken().await.0.len(), 3, "what fits into one response takes effect together");
}

#[tokio::test]
async fn a_node_sees_its_own_group_or_nothing() {
    let choose = |node: &Node| node.metadata.get("role").cloned();
    let grouping = Grouping::By(Chooser(Arc::new(choose)));
    let control = Control::start(server::Settings { grouping, ..server::Settings::default() }).await;
    for role in ["edge", "waypoint"] {
        control.cache.apply(role, &patch([backend(role, "a:1")])).unwrap();
    }
    for role in ["edge", "waypoint"] {
        let mut settings = settings(control.address);
        settings.node.metadata.insert("role".to_owned(), role.to_owned());
        let mut client = Client::with(settings, Session::default());
        assert_eq!(client.taken().await.0, [backend(role, "a:1")]);
    }
    let mut stranger = Client::start(control.address);
    stranger.until("a refusal", |it| it.last_fault.as_ref().is_some_and(|it| it.contains("not served here"))).await;
    let mut talker = settings(control.address);
    talker.node.id = "x".repeat(2000);
    let mut talker = Client::with(talker, Session::default());
    talker.until("a refusal", |it| it.last_fault.as_ref().is_some_and(|it| it.contains("longer than"))).await;
}

#[tokio::test]
async fn clients_that_do_not_answer_are_cut_off() {
    let control = Control::start(limited(|it| it.acknowledgement = Duration::from_millis(30))).await;
    control.apply([backend("a", "a:1")]);
    let mut client = Client::start(control.address);
    let held = client.update().await;
    control.until("the end of the stream", |log| log.totals().streams > 0 && log.clients().is_empty()).await;
    drop(held);
    client.until("a fault", |it| it.faults >= 1).await;
}

#[tokio::test]
async fn connections_that_ask_nothing_are_closed() {
    let control = Control::start(limited(|it| it.greeting = Duration::from_millis(30))).await;
    let mut silent = TcpStream::connect(control.address).await.unwrap();
    let mut said = Vec::new();
    // Closed or reset: both are an end.
    let _ = soon("the end of the connection", silent.read_to_end(&mut said)).await;
}

#[tokio::test]
async fn no_more_streams_are_let_in_than_there_is_room_for() {
    let control = Control::start(limited(|it| it.streams = 1)).await;
    let mut first = Client::start(control.address);
    assert_eq!(first.taken().await.0, []);
    let mut second = Client::start(control.address);
    second.until("a refusal", |it| it.last_fault.as_ref().is_some_and(|it| it.contains("too many streams"))).await;
    drop(first);
    assert_eq!(second.taken().await.0, []);
}

#[tokio::test]
async fn a_certificate_that_was_replaced_is_shown_to_the_next_client() {
    let (before, after) = (Authority::new(), Authority::new());
    let identity = before.issue("localhost");
    let tls = Some(Tls { identity: identity.clone(), client_roots: None });
    let control = Control::start(server::Settings { tls, ..server::Settings::default() }).await;
    let mut client = Client::with(secure(&control, &before), Session::default());
    assert_eq!(client.taken().await.0, []);
    std::fs::write(&identity.cert, "torn").unwrap();
    let mut client = Client::with(secure(&control, &before), Session::default());
    assert_eq!(client.taken().await.0, [], "what cannot be used leaves what is");
    let fresh = after.issue("localhost");
    std::fs::copy(&fresh.key, &identity.key).unwrap();
    std::fs::copy(&fresh.cert, &identity.cert).unwrap();
    let mut client = Client::with(secure(&control, &after), Session::default());
    assert_eq!(client.taken().await.0, []);
}

#[tokio::test]
async fn what_a_client_refuses_is_known_until_it_is_sent_again() {
    let control = Control::start(server::Settings::default()).await;
    let mut client = Client::start(control.address);
    client.taken().await;
    control.apply([backend("a", "a:1"), backend("b", "a:1")]);
    let update = client.update().await;
    update.reply.send(vec![Refusal::new("backend/a", "no\nroom")]).unwrap();
    control.until("the refusal", |log| log.totals().nacks == 1).await;
    let refused = control.log.clients()[0].refused.clone();
    assert_eq!(refused.into_iter().collect::<Vec<_>>(), [("backend/a".to_owned(), "no\nroom".to_owned())]);
    control.apply([backend("a", "a:2")]);
    client.taken().await;
    control.until("the repair", |log| log.clients()[0].refused.is_empty()).await;
    assert_eq!(control.log.nacks().len(), 1, "the log remembers");
}
