//! The client against our server, and against servers that misbehave, over loopback.

mod hostile;
mod identity;
mod serving;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use filters::{Change, Patch, Snapshot};
use ir::{Backend, BackendKey, BackendKind, HostTarget, Origin};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Address, Session, Settings, Status, Update, run};
use crate::codec::{Kind, Name};
use crate::server::{self, Cache, Log};
use crate::{Node, Refusal};

/// No test waits this long unless it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not come"))
}

fn backend(key: &str, host: &str) -> Change {
    let kind = BackendKind::Host(HostTarget::parse(host).unwrap());
    let it = Backend { key: BackendKey::new(key), kind, origin: Origin::default() };
    Change::Backend(it.key.clone(), Some(it.into()))
}

fn name(key: &str) -> Name {
    Name { kind: Kind::Backend, key: key.into() }
}

fn patch(changes: impl IntoIterator<Item = Change>) -> Patch {
    changes.into_iter().collect()
}

struct Control {
    cache: Arc<Cache>,
    log: Arc<Log>,
    address: SocketAddr,
    /// The port stays ours while nobody serves it.
    held: std::net::TcpListener,
    end: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

impl Control {
    async fn start(settings: server::Settings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap().into_std().unwrap();
        let cache = Arc::new(Cache::default());
        cache.set("", &Snapshot::default()).unwrap();
        Self::resume(listener, settings, cache)
    }

    fn resume(held: std::net::TcpListener, settings: server::Settings, cache: Arc<Cache>) -> Self {
        let address = held.local_addr().unwrap();
        let listener = TcpListener::from_std(held.try_clone().unwrap()).unwrap();
        let log = Arc::new(Log::default());
        let (end, ended) = oneshot::channel::<()>();
        let shutdown = async {
            let _ = ended.await;
        };
        let serve = server::serve(listener, settings, cache.clone(), log.clone(), shutdown);
        let serving = tokio::spawn(async { serve.await.unwrap() });
        Self { cache, log, address, held, end: Some(end), serving }
    }

    fn apply(&self, changes: impl IntoIterator<Item = Change>) {
        self.cache.apply("", &patch(changes)).unwrap();
    }

    /// Ends the server, and gives what the next one needs.
    async fn stop(mut self) -> (std::net::TcpListener, Arc<Cache>) {
        drop(self.end.take());
        soon("the end of the server", self.serving).await.unwrap();
        (self.held, self.cache)
    }

    async fn until(&self, what: &str, hold: impl Fn(&Log) -> bool) {
        let mut events = self.log.events();
        soon(what, async {
            while !hold(&self.log) {
                events.changed().await.unwrap();
            }
        })
        .await;
    }
}

struct Client {
    updates: mpsc::Receiver<Update>,
    status: watch::Receiver<Status>,
    session: Arc<Session>,
    running: JoinHandle<()>,
}

impl Client {
    fn start(address: SocketAddr) -> Self {
        Self::with(settings(address), Session::default())
    }

    fn with(settings: Settings, session: Session) -> Self {
        let (sender, updates) = mpsc::channel(1);
        let (status, watched) = watch::channel(Status::default());
        let session = Arc::new(session);
        let running = tokio::spawn(run(settings, session.clone(), sender, status, std::future::pending()));
        Self { updates, status: watched, session, running }
    }

    /// The next update, not yet replied to.
    async fn update(&mut self) -> Update {
        soon("an update", self.updates.recv()).await.unwrap()
    }

    /// The next patch, taken; with what was refused before.
    async fn taken(&mut self) -> (Vec<Change>, Vec<Refusal>) {
        let update = self.update().await;
        let said = (update.patch.changes().to_vec(), update.refused.clone());
        update.answer(Vec::new(), Vec::new());
        said
    }

