//! A gateway that is told by a control plane what to serve, over real sockets.
//!
//! The control plane is the real server library (`tests::Control`); what it says is in `tests::control::objects`.

#[path = "xds/asked.rs"]
mod asked;
#[path = "xds/disk.rs"]
mod disk;
#[path = "xds/hostile.rs"]
mod hostile;
#[path = "xds/life.rs"]
mod life;
#[path = "xds/sources.rs"]
mod sources;
#[path = "xds/trust.rs"]
mod trust;
#[path = "xds/upgrade.rs"]
mod upgrade;

use filters::Change;
use tests::control::objects::{bind, listener};
use tests::{Client, Control, Gateway};

/// A control plane, and a gateway that has an open port `b` from it and nothing behind.
async fn pair() -> (Control, Gateway, Client) {
    let control = Control::start().await;
    let gateway = Gateway::start(&control.config(&[])).await;
    let client = open(&control, &gateway, Vec::new()).await;
    (control, gateway, client)
}

/// Opens the port `b`, with these besides.
async fn open(control: &Control, gateway: &Gateway, more: Vec<Change>) -> Client {
    control.applied([bind("b"), listener("b")].into_iter().chain(more)).await;
    Client::h1(gateway.listens("b").await)
}

/// Waits until the gateway says that it is not ready, and why.
async fn unready(gateway: &Gateway) -> String {
    let ready = Client::unix(gateway.dir().join("ready.sock"));
    tests::wait::eventually_some(tests::wait::PATIENCE, || async {
        let answer = ready.get("/healthz/ready").try_send().await.ok()?;
        (answer.status == 500).then(|| answer.text())
    })
    .await
}

/// What `/config/status` says of the control plane.
async fn word(gateway: &Gateway) -> serde_json::Value {
    gateway.status().await.document["xds"].clone()
}
