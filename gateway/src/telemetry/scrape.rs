//! The scrape: every family, written once.

use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};

use super::event::Phases;
use super::exposition::{Encoder, Exposition, Kind, number};
use super::llm::TOKEN_KINDS;
use super::metrics::Metrics;
use super::process;

impl Metrics {
    /// All metrics, in the format asked for. Takes milliseconds with thousands of series: not for
    /// the data path.
    pub(super) fn encode(&self, format: Exposition, log_lines_dropped: u64) -> String {
        let mut out = Encoder::new(format, &self.removed);
        if let Some(sample) = out.begin("build", Kind::Info, "The build that runs.") {
            out.sample(&sample, [("tag", env!("CARGO_PKG_VERSION"))].into_iter(), 1.0);
        }
        self.encode_requests(&mut out);
        self.encode_connections(&mut out);
        self.encode_upstreams(&mut out);
        self.encode_llm(&mut out);
        self.encode_mcp(&mut out);
        self.encode_config(&mut out);
        self.encode_control_plane(&mut out);
        self.encode_mcp_servers(&mut out);
        let upgrades = &self.upgrades;
        out.counter("upgrades", "Upgrades to a successor, by how they ended.", (upgrades, |cells| &cells.count));
        let help = "Time from the start of a successor to how the upgrade ended.";
        out.histogram("upgrade_seconds", help, (upgrades, |cells| &cells.duration));
        let help = "Access-log lines dropped because the output was too slow or closed.";
        out.single("access_log_dropped", Kind::Counter, help, number(log_lines_dropped));
        self.encode_runtimes(&mut out);
        self.encode_process(&mut out);
        out.finish()
    }

    fn encode_requests(&self, out: &mut Encoder<'_>) {
        let requests = &self.requests;
        out.counter("requests", "Requests that ended.", (requests, |cells| &cells.requests));
        let help = "Time from a request's head to the end of its response.";
        out.histogram("request_duration_seconds", help, (requests, |cells| &cells.duration));
        let help = "Our own work on a request before it goes to the backend.";
        out.histogram("request_processing_seconds", help, (&self.processing, |cells| cells));
        out.counter("response_bytes", "Bytes of response bodies sent.", (requests, |cells| &cells.bytes_sent));
        out.counter("retries", "Attempts beyond the first.", (requests, |cells| &cells.retries));
        let help = "Bodies that a transformation could not change, and why.";
        out.counter("body_transformations_skipped", help, (&self.untouched, |cells| cells));
        let help = "Requests that a policy refused, or would have in shadow mode.";
        out.counter("policy_denials", help, (&self.denials, |cells| cells));
        let help = "Requests to agents, by what was asked and how the task stood in the end.";
        out.counter("a2a_requests", help, (&self.a2a, |cells| cells));
    }

    fn encode_connections(&self, out: &mut Encoder<'_>) {
        let connections = &self.connections;
        let help = "Client connections accepted.";
        out.counter("downstream_connections", help, (connections, |cells| &cells.opened));
        self.encode_active(out);
        let help = "Bytes received from clients, counted when their connection closes.";
        out.counter("downstream_received_bytes", help, (connections, |cells| &cells.received));
        let help = "Bytes sent to clients, counted when their connection closes.";
        out.counter("downstream_sent_bytes", help, (connections, |cells| &cells.sent));
        let help = "Client connections refused, and why.";
        out.counter("connections_refused", help, (&self.refused, |cells| cells));
        let help = "TLS handshakes with clients that succeeded.";
        out.histogram("tls_handshake_duration_seconds", help, (&self.handshakes, |cells| &cells.duration));
        let help = "TLS handshakes with clients that failed.";
        out.counter("tls_handshake_failures", help, (&self.handshakes, |cells| &cells.failures));
    }

    /// By bind alone: the listener may become known only after a connection was opened.
    fn encode_active(&self, out: &mut Encoder<'_>) {
        let help = "Client connections open.";
        let Some(sample) = out.begin("downstream_connections_active", Kind::Gauge, help) else { return };
        let mut binds: Vec<(Box<str>, u64, u64)> = Vec::new();
        for series in self.connections.collect() {
            let Some(bind) = series.values.first() else { continue };
            let (opened, closed) = (series.cells.opened.get(), series.cells.closed.get());
            match binds.iter_mut().find(|(known, ..)| known == bind) {
                Some(entry) => *entry = (bind.clone(), entry.1 + opened, entry.2 + closed),
                None => binds.push((bind.clone(), opened, closed)),
            }
        }
        for (bind, opened, closed) in &binds {
            out.sample(&sample, [("bind", &**bind)].into_iter(), number(opened.saturating_sub(*closed)));
        }
    }

    fn encode_upstreams(&self, out: &mut Encoder<'_>) {
        let help = "Time to connect to an endpoint, TLS included.";
        out.histogram("upstream_connect_duration_seconds", help, (&self.connects, |cells| cells));
        let help = "Time from the hand-over of a call to the head of its response.";
        out.histogram("upstream_call_duration_seconds", help, (&self.calls, |cells| cells));
        let help = "Messages of MCP clients, by method, server and tool, and how they ended.";
        out.counter("mcp_requests", help, (&self.mcp, |cells| cells));
        let help = "Calls that policies made, by how they ended.";
        out.counter("policy_calls", help, (&self.callouts, |cells| cells));
    }

