//! The accept loop of one socket.

use std::io;
use std::pin::pin;
use std::sync::Arc;

use filters::backend_tcp::Keepalives;
use ir::BindKey;
use pingora_core::apps::HttpServerApp;
use rustix::io::Errno;
use socket2::{SockRef, TcpKeepalive};
use tokio::sync::watch;
use tokio::time::sleep;

use super::Shared;
use super::arrival::{Arrival, Reception};
use super::drain::Exit;
use super::flag::raised;
use super::handshake::Turns;
use super::scarce::{BACK_OFF, Shortage, has_room, is_among_the_last, is_exhaustion};
use super::sockets::{Accepted, Listening};

/// What an accept loop knows without asking the kernel for each connection.
struct Lasting {
    port: u16,
    /// Keep-alive options that the socket hands on to those it accepts.
    inherited: Option<Keepalives>,
}

/// One open bind.
pub(super) struct Door<A> {
    pub(super) shared: Arc<Shared<A>>,
    pub(super) key: BindKey,
    pub(super) listening: Arc<Listening>,
    pub(super) exit: Arc<Exit>,
    pub(super) turns: Arc<Turns>,
}

impl<A> Door<A>
where
    A: HttpServerApp + Send + Sync + 'static,
{
    /// Accepts until halted. What is accepted is served to its end, halted or not.
    pub(super) async fn run(self: Arc<Self>, halt: watch::Receiver<bool>) {
        let mut lasting = Lasting { port: self.listening.port().unwrap_or(0), inherited: None };
        let mut halt = pin!(raised(halt));
        tokio::select! {
            () = halt.as_mut() => return,
            () = raised(self.shared.drain.opened()) => {}
        }
        let mut shortage = Shortage::default();
        loop {
            let accepted = tokio::select! {
                biased;
                () = halt.as_mut() => return,
                accepted = self.listening.accept() => accepted,
            };
            let short = match accepted {
                Ok(accepted) => {
                    let last = is_among_the_last(&accepted.socket);
                    self.admit(accepted, &mut lasting);
                    last.then(|| Errno::MFILE.into())
                }
                Err(error) if is_exhaustion(&error) => Some(error),
                // The client was gone before we came; the next one is not.
                Err(error) => {
                    tracing::debug!(%error, bind = %self.key, "accept");
                    None
                }
            };
            if let Some(error) = short {
                shortage.met(&error, &self.key);
                tokio::select! {
                    biased;
                    () = halt.as_mut() => return,
                    () = self.await_room() => shortage.ended(&self.key),
                }
            }
        }
    }

    /// Until a connection can be accepted and served.
    async fn await_room(&self) {
        loop {
            self.shared.telemetry.connection_refused(&self.key, "exhausted");
            sleep(BACK_OFF).await;
            if has_room(self.listening.as_fd()) {
                return;
            }
        }
    }

    /// Gives a connection its own task, or closes it at once.
    fn admit(&self, accepted: Accepted, lasting: &mut Lasting) {
        let Accepted { socket, peer } = accepted;
        let plan = (self.shared.plans)();
        let Some(bind) = plan.bind(&self.key).cloned() else {
            return self.shared.telemetry.connection_refused(&self.key, "no_plan");
        };
        let terms = &bind.terms.tcp;
        self.exit.limit(terms.drain_timeout);
        let Some(seat) = self.exit.sit(terms.max_connections) else {
            return self.shared.telemetry.connection_refused(&self.key, "max_connections");
        };
        if lasting.inherited.as_ref() != Some(&terms.keepalives) {
            // From here on accepted sockets have the options from the start, which saves a call for each; those
            // that wait to be accepted right now may still have the ones before.
            let all = [self.listening.tcp(), socket.tcp()];
            for error in all.into_iter().flatten().filter_map(|it| prepare(&it, &terms.keepalives).err()) {
                tracing::debug!(%error, bind = %self.key, "socket options");
            }
            lasting.inherited = Some(terms.keepalives.clone());
        }
        let arrival = Arrival {
            id: self.shared.next_id(),
            bind: self.key.clone(),
            peer,
            client: peer.address(),
            local_port: lasting.port,
            proxied: false,
        };
        let reception = Reception {
            shared: Arc::clone(&self.shared),
            plan,
            bind,
            turns: Arc::clone(&self.turns),
            arrival,
            exit: Arc::clone(&self.exit),
        };
        pingora_runtime::current_handle().spawn(reception.serve(socket, seat));
    }
}

fn prepare(socket: &SockRef<'_>, probes: &Keepalives) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    if !probes.enabled {
        return socket.set_keepalive(false);
    }
    let options =
        TcpKeepalive::new().with_time(probes.time).with_interval(probes.interval).with_retries(probes.retries);
    socket.set_tcp_keepalive(&options)
}
