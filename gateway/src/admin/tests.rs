//! The servers over real sockets of port 0.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::statics::ServerAddress;
use crate::telemetry::tests::statics;

struct Fixed;

impl Applied for Fixed {
    fn applied(&self) -> (u64, filters::Snapshot) {
        let mut snapshot = filters::Snapshot::default();
        for n in 0..3000 {
            let bind = ir::Bind {
                key: ir::BindKey::new(format!("bind/{n:05}")),
                address: ir::listener::BindAddress::Wildcard(0),
                origin: ir::Origin::default(),
            };
            snapshot.binds.insert(bind.key.clone(), Arc::new(bind));
        }
        (9, snapshot)
    }

    fn places(&self) -> Arc<Places> {
        Arc::default()
    }

    fn effective(&self, route: &str) -> Option<Value> {
        (route == "r 1").then(|| serde_json::json!({"requestHeaderModifier": {"set": [["authorization", "hunter2"]]}}))
    }
}

struct Server {
    address: std::net::SocketAddr,
    drained: Arc<AtomicUsize>,
    leave: tokio::sync::watch::Sender<bool>,
    tasks: tokio::task::JoinSet<()>,
}

fn local() -> ServerAddress {
    ServerAddress::Sockets(vec!["127.0.0.1:0".parse().unwrap()])
}

async fn admin() -> Server {
    let statics = Arc::new(Statics { admin_token: Some(ir::Secret::new(*b"hunter2")), ..statics() });
    let drained = Arc::new(AtomicUsize::new(0));
    let count = drained.clone();
    let context = AdminContext {
        state: Arc::new(Fixed),
        telemetry: Telemetry::with_output(&statics, Box::new(std::io::sink())),
        log: LogControl::detached(),
        status: Arc::default(),
        statics,
        listeners: Arc::new(|| serde_json::json!([])),
        upstreams: Arc::new(|| serde_json::json!({"clusters": []})),
        control_plane: Arc::new(|| Value::Null),
        generations: Arc::new(|| serde_json::json!({"generations": []})),
        drain: Arc::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        }),
    };
    let bound = bind("admin", &local(), &mut |_| None).unwrap();
    let address = bound.addresses()[0];
    let mut tasks = tokio::task::JoinSet::new();
    let (leave, told) = tokio::sync::watch::channel(false);
    tasks.spawn(serve(context, bound, told));
    Server { address, drained, leave, tasks }
}

