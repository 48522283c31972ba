//! The gateway as a process: started from YAML, watched through its sockets and its log, and ended cleanly.
//!
//! Every instance has a directory of its own with `config.yaml` and the admin, stats and readiness sockets. `{{dir}}` in
//! the YAML stands for that directory. Keys of the `config:` block that a test does not write get the harness's values.
//!
//! Read next: `binary.rs` (where the binary comes from), `document.rs` (what is added to the YAML), `log.rs`.

mod binary;
mod document;
mod lineage;
mod log;
mod metrics;
mod process;
mod status;
mod successor;
mod upgrade;

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Context as _;
use http::Method;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

use crate::client::{self, Client};
use crate::http::Reply;
use crate::io::Place;
use crate::wait::{PATIENCE, poll};
pub use lineage::{Handover, Lineage};
pub use log::{Line, Log};
pub use process::allow_descriptors;
pub use rustix::process::Signal;
pub use status::{Bind, Status};
pub use successor::Successor;
pub use upgrade::Upgraded;

/// A gateway that runs. Dropping it kills the process; a test that ends well calls [`Gateway::stop`].
pub struct Gateway {
    child: Child,
    log: Log,
    dir: TempDir,
    status: Mutex<Status>,
}

/// What to know before a gateway starts.
pub struct Setup {
    yaml: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
    /// A program, and its arguments, that starts the gateway.
    wrapper: Vec<String>,
    dir: TempDir,
    passed: Option<(String, OwnedFd)>,
}

/// The binary under test, for what [`Setup`] cannot arrange.
pub fn binary_path() -> &'static Path {
    binary::path()
}

/// How a gateway that was expected to refuse to start ended.
pub struct Refusal {
    pub status: ExitStatus,
    pub log: String,
}

impl Gateway {
    /// Starts with this configuration and waits until it is ready; panics with the log when it is not.
    pub async fn start(yaml: &str) -> Gateway {
        Gateway::setup(yaml).start().await
    }

    /// Arguments, environment and files beside the YAML.
    pub fn setup(yaml: &str) -> Setup {
        // Short, because a Unix socket's path has room for 108 bytes.
        let dir = tempfile::Builder::new().prefix("agw-").tempdir().expect("a directory for the gateway");
        Setup { yaml: yaml.to_owned(), args: Vec::new(), env: Vec::new(), wrapper: Vec::new(), dir, passed: None }
    }

    /// Starts with a configuration that must keep the process from starting.
    pub async fn start_expect_failure(yaml: &str) -> Refusal {
        let mut gateway = Gateway::setup(yaml).spawn();
        let Some(status) = gateway.exited(PATIENCE).await else {
            panic!("the gateway accepted what it should refuse; its log:\n{}", gateway.log.text());
        };
        gateway.log.finish();
        assert!(!status.success(), "the gateway ended well with what it should refuse:\n{}", gateway.log.text());
        gateway.log.assert_no_panic();
        Refusal { status, log: gateway.log.text() }
    }

    /// Runs the binary to its end: `validate`, `--version`, whatever does not serve.
    pub async fn run_cli(args: &[&str], stdin: &str) -> Output {
        let mut command = tokio::process::Command::new(binary::path());
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("start the gateway's command line");
        let mut pipe = child.stdin.take().expect("a pipe to the command's input");
        let input = stdin.as_bytes().to_vec();
        // A command that does not read its input closes it early.
        let writing = tokio::spawn(async move { drop(pipe.write_all(&input).await) });
        let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
        writing.abort();
        output.unwrap_or_else(|_| panic!("agentgateway {args:?} does not end")).expect("the command's output")
    }

    /// The address of the bind at this place in the configuration; panics with its error when it does not listen.
    #[track_caller]
    pub fn addr(&self, index: usize) -> SocketAddr {
        let status = self.known();
        let bind = status.binds.get(index).unwrap_or_else(|| panic!("no bind {index} in {status:?}"));
        bind.addr()
    }

    /// The address of the bind of this name.
    #[track_caller]
    pub fn addr_of(&self, name: &str) -> SocketAddr {
        let status = self.known();
        let bind = status.binds.iter().find(|it| it.name == name);
        bind.unwrap_or_else(|| panic!("no bind {name} in {status:?}")).addr()
    }

    /// Waits until the bind of this name listens.
    pub async fn listens(&self, name: &str) -> SocketAddr {
        let found = poll(PATIENCE, || async {
            let status = self.try_status().await.ok()?;
            status.binds.into_iter().find(|it| it.name == name && it.state == "listening")
        });
        found.await.unwrap_or_else(|| panic!("no bind {name} listens; the log:\n{}", self.log.text())).addr()
    }

    /// An HTTP/1.1 client of the first bind.
    #[track_caller]
    pub fn client(&self) -> Client {
        Client::h1(self.addr(0))
    }

    /// Replaces the configuration and waits until the gateway has taken or refused it; look at `last_error`.
    pub async fn reload(&self, yaml: &str) -> Status {
        let before = self.status().await;
        self.write_raw(&document::complete(yaml, self.dir.path()));
        let after = poll(PATIENCE, || async {
            let now = self.try_status().await.ok()?;
            (now.differs(&before) && now.is_settled()).then_some(now)
        })
        .await;
        let Some(after) = after else {
            panic!("the reload shows in neither generation nor error; the log:\n{}", self.log.text());
        };
        *self.status.lock().expect("no panic under the lock") = after.clone();
        after
    }

