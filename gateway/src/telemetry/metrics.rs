//! The metrics of the process: families, what each event adds to them, and the scrape.
//!
//! Names, labels and buckets are those of the operations reference. The number of series does not
//! follow the number of routes: `route` and `route_rule` label requests only where asked for
//! (`metrics_per_route`), every other label has a ceiling (see [`super::family`]).

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use filters::exchange::Mode;
use filters::expr::{Expression, Value};
use ir::{ListenerKey, Text};
use parking_lot::Mutex;

use super::control_plane::ControlPlane;
use super::event::{Phases, RequestEvent, TcpEvent};
use super::family::{Cells, Family, Label, OTHER};
use super::histogram::{Connect, Counter, Histogram, Processing, Request};
use super::llm::Llm;
use super::mcp::McpServers;
use super::process::Runtime;
use crate::a2a::Told;
use crate::statics::Statics;

/// Distinct binds, gateways, listeners and backends named in metrics, each.
pub(super) const NAMES_MAX: usize = 500;
/// Distinct routes and rules named, where routes are asked for.
pub(super) const ROUTES_MAX: usize = 10_000;
/// Series per family, whatever is configured; and where routes are asked for.
pub(super) const SERIES_MAX: usize = 4_000;
pub(super) const SERIES_PER_ROUTE_MAX: usize = 50_000;
/// Longest value of a label that is evaluated.
const LABEL_BYTES_MAX: usize = 256;
/// Counters are spread over at most this many copies, so that cores do not wait for each other.
const SHARDS_MAX: usize = 16;

const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

pub(super) struct Metrics {
    pub(super) requests: Family<RequestCells>,
    pub(super) processing: Family<Histogram<Processing>>,
    pub(super) connections: Family<ConnectionCells>,
    pub(super) refused: Family<Counter>,
    /// Bodies that no policy could change.
    pub(super) untouched: Family<Counter>,
    pub(super) handshakes: Family<HandshakeCells>,
    pub(super) connects: Family<Histogram<Connect>>,
    pub(super) calls: Family<Histogram<Request>>,
    pub(super) denials: Family<Counter>,
    pub(super) callouts: Family<Counter>,
    pub(super) mcp: Family<Counter>,
    pub(super) llm: Llm,
    pub(super) a2a: Family<Counter>,
    pub(super) mcp_findings: Family<Counter>,
    pub(super) upgrades: Family<UpgradeCells>,
    pub(super) config: ConfigCells,
    pub(super) control_plane: Mutex<Option<ControlPlane>>,
    pub(super) mcp_servers: Mutex<Option<McpServers>>,
    pub(super) runtimes: Mutex<Vec<Runtime>>,
    pub(super) removed: HashSet<String>,
    pub(super) started: SystemTime,
    per_route: bool,
    /// Labels of requests that are evaluated, after the others.
    pub(super) labels: Vec<(String, Expression)>,
    gateways: ArcSwap<HashMap<ListenerKey, Text>>,
}

#[derive(Default)]
pub(super) struct RequestCells {
    pub(super) requests: Counter,
    pub(super) retries: Counter,
    pub(super) bytes_sent: Counter,
    pub(super) duration: Histogram<Request>,
    beside: OnceLock<Beside>,
}

/// Cells of other families that a request of the series counts in too: their labels are among those of the series, so
/// that one look finds all. They are of the same shard, for whoever asks first is of its threads.
struct Beside {
    processing: Option<Arc<Histogram<Processing>>>,
    primary: Option<Arc<Histogram<Request>>>,
}

impl Cells for RequestCells {
    fn absorb(&self, other: &Self) {
        let Self { requests, retries, bytes_sent, duration, beside: _ } = self;
        requests.absorb(&other.requests);
        retries.absorb(&other.retries);
        bytes_sent.absorb(&other.bytes_sent);
        duration.absorb(&other.duration);
    }
}

#[derive(Default)]
pub(super) struct ConnectionCells {
    pub(super) opened: Counter,
    pub(super) closed: Counter,
    pub(super) received: Counter,
    pub(super) sent: Counter,
}

