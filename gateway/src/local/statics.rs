//! The `config:` block and the environment: settings read once at start. An environment variable
//! wins over the document.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use filters::backend_tcp;
use filters::lower::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::statics::{LogFormat, LookupFamily, ServerAddress, Statics};

const ADMIN_PORT: u16 = 15000;
const STATS_PORT: u16 = 15020;
const READINESS_PORT: u16 = 15021;
const TERMINATION_DEADLINE: Duration = Duration::from_secs(5);

/// Static settings.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StaticConfig {
    /// Whether wildcard binds and DNS use IPv6 (`IPV6_ENABLED`). Default: true.
    pub enable_ipv6: Option<bool>,
    pub dns: Option<Dns>,
    /// Namespace of this gateway (`NAMESPACE`). Default: `default`.
    pub namespace: Option<String>,
    /// Name of this gateway (`GATEWAY`). Default: `default`.
    pub gateway: Option<String>,
    /// `ip:port`, `localhost:port`, `unix:/path` or `off` (`ADMIN_ADDR`). Default: `localhost:15000`.
    pub admin_addr: Option<String>,
    /// Token that changing calls from off loopback must carry (`ADMIN_TOKEN`); without one they are refused.
    pub admin_token: Option<FileOrInline>,
    /// Same forms (`STATS_ADDR`). Default: all addresses, port 15020.
    pub stats_addr: Option<String>,
    /// Same forms (`READINESS_ADDR`). Default: all addresses, port 15021.
    pub readiness_addr: Option<String>,
    pub logging: Option<Logging>,
    /// Accepted, without effect in this version.
    pub tracing: Option<Tracing>,
    pub metrics: Option<Metrics>,
    /// Header names never shown, besides the usual ones.
    pub sensitive_headers: Vec<String>,
    /// Threads that serve traffic: a number, or a share of the CPUs such as `50%` (`WORKER_THREADS`).
    pub worker_threads: Option<StringOrInt>,
    /// Longest drain (`CONNECTION_TERMINATION_DEADLINE`, or from `TERMINATION_GRACE_PERIOD_SECONDS`). Default: 5s.
    pub connection_termination_deadline: Option<Span>,
    /// New connections are still accepted during this first part of a drain
    /// (`CONNECTION_MIN_TERMINATION_DEADLINE`). Default: 0.
    pub connection_min_termination_deadline: Option<Span>,
    pub backend: Option<BackendDefaults>,
    /// Unix socket on which a successor asks for the listening sockets (`HANDOFF_SOCKET`).
    pub handoff_socket: Option<String>,
}

/// A secret written out, or the file it is in.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum FileOrInline {
    File {
        /// Path of the file.
        file: String,
    },
    Inline(String),
}

