//! Successors that fail, in every way they can, and who may ask for one: whatever it is, the gateway serves on.

#[path = "successor/supervisor.rs"]
mod supervisor;

use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};
use tests::gateway::{Successor, binary_path};
use tests::wait::PATIENCE;
use tests::{Backend, Client, Gateway, eventually};

fn yaml(backend: &Backend, config: &str) -> String {
    format!(
        "config:\n  connectionTerminationDeadline: 60s\n{config}frontendPolicies: {{ accessLog: {{ filter: 'response.code >= 400' }} }}\nbinds:\n- port: 0\n  address: 127.0.0.1\n  listeners:\n  - routes:\n    - backends: [{{ host: '{}' }}]\n",
        backend.addr()
    )
}

/// A gateway with clients that ask without a pause.
struct Bed {
    gateway: Gateway,
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    clients: Vec<tokio::task::JoinHandle<Vec<String>>>,
    _backend: Backend,
}

impl Bed {
    async fn start(config: &str) -> Bed {
        let backend = Backend::echo();
        let gateway = Gateway::start(&yaml(&backend, config)).await;
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let addr = gateway.addr(0);
        let clients = [true, false].map(|fresh| {
            let (stop, asked) = (stop.clone(), asked.clone());
            tokio::spawn(async move {
                let mut failures = Vec::new();
                let mut client = Client::h1(addr);
                while !stop.load(Ordering::Relaxed) {
                    if fresh {
                        client = Client::h1(addr);
                    }
                    match client.get("/load").try_send().await {
                        Ok(reply) if reply.status == 200 => {}
                        Ok(reply) => failures.push(format!("status {}", reply.status)),
                        Err(error) => failures.push(format!("{error:#}")),
                    }
                    asked.fetch_add(1, Ordering::Relaxed);
                }
                failures
            })
        });
        Bed { gateway, stop, asked, clients: clients.into(), _backend: backend }
    }

    /// A program that is started instead of the gateway's own.
    fn program(&self, name: &str, script: &str) -> String {
        let path = self.gateway.dir().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("write a program");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("make it executable");
        path.display().to_string()
    }

    /// The gateway's own program as successor, with another configuration.
    fn with_config(&self, name: &str, config: &str) -> String {
        let path = self.gateway.dir().join(format!("{name}.yaml"));
        std::fs::write(&path, config).expect("write a configuration");
        self.program(name, &format!("exec '{}' -f '{}' --takeover=stdin", binary_path().display(), path.display()))
    }

    /// A successor that has received everything and now waits for a configuration that does not come.
    fn stuck(&self, name: &str) -> (String, PathBuf) {
        let pipe = self.gateway.dir().join(format!("{name}.pipe"));
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("run mkfifo");
        assert!(made.success());
        let script = format!("exec '{}' -f '{}' --takeover=stdin", binary_path().display(), pipe.display());
        (self.program(name, &script), pipe)
    }

    /// Ends the successor under way by a signal once it waits at the pipe.
    async fn strike(&self, pipe: &std::path::Path, signal: Signal) {
        let mut at = std::fs::OpenOptions::new();
        at.write(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        // Opens only when somebody reads.
        let held = tests::wait::poll(PATIENCE, || async { at.open(pipe).ok() }).await.expect("a successor at the pipe");
        let report = self.gateway.generations().await;
        let pid =
            report.pointer("/upgrade/underway/pid").and_then(serde_json::Value::as_i64).expect("an upgrade under way");
        kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).expect("end the successor");
        drop(held);
    }

    /// The requests so far, after so many more.
    async fn reach(&self, more: u64) {
        let until = self.asked.load(Ordering::Relaxed) + more;
        eventually(Duration::from_secs(120), || async { self.asked.load(Ordering::Relaxed) >= until }).await;
    }

    async fn no_failures(&mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let mut failures = Vec::new();
        for client in self.clients.drain(..) {
            failures.extend(client.await.expect("a client"));
        }
        let asked = self.asked.load(Ordering::Relaxed);
        assert!(failures.is_empty(), "{} of {asked} requests failed: {:?}", failures.len(), failures.first());
        asked
    }
}

