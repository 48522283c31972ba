//! The process above the generations: it passes signals on, reaps, and ends as they do.

use rustix::process::Signal;
use tests::wait::PATIENCE;
use tests::{Backend, Gateway, eventually};

use super::{serving, yaml};

/// The parent of a process, from the kernel.
fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.split(' ').nth(1)?.parse().ok()
}

#[tokio::test]
async fn above_its_generations_a_supervisor_lives_as_long_as_the_last_of_them() {
    let backend = Backend::echo();
    let gateway = Gateway::setup(&yaml(&backend, "")).arg("--supervise").start().await;
    let first = serving(&gateway).await;
    assert_eq!(parent(first.pid()), Some(gateway.pid()), "the gateway is the supervisor's child");
    // Signals go to the one that serves.
    gateway.signal(Signal::HUP);
    eventually(PATIENCE, || async { first.is_gone() }).await;
    let second = serving(&gateway).await;
    assert_ne!(first.pid(), second.pid());
    eventually(PATIENCE, || async { parent(second.pid()) == Some(gateway.pid()) }).await;
    eventually(PATIENCE, || async { !std::path::Path::new(&format!("/proc/{}", first.pid())).exists() }).await;
    assert_eq!(gateway.client().get("/").await.status, 200);
    gateway.stop().await;
    assert!(second.is_gone());
}

#[tokio::test]
async fn a_supervisor_ends_as_the_one_that_served_did() {
    let backend = Backend::echo();
    let mut gateway = Gateway::setup(&yaml(&backend, "")).arg("--supervise").start().await;
    let first = serving(&gateway).await;
    first.signal(Signal::KILL);
    let status = gateway.wait_exit(PATIENCE).await;
    assert_eq!(status.code(), Some(128 + 9));
}

/// Only where the machine lets us make a namespace of processes.
#[tokio::test]
async fn as_the_first_process_of_a_container_it_hands_over_and_reaps() {
    let unshare = ["--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"];
    let may = std::process::Command::new("unshare").args(unshare).arg("true").status();
    if !may.is_ok_and(|it| it.success()) {
        return println!("no namespaces of processes here: nothing to check");
    }
    let backend = Backend::echo();
    let setup = Gateway::setup(&yaml(&backend, "")).wrapped("unshare", &unshare);
    let gateway = setup.start().await;
    let pid = |report: &serde_json::Value| report.pointer("/generations/0/pid").and_then(serde_json::Value::as_u64);
    let first = pid(&gateway.generations().await).expect("a generation");
    assert!(first > 1, "PID 1 stays above");
    for _ in 0..2 {
        let before = pid(&gateway.generations().await);
        let upgraded = gateway.upgrade(&["--wait"]).await;
        assert_eq!(upgraded.code, 0, "{}", upgraded.text);
        assert_ne!(pid(&gateway.generations().await), before);
        assert_eq!(gateway.client().get("/").await.status, 200);
    }
    // `unshare` passes no signal on: the end of PID 1 is what its gateway's end makes.
    let mut gateway = gateway;
    gateway.admin("POST", "/quitquitquit").await.expect_status(200);
    assert!(gateway.wait_exit(PATIENCE).await.success());
}
