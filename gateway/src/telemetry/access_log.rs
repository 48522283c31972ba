//! The access log: one record per request or raw connection, written when it ends.
//!
//! Fields, in order: `connection.id` (where the target `request` logs at debug), `gateway`,
//! `listener`, `route_rule`, `route`, `endpoint`, `src.addr`, `http.method`, `http.host`,
//! `http.path`, `http.version`, `http.status`, `grpc.status`, `tls.sni`, `src.identity`, `jwt.sub`,
//! `basic.user`, `protocol`, `retry.attempt`; of MCP `mcp.method`, `mcp.target`, `mcp.tool.name` (`prompt`, `resource`),
//! `mcp.session.id` (its public part), `error.type` (`tool_error`), `mcp.error.code` and `mcp.error.message`; `gen_ai.*` of requests to
//! language models; those of an agent (`a2a.method`, `a2a.task.id`, `a2a.task.state`, `a2a.context.id`, `a2a.result.kind`,
//! `a2a.response.outcome`, `a2a.response.error_code`); `error`, `reason` (unless the backend answered), `policy` and
//! `policy.rule` of what refused, `policy.wouldDeny` of what would have in shadow mode
//! (`<policy>#<rule>`), `duration`, then what the
//! policy adds. Fields without a value are left out.
//!
//! `http.path` is the path without its query, because queries carry secrets; who wants the query
//! adds `request.pathAndQuery`. Sensitive headers are never written, even if added: they show as `***`.

use std::cell::RefCell;
use std::collections::HashSet;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use filters::access_log::Policy;
use filters::exchange::{Decision, Mode};
use filters::expr::{Expression, Inputs, Json, Value};
use filters::{Identity, Reason};
use protocols::llm::{Cost, Priced};

use super::event::{RequestEvent, TcpEvent};
use super::line::Line;
use super::llm::{LlmEvent, Outlasted};
use super::logging::{self, Verbosity};
use super::sink::Sink;
use crate::mcp::Told;
use crate::statics::{LogFormat, Statics};

/// Headers never shown, besides those of the configuration.
const SENSITIVE: &[&str] =
    &["authorization", "cookie", "set-cookie", "proxy-authorization", "x-api-key", "x-goog-api-key", "api-key"];
const STARS: &str = "***";

/// What is shown of headers in logs and dumps.
#[derive(Clone, Debug, Default)]
pub struct Sensitive(HashSet<String>);

impl Sensitive {
    pub fn new(statics: &Statics) -> Self {
        let more = statics.sensitive_headers.iter().map(|name| name.to_ascii_lowercase());
        Self(SENSITIVE.iter().map(|name| (*name).to_owned()).chain(more).collect())
    }

    /// Whether values of this header (any case) are secret.
    pub fn covers(&self, name: &str) -> bool {
        match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => self.0.contains(&name.to_ascii_lowercase()),
            false => self.0.contains(name),
        }
    }
}

/// The log and where it goes.
pub(super) struct AccessLog {
    format: LogFormat,
    sensitive: Sensitive,
    sink: Option<Sink>,
}

thread_local! {
    static LINE: RefCell<Line> = RefCell::default();
}

impl AccessLog {
    /// A log without a sink writes nothing.
    pub(super) fn new(statics: &Statics, sink: Option<Sink>) -> Self {
        Self { format: statics.log_format, sensitive: Sensitive::new(statics), sink }
    }

    pub(super) fn sink(&self) -> Option<&Sink> {
        self.sink.as_ref()
    }

    /// Whether requests are written at all.
    pub(super) fn is_on(&self) -> bool {
        self.sink.is_some() && logging::access_log_verbosity() != Verbosity::Off
    }

    pub(super) fn request_ended(&self, event: &RequestEvent<'_>) {
        let (Some(sink), verbosity) = (&self.sink, logging::access_log_verbosity()) else { return };
        let filter = event.access_log.and_then(|policy| policy.filter.as_ref());
        let holds = |filter: &Expression| event.inputs.is_some_and(|it| filter.holds(it).unwrap_or(false));
        if verbosity == Verbosity::Off || filter.is_some_and(|filter| !holds(filter)) {
            return;
        }
        with_line(|line| {
            line.begin(self.format, crate::clock::wall(), "request");
            let mut record =
                Record { line, policy: event.access_log.filter(|it| !(it.add.is_empty() && it.remove.is_empty())) };
            record.request(event, verbosity);
            if let (Some(policy), Some(inputs)) = (event.access_log, event.inputs) {
                self.added(record.line, policy, inputs);
            }
            sink.push(record.line.end());
        });
    }

