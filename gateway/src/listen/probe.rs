//! A request of our own through our own data plane: proof that connections are served.
//!
//! One end of a socket pair is given to a bind as if it had been accepted there, behind PROXY header, network policy
//! and handshake, which are for strangers. From there on everything is as for a client, up to the choice of a
//! listener: the request is answered before it could go anywhere.

use std::sync::Arc;

use futures::future::BoxFuture;
use ir::BindKey;
use pingora_core::apps::HttpServerApp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::Handle;

use super::Shared;
use super::arrival::{Arrival, Reception};
use super::handshake::Turns;
use super::info::Peer;
use super::wire::Socket;
use crate::plan::Transport;

/// Binds asked in one check: they share everything but their names.
const BINDS_MAX: usize = 4;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: self-check.invalid\r\nconnection: close\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 ";
const ANSWER_BYTES_MAX: u64 = 4096;

type Ask = dyn Fn(Handle, BindKey) -> BoxFuture<'static, Result<(), String>> + Send + Sync;

/// Asks one bind.
pub(super) struct Probe(Box<Ask>);

impl std::fmt::Debug for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Probe")
    }
}

/// A probe of the binds that share these things.
pub(super) fn of<A>(shared: Arc<Shared<A>>) -> Probe
where
    A: HttpServerApp + Send + Sync + 'static,
{
    Probe(Box::new(move |runtime, key| Box::pin(ask(Arc::clone(&shared), runtime, key))))
}

impl Probe {
    /// Asks some of these binds; the first that fails is the answer.
    pub(super) async fn run(&self, runtime: &Handle, open: Vec<BindKey>) -> Result<(), String> {
        // Where there is nothing to ask, the threads that would answer must at least run.
        let turned = runtime.spawn(async {});
        turned.await.map_err(|error| format!("the data plane does not run: {error}"))?;
        for key in open.into_iter().take(BINDS_MAX) {
            (self.0)(runtime.clone(), key).await?;
        }
        Ok(())
    }
}

async fn ask<A>(shared: Arc<Shared<A>>, runtime: Handle, key: BindKey) -> Result<(), String>
where
    A: HttpServerApp + Send + Sync + 'static,
{
    let plan = (shared.plans)();
    let Some(bind) = plan.bind(&key).cloned() else { return Ok(()) };
    if bind.transport == Transport::Tcp {
        return Ok(());
    }
    let told = |error: std::io::Error| format!("{key}: {error}");
    // The server's end belongs to the runtime that serves.
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(told)?;
    ours.set_nonblocking(true).and_then(|()| theirs.set_nonblocking(true)).map_err(told)?;
    let mut client = UnixStream::from_std(ours).map_err(told)?;
    let exit = shared.drain.exit();
    let Some(seat) = exit.sit(None) else { return Ok(()) };
    let arrival = Arrival {
        id: shared.next_id(),
        bind: key.clone(),
        peer: Peer::Own,
        client: Peer::Own.address(),
        local_port: 0,
        proxied: false,
    };
    let reception = Reception { shared, plan, bind, turns: Arc::new(Turns::new()), arrival, exit };
    runtime.spawn(async move {
        if let Ok(server) = UnixStream::from_std(theirs) {
            reception.prove(Socket::Unix(server), seat).await;
        }
    });
    let mut answer = Vec::new();
    let talked = async {
        client.write_all(REQUEST).await?;
        client.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await
    };
    talked.await.map_err(told)?;
    match answer.starts_with(ANSWER) {
        true => Ok(()),
        false => {
            let line = answer.split(|it| *it == b'\r').next().unwrap_or_default();
            Err(format!("{key} answered `{}`", String::from_utf8_lossy(line)))
        }
    }
}
