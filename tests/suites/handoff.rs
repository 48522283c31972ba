//! The end of a process: drain on SIGTERM, and the hand-over of its sockets to a successor on SIGHUP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tests::client::Unsent;
use tests::gateway::{Signal, Successor};
use tests::wait::PATIENCE;
use tests::{Authority, Backend, Client, Gateway, RawClient, WsClient, eventually};

fn yaml(backend: &Backend, extra: &str) -> String {
    format!(
        "config:\n  handoffSocket: '{{{{dir}}}}/handoff.sock'\n{extra}binds:\n- port: 0\n  address: 127.0.0.1\n  listeners:\n  - routes:\n    - backends: [{{ host: '{}' }}]\n",
        backend.addr()
    )
}

/// Clients that ask without a pause, until told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Load {
    /// `fresh`: a connection for each request.
    fn start(addr: SocketAddr, clients: usize, fresh: bool) -> Load {
        Load::of(move || Client::h1(addr), clients, fresh)
    }

    fn of(connect: impl Fn() -> Client + Clone + Send + 'static, clients: usize, fresh: bool) -> Load {
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let tasks = (0..clients).map(|_| {
            let (stop, asked, connect) = (stop.clone(), asked.clone(), connect.clone());
            tokio::spawn(async move {
                let mut failures = Vec::new();
                let mut client = connect();
                while !stop.load(Ordering::Relaxed) {
                    if fresh {
                        client = connect();
                    }
                    match client.get("/load").try_send().await {
                        Ok(reply) if reply.status == 200 => {}
                        Ok(reply) => failures.push(format!("status {}", reply.status)),
                        // RFC 9113 section 6.8: it crossed the GOAWAY, reached nobody, and is asked again.
                        Err(error) if error.is::<Unsent>() => continue,
                        Err(error) => failures.push(format!("{error:#}")),
                    }
                    asked.fetch_add(1, Ordering::Relaxed);
                }
                failures
            })
        });
        Load { tasks: tasks.collect(), stop, asked }
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    async fn reach(&self, count: u64) {
        eventually(Duration::from_secs(120), || async { self.asked() >= count }).await;
    }

    async fn stop(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let mut failures = Vec::new();
        for task in self.tasks {
            failures.extend(task.await.expect("a client"));
        }
        (self.asked.load(Ordering::Relaxed), failures)
    }
}

