//! One process takes over from another while a stream is open: nothing is lost, and nothing is downloaded again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use filters::Change;
use tests::client::Unsent;
use tests::control::objects::{backend, bind, listener, listener_of, route, says, without};
use tests::gateway::Lineage;
use tests::wait::PATIENCE;
use tests::{Authority, Backend, Client, Control, Gateway};

/// Clients that ask without a pause over fresh and kept connections, and count what is not 200.
struct Traffic {
    stop: Arc<AtomicBool>,
    wrong: Arc<AtomicU64>,
    asked: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Traffic {
    fn start(addr: std::net::SocketAddr) -> Self {
        let (stop, wrong, asked) = (Arc::default(), Arc::default(), Arc::default());
        let mut it = Self { stop, wrong, asked, tasks: Vec::new() };
        for _ in 0..4 {
            let (stop, wrong, asked) = (it.stop.clone(), it.wrong.clone(), it.asked.clone());
            it.tasks.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let client = Client::h1(addr);
                    for _ in 0..20 {
                        let answer = client.get("/").try_send().await;
                        // What was never sent is asked again.
                        let bad = answer.map_or_else(|error| !error.is::<Unsent>(), |it| it.status != 200);
                        wrong.fetch_add(u64::from(bad), Ordering::Relaxed);
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }));
        }
        it
    }

    async fn end(self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("a client that does not panic");
        }
        (self.asked.load(Ordering::Relaxed), self.wrong.load(Ordering::Relaxed))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_goes_on_where_its_predecessor_was_and_downloads_nothing() {
    let control = Control::start().await;
    let echo = Backend::echo();
    let authority = Authority::new("gateways");
    let gateway = Gateway::start(&control.config(&["connectionTerminationDeadline: 60s"])).await;
    let identity = authority.server(&["sealed.example"]);
    let mut all: Vec<Change> = vec![
        bind("b"),
        listener("b"),
        bind("tls"),
        listener_of("tls", "sealed", "sealed.example", Some(&identity)),
        backend("x", echo.addr()),
        route("all", "/", "x"),
    ];
    all.extend((0..2_000).map(|it| route(&format!("r{it}"), &format!("/r{it}"), "x")));
    control.applied(all).await;
    let at = gateway.listens("b").await;
    let sealed_at = gateway.listens("tls").await;
    let traffic = Traffic::start(at);
    let mut lineage = Lineage::new(gateway);
    for round in 0..4 {
        let before = control.clients().iter().map(|it| it.resources).max();
        assert!(before.is_some());
        lineage.upgrade().await;
        // The predecessor's stream ends; the successor's begins, and is sent nothing.
        let clients = control.until(|all| matches!(all, [one] if one.acknowledged > 0 && one.resources < 100)).await;
        assert_eq!(clients[0].resources, 0, "upgrade {round}: nothing is sent again");
        // It is the one that hears of news.
        let text = format!("round {round}");
        control.applied([route("news", "/news", "x"), says("news", &text)]).await;
        assert_eq!(Client::h1(at).get("/news").await.text(), text);
        let sealed = Client::tls(sealed_at, "sealed.example", authority.client_config(None, &["http/1.1"]));
        assert_eq!(sealed.get("/news").await.text(), text, "keys are inherited");
        let status = lineage.gateway().status().await;
        assert_eq!(
            (&status.document["xds"]["from"], &status.document["xds"]["stale"]),
            (&"control plane".into(), &false.into())
        );
        control.applied([without(&route("news", "/news", "x")), without(&says("news", ""))]).await;
    }
    let (asked, wrong) = traffic.end().await;
    assert!(asked > 100, "{asked}");
    assert_eq!(wrong, 0, "of {asked} requests");
    lineage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_takes_over_while_the_control_plane_is_away() {
    let control = Control::start().await;
    let gateway = Gateway::start(&control.config(&[])).await;
    control.applied([bind("b"), listener("b"), route("all", "/", "none"), says("all", "hello")]).await;
    let at = gateway.listens("b").await;
    let away = control.stop().await;
    let mut lineage = Lineage::new(gateway);
    lineage.upgrade().await;
    assert_eq!(Client::h1(at).get("/").await.text(), "hello");
    let told = lineage.gateway().status().await.document["xds"].clone();
    assert_eq!((&told["from"], &told["stale"], &told["synced"]), (&"predecessor".into(), &true.into(), &false.into()));
    away.apply([says("all", "newer")]);
    let control = away.back();
    let clients = control.until(|all| matches!(all, [one] if one.resources == 1 && one.acknowledged > 0)).await;
    assert_eq!(clients.len(), 1);
    assert_eq!(Client::h1(at).get("/").await.text(), "newer");
    lineage.stop().await;
}

#[tokio::test]
async fn a_substitute_is_inherited_as_such_and_goes_with_its_cause() {
    let control = Control::start().await;
    let gateway = Gateway::start(&control.config(&[])).await;
    let target = ir::Target::Listener(ir::ListenerKey::new("b/http"));
    control.applied([bind("b"), listener("b"), route("all", "/", "none"), says("all", "hello")]).await;
    let known = tests::control::objects::timeout("later", target);
    control.put("policy/later", Some(tests::control::objects::of_a_later_kind(&known)));
    control.answered().await;
    let at = gateway.listens("b").await;
    assert_eq!(Client::h1(at).get("/").await.status, 500);
    let away = control.stop().await;
    let mut lineage = Lineage::new(gateway);
    lineage.upgrade().await;
    assert_eq!(Client::h1(at).get("/").await.status, 500, "still closed");
    // It goes while nobody can hear of it.
    let control = away.back();
    control.put("policy/later", None);
    tests::eventually(PATIENCE, || async { Client::h1(at).get("/").await.text() == "hello" }).await;
    lineage.drained(Duration::from_secs(30)).await;
    lineage.stop().await;
}

/// What a predecessor has is of no use where the control plane is another one, and where it is too much to hand over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_that_inherits_nothing_asks_before_it_takes_over() {
    let control = Control::start().await;
    let echo = Backend::echo();
    let settings = ["stateDirectory: 'off'", "connectionTerminationDeadline: 60s"];
    let gateway = Gateway::start(&control.config(&settings)).await;
    control.applied([bind("b"), listener("b"), backend("x", echo.addr()), route("all", "/", "x")]).await;
    let traffic = Traffic::start(gateway.listens("b").await);
    let mut lineage = Lineage::new(gateway);
    // Another name of the same one: what was heard from the first does not count.
    let there = control.addr().to_string();
    let elsewhere = format!("localhost:{}", control.addr().port());
    lineage.renew(|config| config.replace(&there, &elsewhere)).await;
    let clients = control.until(|all| matches!(all, [one] if one.acknowledged > 0)).await;
    assert_eq!(clients[0].resources, 4, "it was told everything");
    let told = lineage.gateway().status().await.document["xds"].clone();
    assert_eq!((&told["from"], &told["synced"]), (&"control plane".into(), &true.into()));
    let (asked, wrong) = traffic.end().await;
    assert!(asked > 10, "{asked}");
    assert_eq!(wrong, 0, "of {asked} requests: none came while it had nothing to serve");
    lineage.stop().await;
}
