//! Raw connections: plain, decrypted here, or TLS passed through unopened.

use std::sync::Arc;
use std::time::Duration;

use filters::Reason;
use ir::Text;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::Instant;

use super::arrival::Arrival;
use super::drain::raised;
use super::relay::{Ended, Moved, relay};
use crate::plan::{TcpChoice, TcpMiss};
use crate::telemetry::{TcpEvent, Telemetry};
use crate::upstream;

/// One raw connection about to be served.
pub(super) struct Passage {
    pub(super) arrival: Arrival,
    pub(super) listener: Arc<ir::Listener>,
    pub(super) sni: Option<Text>,
    pub(super) choice: Result<TcpChoice, TcpMiss>,
    pub(super) idle: Duration,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) cut: watch::Receiver<bool>,
}

/// How it went, for the access log.
struct Outcome {
    endpoint: Option<Text>,
    moved: Moved,
    reason: Reason,
    error: Option<String>,
}

impl Passage {
    /// Connects to the backend, relays, and tells telemetry how it ended.
    pub(super) async fn serve<S>(mut self, client: &mut S)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let start = Instant::now();
        let mut outcome = Outcome { endpoint: None, moved: Moved::default(), reason: Reason::Upstream, error: None };
        let mut cut = self.cut.clone();
        tokio::select! {
            () = self.run(client, &mut outcome) => {}
            () = raised(&mut cut) => outcome.error = Some("cut at the end of the drain".to_owned()),
        }
        self.report(&outcome, start);
    }

    async fn run<S>(&mut self, client: &mut S, outcome: &mut Outcome)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let choice = match &self.choice {
            Ok(choice) => choice,
            Err(TcpMiss::NoRoute) => return outcome.fail(Reason::NotFound, "no route"),
            Err(TcpMiss::NoBackend(_, why)) => return outcome.fail(Reason::NoBackend, &**why),
        };
        let mut lease = match upstream::connect_tcp(choice).await {
            Ok(lease) => lease,
            Err(fault) => return outcome.fail(fault.reason(), fault.to_string()),
        };
        outcome.endpoint = Some(lease.endpoint().clone());
        match relay(client, &mut lease, self.idle, &mut outcome.moved).await {
            Ended::Closed => {}
            Ended::Idle => outcome.fail(Reason::Timeout, "idle"),
            Ended::Client(error) => outcome.fail(Reason::ClientGone, error.to_string()),
            Ended::Backend(error) => outcome.fail(Reason::UpstreamFailure, error.to_string()),
        }
    }

    fn report(&self, outcome: &Outcome, start: Instant) {
        let route = match &self.choice {
            Ok(choice) => Some(&choice.route),
            Err(TcpMiss::NoBackend(route, _)) => Some(route),
            Err(TcpMiss::NoRoute) => None,
        };
        self.telemetry.tcp_ended(&TcpEvent {
            connection_id: self.arrival.id,
            bind: self.arrival.bind.as_str(),
            gateway: &self.listener.gateway.name,
            listener: &self.listener.name,
            route: route.map_or("", |it| &it.name.route.name),
            endpoint: outcome.endpoint.as_deref().unwrap_or_default(),
            src: Some(self.arrival.client),
            sni: self.sni.as_deref().unwrap_or_default(),
            received: outcome.moved.received,
            sent: outcome.moved.sent,
            duration: start.elapsed(),
            reason: outcome.reason,
            error: outcome.error.as_deref(),
        });
    }
}

impl Outcome {
    fn fail(&mut self, reason: Reason, error: impl Into<String>) {
        self.reason = reason;
        self.error = Some(error.into());
    }
}
