//! Raw connections: plain, decrypted here, or TLS passed through unopened.

use std::sync::Arc;
use std::time::Duration;

use ir::Text;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::Instant;

use super::arrival::Arrival;
use super::drain::raised;
use super::relay::{Ended, Moved, relay};
use crate::plan::{ListenerPlan, TcpChoice};
use crate::telemetry::{TcpEvent, Telemetry};
use crate::upstream::{self, Fault};

/// One raw connection about to be served.
pub(super) struct Passage<'a> {
    pub(super) arrival: &'a Arrival,
    pub(super) listener: &'a Arc<ListenerPlan>,
    pub(super) sni: Option<Text>,
    pub(super) idle: Duration,
    pub(super) telemetry: &'a Telemetry,
    pub(super) cut: watch::Receiver<bool>,
}

/// How it ended, for the access log.
#[derive(Default)]
struct Outcome {
    choice: Option<TcpChoice>,
    endpoint: Option<String>,
    moved: Moved,
    reason: Option<&'static str>,
    error: Option<String>,
}

impl Passage<'_> {
    /// Finds a backend and relays; the end is told to telemetry.
    pub(super) async fn serve<S>(self, client: &mut S)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let start = Instant::now();
        let mut outcome = Outcome::default();
        self.run(client, &mut outcome).await;
        self.report(&outcome, start);
    }

    async fn run<S>(&self, client: &mut S, outcome: &mut Outcome)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut cut = self.cut.clone();
        let Some(choice) = self.listener.tcp_choice(self.sni.as_deref()) else {
            outcome.reason = Some("no_route");
            return;
        };
        let choice = outcome.choice.insert(choice);
        let connected = tokio::select! {
            connected = upstream::connect_tcp(choice) => connected,
            () = raised(&mut cut) => return outcome.reason = Some("drained"),
        };
        let mut lease = match connected {
            Ok(lease) => lease,
            Err(fault) => return outcome.fail("upstream", Some(describe(&fault))),
        };
        outcome.endpoint = Some(lease.endpoint().to_owned());
        let ended = tokio::select! {
            ended = relay(client, &mut *lease, self.idle, &mut outcome.moved) => ended,
            () = raised(&mut cut) => return outcome.reason = Some("drained"),
        };
        match ended {
            Ended::Closed => {}
            Ended::Idle => outcome.fail("idle_timeout", None),
            Ended::Client(error) => outcome.fail("client", Some(error.to_string())),
            Ended::Backend(error) => outcome.fail("upstream", Some(error.to_string())),
        }
    }

    fn report(&self, outcome: &Outcome, start: Instant) {
        let listener = &self.listener.listener;
        self.telemetry.tcp_ended(&TcpEvent {
            connection_id: self.arrival.id,
            bind: &self.arrival.bind,
            gateway: &listener.gateway,
            listener: &listener.key,
            route: outcome.choice.as_ref().map(|it| &it.route.name),
            endpoint: outcome.endpoint.as_deref(),
            src: self.arrival.client,
            sni: self.sni.as_deref(),
            received: outcome.moved.received,
            sent: outcome.moved.sent,
            duration: start.elapsed(),
            reason: outcome.reason,
            error: outcome.error.as_deref(),
        });
    }
}

impl Outcome {
    fn fail(&mut self, reason: &'static str, error: Option<String>) {
        self.reason = Some(reason);
        self.error = error;
    }
}

fn describe(fault: &Fault) -> String {
    fault.to_string()
}
