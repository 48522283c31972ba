//! What the process tells of itself: metrics, the access log, and its own log.
//!
//! One [`Telemetry`] per process. Parts of the data path hand it events; it never blocks them and
//! allocates nothing once a label set is known to the thread. Counters are in [`metrics`], the
//! access log in [`access_log`], levels of the process's own log in [`logging`]. Tracing of
//! requests is not here.

mod access_log;
mod clock;
mod control_plane;
mod event;
mod exposition;
mod family;
mod histogram;
mod line;
mod llm;
pub mod logging;
mod mcp;
mod metrics;
mod process;
mod scrape;
mod sink;
#[cfg(test)]
pub(crate) mod tests;
mod upgrade;

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use filters::expr::Expression;
use ir::{BindKey, ListenerKey, Text};
use tokio::runtime::Handle;

use crate::statics::Statics;
use access_log::AccessLog;
use metrics::{Metrics, Place};
use sink::Sink;

pub use access_log::Sensitive;
pub(crate) use access_log::is_loopback;
pub use clock::{Spent, Stopwatch, rfc3339};
pub use control_plane::{ControlPlane, ControlPlaneFigures};
pub use event::{Phases, RequestEvent, TcpEvent};
pub use exposition::Exposition;
pub use llm::{LlmEvent, Outlasted};
pub use logging::LogControl;
pub use mcp::McpServers;
pub use process::{RuntimeFigures, memory};
pub use upgrade::{Upgrade, Upgrades};

/// Metrics and access log of the process.
pub struct Telemetry {
    metrics: Metrics,
    access_log: AccessLog,
}

impl Telemetry {
    /// Starts the access log's writer, to standard output.
    pub fn new(statics: &Statics) -> Arc<Self> {
        Self::with_output(statics, Box::new(std::io::stdout()))
    }

    /// As [`Telemetry::new`], with the access log going elsewhere.
    pub fn with_output(statics: &Statics, output: Box<dyn Write + Send>) -> Arc<Self> {
        let sink = Sink::start(statics.worker_threads.clamp(1, 16), output);
        let sink = sink.inspect_err(|error| tracing::error!(%error, "no access log: its writer cannot start")).ok();
        Arc::new(Self { metrics: Metrics::new(statics), access_log: AccessLog::new(statics, sink) })
    }

    /// Whether anybody wants to know which route took a request.
    pub fn names_routes(&self) -> bool {
        self.metrics.names_routes() || self.access_log.is_on()
    }

    /// Labels that are evaluated for each request.
    pub fn labels(&self) -> impl Iterator<Item = &Expression> {
        self.metrics.labels.iter().map(|(_, label)| label)
    }

    /// A request ended: counts it and logs it. Counts retries and the primary upstream call too.
    pub fn request_ended(&self, event: &RequestEvent<'_>) {
        self.metrics.request_ended(event);
        self.access_log.request_ended(event);
    }

    /// A raw connection ended.
    pub fn tcp_ended(&self, event: &TcpEvent<'_>) {
        self.metrics.tcp_ended(event);
        self.access_log.tcp_ended(event);
    }

    /// A client connection was accepted. Each must be closed by [`Telemetry::connection_closed`].
    pub fn connection_opened(&self, bind: &BindKey, listener: Option<&ListenerKey>, protocol: &'static str) {
        let at = Place { bind: bind.as_str(), listener, protocol };
        self.metrics.connection(at, |cells| cells.opened.add(1));
    }

    /// A client connection is gone, after so many bytes.
    pub fn connection_closed(
        &self,
        bind: &BindKey,
        listener: Option<&ListenerKey>,
        protocol: &'static str,
        received: u64,
        sent: u64,
    ) {
        let at = Place { bind: bind.as_str(), listener, protocol };
        self.metrics.connection(at, |cells| {
            cells.closed.add(1);
            cells.received.add(received);
            cells.sent.add(sent);
        });
    }

    /// A connection was not taken; `why` is one of a closed set of words.
    pub fn connection_refused(&self, bind: &BindKey, why: &'static str) {
        self.metrics.refused.record(&[bind.as_str(), why], |cells| cells.add(1));
    }