/// Asks for a successor that says who it is on the shared sockets.
async fn succeed(gateway: &mut Gateway) -> Successor {
    let successor = gateway.succeed().await;
    assert_ne!(successor.pid(), gateway.pid());
    successor
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hand_over_fails_no_request_and_refuses_no_connection() {
    let backend = Backend::echo();
    let mut gateway = Gateway::start(&yaml(&backend, "  connectionTerminationDeadline: 20s\n")).await;
    let addr = gateway.addr(0);
    let kept = Load::start(addr, 4, false);
    let fresh = Load::start(addr, 4, true);
    kept.reach(700).await;
    fresh.reach(300).await;
    let sse = Client::h1(addr).deadline(Duration::from_secs(60));
    let mut events = sse.get("/sse?n=40&ms=50").events().await;
    assert!(events.next().await.is_ok_and(|it| it.is_some()), "the stream runs in the first process");
    let successor = succeed(&mut gateway).await;
    let at = (kept.asked(), fresh.asked());
    kept.reach(at.0 + 1_300).await;
    fresh.reach(at.1 + 500).await;
    let mut heard = 1;
    while events.next().await.expect("the stream goes on in the old process").is_some() {
        heard += 1;
    }
    assert_eq!(heard, 41, "40 events and the last word");
    drop(events);
    sse.disconnect().await;
    assert!(gateway.wait_succeeded(PATIENCE).await.success(), "the old process ends when its last stream has");
    let (asked, failures) = kept.stop().await;
    assert!(asked >= 2_000, "{asked}");
    assert!(failures.is_empty(), "kept connections: {} of {asked}: {:?}", failures.len(), failures.first());
    let (asked, failures) = fresh.stop().await;
    assert!(failures.is_empty(), "new connections: {} of {asked}: {:?}", failures.len(), failures.first());
    assert_eq!(gateway.addr(0), addr);
    assert_eq!(gateway.status().await.binds.first().map(|it| it.address.clone()), Some(addr.to_string()));
    successor.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hand_over_fails_no_request_over_tls_and_http2() {
    let backend = Backend::echo();
    let authority = Authority::new("tests");
    let server = authority.server(&["a.example"]);
    let tls = format!(
        "  - protocol: HTTPS\n    tls: {{ cert: '{}', key: '{}' }}\n    routes:",
        server.cert_path.display(),
        server.key_path.display()
    );
    let text = yaml(&backend, "  connectionTerminationDeadline: 20s\n").replacen("  - routes:", &tls, 1);
    let mut gateway = Gateway::start(&text).await;
    let addr = gateway.addr(0);
    let client = |alpn: &'static str| {
        let config = authority.client_config(None, &[alpn]);
        move || Client::tls(addr, "a.example", config.clone())
    };
    let loads = [("http/1.1", false), ("http/1.1", true), ("h2", false), ("h2", true)];
    let loads = loads.map(|(alpn, fresh)| (alpn, fresh, Load::of(client(alpn), 2, fresh)));
    for (_, _, load) in &loads {
        load.reach(100).await;
    }
    let mut streams = Vec::new();
    for alpn in ["http/1.1", "h2"] {
        let client = client(alpn)().deadline(Duration::from_secs(60));
        let mut events = client.get("/sse?n=40&ms=50").events().await;
        assert!(events.next().await.is_ok_and(|it| it.is_some()), "the stream runs in the first process");
        streams.push((client, events));
    }
    let successor = succeed(&mut gateway).await;
    for (_, _, load) in &loads {
        load.reach(load.asked() + 100).await;
    }
    for (client, mut events) in streams {
        let mut heard = 1;
        while events.next().await.expect("the stream goes on in the old process").is_some() {
            heard += 1;
        }
        assert_eq!(heard, 41, "40 events and the last word");
        drop(events);
        client.disconnect().await;
    }
    assert!(gateway.wait_succeeded(PATIENCE).await.success(), "the old process ends when its last stream has");
    for (alpn, fresh, load) in loads {
        let (asked, failures) = load.stop().await;
        assert!(failures.is_empty(), "{alpn}, fresh: {fresh}: {} of {asked}: {:?}", failures.len(), failures.first());
    }
    successor.stop(PATIENCE).await;
}

#[tokio::test]
async fn a_successor_has_a_successor() {
    let backend = Backend::echo();
    let mut gateway = Gateway::start(&yaml(&backend, "")).await;
    let first = succeed(&mut gateway).await;
    gateway.wait_succeeded(PATIENCE).await;
    let before = gateway.logs().len();
    first.signal(Signal::HUP);
    let line = gateway.log().wait_after(before, |it| it.contains("started a successor")).await;
    assert!(line.contains("pid"), "{line}");
    gateway.log().wait_after(before, |it| it.contains("took over")).await;
    let second = Successor::of(&line);
    eventually(PATIENCE, || async { first.is_gone() }).await;
    assert_eq!(gateway.client().get("/").await.status, 200);
    second.stop(PATIENCE).await;
}

#[tokio::test]
async fn the_gateways_own_servers_answer_throughout() {
    let backend = Backend::echo();
    let mut gateway = Gateway::start(&yaml(&backend, "")).await;
    let ready = Client::unix(gateway.dir().join("ready.sock"));
    let stop = Arc::new(AtomicBool::new(false));
    let probing = tokio::spawn({
        let stop = stop.clone();
        async move {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                let reply = ready.get("/healthz/ready").header("connection", "close").try_send().await;
                let status = reply.expect("an answer to each probe").status;
                assert_eq!(status, 200, "ready all the time");
                ready.disconnect().await;
                count += 1;
            }
            count
        }
    });
    let successor = succeed(&mut gateway).await;
    gateway.wait_succeeded(PATIENCE).await;
    stop.store(true, Ordering::Relaxed);
    assert!(probing.await.expect("the probe") > 10);
    assert!(gateway.metrics().await.contains("agentgateway_config_generation"));
    let status = gateway.reload(&yaml(&backend, "").replace("binds:", "# changed\nbinds:")).await;
    assert!(status.last_error.is_none(), "the successor follows the file");
    successor.stop(PATIENCE).await;
}

