//! The process as a service: what it tells its manager, the sockets it is passed and leaves there, its credentials.
//! Under a real systemd: `deploy/systemd/test`.

use std::net::TcpListener;
use std::time::Duration;

use tests::gateway::{Setup, Signal, Successor};
use tests::wait::PATIENCE;
use tests::{Authority, Backend, Client, Gateway, Manager, eventually};

/// One bind, `gateway/default`, on a port the kernel chooses; it answers by itself.
const ONE: &str = "gateways: { default: { port: 0, address: 127.0.0.1 } }
routes: [{ policies: { directResponse: { status: 200, body: here } } }]
";
/// The name its socket is stored under.
const ONE_STORED: &str = "gateway/default 127.0.0.1%3A0";

fn supervised(manager: &Manager, yaml: &str) -> Setup {
    Gateway::setup(yaml).env("NOTIFY_SOCKET", manager.path().to_str().expect("a path in UTF-8"))
}

fn listener() -> (TcpListener, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("its address");
    (listener, address)
}

#[tokio::test]
async fn ready_is_said_by_the_process_and_its_state_in_words() {
    let manager = Manager::new();
    let gateway = supervised(&manager, ONE).start().await;
    let ready = manager.wait(|it| it.has("READY=1")).await;
    assert_eq!((ready.pid, ready.value("MAINPID")), (gateway.pid(), Some(gateway.pid().to_string().as_str())));
    let status = manager.wait(|it| it.value("STATUS").is_some()).await;
    assert_eq!(status.value("STATUS"), Some("generation 1, 0 connections, 1 binds"));
    gateway.stop().await;
}

#[tokio::test]
async fn a_process_that_cannot_start_never_says_ready() {
    let manager = Manager::new();
    let mut gateway = supervised(&manager, "routes: nonsense\n").spawn();
    assert!(!gateway.wait_exit(PATIENCE).await.success());
    assert_eq!(manager.said(), []);
}

#[tokio::test]
async fn a_drain_says_stopping_and_asks_for_time() {
    let (manager, backend) = (Manager::new(), Backend::echo());
    let yaml = format!(
        "config:\n  connectionTerminationDeadline: 60s\ngateways: {{ default: {{ port: 0, address: 127.0.0.1 }} }}
routes: [{{ backends: [{{ host: '{}' }}] }}]\n",
        backend.addr()
    );
    let mut gateway = supervised(&manager, &yaml).start().await;
    let client = Client::h1(gateway.addr(0)).deadline(Duration::from_secs(60));
    let mut events = client.get("/sse?n=1000&ms=20").events().await;
    assert!(events.next().await.is_ok_and(|it| it.is_some()), "a stream holds the drain");
    gateway.signal(Signal::TERM);
    manager.wait(|it| it.has("STOPPING=1")).await;
    let more = manager.wait(|it| it.value("EXTEND_TIMEOUT_USEC").is_some()).await;
    let more: u64 = more.value("EXTEND_TIMEOUT_USEC").and_then(|it| it.parse().ok()).expect("microseconds");
    assert!(more > 1_000_000, "{more}");
    manager.wait(|it| it.value("STATUS") == Some("draining, 1 connections left")).await;
    drop(events);
    client.disconnect().await;
    assert!(gateway.wait_exit(PATIENCE).await.success());
    let stored = manager.stored();
    assert!(stored.iter().any(|it| it == ONE_STORED), "a restart needs the socket: {stored:?}");
}

#[tokio::test]
async fn a_socket_named_like_a_bind_serves_it() {
    let (socket, address) = listener();
    let gateway = Gateway::setup(ONE).passed("gateway/default", socket).start().await;
    assert_eq!(gateway.addr(0), address, "the passed socket, not one of its own");
    assert_eq!(Client::h1(address).get("/").await.expect_status(200).text(), "here");
    gateway.stop().await;
}

#[tokio::test]
async fn a_socket_of_another_name_serves_the_bind_at_its_address() {
    let (socket, address) = listener();
    let yaml = ONE.replace("port: 0", &format!("port: {}", address.port()));
    // This copy stays open, so the port could not be bound: it can only be taken over.
    let copy = socket.try_clone().expect("a copy");
    let gateway = Gateway::setup(&yaml).passed("agentgateway.socket", copy).start().await;
    assert_eq!(gateway.addr(0), address);
    assert_eq!(Client::h1(address).get("/").await.expect_status(200).text(), "here");
    gateway.stop().await;
}