impl Cells for ConnectionCells {
    fn absorb(&self, other: &Self) {
        let Self { opened, closed, received, sent } = self;
        opened.absorb(&other.opened);
        closed.absorb(&other.closed);
        received.absorb(&other.received);
        sent.absorb(&other.sent);
    }
}

#[derive(Default)]
pub(super) struct HandshakeCells {
    pub(super) duration: Histogram<Connect>,
    pub(super) failures: Counter,
}

impl Cells for HandshakeCells {
    fn absorb(&self, other: &Self) {
        let Self { duration, failures } = self;
        duration.absorb(&other.duration);
        failures.absorb(&other.failures);
    }
}

/// Hand-overs to a successor, seen from whoever serves afterwards.
#[derive(Default)]
pub(super) struct UpgradeCells {
    pub(super) count: Counter,
    pub(super) duration: Histogram<Request>,
}

impl Cells for UpgradeCells {
    fn absorb(&self, other: &Self) {
        let Self { count, duration } = self;
        count.absorb(&other.count);
        duration.absorb(&other.duration);
    }
}

/// Figures of the configuration in force.
#[derive(Default)]
pub(super) struct ConfigCells {
    pub(super) synchronized: AtomicU64,
    pub(super) generation: AtomicU64,
    pub(super) applied: Counter,
    pub(super) refused: Counter,
    /// Milliseconds since the epoch; 0 before the first.
    pub(super) applied_at_ms: AtomicU64,
    pub(super) phases: Mutex<Phases>,
}

/// Most labels of a request besides those that are configured.
const LABELS: usize = 10;

/// The labels of a request, without an allocation.
fn joined<'l, 'a>(labels: &'l mut [&'a str; LABELS], scope: &[&'a str], rest: [&'a str; 4]) -> &'l [&'a str] {
    let count = scope.len() + rest.len();
    labels.iter_mut().zip(scope.iter().chain(&rest)).for_each(|(place, label)| *place = label);
    labels.get(..count).unwrap_or(labels)
}

/// The text of a label; empty, which shows as `unknown`, where it fails.
fn evaluated<'a>(label: &'a Expression, event: &RequestEvent<'a>) -> Cow<'a, str> {
    let value = event.inputs.and_then(|inputs| label.evaluate(inputs).ok());
    match value.as_ref().and_then(Value::scalar) {
        Some(text) if text.len() <= LABEL_BYTES_MAX => Cow::Owned(text.into_owned()),
        Some(_) => Cow::Borrowed(OTHER),
        None => Cow::Borrowed(""),
    }
}

/// Labels of a message of MCP. Methods and names are what others write, and bounded.
fn mcp_labels() -> [Label; 6] {
    [
        Label::bounded("backend", NAMES_MAX),
        Label::bounded("method", 32),
        Label::closed("resource_type"),
        Label::bounded("server", NAMES_MAX),
        Label::bounded("resource", NAMES_MAX),
        Label::closed("outcome"),
    ]
}

