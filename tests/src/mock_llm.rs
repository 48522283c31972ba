//! The gateway's own mock provider, as a process.

use std::net::SocketAddr;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::gateway::binary_path;
use crate::wait::PATIENCE;

/// A provider of language models without a model. Dropping it ends it.
pub struct MockLlm {
    addr: SocketAddr,
    _child: Child,
}

impl MockLlm {
    /// Starts it with a script; `{}` is one that says nothing.
    pub async fn start(script: &str) -> MockLlm {
        let mut child = Command::new(binary_path())
            .args(["mock-llm", "--address", "127.0.0.1:0", "--script", script])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the mock provider starts");
        let stdout = child.stdout.take().expect("its output");
        let mut lines = BufReader::new(stdout).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line())
            .await
            .expect("the mock provider says where it is")
            .expect("a line")
            .expect("a line");
        let addr = line.rsplit_once("http://").expect("an address").1.trim().parse().expect("an address");
        MockLlm { addr, _child: child }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// As a base of URLs.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }
}