    async fn until(&mut self, what: &str, hold: impl Fn(&Status) -> bool) {
        soon(what, self.status.wait_for(|it| hold(it))).await.unwrap();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.running.abort();
    }
}

fn settings(address: SocketAddr) -> Settings {
    let node = Node { id: "test".to_owned(), ..Node::default() };
    let mut settings = Settings::new(Address::parse(&format!("http://{address}")).unwrap(), node);
    settings.terms.backoff = Duration::from_millis(1);
    settings.terms.backoff_max = Duration::from_millis(10);
    settings
}

#[tokio::test]
async fn what_is_added_changed_and_removed_arrives_as_patches() {
    let control = Control::start(server::Settings::default()).await;
    let mut client = Client::start(control.address);
    assert_eq!(client.taken().await.0, [], "the first answer comes even if there is nothing");
    for changes in [
        vec![backend("a", "a:1"), backend("b", "b:1")],
        vec![backend("a", "a:2")],
        vec![name("b").removal()],
        vec![backend("c", "c:1"), name("a").removal()],
    ] {
        control.apply(changes.clone());
        assert_eq!(client.taken().await, (changes, Vec::new()));
    }
    let generation = 5;
    control.until("the last acknowledgement", |log| log.clients()[0].acknowledged == generation).await;
    let client_of = &control.log.clients()[0];
    assert_eq!((client_of.resources, client_of.node.id.as_str()), (6, "test"), "no more than what changed was sent");
    assert!(control.log.nacks().is_empty());
    assert_eq!(client.session.versions().into_keys().collect::<Vec<_>>(), ["backend/c"]);
}

#[tokio::test]
async fn a_bad_resource_harms_only_itself() {
    let control = Control::start(server::Settings::default()).await;
    let mut client = Client::start(control.address);
    client.taken().await;
    control.apply([backend("a", "a:1")]);
    client.taken().await;
    client.until("the answer", |it| it.responses == 2).await;
    let version = client.session.versions()["backend/a"].clone();

    // Broken, beside one that is good: the good one is taken, the last good version of the other stays.
    let update = patch([backend("a", "a:2"), backend("b", "b:1")]);
    let one = control.cache.clone();
    one.put("", name("a"), Some(Bytes::from_static(b"\xff"))).unwrap();
    let (changes, refused) = client.taken().await;
    assert_eq!((changes, refused.len()), (Vec::new(), 1));
    control.until("the refusal", |log| log.nacks().len() == 1).await;
    let nack = control.log.nacks().remove(0);
    assert_eq!((nack.node.as_str(), nack.refused[0].name.as_str()), ("test", "backend/a"));
    assert!(nack.refused[0].reason.contains("not a message"), "{nack:?}");
    assert_eq!(client.session.versions()["backend/a"], version, "the last good version is what we have");
    assert!(client.session.refused().contains_key("backend/a"));

    // Repaired.
    one.apply("", &update).unwrap();
    assert_eq!(client.taken().await, (update.changes().to_vec(), Vec::new()));
    control.until("the acknowledgement", |log| log.clients()[0].acknowledged == 4).await;
    assert!(client.session.refused().is_empty());
    assert_ne!(client.session.versions()["backend/a"], version);
}

#[tokio::test]
async fn a_resource_that_never_was_good_is_closed_until_it_is() {
    let control = Control::start(server::Settings::default()).await;
    let mut client = Client::start(control.address);
    client.taken().await;
    let policy = Name { kind: Kind::Policy, key: "p".into() };
    // `p` on rule `r`, of kind 77.
    let newer = [b'\x32', 11, 10, 1, b'p', 18, 3, 66, 1, b'r', 234, 4, 0];
    control.cache.put("", policy.clone(), Some(Bytes::copy_from_slice(&newer))).unwrap();
    let (changes, refused) = client.taken().await;
    assert!(refused[0].reason.contains("field policy.77"), "{refused:?}");
    let [Change::Policy(_, Some(closed))] = &changes[..] else { panic!("{changes:?}") };
    assert!(matches!(closed.policy, filters::Policy::DirectResponse(_)));
    assert!(client.session.is_empty(), "a substitute is nothing we have");

    // It goes while nobody is there to hear that.
    let (held, cache) = control.stop().await;
    client.until("the end of the stream", |it| !it.connected).await;
    cache.put("", policy.clone(), None).unwrap();
    let _control = Control::resume(held, server::Settings::default(), cache);
    assert_eq!(client.taken().await.0, [policy.removal()]);
}

#[tokio::test]
async fn what_the_receiver_does_not_take_is_refused_by_name() {
    let control = Control::start(server::Settings::default()).await;
    let mut client = Client::start(control.address);
    client.taken().await;
    control.apply([backend("a", "a:1"), backend("b", "b:1"), backend("held", "c:1")]);
    let (no_room, aside) = (Refusal::new("backend/b", "no room"), Refusal::new("backend/held", "another has the name"));
    client.update().await.answer(vec![no_room.clone()], vec![aside.clone()]);
    control.until("the refusal", |log| log.nacks().len() == 1).await;
    assert_eq!(control.log.nacks()[0].refused, [no_room, aside]);
    assert_eq!(client.session.versions().into_keys().collect::<Vec<_>>(), ["backend/a", "backend/held"]);
    // Whoever drops the reply has taken nothing.
    control.apply([backend("c", "c:1")]);
    drop(client.update().await);
    control.until("the refusal", |log| log.nacks().len() == 2).await;
    assert!(!client.session.versions().contains_key("backend/c"));
}

#[tokio::test]
async fn a_client_that_comes_back_downloads_nothing_twice() {
    let control = Control::start(server::Settings::default()).await;
    let mut client = Client::start(control.address);
    client.taken().await;
    control.apply((0..1000).map(|number| backend(&format!("b{number:04}"), "a:1")));
    assert_eq!(client.taken().await.0.len(), 1000);
    client.until("the answer", |it| it.responses == 2).await;

    // The server ends in good order, and is there again with one change more and one less.
    let (held, cache) = control.stop().await;
    client.until("the end of the stream", |it| !it.connected).await;
    cache.apply("", &patch([backend("new", "n:1"), name("b0007").removal()])).unwrap();
    let control = Control::resume(held, server::Settings::default(), cache);
    assert_eq!(client.taken().await.0, [backend("new", "n:1"), name("b0007").removal()]);
    control.until("the acknowledgement", |log| log.clients().first().is_some_and(|it| it.acknowledged == 3)).await;
    assert_eq!(control.log.clients()[0].resources, 2);

    // Nor does a successor that knows where its predecessor was.
    let versions = client.session.versions();
    drop(client);
    control.until("the client's end", |log| log.clients().is_empty()).await;
    let mut next = Client::with(settings(control.address), Session::resume(versions));
    assert_eq!(next.taken().await, (Vec::new(), Vec::new()));
    assert_eq!(control.log.clients()[0].resources, 0);
}

#[tokio::test]
async fn one_change_costs_the_same_among_many_as_among_few() {
    let mut bytes = Vec::new();
    for many in [10, 10_000] {
        let control = Control::start(server::Settings::default()).await;
        control.apply((0..many).map(|number| backend(&format!("b{number:05}"), "a:1")));
        let mut client = Client::start(control.address);
        assert_eq!(client.taken().await.0.len(), many);
        control.until("the acknowledgement", |log| log.clients()[0].acknowledged == 2).await;
        let before = control.log.clients()[0].clone();
        control.apply([backend("b00001", "b:1")]);
        assert_eq!(client.taken().await.0, [backend("b00001", "b:1")]);
        let after = control.log.clients()[0].clone();
        assert_eq!((after.responses - before.responses, after.resources - before.resources), (1, 1));
        bytes.push(after.bytes - before.bytes);
    }
    assert_eq!(bytes[0], bytes[1]);
    assert!(bytes[0] < 1024, "{bytes:?}");
}

#[tokio::test]
async fn a_large_set_arrives_in_bounded_responses() {
    let limits = server::Limits { response_bytes: 10_000, ..server::Limits::default() };
    let control = Control::start(server::Settings { limits, ..server::Settings::default() }).await;
    control.apply((0..500).map(|number| backend(&format!("b{number:03}"), "a:1")));
    let mut client = Client::start(control.address);
    let mut arrived = 0;
    let mut responses = 0;
    while arrived < 500 {
        arrived += client.taken().await.0.len();
        responses += 1;
    }
    assert!(responses > 5, "{responses}");
    client.until("the last answer", |it| it.responses == responses).await;
    assert_eq!(client.session.len(), 500);
}

#[tokio::test]
async fn groups_are_served_apart_and_unknown_ones_wait() {
    let grouping = server::Grouping::Metadata("role".to_owned());
    let control = Control::start(server::Settings { grouping, ..server::Settings::default() }).await;
    let mut settings = settings(control.address);
    settings.node.metadata.insert("role".to_owned(), "edge".to_owned());
    let mut client = Client::with(settings, Session::default());
    client.until("a fault", |it| it.last_fault.as_ref().is_some_and(|it| it.contains("group `edge`"))).await;
    control.apply([backend("other", "a:1")]);
    control.cache.apply("edge", &patch([backend("a", "a:1")])).unwrap();
    assert_eq!(client.taken().await.0, [backend("a", "a:1")]);
}

#[test]
fn waits_double_up_to_the_longest_and_are_drawn_from_the_upper_half() {
    let terms = super::Terms::default();
    let mut wait = Duration::ZERO;
    let mut waits = Vec::new();
    for _ in 0..10 {
        wait = super::longer(wait, &terms);
        waits.push(wait.as_millis());
        let drawn = super::upper_half(wait);
        assert!(drawn >= wait / 2 && drawn <= wait, "{drawn:?} of {wait:?}");
    }
    assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 15_000, 15_000]);
}