impl Metrics {
    pub(super) fn new(statics: &Statics) -> Self {
        let shards = statics.worker_threads.clamp(1, SHARDS_MAX);
        let [bind, gateway, listener, backend] =
            ["bind", "gateway", "listener", "backend"].map(|name| Label::bounded(name, NAMES_MAX));
        let mut scope = vec![bind, gateway, listener];
        if statics.metrics_per_route {
            scope.extend(["route", "route_rule"].map(|name| Label::bounded(name, ROUTES_MAX)));
        }
        scope.push(backend);
        let mut requests = scope.clone();
        requests.extend([
            Label::closed("protocol"),
            Label::bounded("method", METHODS.len() + 2),
            Label::bounded("status", 502),
            Label::closed("reason"),
        ]);
        // Names live as long as the process: they are static settings.
        requests.extend(statics.metric_labels.iter().map(|(name, _)| Label::bounded(name.clone().leak(), NAMES_MAX)));
        let connections = [bind, gateway, listener, Label::closed("protocol")];
        let calls = [Label::closed("kind"), Label::closed("subtype")];
        let series = if statics.metrics_per_route { SERIES_PER_ROUTE_MAX } else { SERIES_MAX };
        Self {
            requests: Family::new(&requests, series, shards),
            processing: Family::new(&scope, series, shards),
            connections: Family::new(&connections, SERIES_MAX, shards),
            refused: Family::new(&[bind, Label::closed("reason")], SERIES_MAX, shards),
            untouched: Family::new(&[Label::closed("reason")], SERIES_MAX, shards),
            handshakes: Family::new(&connections, SERIES_MAX, shards),
            connects: Family::new(&[Label::closed("transport")], SERIES_MAX, shards),
            calls: Family::new(&calls, SERIES_MAX, shards),
            denials: Family::new(&[Label::closed("policy"), Label::closed("mode")], SERIES_MAX, shards),
            mcp: Family::new(&mcp_labels(), SERIES_MAX, shards),
            callouts: Family::new(&[Label::closed("subtype"), Label::closed("outcome")], SERIES_MAX, shards),
            llm: Llm::new(SERIES_MAX, shards),
            a2a: Family::new(
                &["method", "version", "binding", "outcome", "state"].map(Label::closed),
                SERIES_MAX,
                shards,
            ),
            mcp_findings: Family::new(&[Label::closed("finding"), Label::closed("action")], SERIES_MAX, 1),
            upgrades: Family::new(&[Label::closed("outcome")], SERIES_MAX, 1),
            config: ConfigCells::default(),
            control_plane: Mutex::default(),
            mcp_servers: Mutex::default(),
            runtimes: Mutex::default(),
            removed: statics.metrics_removed.iter().map(|it| super::exposition::bare_name(it).to_owned()).collect(),
            started: SystemTime::now(),
            per_route: statics.metrics_per_route,
            labels: statics.metric_labels.clone(),
            gateways: ArcSwap::default(),
        }
    }

    /// Whether routes are labels.
    pub(super) fn names_routes(&self) -> bool {
        self.per_route
    }

    pub(super) fn request_ended(&self, event: &RequestEvent<'_>) {
        let mut digits = [0; 3];
        let status = status_label(event.status, &mut digits);
        let RequestEvent { bind, gateway, listener, backend, protocol, .. } = *event;
        let (method, reason) = (method_label(event.method), event.reason.label());
        let scope: &[&str] = match self.per_route {
            true => &[bind, gateway, listener, event.route, event.route_rule, backend],
            false => &[bind, gateway, listener, backend],
        };
        let count = |cells: &RequestCells| {
            cells.requests.add(1);
            cells.retries.add(u64::from(event.retry_attempt));
            cells.bytes_sent.add(event.bytes_sent);
            cells.duration.observe(event.duration);
            let Some(spent) = event.request_processing else { return };
            let beside = cells.beside.get_or_init(|| Beside {
                processing: self.processing.cells(scope),
                primary: self.calls.cells(&["Primary", "Http"]),
            });
            beside.processing.iter().for_each(|cells| cells.observe(spent));
            if let (Some(cells), Some(spent)) = (&beside.primary, event.upstream) {
                cells.observe(spent);
            }
        };
        if self.labels.is_empty() {
            let mut labels = [""; LABELS];
            self.requests.record(joined(&mut labels, scope, [protocol, method, status, reason]), count);
        } else {
            let added: Vec<Cow<'_, str>> = self.labels.iter().map(|(_, label)| evaluated(label, event)).collect();
            let mut labels = scope.to_vec();
            labels.extend([protocol, method, status, reason]);
            labels.extend(added.iter().map(|it| &**it));
            self.requests.record(&labels, count);
        }
        if let Some(mcp) = event.mcp {
            let target = mcp.target.as_deref().unwrap_or_default();
            let noun = mcp.noun.unwrap_or_default();
            let labels = [backend, &mcp.method, noun, target, mcp.label(), mcp.outcome()];
            self.mcp.record(&labels, |cells| cells.add(1));
        }
        if let Some(llm) = event.llm {
            self.llm.ended(llm, event.duration, event.status);
        }
        if let Some((Told { method, version, binding, outcome, state }, _)) = event.a2a {
            self.a2a.record(&[method, version, binding, outcome, state], |cells| cells.add(1));
        }
        for decision in event.decisions {
            let mode = match decision.mode {
                Mode::Enforce => "enforce",
                Mode::Shadow => "shadow",
            };
            self.denials.record(&[decision.kind.key(), mode], |cells| cells.add(1));
        }
        // Of requests that were forwarded it is counted above.
        if let Some(spent) = event.upstream.filter(|_| event.request_processing.is_none()) {
            self.calls.record(&["Primary", "Http"], |cells| cells.observe(spent));
        }
    }