    /// A TLS handshake with a client ended.
    pub fn tls_handshake(&self, bind: &BindKey, listener: Option<&ListenerKey>, seconds: f64, ok: bool) {
        let at = Place { bind: bind.as_str(), listener, protocol: "tls" };
        self.metrics.handshake(at, |cells| match ok {
            true => cells.duration.observe(metrics::seconds(seconds)),
            false => cells.failures.add(1),
        });
    }

    /// A connection to an endpoint was made; `transport` is `plaintext` or `tls`.
    pub fn upstream_connect(&self, seconds: f64, transport: &'static str) {
        self.metrics.connects.record(&[transport], |cells| cells.observe(metrics::seconds(seconds)));
    }

    /// A call besides the primary one ended: kind `Policy` or `Mirror`, subtype such as `Http`.
    pub fn upstream_call(&self, kind: &'static str, subtype: &'static str, seconds: f64) {
        self.metrics.calls.record(&[kind, subtype], |cells| cells.observe(metrics::seconds(seconds)));
    }

    /// A body that a policy would have changed passed untouched; `why` is one of a closed set of words.
    pub fn body_passed_untouched(&self, why: &'static str) {
        self.metrics.untouched.record(&[why], |cells| cells.add(1));
    }

    /// A call of a policy ended; `outcome` is `ok`, or one of a closed set of words for why there is no answer.
    pub fn callout(&self, subtype: &'static str, outcome: &'static str, spent: Duration) {
        self.metrics.calls.record(&["Policy", subtype], |cells| cells.observe(spent));
        self.metrics.callouts.record(&[subtype, outcome], |cells| cells.add(1));
    }

    /// A tool is not as approved; both are of closed sets of words.
    pub fn mcp_finding(&self, finding: &'static str, action: &'static str) {
        self.metrics.mcp_findings.record(&[finding, action], |cells| cells.add(1));
    }

    /// An upgrade ended, after so long.
    pub fn upgraded(&self, outcome: Upgrade, seconds: f64) {
        self.metrics.upgrades.record(&[outcome.label()], |cells| {
            cells.count.add(1);
            cells.duration.observe(metrics::seconds(seconds));
        });
    }

    /// A configuration is in force.
    pub fn config_applied(&self, generation: u64, phases: &Phases) {
        self.metrics.config_applied(generation, phases);
    }

    /// The control plane has changed what is in force.
    pub fn config_advanced(&self, generation: u64) {
        self.metrics.config_advanced(generation);
    }

    /// Who knows the control plane; asked at each scrape.
    pub fn control_plane(&self, figures: ControlPlane) {
        *self.metrics.control_plane.lock() = Some(figures);
    }

    /// Who knows the MCP servers; asked at each scrape.
    pub fn mcp_servers(&self, figures: McpServers) {
        *self.metrics.mcp_servers.lock() = Some(figures);
    }

    /// A configuration was refused; the one before it stays in force.
    pub fn config_refused(&self) {
        self.metrics.config_refused();
    }

    /// Which gateway each listener belongs to: the `gateway` label of connections. Call on publish.
    pub fn listeners(&self, listeners: impl IntoIterator<Item = (ListenerKey, Text)>) {
        self.metrics.gateways(listeners.into_iter().collect());
    }

    /// Observes a runtime in metrics and `/debug/tasks`.
    pub fn runtime(&self, name: &'static str, handle: &Handle) {
        self.metrics.runtimes.lock().push(process::Runtime::new(name, handle));
    }

    /// Figures of the runtimes observed.
    pub fn runtimes(&self) -> Vec<RuntimeFigures> {
        self.metrics.runtimes.lock().iter().map(process::Runtime::figures).collect()
    }

    /// All metrics as text. Takes milliseconds: not for the data path.
    pub fn encode(&self, format: Exposition) -> String {
        let dropped = self.access_log.sink().map_or(0, Sink::dropped);
        self.metrics.encode(format, dropped)
    }

    /// Waits until the access log is written, or until the limit; blocks the thread. True when
    /// written.
    pub fn flush(&self, limit: Duration) -> bool {
        self.access_log.sink().is_none_or(|sink| sink.flush(limit))
    }
}