/// The first words of a successor from the future.
fn hello_of_the_future() -> Vec<u8> {
    let json = br#"{"type":"takeover","v":99,"min":98,"pid":1,"version":"99.0"}"#;
    let mut frame = u32::try_from(json.len() + 4).unwrap().to_be_bytes().to_vec();
    frame.extend(u32::try_from(json.len()).unwrap().to_be_bytes());
    frame.extend(json);
    frame
}

/// A successor that fails.
struct Failing {
    kind: &'static str,
    program: String,
    /// Of `agentgateway upgrade`, with what it says.
    code: i32,
    says: &'static str,
    /// What befalls it, once it is seen in the pipe.
    strike: Option<(PathBuf, Signal)>,
}

impl Failing {
    fn new(kind: &'static str, program: impl Into<String>, code: i32, says: &'static str) -> Self {
        Self { kind, program: program.into(), code, says, strike: None }
    }

    fn struck(self, pipe: PathBuf, signal: Signal) -> Self {
        Self { strike: Some((pipe, signal)), ..self }
    }

    /// Those that fail by themselves; `occupied` is a port in use.
    fn of_their_own(bed: &Bed, occupied: SocketAddr) -> Vec<Self> {
        let dir = bed.gateway.dir();
        std::fs::write(dir.join("hello"), hello_of_the_future()).expect("write the first words");
        std::fs::write(dir.join("plain"), "no program").expect("write a file");
        let future = format!("cat '{}' >&0; exec cat <&0 >/dev/null", dir.join("hello").display());
        let own = format!("config: {{ adminAddr: '{occupied}' }}\nbinds: []\n");
        let bind = format!(
            "config: {{ adminAddr: off, statsAddr: off, readinessAddr: off }}\nbinds:\n- {{ port: {}, address: 127.0.0.1, listeners: [{{ routes: [{{ policies: {{ directResponse: {{ status: 200, body: x }} }} }}] }}] }}\n",
            occupied.port()
        );
        vec![
            Self::new("exit at start", bed.program("exits", "echo no luck today >&2; exit 3"), 4, "no luck today"),
            Self::new(
                "bad configuration",
                bed.with_config("bad", "binds:\n- port: nonsense\n"),
                4,
                "the configuration is refused",
            ),
            Self::new("wrong version", bed.program("future", &future), 4, "versions 98 to 99"),
            Self::new("missing binary", dir.join("nothing").display().to_string(), 3, "no such file"),
            Self::full_disk(bed),
            Self::new("no permission", dir.join("plain").display().to_string(), 3, "not executable"),
            Self::new("port conflict of its own servers", bed.with_config("own", &own), 4, "cannot listen"),
            Self::new("port conflict", bed.with_config("bind", &bind), 4, "in use"),
        ]
    }

    /// Where mounting is not allowed, it fails for that.
    fn full_disk(bed: &Bed) -> Self {
        let dir = bed.gateway.dir().display();
        let script = format!(
            "exec unshare --map-root-user --mount sh -c \"mount -t tmpfs -o size=4k,nr_inodes=1 none '{dir}/full' && exec '{bin}' -f '{dir}/full.yaml' --takeover=stdin\"",
            bin = binary_path().display()
        );
        let config = format!(
            "config: {{ adminAddr: 'unix:{dir}/full/admin.sock', statsAddr: off, readinessAddr: off }}\nbinds: []\n"
        );
        std::fs::create_dir(bed.gateway.dir().join("full")).expect("a directory");
        std::fs::write(bed.gateway.dir().join("full.yaml"), config).expect("write a configuration");
        let unshare = ["--map-root-user", "--mount", "true"];
        let may_mount = std::process::Command::new("unshare").args(unshare).status().is_ok_and(|it| it.success());
        let says = if may_mount { "No space left" } else { "ended" };
        Self::new("full disk", bed.program("full-disk", &script), 4, says)
    }