    pub(super) fn tcp_ended(&self, event: &TcpEvent<'_>) {
        let (Some(sink), verbosity) = (&self.sink, logging::access_log_verbosity()) else { return };
        if verbosity == Verbosity::Off {
            return;
        }
        with_line(|line| {
            line.begin(self.format, crate::clock::wall(), "request");
            Record { line, policy: None }.tcp(event, verbosity);
            sink.push(line.end());
        });
    }

    /// The fields of the policy; values a log must not show are stars, and what fails is left out.
    fn added(&self, line: &mut Line, policy: &Policy, inputs: &Inputs<'_>) {
        let inputs = Inputs { sensitive: Some(&self.sensitive.0), ..*inputs };
        for (name, field) in &policy.add {
            match field.evaluate(&inputs) {
                Ok(Value::Map(map)) if map.is_flat() => {
                    for (part, value) in map.entries() {
                        let part = part.scalar().unwrap_or_default();
                        write_field(line, &format!("{name}.{part}"), value);
                    }
                }
                Ok(value) => write_field(line, name, value),
                Err(_) => {}
            }
        }
    }
}

fn write_field(line: &mut Line, name: &str, value: Value<'_>) {
    match value {
        Value::Null | Value::Optional(None) => {}
        Value::Int(number) => line.signed(name, number),
        Value::Secret(_) => line.text(name, STARS),
        Value::Bytes(bytes) => line.text(name, &String::from_utf8_lossy(&bytes)),
        value => match value.scalar() {
            Some(text) => line.text(name, &text),
            None => {
                if let Ok(json) = value.clone().into_json() {
                    line.text(name, &json.to_string());
                }
            }
        },
    }
}

/// Runs with the thread's line buffer.
fn with_line(act: impl FnOnce(&mut Line)) {
    let _ = LINE.try_with(|line| {
        if let Ok(mut line) = line.try_borrow_mut() {
            act(&mut line);
        }
    });
}

/// The default fields of one record, less what the policy removes or replaces.
struct Record<'a> {
    line: &'a mut Line,
    policy: Option<&'a Policy>,
}

