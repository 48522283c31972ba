//! Clients that ask and are answered.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;

use super::{Errand, LAST};
use crate::Client;
use crate::http::pattern;

/// Between two requests of a client.
const PAUSE: Duration = Duration::from_millis(5);

/// Between two requests of a client that connects for each: the ports of closed connections stay taken for a minute.
const PAUSE_ANEW: Duration = Duration::from_millis(25);

const PAUSE_POST: Duration = Duration::from_millis(100);

const POST_BYTES: usize = 1_000_000;

/// Asks over one of two connections, which others use as well.
pub(super) fn ask_beside(errand: Errand, clients: &[Client; 2]) -> impl Future<Output = ()> + use<> {
    let client = clients[errand.index % 2].clone();
    ask(errand, client)
}

/// Asks over one connection for as long as the gateway keeps it.
pub(super) async fn ask(mut errand: Errand, client: Client) {
    while !errand.is_over() {
        match get(&client).await {
            Ok(()) => errand.tally.answered(),
            Err(error) => errand.fault("GET", &error).await,
        }
        errand.pause(LAST, PAUSE).await;
    }
    close(&errand, &client).await;
}

/// Connects for each request, to one address after the other.
pub(super) async fn ask_anew(mut errand: Errand, addrs: Vec<SocketAddr>) {
    let mut turn = addrs.iter().cycle();
    while !errand.is_over() {
        let client = Client::h1(*turn.next().expect("an address to go to"));
        match get(&client).await {
            Ok(()) => errand.tally.answered(),
            Err(error) => errand.fault("GET over a new connection", &error).await,
        }
        close(&errand, &client).await;
        errand.pause(LAST, PAUSE_ANEW).await;
    }
}

/// Sends a large body to have it sent back.
pub(super) async fn post(mut errand: Errand, client: Client) {
    let body = pattern(POST_BYTES);
    while !errand.is_over() {
        let asked = async {
            let reply = client.post("/mirror").body(body.clone()).try_send().await?;
            ensure!(reply.status == 200, "status {}", reply.status);
            ensure!(reply.body == body, "{} bytes of {POST_BYTES} came back, or others", reply.body.len());
            Ok(())
        };
        match asked.await {
            Ok(()) => errand.tally.answered(),
            Err(error) => errand.fault("POST", &error).await,
        }
        errand.pause(LAST, PAUSE_POST).await;
    }
    close(&errand, &client).await;
}

async fn get(client: &Client) -> anyhow::Result<()> {
    let reply = client.get("/load").try_send().await?;
    ensure!(reply.status == 200, "status {}: {}", reply.status, reply.text());
    ensure!(reply.json()["path"] == "/load", "another answer: {}", reply.text());
    Ok(())
}

/// Books the connections; closes the last one when no other client uses it.
async fn close(errand: &Errand, client: &Client) {
    errand.tally.connected(client.take_connections());
    if client.is_alone() {
        client.disconnect().await;
    }
}