    /// Fails, and is told of everywhere.
    async fn fail(self, bed: &Bed) {
        let Self { kind, program, code, says, strike } = self;
        let upgrade = async { bed.gateway.upgrade(&["--wait", "--binary", &program]).await };
        let strike = async {
            if let Some((pipe, signal)) = strike {
                bed.strike(&pipe, signal).await;
            }
        };
        let (upgraded, ()) = tokio::join!(upgrade, strike);
        assert_eq!(upgraded.code, code, "{kind}: {}", upgraded.text);
        assert!(upgraded.text.contains(says), "{kind}: {}", upgraded.text);
        println!("{kind:<34} exit code {code}: {}", upgraded.text.trim());
        let last = bed.gateway.generations().await;
        let told = last.pointer("/upgrade/last/error").and_then(|it| it.as_str().map(str::to_owned));
        assert!(told.is_some_and(|it| it.contains(says)), "{kind}: {last}");
    }
}

/// Upgrades counted as failed.
async fn failures(gateway: &Gateway) -> f64 {
    gateway.metric_sum("agentgateway_upgrades_total", &[("outcome", "failed")]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_failing_successors_fail_no_request() {
    let mut bed = Bed::start("  handoffTimeout: 15s\n").await;
    let hold = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (crash, crash_at) = bed.stuck("crash");
    let (killed, killed_at) = bed.stuck("killed");
    let (hang, _pipe) = bed.stuck("hang");
    let mut cases = Failing::of_their_own(&bed, hold.local_addr().expect("its address"));
    cases.extend([
        Failing::new("crash after receiving sockets", crash, 4, "signal: 6").struck(crash_at, Signal::ABORT),
        Failing::new("hang", hang, 4, "not ready within 15s"),
        Failing::new("SIGKILL in the middle", killed, 4, "signal: 9").struck(killed_at, Signal::KILL),
    ]);
    let mut failed = 0.0;
    for case in cases {
        let (kind, counts) = (case.kind, case.code == 4);
        case.fail(&bed).await;
        failed += f64::from(u8::from(counts));
        assert_eq!(failures(&bed.gateway).await, failed, "{kind}");
        bed.reach(50).await;
    }
    let good = bed.gateway.upgrade(&["--wait"]).await;
    assert_eq!(good.code, 0, "{}", good.text);
    let successor = serving(&bed.gateway).await;
    assert_eq!(failures(&bed.gateway).await, failed, "the successor goes on counting");
    bed.reach(100).await;
    let asked = bed.no_failures().await;
    println!("0 of {asked} requests failed");
    assert!(bed.gateway.wait_succeeded(PATIENCE).await.success());
    successor.stop(PATIENCE).await;
}

/// The process that serves, which the test did not start.
async fn serving(gateway: &Gateway) -> Successor {
    let report = gateway.generations().await;
    let pid = report.pointer("/generations/0/pid").expect("a generation").to_string();
    Successor::of(&format!("\"pid\":{pid}"))
}

#[tokio::test]
async fn a_second_upgrade_at_once_is_refused_and_names_the_first() {
    let bed = Bed::start("").await;
    let (stuck, pipe) = bed.stuck("stuck");
    let args = ["--wait", "--binary", &stuck];
    let first = bed.gateway.upgrade(&args);
    let second = async {
        let underway = || async {
            let report = bed.gateway.generations().await;
            report.pointer("/upgrade/underway/pid").and_then(serde_json::Value::as_u64)
        };
        let pid = tests::wait::poll(PATIENCE, underway).await.expect("an upgrade under way");
        let second = bed.gateway.upgrade(&["--wait"]).await;
        assert_eq!(second.code, 6, "{}", second.text);
        assert!(second.text.contains(&format!("an upgrade is under way, pid {pid}")), "{}", second.text);
        bed.strike(&pipe, Signal::KILL).await;
    };
    let (first, ()) = tokio::join!(first, second);
    assert_eq!(first.code, 4, "{}", first.text);
    let mut bed = bed;
    bed.no_failures().await;
    bed.gateway.stop().await;
}

#[tokio::test]
async fn a_gateway_that_ends_takes_its_unborn_successor_with_it() {
    let mut bed = Bed::start("").await;
    bed.no_failures().await;
    let (stuck, pipe) = bed.stuck("stuck");
    let upgraded = bed.gateway.upgrade(&["--binary", &stuck]).await;
    assert_eq!(upgraded.code, 0, "{}", upgraded.text);
    let report = bed.gateway.generations().await;
    let pid = report.pointer("/upgrade/underway/pid").expect("an upgrade under way").to_string();
    bed.gateway.stop().await;
    let unborn = Successor::of(&format!("\"pid\":{pid}"));
    eventually(PATIENCE, || async { unborn.is_gone() }).await;
    drop(pipe);
}

#[tokio::test]
async fn while_a_process_drains_to_its_end_no_upgrade_begins() {
    let backend = Backend::echo();
    let mut gateway = Gateway::start(&yaml(&backend, "")).await;
    let client = gateway.client();
    let mut events = client.get("/sse?n=600&ms=50").events().await;
    events.next().await.expect("an event");
    gateway.signal(Signal::TERM);
    gateway.wait_log(|it| it.contains("draining")).await;
    let refused = gateway.upgrade(&["--wait"]).await;
    assert_eq!(refused.code, 3, "{}", refused.text);
    assert!(refused.text.contains("shutting down"), "{}", refused.text);
    let report = gateway.generations().await;
    assert_eq!(report.pointer("/generations/0/state"), Some(&"draining".into()), "{report}");
    assert_eq!(report.pointer("/generations/0/carries/sse"), Some(&1.into()), "{report}");
    drop(events);
    client.disconnect().await;
    assert!(gateway.wait_exit(PATIENCE).await.success());
}

#[tokio::test]
async fn generations_that_drain_are_listed_with_what_they_carry() {
    let backend = Backend::echo();
    let mut gateway = Gateway::start(&yaml(&backend, "")).await;
    let mut streams = Vec::new();
    for generation in 1..=3_u64 {
        let client = gateway.client();
        let mut events = client.get("/sse?n=10000&ms=20").events().await;
        events.next().await.expect("an event");
        streams.push((client, events));
        let upgraded = gateway.upgrade(&["--wait"]).await;
        assert_eq!(upgraded.code, 0, "generation {generation}: {}", upgraded.text);
    }
    // Each drains with its one stream, and the fourth knows them all.
    let listed = || async {
        let report = gateway.generations().await;
        let all = report.pointer("/generations")?.as_array()?.clone();
        let figure = |at: usize, path: &str| all.get(at)?.pointer(path).cloned();
        let drains = (1..=3)
            .all(|at| figure(at, "/state") == Some("draining".into()) && figure(at, "/carries/sse") == Some(1.into()));
        (all.len() == 4 && drains).then_some(all)
    };
    let all = tests::wait::poll(PATIENCE, listed).await.expect("four generations");
    let numbers: Vec<_> = all.iter().filter_map(|it| it.get("generation")?.as_u64()).collect();
    assert_eq!(numbers, [4, 3, 2, 1]);
    assert_eq!(all.first().and_then(|it| it.get("state")), Some(&"serving".into()));
    assert_eq!(all.last().and_then(|it| it.get("pid")), Some(&gateway.pid().into()));
    let page = gateway.admin("GET", "/generations").await.expect_status(200).json();
    assert_eq!(page.pointer("/generations").and_then(|it| it.as_array()).map(Vec::len), Some(4));
    // The oldest ends with its stream, whoever served after it.
    for (client, events) in streams {
        drop(events);
        client.disconnect().await;
    }
    gateway.wait_succeeded(PATIENCE).await;
    eventually(PATIENCE, || async {
        gateway.generations().await.pointer("/generations").and_then(|it| it.as_array()).map(Vec::len) == Some(1)
    })
    .await;
    serving(&gateway).await.stop(PATIENCE).await;
}

#[tokio::test]
async fn a_socket_file_of_somebody_else_is_left_alone_and_sighup_works_all_the_same() {
    let backend = Backend::echo();
    let setup = Gateway::setup(&yaml(&backend, "  handoffSocket: '{{dir}}/control.sock'\n"));
    let path = setup.dir().join("control.sock");
    let foreign = std::os::unix::net::UnixListener::bind(&path).expect("somebody's socket");
    let mut gateway = setup.start().await;
    gateway.wait_log(|it| it.contains("no control socket") && it.contains("another gateway")).await;
    let successor = gateway.succeed().await;
    gateway.wait_succeeded(PATIENCE).await;
    assert_eq!(gateway.client().get("/").await.status, 200);
    assert!(path.exists(), "the file is somebody else's");
    drop(foreign);
    successor.stop(PATIENCE).await;
}

#[tokio::test]
async fn where_no_gateway_is_the_command_says_where_it_looked() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&yaml(&backend, "")).await;
    let nowhere = gateway.dir().join("nowhere.sock").display().to_string();
    let output = Gateway::run_cli(&["upgrade", "--wait", "--socket", &nowhere], "").await;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(5), "{text}");
    assert!(text.contains(&nowhere), "{text}");
    gateway.stop().await;
}