/// Head and body of the answer to one request on its own connection.
async fn ask(address: std::net::SocketAddr, request: &str, headers: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let text = format!("{request} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[tokio::test]
async fn each_page_answers_its_methods() {
    let server = admin().await;
    for (request, status, part) in [
        ("GET /", 200, "/config_dump"),
        ("HEAD /", 200, ""),
        ("GET /nothing", 404, "no such page"),
        ("POST /config_dump", 405, "allowed: GET, HEAD"),
        ("GET /quitquitquit", 405, "allowed: POST"),
        ("GET /config/status", 200, "\"generation\": 0"),
        ("GET /config/effective", 400, "which route"),
        ("GET /config/effective?route=x", 404, "no such route"),
        ("GET /config/effective?route=r%201", 200, "\"***\""),
        ("GET /backends", 200, "clusters"),
        ("GET /logging", 200, "current: info"),
        ("GET /logging?level=debug", 405, "POST"),
        ("POST /logging?level=loud", 400, "usage"),
        ("POST /logging?level=debug,h2=off", 200, "current: debug,h2=off"),
        ("POST /logging?reset", 200, "current: info"),
        ("GET /memory", 200, "rss"),
        ("GET /debug/tasks", 200, "runtimes"),
        ("GET /version", 200, env!("CARGO_PKG_VERSION")),
    ] {
        let (head, body) = ask(server.address, request, "").await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {head}");
        assert!(body.contains(part), "{request}: {body}");
    }
    assert_eq!(server.drained.load(Ordering::SeqCst), 0);
    ask(server.address, "POST /quitquitquit", "origin: http://evil.example\r\n").await;
    assert_eq!(server.drained.load(Ordering::SeqCst), 0, "another origin must not drain us");
    ask(server.address, "POST /quitquitquit", "").await;
    assert_eq!(server.drained.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_dump_is_whole_sorted_and_without_secrets() {
    let server = admin().await;
    let (head, body) = ask(server.address, "GET /config_dump", "").await;
    assert!(head.contains("chunked"), "{head}");
    let mut json = String::new();
    let mut rest = body.as_str();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        json.push_str(&after[..size]);
        rest = after[size..].trim_start_matches("\r\n");
    }
    let dump: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(dump.pointer("/generation"), Some(&9.into()));
    assert_eq!(dump.pointer("/binds").and_then(Value::as_array).map(Vec::len), Some(3000));
    assert_eq!(dump.pointer("/binds/7/key"), Some(&"bind/00007".into()));
    assert_eq!(dump.pointer("/config/adminToken"), Some(&"***".into()));
    assert!(!json.contains("hunter2"));
}

#[tokio::test]
async fn metrics_are_served_in_the_format_asked_for() {
    let bound = bind("stats", &local(), &mut |_| None).unwrap();
    let address = bound.addresses()[0];
    let telemetry = Telemetry::with_output(&statics(), Box::new(std::io::sink()));
    telemetry.runtime("test", &tokio::runtime::Handle::current());
    let (_leave, told) = tokio::sync::watch::channel(false);
    let task = tokio::spawn(serve_stats(telemetry, bound, told));
    for (request, headers, status, part) in [
        ("GET /metrics", "", 200, "text/plain; version=0.0.4"),
        ("GET /stats/prometheus", "accept: application/openmetrics-text\r\n", 200, "openmetrics-text; version=1.0.0"),
        ("POST /metrics", "", 405, "allow: GET, HEAD"),
        ("GET /", "", 404, ""),
    ] {
        let (head, body) = ask(address, request, headers).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")) && head.contains(part), "{request}: {head}");
        assert!(status != 200 || body.contains(r#"agentgateway_tokio_num_workers{runtime="test"} 1"#), "{body}");
    }
    task.abort();
}

#[tokio::test]
async fn probes_follow_readiness() {
    let bound = bind("readiness", &local(), &mut |_| None).unwrap();
    let address = bound.addresses()[0];
    let (readiness, liveness) = (Readiness::new(), Liveness::new());
    liveness.watch("test", &tokio::runtime::Handle::current());
    let guard = readiness.task("first configuration");
    let (_leave, told) = tokio::sync::watch::channel(false);
    let task = tokio::spawn(serve_probes(readiness.clone(), liveness, bound, told));
    let (head, body) = ask(address, "GET /healthz/ready", "").await;
    assert!(head.starts_with("HTTP/1.1 500 ") && body.contains("first configuration"), "{head} {body}");
    drop(guard);
    assert_eq!(ask(address, "GET /healthz/ready", "").await.1, "ready\n");
    assert_eq!(ask(address, "GET /healthz/live", "").await.1, "live\n");
    assert!(ask(address, "POST /healthz/ready", "").await.0.starts_with("HTTP/1.1 405 "));
    readiness.drain();
    assert!(ask(address, "GET /healthz/ready", "").await.1.contains("draining"));
    task.abort();
}

#[tokio::test]
async fn a_server_that_leaves_answers_what_it_was_asked_and_accepts_no_more() {
    let mut server = admin().await;
    let mut accepted = TcpStream::connect(server.address).await.unwrap();
    // One exchange shows that the connection is accepted; the next request is cut in two by the leaving.
    accepted.write_all(b"GET /version HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    accepted.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    accepted.write_all(b"GET /version HTTP/1.1\r\nhost: loc").await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    server.leave.send_replace(true);
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    accepted.write_all(b"alhost\r\n\r\n").await.unwrap();
    let mut rest = String::new();
    accepted.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest.matches("HTTP/1.1 200").count(), 1, "{rest}");
    assert!(server.tasks.join_next().await.is_some_and(|it| it.is_ok()), "the server returns");
    assert!(TcpStream::connect(server.address).await.is_err(), "its socket is closed");
}

#[tokio::test]
async fn an_address_that_is_taken_is_a_clear_error() {
    let first = bind("stats", &local(), &mut |_| None).unwrap();
    let address = first.addresses()[0];
    let error = bind("stats", &ServerAddress::Sockets(vec![address]), &mut |_| None).unwrap_err().to_string();
    assert!(error.starts_with(&format!("the stats server cannot listen on {address}: ")), "{error}");
    assert!(bind("stats", &ServerAddress::Off, &mut |_| None).unwrap().addresses().is_empty());
}

#[tokio::test]
async fn a_unix_socket_replaces_a_leftover_but_not_a_live_one() {
    let path = std::env::temp_dir().join(format!("agentgateway-admin-{}.sock", std::process::id()));
    let address = ServerAddress::Unix(path.clone());
    drop(bind("admin", &address, &mut |_| None).unwrap());
    let live = bind("admin", &address, &mut |_| None).unwrap();
    assert!(bind("admin", &address, &mut |_| None).is_err());
    drop(live);
    std::fs::remove_file(path).unwrap();
}