impl std::fmt::Debug for FileOrInline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File { file } => write!(f, "file {file}"),
            Self::Inline(_) => f.write_str("***"),
        }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Dns {
    /// Which addresses are used (`DNS_LOOKUP_FAMILY`). Default: Auto.
    pub lookup_family: Option<Family>,
    /// EDNS0 in queries (`DNS_EDNS0`). Default: the system's setting.
    pub edns0: Option<bool>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub enum Family {
    All,
    Auto,
    V4Preferred,
    V4Only,
    V6Only,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Logging {
    /// `info`, `debug`, … or `module=level`, several by comma or as a list (`RUST_LOG`).
    pub level: Option<StringOrList>,
    /// `text` or `json` (`LOG_FORMAT`).
    pub format: Option<Format>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum StringOrList {
    One(String),
    Many(Vec<String>),
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Text,
    Json,
}

/// Accepted, without effect in this version.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Tracing {
    pub otlp_endpoint: Option<String>,
    pub headers: BTreeMap<String, String>,
    pub otlp_protocol: Option<String>,
    pub fields: Option<TracingFields>,
    pub random_sampling: Option<Sampling>,
    pub client_sampling: Option<Sampling>,
    pub path: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TracingFields {
    pub remove: Vec<String>,
    pub add: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Sampling {
    Bool(bool),
    Number(f64),
    Text(String),
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Metrics {
    /// Names not exported, with or without prefix and `_total`.
    pub remove: Vec<String>,
    /// Label request metrics with route and rule too; their number then grows with the routes.
    pub per_route: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum StringOrInt {
    Int(u32),
    Text(String),
}

/// Defaults for connections to backends.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BackendDefaults {
    /// Default: 10s.
    pub connect_timeout: Option<Span>,
    pub keepalives: Option<Keepalives>,
    /// Default: 90s.
    pub pool_idle_timeout: Option<Span>,
    /// Idle connections kept, over all backends.
    pub pool_max_size: Option<usize>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Keepalives {
    pub enabled: bool,
    pub time: Span,
    pub interval: Span,
    pub retries: u32,
}

impl Default for Keepalives {
    fn default() -> Self {
        let backend_tcp::Keepalives { enabled, time, interval, retries } = backend_tcp::Keepalives::default();
        Self { enabled, time: Span(time), interval: Span(interval), retries }
    }
}

impl From<Keepalives> for backend_tcp::Keepalives {
    fn from(Keepalives { enabled, time, interval, retries }: Keepalives) -> Self {
        Self { enabled, time: time.0, interval: interval.0, retries }
    }
}

/// A problem of a static setting: key and what is wrong.
pub type Fault = (String, String);

type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

impl StaticConfig {
    /// Settings from the block and the environment, with warnings; or all problems.
    pub fn lower(self, env: Env<'_>) -> Result<(Statics, Vec<String>), Vec<Fault>> {
        let mut problems = Vec::new();
        let mut warnings = Vec::new();
        if self.tracing.is_some() {
            warnings.push("config.tracing is accepted but has no effect in this version".to_owned());
        }
        let ipv6 = flag(env("IPV6_ENABLED"), self.enable_ipv6).unwrap_or(true) && has_ipv6();
        let mut address =
            |key: &str, variable: &str, written: Option<String>, default: Vec<SocketAddr>| match env(variable)
                .or(written)
            {
                None => ServerAddress::Sockets(default),
                Some(text) => server_address(&text, ipv6).unwrap_or_else(|reason| {
                    problems.push((format!("config.{key}"), reason));
                    ServerAddress::Off
                }),
            };
        let admin = address("adminAddr", "ADMIN_ADDR", self.admin_addr, loopback(ADMIN_PORT, ipv6));
        let stats = address("statsAddr", "STATS_ADDR", self.stats_addr, wildcard(STATS_PORT, ipv6));
        let readiness = address("readinessAddr", "READINESS_ADDR", self.readiness_addr, wildcard(READINESS_PORT, ipv6));
        if !is_local(&admin) {
            warnings.push(
                "config.adminAddr is not on loopback: anybody who reaches it can read the configuration; changing calls need config.adminToken"
                    .to_owned(),
            );
        }
        let written = (self.connection_termination_deadline, self.connection_min_termination_deadline);
        let (deadline, minimum) = deadlines(env, written, &mut problems);
        let logging = self.logging.unwrap_or_default();
        let backend = self.backend.unwrap_or_default();
        let worker_threads = match threads(env, self.worker_threads) {
            Ok(count) => count,
            Err(reason) => {
                problems.push(("config.workerThreads".to_owned(), reason));
                1
            }
        };
        let dns = self.dns.unwrap_or_default();
        let metrics = self.metrics.unwrap_or_default();
        let statics = Statics {
            enable_ipv6: ipv6,
            lookup_family: family(env("DNS_LOOKUP_FAMILY"), dns.lookup_family),
            edns0: flag(env("DNS_EDNS0"), dns.edns0),
            namespace: env("NAMESPACE").or(self.namespace).unwrap_or_else(|| "default".to_owned()),
            gateway: env("GATEWAY").or(self.gateway).unwrap_or_else(|| "default".to_owned()),
            admin,
            stats,
            readiness,
            admin_token: token(env, self.admin_token, &mut problems),
            log_format: log_format(env("LOG_FORMAT"), logging.format),
            log_filter: log_filter(env("RUST_LOG"), logging.level),
            worker_threads,
            termination_deadline: deadline,
            termination_deadline_min: minimum.min(deadline),
            sensitive_headers: self.sensitive_headers.iter().map(|name| name.to_ascii_lowercase()).collect(),
            connect_timeout: backend.connect_timeout.map_or(Duration::from_secs(10), |span| span.0),
            keepalives: backend.keepalives.unwrap_or_default().into(),
            pool_idle_timeout: backend.pool_idle_timeout.map_or(Duration::from_secs(90), |span| span.0),
            pool_size_max: backend.pool_max_size,
            locality: locality(env("LOCALITY")),
            node: env("NODE_NAME").unwrap_or_default(),
            metrics_removed: metrics.remove,
            metrics_per_route: metrics.per_route,
            handoff: env("HANDOFF_SOCKET").or(self.handoff_socket).map(PathBuf::from),
        };
        if problems.is_empty() { Ok((statics, warnings)) } else { Err(problems) }
    }
}

/// The longest drain, and the part of it in which new connections are still accepted.
fn deadlines(
    env: Env<'_>,
    (longest, shortest): (Option<Span>, Option<Span>),
    problems: &mut Vec<Fault>,
) -> (Duration, Duration) {
    let longest = first(problems, "connectionTerminationDeadline", env("CONNECTION_TERMINATION_DEADLINE"))
        .or(longest)
        .map(|span| span.0)
        .or_else(|| grace(env("TERMINATION_GRACE_PERIOD_SECONDS")))
        .unwrap_or(TERMINATION_DEADLINE);
    let shortest = first(problems, "connectionMinTerminationDeadline", env("CONNECTION_MIN_TERMINATION_DEADLINE"))
        .or(shortest)
        .map_or(Duration::ZERO, |span| span.0);
    (longest, shortest)
}

fn first(problems: &mut Vec<Fault>, key: &str, text: Option<String>) -> Option<Span> {
    match Span::parse(text.as_deref()?) {
        Ok(span) => Some(span),
        Err(reason) => {
            problems.push((format!("config.{key}"), reason));
            None
        }
    }
}

fn flag(text: Option<String>, written: Option<bool>) -> Option<bool> {
    match text.as_deref() {
        Some("true" | "1" | "yes") => Some(true),
        Some("false" | "0" | "no") => Some(false),
        _ => written,
    }
}

fn family(text: Option<String>, written: Option<Family>) -> LookupFamily {
    let text = text.map(|text| text.to_ascii_lowercase());
    match (text.as_deref(), written) {
        (Some("all"), _) | (None, Some(Family::All)) => LookupFamily::All,
        (Some("v4preferred"), _) | (None, Some(Family::V4Preferred)) => LookupFamily::V4Preferred,
        (Some("v4only"), _) | (None, Some(Family::V4Only)) => LookupFamily::V4Only,
        (Some("v6only"), _) | (None, Some(Family::V6Only)) => LookupFamily::V6Only,
        _ => LookupFamily::Auto,
    }
}

fn log_format(text: Option<String>, written: Option<Format>) -> LogFormat {
    match (text.as_deref(), written) {
        (Some("json"), _) | (None, Some(Format::Json)) => LogFormat::Json,
        _ => LogFormat::Text,
    }
}

fn log_filter(text: Option<String>, written: Option<StringOrList>) -> String {
    text.or(match written {
        Some(StringOrList::One(one)) => Some(one),
        Some(StringOrList::Many(many)) => Some(many.join(",")),
        None => None,
    })
    .unwrap_or_else(|| "info".to_owned())
}

fn token(env: Env<'_>, written: Option<FileOrInline>, problems: &mut Vec<Fault>) -> Option<ir::Secret> {
    if let Some(token) = env("ADMIN_TOKEN") {
        return Some(ir::Secret::new(token.into_bytes()));
    }
    match written? {
        FileOrInline::Inline(text) => Some(ir::Secret::new(text.into_bytes())),
        FileOrInline::File { file } => match super::files::read_bounded(file.as_ref()) {
            Ok(content) => Some(ir::Secret::new(content.trim_ascii().to_vec())),
            Err(reason) => {
                problems.push(("config.adminToken.file".to_owned(), format!("cannot read `{file}`: {reason}")));
                None
            }
        },
    }
}

/// Kubernetes gives a grace period; five seconds of it (one, if it is short) are for the exit.
fn grace(text: Option<String>) -> Option<Duration> {
    let seconds: u64 = text?.parse().ok()?;
    let ours = if seconds > 10 { seconds - 5 } else { seconds.saturating_sub(1).max(1) };
    Some(Duration::from_secs(ours))
}

fn threads(env: Env<'_>, written: Option<StringOrInt>) -> Result<usize, String> {
    let limit = env("CPU_LIMIT").and_then(|text| text.parse().ok());
    let cpus = limit.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1);
    let written = env("WORKER_THREADS").map(StringOrInt::Text).or(written);
    let help = |text: &str| format!("`{text}` is not a number of threads: write `4` or `50%`");
    match written {
        None => Ok(cpus),
        Some(StringOrInt::Int(0)) => Err(help("0")),
        Some(StringOrInt::Int(count)) => Ok(count as usize),
        Some(StringOrInt::Text(text)) => match text.strip_suffix('%') {
            Some(share) => {
                let share: usize = share.parse().map_err(|_| help(&text))?;
                Ok((cpus * share).div_ceil(100).max(1))
            }
            None => text.parse().ok().filter(|count| *count > 0).ok_or_else(|| help(&text)),
        },
    }
}

fn locality(text: Option<String>) -> ir::backend::Locality {
    let text = text.unwrap_or_default();
    let mut parts = text.split('/').map(Into::into);
    ir::backend::Locality {
        region: parts.next().unwrap_or_default(),
        zone: parts.next().unwrap_or_default(),
        subzone: parts.next().unwrap_or_default(),
    }
}

/// Reads `ip:port`, `localhost:port`, `unix:/path`, `off`.
pub fn server_address(text: &str, ipv6: bool) -> Result<ServerAddress, String> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(ServerAddress::Off);
    }
    if let Some(path) = text.strip_prefix("unix:") {
        return if path.starts_with('/') {
            Ok(ServerAddress::Unix(PathBuf::from(path)))
        } else {
            Err(format!("`{text}`: a unix socket needs an absolute path, `unix:/path`"))
        };
    }
    let help = || format!("`{text}` is not an address: write `ip:port`, `localhost:port`, `unix:/path` or `off`");
    if let Some(port) = text.strip_prefix("localhost:") {
        return port.parse().map(|port| ServerAddress::Sockets(loopback(port, ipv6))).map_err(|_| help());
    }
    text.parse().map(|address| ServerAddress::Sockets(vec![address])).map_err(|_| help())
}

fn loopback(port: u16, ipv6: bool) -> Vec<SocketAddr> {
    let mut addresses = vec![SocketAddr::from(([127, 0, 0, 1], port))];
    if ipv6 {
        addresses.push(SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port)));
    }
    addresses
}

fn wildcard(port: u16, ipv6: bool) -> Vec<SocketAddr> {
    if ipv6 {
        vec![SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port))]
    } else {
        vec![SocketAddr::from(([0, 0, 0, 0], port))]
    }
}

/// Whether only this host reaches an address.
fn is_local(address: &ServerAddress) -> bool {
    match address {
        ServerAddress::Sockets(addresses) => addresses.iter().all(|it| it.ip().is_loopback()),
        ServerAddress::Unix(_) | ServerAddress::Off => true,
    }
}

/// Asks the kernel, for a host may have it off.
fn has_ipv6() -> bool {
    std::net::UdpSocket::bind((std::net::Ipv6Addr::LOCALHOST, 0)).is_ok()
}