#[tokio::test]
async fn a_successor_that_does_not_start_leaves_the_predecessor_serving() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&yaml(&backend, "")).await;
    let kept = gateway.client();
    assert_eq!(kept.get("/").await.status, 200);
    gateway.write_raw("binds:\n- port: nonsense\n");
    gateway.signal(Signal::HUP);
    gateway.wait_log(|it| it.contains("the configuration is refused")).await;
    gateway
        .wait_log(|it| it.contains("nonsense") || it.contains("binds[0].port") || it.contains("config.yaml:2"))
        .await;
    gateway.wait_log(|it| it.contains("the successor ended") && it.contains('1')).await;
    let reply = kept.get("/").await;
    assert_eq!((reply.status.as_u16(), reply.reused), (200, true), "the old connection was not touched");
    assert_eq!(Client::h1(gateway.addr(0)).get("/").await.status, 200);
    // And the way is still open for one that does start.
    let mut gateway = gateway;
    let good = format!(
        "config:\n  handoffSocket: '{dir}/handoff.sock'\n  adminAddr: unix:{dir}/admin.sock\n  statsAddr: unix:{dir}/stats.sock\n  readinessAddr: unix:{dir}/ready.sock\n  logging: {{ level: info, format: json }}\nbinds:\n- port: 0\n  address: 127.0.0.1\n  listeners:\n  - routes:\n    - backends: [{{ host: '{}' }}]\n",
        backend.addr(),
        dir = gateway.dir().display()
    );
    gateway.write_raw(&good);
    let before = gateway.logs().len();
    gateway.signal(Signal::HUP);
    let line = gateway.log().wait_after(before, |it| it.contains("started a successor")).await;
    let successor = Successor::of(&line);
    gateway.log().wait_after(before, |it| it.contains("successor is ready")).await;
    gateway.wait_succeeded(PATIENCE).await;
    assert_eq!(Client::h1(gateway.addr(0)).get("/").await.status, 200);
    successor.stop(PATIENCE).await;
}

#[tokio::test]
async fn a_hundred_binds_and_a_unix_socket_are_handed_over() {
    let backend = Backend::echo();
    let mut text = String::from("config:\n  handoffSocket: '{{dir}}/handoff.sock'\nbinds:\n");
    for at in 0..100 {
        let address = if at == 99 { "unix:{{dir}}/http.sock" } else { "127.0.0.1" };
        text += &format!(
            "- port: 0\n  address: '{address}'\n  listeners:\n  - routes:\n    - backends: [{{ host: '{}' }}]\n",
            backend.addr()
        );
    }
    let mut gateway = Gateway::start(&text).await;
    let before: Vec<_> = gateway.status().await.binds.iter().map(|it| it.address.clone()).collect();
    let successor = succeed(&mut gateway).await;
    gateway.wait_succeeded(PATIENCE).await;
    let after = gateway.status().await;
    assert_eq!(after.binds.iter().map(|it| it.address.clone()).collect::<Vec<_>>(), before, "the ports stay");
    for bind in after.binds.iter().filter(|it| !it.address.starts_with("unix:")) {
        assert_eq!(Client::h1(bind.addr()).get("/").await.status, 200, "{}", bind.name);
    }
    assert_eq!(Client::unix(gateway.dir().join("http.sock")).get("/").await.status, 200);
    successor.stop(PATIENCE).await;
}

