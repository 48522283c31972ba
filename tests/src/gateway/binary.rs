//! Where the gateway's binary comes from: `AGENTGATEWAY_BIN`, or cargo, asked once in each test process.
//!
//! Cargo is asked even when a binary is there, because an old one would test yesterday's gateway; when nothing changed
//! the answer takes a fraction of a second.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

pub(super) fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match std::env::var_os("AGENTGATEWAY_BIN") {
        Some(given) => {
            let path = PathBuf::from(given);
            assert!(path.is_file(), "AGENTGATEWAY_BIN names no file: {}", path.display());
            path
        }
        None => build(),
    })
}

/// Builds into the target directory and the profile that this very test was built in.
fn build() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let profile_dir = test.ancestors().nth(2).expect("target/<profile>/deps/<test>");
    let target = profile_dir.parent().expect("target/<profile>");
    let profile = match profile_dir.file_name().and_then(|it| it.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // What the outer cargo says about this crate is not about the gateway. The build script of `ring` watches these
    // names, and so ring, rustls, Pingora and the gateway would be compiled anew at every change between the two.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|it| it.starts_with("CARGO_PKG_") || it.starts_with("CARGO_MANIFEST_")) {
            command.env_remove(&name);
        }
    }
    let output = command
        .args(["build", "--package", "gateway", "--bin", "agentgateway", "--profile", profile, "--target-dir"])
        .arg(target)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("run cargo");
    assert!(output.status.success(), "the gateway does not build:\n{}", String::from_utf8_lossy(&output.stderr));
    profile_dir.join("agentgateway")
}