#[tokio::test]
async fn a_socket_nobody_wants_is_closed_and_named() {
    let (socket, address) = listener();
    let gateway = Gateway::setup(ONE).passed("other.socket", socket).start().await;
    gateway.wait_log(|it| it.contains("other.socket") && it.contains("no bind has its name or its address")).await;
    eventually(PATIENCE, || async { tokio::net::TcpStream::connect(address).await.is_err() }).await;
    assert_ne!(gateway.addr(0), address);
    gateway.stop().await;
}

#[tokio::test]
async fn every_listening_socket_lies_with_the_manager_while_its_bind_is_there() {
    let manager = Manager::new();
    let gateway = supervised(&manager, ONE).start().await;
    let dir = gateway.dir().display().to_string();
    let own = |server: &str, file: &str| format!("server/{server} unix%3A{dir}/{file}.sock");
    let servers = [own("admin", "admin"), own("stats", "stats"), own("readiness", "ready")];
    let with = |binds: &[&str]| {
        let all = servers.iter().map(String::as_str).chain(binds.iter().copied());
        all.map(str::to_owned).collect::<Vec<_>>()
    };
    let expect = async |binds: &[&str]| {
        let all = with(binds);
        manager.wait_stored(&all.iter().map(String::as_str).collect::<Vec<_>>()).await;
    };
    expect(&[ONE_STORED]).await;
    gateway.reload(&ONE.replace("gateways: {", "gateways: { more: { port: 0, address: 127.0.0.1 },")).await;
    expect(&[ONE_STORED, "gateway/more 127.0.0.1%3A0"]).await;
    gateway.status().await;
    let more = gateway.addr_of("gateway/more");
    gateway.reload(ONE).await;
    expect(&[ONE_STORED]).await;
    eventually(PATIENCE, || async { tokio::net::TcpStream::connect(more).await.is_err() }).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_process_that_is_killed_leaves_its_port_open_for_the_next() {
    let manager = Manager::new();
    let mut gateway = supervised(&manager, ONE).start().await;
    let address = gateway.addr(0);
    eventually(PATIENCE, || async { manager.stored().iter().any(|it| it == ONE_STORED) }).await;
    gateway.signal(Signal::KILL);
    assert!(!gateway.wait_exit(PATIENCE).await.success());
    let waiting = tokio::spawn(async move { Client::h1(address).deadline(PATIENCE).get("/").await });
    let socket = manager.copy(ONE_STORED);
    eventually(PATIENCE, || async { tokio::net::TcpStream::connect(address).await.is_ok() }).await;
    let next = supervised(&manager, ONE).passed(ONE_STORED, socket).start().await;
    assert_eq!(next.addr(0), address);
    assert_eq!(waiting.await.expect("a client").expect_status(200).text(), "here", "asked while nobody was there");
    next.stop().await;
}

#[tokio::test]
async fn a_stored_socket_of_a_bind_that_has_moved_is_given_up() {
    let (manager, (socket, address)) = (Manager::new(), listener());
    let old = "gateway/default 127.0.0.1%3A1";
    let gateway = supervised(&manager, ONE).passed(old, socket).start().await;
    manager.wait(|it| it.has("FDSTOREREMOVE=1") && it.value("FDNAME") == Some(old)).await;
    assert_ne!(gateway.addr(0), address);
    eventually(PATIENCE, || async { tokio::net::TcpStream::connect(address).await.is_err() }).await;
    gateway.stop().await;
}

#[tokio::test]
async fn the_watchdog_hears_of_life_again_and_again() {
    let manager = Manager::new();
    let gateway = supervised(&manager, ONE).env("WATCHDOG_USEC", "200000").start().await;
    eventually(PATIENCE, || async { manager.said().iter().filter(|it| it.has("WATCHDOG=1")).count() > 3 }).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_process_that_hangs_is_not_alive() {
    let manager = Manager::new();
    let gateway = supervised(&manager, ONE).env("WATCHDOG_USEC", "200000").start().await;
    manager.wait(|it| it.has("WATCHDOG=1")).await;
    gateway.signal(Signal::STOP);
    let beats = || manager.said().iter().filter(|it| it.has("WATCHDOG=1")).count();
    // Whatever was under way when it stopped has been heard when two looks in a row agree.
    let mut last = 0;
    eventually(PATIENCE, || {
        let same = beats() == last;
        last = beats();
        async move { same }
    })
    .await;
    gateway.signal(Signal::CONT);
    eventually(PATIENCE, || async { beats() > last }).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_successor_says_that_it_is_the_main_process_and_nobody_says_stopping() {
    let manager = Manager::new();
    let yaml = format!("config:\n  handoffSocket: '{{{{dir}}}}/handoff.sock'\n{ONE}");
    let mut gateway = supervised(&manager, &yaml).env("WATCHDOG_USEC", "200000").start().await;
    let pid = gateway.pid();
    let address = gateway.addr(0);
    let between = gateway.succeed().await;
    let ready = manager.wait(|it| it.has("READY=1") && it.pid != pid).await;
    assert_eq!(ready.value("MAINPID"), Some(ready.pid.to_string().as_str()));
    let successor = Successor::numbered(ready.pid);
    // What stood between leaves.
    eventually(PATIENCE, || async { between.is_gone() }).await;
    assert!(![pid, between.pid()].contains(&successor.parent()), "an orphan, given to whoever manages");
    assert!(gateway.wait_succeeded(PATIENCE).await.success());
    manager.wait(|it| it.has("WATCHDOG=1") && it.pid == successor.pid()).await;
    assert!(!manager.said().iter().any(|it| it.has("STOPPING=1")), "the unit goes on: {:#?}", manager.said());
    let names = manager.stored();
    assert_eq!(names.iter().filter(|it| *it == ONE_STORED).count(), 1, "stored once, by whoever was first: {names:?}");
    assert_eq!(Client::h1(address).get("/").await.expect_status(200).text(), "here");
    successor.stop(PATIENCE).await;
    manager.wait(|it| it.has("STOPPING=1") && it.pid == ready.pid).await;
}

#[tokio::test]
async fn a_successor_that_fails_is_seen_to_fail_and_the_service_goes_on() {
    let manager = Manager::new();
    let yaml = format!("config:\n  handoffSocket: '{{{{dir}}}}/handoff.sock'\n{ONE}");
    let gateway = supervised(&manager, &yaml).start().await;
    manager.wait(|it| it.has("READY=1")).await;
    gateway.write_raw("routes: nonsense\n");
    gateway.signal(Signal::HUP);
    gateway.wait_log(|it| it.contains("the successor ended") && it.contains("exit status: 1")).await;
    assert_eq!(gateway.client().get("/").await.expect_status(200).text(), "here");
    assert!(manager.said().iter().all(|it| it.pid == gateway.pid()), "{:#?}", manager.said());
    gateway.stop().await;
}

const TLS: &str = "binds:
- port: 0
  address: 127.0.0.1
  listeners:
  - protocol: HTTPS
    tls: { cert: { credential: cert }, key: { credential: key } }
    routes: [{ policies: { directResponse: { status: 200, body: here } } }]
";

#[tokio::test]
async fn a_credential_stands_where_a_file_can_and_is_swapped_like_one() {
    let authority = Authority::new("ca");
    let (first, second) = (authority.server(&["first.test"]), authority.server(&["second.test"]));
    let setup = Gateway::setup(TLS).file("cert", &first.cert_pem).file("key", &first.key_pem);
    let dir = setup.dir().to_owned();
    let gateway = setup.env("CREDENTIALS_DIRECTORY", dir.to_str().expect("UTF-8")).start().await;
    let address = gateway.addr(0);
    let reach = |name: &'static str| {
        let client = Client::tls(address, name, authority.client_config(None, &["http/1.1"]));
        async move { client.get("/").try_send().await.is_ok_and(|it| it.status == 200) }
    };
    assert!(reach("first.test").await);
    for (name, content) in [("cert", &second.cert_pem), ("key", &second.key_pem)] {
        std::fs::write(dir.join("fresh"), content).expect("a file");
        std::fs::rename(dir.join("fresh"), dir.join(name)).expect("a file in its place");
    }
    eventually(PATIENCE, || reach("second.test")).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_credential_outside_of_a_service_is_refused_with_the_cure() {
    let refusal = Gateway::start_expect_failure(TLS).await;
    for part in ["cannot read `credential cert`", "LoadCredential=", "config.yaml:"] {
        assert!(refusal.log.contains(part), "no {part} in:\n{}", refusal.log);
    }
}

#[test]
fn the_instance_template_is_the_service_but_for_its_name() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/systemd");
    let settings = |file: &str| {
        let text = std::fs::read_to_string(root.join(file)).expect("a unit");
        let lines = text.lines().filter(|it| !it.is_empty() && !it.starts_with('#')).map(str::to_owned);
        lines.collect::<Vec<_>>()
    };
    let plain = |line: &String| {
        let line = line.replace(" (%i)", "").replace("/etc/agentgateway/%i.yaml", "/etc/agentgateway/config.yaml");
        line.replace("agentgateway-%i", "agentgateway")
    };
    let instance: Vec<_> = settings("agentgateway@.service").iter().map(plain).collect();
    assert_eq!(instance, settings("agentgateway.service"));
}