#[tokio::test]
async fn what_strangers_write_on_the_control_socket_changes_nothing() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let backend = Backend::echo();
    let gateway = Gateway::start(&yaml(&backend, "  handoffSocket: '{{dir}}/control.sock'\n")).await;
    let path = gateway.dir().join("control.sock");
    let frame = |json: &str| {
        let mut frame = u32::try_from(json.len() + 4).unwrap().to_be_bytes().to_vec();
        frame.extend(u32::try_from(json.len()).unwrap().to_be_bytes());
        frame.extend(json.as_bytes());
        frame
    };
    for (bytes, expected) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "not understood"),
        (vec![0xff; 64], "not understood"),
        (frame("{}"), "not understood"),
        (frame(r#"{"type":"upgrade","v":99,"min":98}"#), "versions 98 to 99"),
        (frame(r#"{"type":"serving"}"#), "nobody asks"),
        (frame(r#"{"type":"ofTheFuture"}"#), "nobody asks"),
        (hello_of_the_future(), "versions 98 to 99"),
    ] {
        let mut stream = tokio::net::UnixStream::connect(&path).await.expect("the control socket");
        stream.write_all(&bytes).await.expect("write");
        stream.shutdown().await.expect("no more");
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an answer");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.contains(expected), "{:?}: {answer}", String::from_utf8_lossy(&bytes));
    }
    assert_eq!(gateway.client().get("/").await.status, 200);
    assert_eq!(gateway.generations().await.pointer("/generations/0/state"), Some(&"serving".into()));
    gateway.stop().await;
}

#[tokio::test]
async fn settings_that_are_read_at_start_take_effect_in_a_successor() {
    let backend = Backend::echo();
    let text = yaml(&backend, "  workerThreads: 1\n");
    let mut gateway = Gateway::start(&text).await;
    gateway.reload(&text.replace("workerThreads: 1", "workerThreads: 2")).await;
    assert!(gateway.wait_succeeded(PATIENCE).await.success(), "the predecessor has nothing to drain");
    let successor = serving(&gateway).await;
    let dump = gateway.config_dump().await.to_string();
    assert!(dump.contains("\"workerThreads\":2"), "{dump}");
    let warnings = gateway.status().await.document["warnings"].clone();
    assert_eq!(warnings, serde_json::json!([]), "what runs is what is written");
    assert_eq!(gateway.client().get("/").await.status, 200);
    successor.stop(PATIENCE).await;
}

#[tokio::test]
async fn settings_that_no_successor_can_take_are_tried_once_and_the_gateway_serves_on() {
    let backend = Backend::echo();
    let text = yaml(&backend, "  workerThreads: 1\n");
    let gateway = Gateway::start(&text).await;
    let status = gateway.reload(&text.replace("workerThreads: 1", "workerThreads: lots")).await;
    let told = status.document.to_string();
    assert!(told.contains("lots") || told.contains("has changed"), "{told}");
    gateway.wait_log(|it| it.contains("the successor did not become ready")).await;
    // The rest of the document changes, the settings do not.
    let other = text.replace("workerThreads: 1", "workerThreads: lots").replace("port: 0", "name: other\n  port: 0");
    gateway.reload(&other).await;
    let report = gateway.generations().await;
    assert_eq!(report.pointer("/upgrade/underway"), Some(&serde_json::Value::Null), "{report}");
    let tried = gateway.logs().iter().filter(|it| it.contains("started a successor")).count();
    assert_eq!(tried, 1, "not again for the same settings");
    assert_eq!(gateway.client().get("/").await.status, 200);
    gateway.stop().await;
}
