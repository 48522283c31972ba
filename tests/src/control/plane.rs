//! `agentgateway xds serve` as a process: the control plane that comes with the gateway.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::client::Client;
use crate::gateway::binary_path;
use crate::wait::{PATIENCE, eventually, eventually_some};

/// A control plane that runs; dropping it kills the process.
pub struct Plane {
    child: Child,
    dir: TempDir,
}

impl Plane {
    /// Serves this document, with these flags besides, on a port that is free.
    pub async fn start(document: &str, flags: &[&str]) -> Plane {
        let dir = tempfile::Builder::new().prefix("agw-").tempdir().expect("a directory");
        std::fs::write(dir.path().join("served.yaml"), document).expect("the document");
        let log = std::fs::File::create(dir.path().join("log")).expect("the log");
        let status = format!("unix:{}/status.sock", dir.path().display());
        let child = Command::new(binary_path())
            .args(["xds", "serve", "--address", "127.0.0.1:0", "--status-address", &status, "-f"])
            .arg(dir.path().join("served.yaml"))
            .args(flags)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("start the control plane");
        let plane = Plane { child, dir };
        eventually(PATIENCE, || async { plane.log().contains("serving") }).await;
        plane
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).expect("the log")
    }

    /// Where it serves, as it says itself.
    pub fn addr(&self) -> SocketAddr {
        let log = self.log();
        let said = log.split_whitespace().find_map(|word| word.strip_prefix("address=")?.parse().ok());
        said.unwrap_or_else(|| panic!("no address in {log}"))
    }

    /// Puts another document in the place of the served one.
    pub fn edit(&self, document: &str) {
        let new = self.dir.path().join("new.yaml");
        std::fs::write(&new, document).expect("the document");
        std::fs::rename(new, self.dir.path().join("served.yaml")).expect("rename");
    }

    /// A page of its status server.
    pub async fn page(&self, path: &str) -> String {
        let client = Client::unix(self.dir.path().join("status.sock"));
        client.get(path).await.expect_status(200).text()
    }

    pub async fn status(&self) -> Value {
        serde_json::from_str(&self.page("/status").await).expect("JSON")
    }

    /// Ends it with SIGTERM; it must end well.
    pub async fn stop(mut self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).expect("send SIGTERM");
        let ended = eventually_some(PATIENCE, || {
            let ended = self.child.try_wait().expect("the state of the child");
            async move { ended }
        });
        assert_eq!(ended.await.code(), Some(0), "{}", self.log());
        assert!(!self.log().contains("panicked"), "{}", self.log());
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