#[tokio::test]
async fn an_upgrade_needs_no_setting() {
    let backend = Backend::echo();
    let text = format!(
        "binds:\n- port: 0\n  address: 127.0.0.1\n  listeners:\n  - routes:\n    - backends: [{{ host: '{}' }}]\n",
        backend.addr()
    );
    let mut gateway = Gateway::start(&text).await;
    let successor = succeed(&mut gateway).await;
    assert!(gateway.wait_succeeded(PATIENCE).await.success());
    assert_eq!(gateway.client().get("/").await.status, 200);
    successor.stop(PATIENCE).await;
}

#[tokio::test]
async fn sigterm_lets_streams_finish_and_says_close_to_connections_that_are_used() {
    let backend = Backend::echo();
    let mut gateway = Gateway::start(&yaml(&backend, "  connectionTerminationDeadline: 20s\n")).await;
    let addr = gateway.addr(0);
    let mut kept = RawClient::connect(addr).await;
    kept.write("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("write");
    assert_ne!(kept.reply().await.expect("an answer").header("connection"), Some("close"));
    let h2 = Client::h2c(addr).host("a");
    let mut h2_events = h2.get("/sse?n=10&ms=100").events().await;
    let sse = Client::h1(addr);
    let mut events = sse.get("/sse?n=20&ms=100").events().await;
    events.next().await.expect("an event");
    h2_events.next().await.expect("an event");
    gateway.signal(Signal::TERM);
    gateway.wait_log(|it| it.contains("draining")).await;
    eventually(PATIENCE, || async { !gateway.health("/healthz/ready").await.status.is_success() }).await;
    kept.write("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("write");
    let reply = kept.reply().await.expect("a request during the drain is answered");
    assert_eq!((reply.status.as_u16(), reply.header("connection")), (200, Some("close")));
    assert!(kept.at_end().await.expect("a clean end"));
    let mut heard = 1;
    while events.next().await.expect("the stream goes on").is_some() {
        heard += 1;
    }
    assert_eq!(heard, 21);
    // Nobody said `close` on this one before its answer began: it may stay until the deadline, or its client goes.
    drop(events);
    sse.disconnect().await;
    let mut heard = 1;
    while h2_events.next().await.expect("the HTTP/2 stream goes on after GOAWAY").is_some() {
        heard += 1;
    }
    assert_eq!(heard, 11);
    assert!(gateway.wait_exit(PATIENCE).await.success());
    gateway.wait_log(|it| it.contains("\"message\":\"ended\"")).await;
    assert!(!gateway.log().text().contains("drain limit reached"));
}

#[tokio::test]
async fn what_outstays_the_deadline_is_cut() {
    let backend = Backend::websocket();
    let mut gateway = Gateway::start(&yaml(&backend, "  connectionTerminationDeadline: 3s\n")).await;
    let mut socket = WsClient::connect(gateway.addr(0), "/ws", &[]).await.expect("a WebSocket");
    assert_eq!(socket.ask("before").await, "before");
    gateway.signal(Signal::TERM);
    gateway.wait_log(|it| it.contains("draining")).await;
    assert_eq!(socket.ask("within the deadline").await, "within the deadline");
    let start = Instant::now();
    let end = socket.next().await;
    assert!(matches!(end, Ok(None) | Err(_)), "cut: {end:?}");
    assert!(gateway.wait_exit(PATIENCE).await.success());
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    assert!(gateway.log().text().contains("drain limit reached"));
}

#[tokio::test]
async fn sigint_ends_at_once() {
    let backend = Backend::echo();
    let mut gateway = Gateway::start(&yaml(&backend, "  connectionTerminationDeadline: 60s\n")).await;
    let client = gateway.client();
    let mut events = client.get("/sse?n=1000&ms=100").events().await;
    events.next().await.expect("an event");
    let start = Instant::now();
    gateway.signal(Signal::INT);
    gateway.wait_exit(PATIENCE).await;
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}