    pub(super) fn tcp_ended(&self, event: &TcpEvent<'_>) {
        let (protocol, reason) = (event.protocol(), event.reason.label());
        let count = |cells: &RequestCells| {
            cells.requests.add(1);
            cells.bytes_sent.add(event.sent);
            cells.duration.observe(event.duration);
        };
        let TcpEvent { bind, gateway, listener, route, .. } = *event;
        let mut labels = match self.per_route {
            true => vec![bind, gateway, listener, route, "", "", protocol, "", "", reason],
            false => vec![bind, gateway, listener, "", protocol, "", "", reason],
        };
        labels.extend(self.labels.iter().map(|_| ""));
        self.requests.record(&labels, count);
    }

    /// Counts in the connections of a listener; the gateway's name comes from the configuration.
    pub(super) fn connection(&self, at: Place<'_>, act: impl FnOnce(&ConnectionCells)) {
        self.with_gateway(at, |labels| self.connections.record(labels, act));
    }

    pub(super) fn handshake(&self, at: Place<'_>, act: impl FnOnce(&HandshakeCells)) {
        self.with_gateway(at, |labels| self.handshakes.record(labels, act));
    }

    fn with_gateway(&self, at: Place<'_>, act: impl FnOnce(&[&str])) {
        let gateways = self.gateways.load();
        let gateway = at.listener.and_then(|key| gateways.get(key)).map_or("", |name| &**name);
        act(&[at.bind, gateway, at.listener.map_or("", ListenerKey::as_str), at.protocol]);
    }

    pub(super) fn gateways(&self, gateways: HashMap<ListenerKey, Text>) {
        self.gateways.store(gateways.into());
    }

    pub(super) fn config_applied(&self, generation: u64, phases: &Phases) {
        self.config.synchronized.store(1, Ordering::Relaxed);
        *self.config.phases.lock() = *phases;
        self.config_advanced(generation);
    }

    pub(super) fn config_advanced(&self, generation: u64) {
        let config = &self.config;
        config.applied.add(1);
        config.generation.fetch_max(generation, Ordering::Relaxed);
        let now = crate::clock::wall();
        config.applied_at_ms.store(u64::try_from(now.as_millis()).unwrap_or(0), Ordering::Relaxed);
    }

    pub(super) fn config_refused(&self) {
        self.config.refused.add(1);
        self.config.synchronized.store(0, Ordering::Relaxed);
    }
}

/// Where a connection arrived.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) bind: &'a str,
    pub(super) listener: Option<&'a ListenerKey>,
    pub(super) protocol: &'a str,
}

/// A duration from seconds as measured elsewhere; nonsense becomes zero.
pub(super) fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value).unwrap_or_default()
}

fn method_label(method: &str) -> &str {
    match METHODS.contains(&method) {
        true => method,
        false if method.is_empty() => "",
        false => "OTHER",
    }
}

/// The status as text; `unknown` when no answer was sent.
fn status_label(status: u16, digits: &mut [u8; 3]) -> &str {
    if status == 0 {
        return "";
    }
    if !(100..=599).contains(&status) {
        return OTHER;
    }
    for (digit, unit) in digits.iter_mut().zip([100, 10, 1]) {
        *digit = b'0' + u8::try_from(status / unit % 10).unwrap_or(0);
    }
    std::str::from_utf8(digits).unwrap_or(OTHER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_cannot_make_series_with_methods_or_statuses() {
        for (method, expected) in [("GET", "GET"), ("get", "OTHER"), ("PROPFIND", "OTHER"), ("", "")] {
            assert_eq!(method_label(method), expected);
        }
        for (status, expected) in [(0, ""), (99, OTHER), (100, "100"), (404, "404"), (599, "599"), (999, OTHER)] {
            assert_eq!(status_label(status, &mut [0; 3]), expected);
        }
    }
}