    /// Replaces the configuration file by renaming, as it is, and waits for nothing.
    pub fn write_raw(&self, text: &str) {
        write_by_rename(&self.config_path(), text);
    }

    /// The status now; also what `addr` answers from.
    pub async fn status(&self) -> Status {
        let status = match self.try_status().await {
            Ok(status) => status,
            Err(error) => panic!("no status: {error:#}; the log:\n{}", self.log.text()),
        };
        *self.status.lock().expect("no panic under the lock") = status.clone();
        status
    }

    async fn try_status(&self) -> anyhow::Result<Status> {
        let reply = self.socket("admin").get("/config/status").try_send().await?;
        Status::parse(&reply.body)
    }

    /// Asks the admin interface.
    pub async fn admin(&self, method: &str, path: &str) -> Reply {
        let method: Method = method.parse().expect("an HTTP method");
        self.socket("admin").call(method, path).await
    }

    /// Asks the readiness interface: `/healthz/ready`, `/healthz/live`.
    pub async fn health(&self, path: &str) -> Reply {
        self.socket("ready").get(path).await
    }

    pub async fn config_dump(&self) -> Value {
        self.admin("GET", "/config_dump").await.expect_status(200).json()
    }

    /// The metrics as text.
    pub async fn metrics(&self) -> String {
        self.socket("stats").get("/metrics").await.expect_status(200).text()
    }

    /// The sum of all samples of this name that carry all these labels; 0 when there are none.
    pub async fn metric_sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        metrics::sum(&self.metrics().await, name, labels)
    }

    /// What the process has written so far, and ways to wait for more.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The lines of the log so far.
    pub fn logs(&self) -> Vec<String> {
        self.log.lines()
    }

    /// Waits for a line of the log, past ones included.
    pub async fn wait_log(&self, wanted: impl Fn(&str) -> bool) -> String {
        self.log.wait(wanted).await
    }

    /// The access lines so far, one JSON object per request.
    pub fn access_lines(&self) -> Vec<Value> {
        self.log.access_lines()
    }

    /// Waits until there are `n` access lines: the line is written after the client has its answer.
    pub async fn wait_access(&self, n: usize) -> Vec<Value> {
        let lines = poll(PATIENCE, || async { Some(self.log.access_lines()).filter(|it| it.len() >= n) }).await;
        lines.unwrap_or_else(|| panic!("fewer than {n} access lines in the log:\n{}", self.log.text()))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The directory that `{{dir}}` stands for.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn config_path(&self) -> PathBuf {
        self.dir.path().join("config.yaml")
    }

    /// Resident memory in KiB.
    pub fn rss_kib(&self) -> u64 {
        process::memory_kib(self.pid(), "VmRSS").expect("a process that runs")
    }

    /// Open file descriptors.
    pub fn fds(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("the process's descriptors").count()
    }

    /// Lets the process open so many descriptors more, and no others.
    pub fn limit_fds(&self, more: usize) {
        let pid = i32::try_from(self.pid()).ok().and_then(rustix::process::Pid::from_raw);
        let most = u64::try_from(self.fds() + more).expect("a small number");
        let limit = rustix::process::Rlimit { current: Some(most), maximum: Some(most) };
        rustix::process::prlimit(pid, rustix::process::Resource::Nofile, limit).expect("limit the gateway");
    }

    pub fn threads(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("the process's threads").count()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
        rustix::process::kill_process(pid, signal).expect("signal the gateway");
    }

    /// Ends it with SIGTERM; panics unless it drains in time, exits with 0 and never panicked.
    pub async fn stop(mut self) {
        self.part().await;
        self.signal(Signal::TERM);
        let status = self.wait_exit(PATIENCE).await;
        assert!(status.success(), "the gateway ended with {status}; its log:\n{}", self.log.text());
        self.log.assert_no_panic();
    }

    /// Closes what clients keep open and do not use: it would be waited for until the drain's limit.
    pub(super) async fn part(&self) {
        let now = tokio::time::timeout(Duration::from_secs(2), self.try_status()).await;
        let binds = now.ok().and_then(Result::ok).unwrap_or_else(|| self.known()).binds;
        for bind in binds.iter().filter(|it| it.state == "listening") {
            client::parting::part(&match bind.address.strip_prefix("unix:") {
                Some(path) => Place::Unix(path.into()),
                None => Place::Tcp(bind.addr()),
            });
        }
    }

    /// Asks for a successor with SIGHUP and waits until it serves; this process then drains.
    pub async fn succeed(&self) -> Successor {
        let before = self.log.lines().len();
        self.signal(Signal::HUP);
        let started = self.log.wait_after(before, |it| it.contains("started a successor")).await;
        let successor = Successor::of(&started);
        // The successor's own word: the predecessor may end before its last lines are written.
        self.log.wait_after(before, |it| it.contains("took over")).await;
        successor
    }

    /// Waits for the end of the process that was succeeded. The successor still writes to the log.
    pub async fn wait_succeeded(&mut self, deadline: Duration) -> ExitStatus {
        let Some(status) = self.exited(deadline).await else {
            panic!("the predecessor does not end within {deadline:?}; its log:\n{}", self.log.text());
        };
        status
    }

    /// Waits for the end of the process, for whoever sent the signal.
    pub async fn wait_exit(&mut self, deadline: Duration) -> ExitStatus {
        let Some(status) = self.exited(deadline).await else {
            panic!("the gateway does not end within {deadline:?}; its log:\n{}", self.log.text());
        };
        self.log.finish();
        status
    }

    async fn exited(&mut self, deadline: Duration) -> Option<ExitStatus> {
        let child = Mutex::new(&mut self.child);
        poll(deadline, || async {
            child.lock().expect("no panic under the lock").try_wait().expect("wait for the gateway")
        })
        .await
    }

    #[track_caller]
    fn known(&self) -> Status {
        self.status.lock().expect("no panic under the lock").clone()
    }

    pub fn socket(&self, name: &str) -> Client {
        Client::unix(self.dir.path().join(format!("{name}.sock")))
    }

    /// Waits until it is ready and every bind listens or has failed; for a gateway that was only spawned.
    pub async fn wait_ready(&mut self) -> anyhow::Result<()> {
        let ready = self.socket("ready").deadline(Duration::from_secs(2));
        let (child, log) = (Mutex::new(&mut self.child), &self.log);
        let outcome = poll(PATIENCE, || async {
            let exited = child.lock().expect("no panic under the lock").try_wait().expect("wait for the gateway");
            if let Some(status) = exited {
                return Some(Err(anyhow::anyhow!("the process ended with {status}")));
            }
            let answer = ready.get("/healthz/ready").try_send().await.ok()?;
            answer.status.is_success().then_some(Ok(()))
        })
        .await;
        if matches!(outcome, Some(Err(_))) {
            log.finish();
        }
        outcome.context("not ready in time")??;
        let settled = poll(PATIENCE, || async { self.try_status().await.ok().filter(Status::is_settled) }).await;
        *self.status.lock().expect("no panic under the lock") = settled.context("no settled status in time")?;
        Ok(())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Both fail only when the process has already ended and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the gateway, pid {} ---\n{}", self.pid(), self.log.text());
        }
    }
}