    fn encode_llm(&self, out: &mut Encoder<'_>) {
        let requests = &self.llm.requests;
        let help =
            "Tokens of a request to a language model, by kind; input holds what was cached, output what was thought.";
        let kinds = ("gen_ai_token_type", TOKEN_KINDS.as_slice());
        out.histograms("gen_ai_client_token_usage", help, (requests, |cells| &cells.tokens), kinds);
        let help = "Time of a request to a language model.";
        out.histogram("gen_ai_server_request_duration", help, (requests, |cells| &cells.duration));
        let help = "Time from a whole request to the first bytes of its answer.";
        out.histogram("gen_ai_server_time_to_first_token", help, (requests, |cells| &cells.to_first));
        let help = "Time between tokens of a stream, on the average of the stream.";
        out.histogram("gen_ai_server_time_per_output_token", help, (requests, |cells| &cells.per_token));
        let help = "Answers with status 200 that did not say what they used.";
        out.counter("gen_ai_unaccounted", help, (requests, |cells| &cells.unaccounted));
        let help = "What requests to language models cost by the catalogue, in dollars.";
        out.scaled("gen_ai_cost_dollars", help, (requests, |cells| &cells.cost), 1e12);
        let help = "Requests to language models that used something for which the catalogue has no rate.";
        out.counter("gen_ai_unpriced", help, (requests, |cells| &cells.unpriced));
        let help =
            "Parts of requests that the dialect of their provider has no place for, by their place in the request.";
        out.counter("gen_ai_dropped", help, (&self.llm.dropped, |cells| cells));
    }

    fn encode_mcp(&self, out: &mut Encoder<'_>) {
        let help = "Definitions of MCP tools that are not as approved, each counted once.";
        out.counter("mcp_tool_findings", help, (&self.mcp_findings, |cells| cells));
    }

    fn encode_config(&self, out: &mut Encoder<'_>) {
        let config = &self.config;
        let gauge = |cell: &std::sync::atomic::AtomicU64| number(cell.load(Ordering::Relaxed));
        let help = "1 when the last configuration offered is in force, 0 when it was refused.";
        out.single("config_synchronized", Kind::Gauge, help, gauge(&config.synchronized));
        let help = "Generation of the configuration in force.";
        out.single("config_generation", Kind::Gauge, help, gauge(&config.generation));
        let help = "When a configuration was last applied, in Unix time.";
        out.single("config_last_applied_timestamp_seconds", Kind::Gauge, help, gauge(&config.applied_at_ms) / 1000.0);
        out.single("config_applied", Kind::Counter, "Configurations applied.", number(config.applied.get()));
        out.single("config_refused", Kind::Counter, "Configurations refused.", number(config.refused.get()));
        let phases: Phases = *config.phases.lock();
        let help = "CPU time of the last applied configuration, by phase.";
        if let Some(sample) = out.begin("config_phase_cpu_seconds", Kind::Gauge, help) {
            for (phase, spent) in phases.named() {
                out.sample(&sample, [("phase", phase)].into_iter(), spent.cpu.as_secs_f64());
            }
        }
        let help = "Time of the last applied configuration on the wall, by phase.";
        if let Some(sample) = out.begin("config_phase_duration_seconds", Kind::Gauge, help) {
            for (phase, spent) in phases.named() {
                out.sample(&sample, [("phase", phase)].into_iter(), spent.wall.as_secs_f64());
            }
        }
    }

    fn encode_runtimes(&self, out: &mut Encoder<'_>) {
        let runtimes: Vec<_> = self.runtimes.lock().iter().map(process::Runtime::figures).collect();
        type Figure = fn(&process::RuntimeFigures) -> f64;
        let families: [(&str, Kind, &str, Figure); 5] = [
            ("tokio_num_workers", Kind::Gauge, "Worker threads of a runtime.", |it| number(it.workers)),
            ("tokio_num_alive_tasks", Kind::Gauge, "Tasks alive in a runtime.", |it| number(it.alive_tasks)),
            ("tokio_global_queue_depth", Kind::Gauge, "Tasks in a runtime's global queue.", |it| {
                number(it.global_queue_depth)
            }),
            ("tokio_busy_seconds", Kind::Counter, "Time workers of a runtime were busy.", |it| it.busy_seconds),
            ("tokio_parks", Kind::Counter, "Times workers of a runtime went to sleep.", |it| number(it.parks)),
        ];
        for (name, kind, help, figure) in families {
            let Some(sample) = out.begin(name, kind, help) else { continue };
            for runtime in &runtimes {
                out.sample(&sample, [("runtime", runtime.name)].into_iter(), figure(runtime));
            }
        }
    }

    fn encode_process(&self, out: &mut Encoder<'_>) {
        for (name, bytes) in process::memory() {
            let help = format!("Memory of the process in bytes: {name} of smaps_rollup.");
            out.single(&format!("process_{name}"), Kind::Gauge, &help, number(bytes));
        }
        let cpu: Duration = process::cpu();
        out.single("process_cpu_seconds", Kind::Counter, "CPU time of the process.", cpu.as_secs_f64());
        let (open, limit) = process::descriptors();
        let figures = [
            ("process_open_fds", "Open file descriptors.", open),
            ("process_max_fds", "Limit on open file descriptors.", limit),
            ("process_threads", "Threads of the process.", process::threads()),
        ];
        for (name, help, value) in figures {
            if let Some(value) = value {
                out.single(name, Kind::Gauge, help, number(value));
            }
        }
        let started = self.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        out.single("process_start_time_seconds", Kind::Gauge, "When the process started, in Unix time.", started);
    }
}
