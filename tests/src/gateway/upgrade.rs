//! `agentgateway upgrade` and `status`, asked of a gateway that runs.

use std::process::{Output, Stdio};

use serde_json::Value;

use super::{Gateway, binary};
use crate::wait::PATIENCE;

/// How the command ended, and what it wrote.
#[derive(Clone, Debug)]
pub struct Upgraded {
    pub code: i32,
    pub text: String,
}

impl Gateway {
    /// `agentgateway upgrade -f FILE` with these arguments besides.
    pub async fn upgrade(&self, args: &[&str]) -> Upgraded {
        let Output { status, stdout, stderr } = self.ask("upgrade", args).await;
        let text = [stdout, stderr].concat();
        let code = status.code().expect("the command ends by itself");
        Upgraded { code, text: String::from_utf8_lossy(&text).into_owned() }
    }

    /// What `agentgateway status --json` says.
    pub async fn generations(&self) -> Value {
        let Output { status, stdout, stderr } = self.ask("status", &["--json"]).await;
        assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
        serde_json::from_slice(&stdout).expect("JSON")
    }

    async fn ask(&self, command: &str, args: &[&str]) -> Output {
        let mut child = tokio::process::Command::new(binary::path());
        child.arg(command).arg("-f").arg(self.config_path()).args(args).env("XDG_RUNTIME_DIR", self.dir());
        child.stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(PATIENCE, child.output()).await;
        output.unwrap_or_else(|_| panic!("agentgateway {command} {args:?} does not end")).expect("the command's output")
    }
}