impl Setup {
    /// A further argument, after `-f FILE`.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Setup {
        self.args.push(arg.to_owned());
        self
    }

    /// Started by another program, which gets the gateway's command line behind these arguments.
    #[must_use]
    pub fn wrapped(mut self, program: &str, args: &[&str]) -> Setup {
        self.wrapper = [&[program], args].concat().into_iter().map(str::to_owned).collect();
        self
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Setup {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A socket the process is started with, as a service manager passes it; one at most.
    #[must_use]
    pub fn passed(mut self, name: &str, socket: impl Into<OwnedFd>) -> Setup {
        self.passed = Some((name.to_owned(), socket.into()));
        self
    }

    /// A file beside the configuration, at `{{dir}}/name`.
    #[must_use]
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Setup {
        std::fs::write(self.dir.path().join(name), content).expect("write a file beside the configuration");
        self
    }

    /// Where the files will be.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts and waits until it is ready; panics with the log when it is not.
    pub async fn start(self) -> Gateway {
        let mut gateway = self.spawn();
        if let Err(error) = gateway.wait_ready().await {
            // The log comes with the panic, by way of Drop.
            panic!("the gateway did not start: {error:#}");
        }
        gateway
    }

    /// Starts and waits for nothing.
    pub fn spawn(self) -> Gateway {
        let config = self.dir.path().join("config.yaml");
        write_by_rename(&config, &document::complete(&self.yaml, self.dir.path()));
        let mut child = command(&self.wrapper, self.passed)
            .arg("-f")
            .arg(&config)
            .args(&self.args)
            // Where the control socket is, where no other place is named.
            .env("XDG_RUNTIME_DIR", self.dir.path())
            .envs(self.env)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start the gateway");
        let log = Log::capture(&mut child);
        Gateway { child, log, dir: self.dir, status: Mutex::default() }
    }
}

/// The binary, started by the `wrapper`; where a socket is passed, by way of a shell that makes it descriptor 3 and
/// knows its own number.
fn command(wrapper: &[String], passed: Option<(String, OwnedFd)>) -> Command {
    let words = wrapper.iter().map(OsStr::new).chain([binary::path().as_os_str()]);
    let Some((name, socket)) = passed else {
        let mut words = words;
        let mut command = Command::new(words.next().expect("at least the binary"));
        command.args(words).stdin(Stdio::null());
        return command;
    };
    let script = r#"exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@""#;
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).args(words).env("LISTEN_FDNAMES", name).stdin(socket);
    command
}

fn write_by_rename(path: &Path, text: &str) {
    let fresh = path.with_extension("yaml.new");
    std::fs::write(&fresh, text).expect("write the configuration");
    std::fs::rename(&fresh, path).expect("put the configuration in place");
}