impl Record<'_> {
    fn request(&mut self, event: &RequestEvent<'_>, verbosity: Verbosity) {
        if verbosity == Verbosity::Debug {
            self.number("connection.id", event.connection_id);
        }
        self.text("gateway", event.gateway);
        self.text("listener", event.listener);
        self.text("route_rule", event.route_rule);
        self.text("route", event.route);
        self.text("endpoint", event.endpoint);
        self.address("src.addr", event.src);
        self.text("http.method", event.method);
        self.text("http.host", event.host);
        self.text("http.path", path_alone(event.path));
        self.text("http.version", event.version);
        if event.status != 0 {
            self.number("http.status", u64::from(event.status));
        }
        if let Some(status) = event.grpc_status {
            self.number("grpc.status", u64::from(status));
        }
        self.text("tls.sni", event.sni);
        if let Some(identity) = event.identity {
            self.identity(identity);
        }
        self.text("protocol", event.protocol);
        if event.retry_attempt != 0 {
            self.number("retry.attempt", u64::from(event.retry_attempt));
        }
        if let Some(mcp) = event.mcp {
            self.mcp(mcp);
        }
        if let Some(llm) = event.llm {
            self.llm(llm);
        }
        if let Some((_, Some(asked))) = event.a2a {
            self.a2a(asked);
        }
        self.ending(event.error, event.reason);
        self.decisions(event.decisions);
        if self.shows("duration") {
            self.line.millis("duration", event.duration);
        }
    }

    /// What a message of MCP was about, and how it ended.
    fn mcp(&mut self, told: &Told) {
        self.text("mcp.method", &told.method);
        self.text("mcp.target", told.target.as_deref().unwrap_or_default());
        match told.noun {
            Some("tool") => self.text("mcp.tool.name", &told.name),
            Some("prompt") => self.text("mcp.prompt.name", &told.name),
            Some("task") => self.text("mcp.task.name", &told.name),
            Some(_) => self.text("mcp.resource.name", &told.name),
            None => {}
        }
        if let Some(name) = &told.session {
            self.text("mcp.session.id", &protocols::mcp::definition::hex(name));
        }
        if told.ended.failed {
            // As the conventions of OpenTelemetry have it. `mcp.tool.error` of expressions is an object: a JSON-RPC error.
            self.text("error.type", "tool_error");
        }
        if let Some((code, message)) = &told.ended.error {
            self.text("mcp.error.code", &code.to_string());
            self.text("mcp.error.message", message);
        }
    }

    /// Under the names of the OpenTelemetry conventions.
    fn llm(&mut self, event: &LlmEvent<'_>) {
        self.text("gen_ai.operation.name", event.operation);
        self.text("gen_ai.provider.name", event.provider);
        self.text("gen_ai.request.model", event.request_model);
        if event.stream {
            self.text("gen_ai.request.stream", "true");
        }
        if let Some(dropped) = event.dropped {
            self.text("llm.dropped", &dropped.names().collect::<Vec<_>>().join(","));
        }
        self.text("gen_ai.response.model", event.response_model);
        self.text("gen_ai.response.id", event.response_id);
        self.text("gen_ai.response.finish_reasons", &event.finish_reasons.join(","));
        self.text("openai.response.service_tier", event.service_tier);
        for (name, number) in [
            ("gen_ai.request.max_tokens", event.max_tokens),
            ("gen_ai.usage.input_tokens", event.input),
            ("gen_ai.usage.output_tokens", event.output),
            ("gen_ai.usage.cache_read.input_tokens", event.cache_read),
            ("gen_ai.usage.cache_creation.input_tokens", event.cache_write),
            ("gen_ai.usage.reasoning.output_tokens", event.reasoning),
        ] {
            if let Some(number) = number {
                self.number(name, number);
            }
        }
        if event.estimated {
            self.text("gen_ai.usage.estimated", "true");
        }
        if event.findings > 0 {
            self.number("gen_ai.guardrail.findings", event.findings);
        }
        match event.priced {
            Some(Priced::Exact(bill)) => self.text("gen_ai.usage.cost", &bill.total().to_string()),
            Some(it) => self.text("gen_ai.usage.cost_status", it.name()),
            None => {}
        }
        if !event.outlasted.is_empty() {
            self.outlasted(event.outlasted);
        }
        if let Some(per_token) = event.per_token.filter(|_| self.shows("gen_ai.response.time_per_output_token")) {
            self.line.text("gen_ai.response.time_per_output_token", &format!("{:.6}", per_token.as_secs_f64()));
        }
        if let Some(to_first) = event.to_first.filter(|_| self.shows("gen_ai.response.time_to_first_chunk")) {
            self.line.text("gen_ai.response.time_to_first_chunk", &format!("{:.6}", to_first.as_secs_f64()));
        }
    }

    /// Providers that another one has answered for.
    fn outlasted(&mut self, outlasted: &[Outlasted]) {
        let names: Vec<_> = outlasted.iter().map(|it| format!("{}/{}", it.provider, it.model)).collect();
        self.text("llm.outlasted", &names.join(","));
        self.number("llm.outlasted.input_tokens", outlasted.iter().map(|it| it.input).sum());
        let bills = outlasted.iter().filter_map(|it| match &it.priced {
            Some(Priced::Exact(bill)) => Some(bill.total()),
            _ => None,
        });
        if let Some(cost) = bills.reduce(|one, other| Cost(one.0.saturating_add(other.0))) {
            self.text("llm.outlasted.cost", &cost.to_string());
        }
    }

    /// What an agent was asked and what it answered.
    fn a2a(&mut self, asked: &Json) {
        let part = |name: &str, part: &str| asked.get(name)?.get(part);
        self.text("a2a.method", asked.get("method").and_then(|it| it.as_str()).unwrap_or_default());
        for (name, value) in [
            ("a2a.task.id", part("task", "id")),
            ("a2a.task.state", part("task", "state")),
            ("a2a.context.id", part("context", "id")),
            ("a2a.result.kind", part("result", "kind")),
            ("a2a.response.outcome", part("response", "outcome")),
        ] {
            self.text(name, value.and_then(|it| it.as_str()).unwrap_or_default());
        }
        if let Some(code) = part("response", "errorCode").filter(|_| self.shows("a2a.response.error_code")) {
            self.line.signed("a2a.response.error_code", code.as_i64().unwrap_or_default());
        }
    }

    /// Names, never credentials.
    fn identity(&mut self, identity: &Identity) {
        if let Some(peer) = &identity.peer {
            let name = peer.spiffe.as_ref().map(|it| &*it.id).or(peer.common_name.as_deref());
            self.text("src.identity", name.unwrap_or_default());
        }
        if let Some(jwt) = &identity.jwt {
            self.text("jwt.sub", jwt.text("sub").unwrap_or_default());
        }
        self.text("basic.user", identity.basic.as_deref().unwrap_or_default());
    }

    fn tcp(&mut self, event: &TcpEvent<'_>, verbosity: Verbosity) {
        if verbosity == Verbosity::Debug {
            self.number("connection.id", event.connection_id);
        }
        self.text("gateway", event.gateway);
        self.text("listener", event.listener);
        self.text("route", event.route);
        self.text("endpoint", event.endpoint);
        self.address("src.addr", event.src);
        self.text("tls.sni", event.sni);
        self.text("protocol", event.protocol());
        self.number("bytes.received", event.received);
        self.number("bytes.sent", event.sent);
        self.ending(event.error, event.reason);
        self.line.millis("duration", event.duration);
    }

    /// Which rule refused, and which would have.
    fn decisions(&mut self, decisions: &[Decision]) {
        let named = |it: &Decision| {
            let policy = it.policy.as_ref().map_or(it.kind.key(), |key| key.as_str());
            match it.rule {
                Some(rule) => format!("{policy}#{rule}"),
                None => policy.to_owned(),
            }
        };
        let in_mode = |mode: Mode| decisions.iter().filter(move |it| it.mode == mode);
        if let Some(refused) = in_mode(Mode::Enforce).next() {
            self.text("policy", refused.policy.as_ref().map_or(refused.kind.key(), |key| key.as_str()));
            if let Some(rule) = refused.rule {
                self.number("policy.rule", rule as u64);
            }
        }
        if in_mode(Mode::Shadow).next().is_some() {
            let all: Vec<String> = in_mode(Mode::Shadow).map(named).collect();
            self.text("policy.wouldDeny", &all.join(" "));
        }
    }

    fn ending(&mut self, error: Option<&str>, reason: Reason) {
        self.text("error", error.unwrap_or_default());
        if reason != Reason::Upstream {
            self.text("reason", reason.label());
        }
    }

    fn shows(&self, name: &str) -> bool {
        let Some(policy) = self.policy else { return true };
        !policy.remove.iter().any(|removed| removed == name) && !policy.add.iter().any(|(added, _)| added == name)
    }

    fn text(&mut self, name: &str, value: &str) {
        if !value.is_empty() && self.shows(name) {
            self.line.text(name, value);
        }
    }

    fn number(&mut self, name: &str, value: u64) {
        if self.shows(name) {
            self.line.number(name, value);
        }
    }

    fn address(&mut self, name: &str, address: Option<SocketAddr>) {
        let Some(address) = address.filter(|_| self.shows(name)) else { return };
        let mut text = [0u8; 64];
        let mut rest = text.as_mut_slice();
        // An address always fits; were it not to, it would be cut.
        let _ = match address.port() {
            0 => write!(rest, "{}", address.ip()),
            _ => write!(rest, "{address}"),
        };
        let left = rest.len();
        self.line.bytes_value(name, text.get(..text.len() - left).unwrap_or_default());
    }
}

/// A path without its query or fragment.
fn path_alone(path: &str) -> &str {
    path.split(['?', '#']).next().unwrap_or_default()
}

/// Whether an address is this host's own.
pub(crate) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
