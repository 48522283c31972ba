//! The `config:` block and the environment: settings read once at start. An environment variable
//! wins over the document.

mod address;
mod session;
mod telemetry;
mod xds;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use filters::backend_tcp;
use filters::lower::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::catalog::ModelCatalog;
use super::files;
use crate::statics::{CatalogSource, LogFormat, LookupFamily, ServerAddress, Statics};
use crate::telemetry::logging;
pub use address::server_address;
use address::{has_ipv6, is_local, loopback, wildcard};
pub use session::{McpConfig, SessionConfig};
pub use telemetry::{Metrics, Tracing};
pub use xds::{headers, identity};

const ADMIN_PORT: u16 = 15000;
const STATS_PORT: u16 = 15020;
const READINESS_PORT: u16 = 15021;
/// Beyond this, a number of threads is a slip of the hand.
const THREADS_MAX: usize = 4096;
const TAKEOVER: Duration = Duration::from_secs(30);
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
    /// CEL functions: `name(a, rest...) { expr }`, or on a value `this.name(a) { expr }`.
    pub custom_functions: Option<String>,
    /// Header names never shown, besides the usual ones.
    pub sensitive_headers: Vec<String>,
    /// Addresses that URLs of the configuration may lead to though the gateway usually fetches nothing there: metadata
    /// services and link-local ones. Never by a redirect.
    pub egress_allow: Vec<IpAddr>,
    /// Threads that serve traffic: a number, or a share of the CPUs such as `50%` (`WORKER_THREADS`).
    pub worker_threads: Option<StringOrInt>,
    /// Longest drain (`CONNECTION_TERMINATION_DEADLINE`, or from `TERMINATION_GRACE_PERIOD_SECONDS`). Default: 5s.
    pub connection_termination_deadline: Option<Span>,
    /// New connections are still accepted during this first part of a drain
    /// (`CONNECTION_MIN_TERMINATION_DEADLINE`). Default: 0.
    pub connection_min_termination_deadline: Option<Span>,
    pub backend: Option<BackendDefaults>,
    /// The control socket, in a private directory (`HANDOFF_SOCKET`). Default: `control.sock` in systemd's runtime
    /// directory, else a file of its own in the user's run directory.
    pub handoff_socket: Option<String>,
    /// For a successor to become ready, or it is ended (`HANDOFF_TIMEOUT`). Default: 30s.
    pub handoff_timeout: Option<Span>,
    /// The control plane: `https://host:port`, `http://host:port` without TLS, or `host:port`, which is https
    /// (`XDS_ADDRESS`). Needs `namespace` and `gateway`, by which it chooses what this gateway gets.
    pub xds_address: Option<String>,
    /// File of the token shown to the control plane (`XDS_AUTH_TOKEN`), read again for each connection. Default:
    /// `./var/run/secrets/xds-tokens/xds-token`, where it is there.
    pub xds_auth_token: Option<String>,
    /// PEM file of the roots that the control plane's certificate must chain to, or `SYSTEM` (`XDS_ROOT_CA`).
    /// Default: `./var/run/secrets/xds/root-cert.pem` where it is there, else the system's.
    pub xds_root_ca: Option<String>,
    /// PEM file of the certificate shown to the control plane (`XDS_CLIENT_CERT`), read again for each connection.
    /// Default: none is shown.
    pub xds_client_cert: Option<String>,
    /// PEM file of its key (`XDS_CLIENT_KEY`).
    pub xds_client_key: Option<String>,
    /// Name of the cluster, sent to the control plane with the token (`CLUSTER_ID`). Default: `Kubernetes`.
    pub cluster_id: Option<String>,
    /// The file of everything but this block, instead of the file this block is in (`LOCAL_XDS_PATH`). A `config`
    /// block in it has no effect.
    pub local_xds_path: Option<String>,
    /// Where the control plane's last good word is kept, so that a start without it serves (`STATE_DIRECTORY`), or
    /// `off`. Default: `agentgateway` in the user's state directory; for root `/var/lib/agentgateway`.
    pub state_directory: Option<String>,
    /// Encrypts the secrets in there (`STATE_KEY`): 64 hexadecimal digits. Without one they are left out, and what
    /// needs them is closed after a start without control plane until that is back.
    pub state_key: Option<FileOrInline>,
    /// Sessions of MCP clients.
    pub session: SessionConfig,
    /// MCP clients and servers.
    pub mcp: McpConfig,
    /// What tokens of language models cost: catalogues that lie over each other, the later ones above. Files are read
    /// again when they change.
    pub model_catalog: Vec<ModelCatalog>,
}

/// A secret written out, the file it is in, or the credential it is (systemd's `LoadCredential=`).
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum FileOrInline {
    File {
        /// Path of the file.
        file: String,
    },
    Credential {
        /// Name of the credential.
        credential: String,
    },
    Inline(String),
}

impl std::fmt::Debug for FileOrInline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File { file } => write!(f, "file {file}"),
            Self::Credential { credential } => write!(f, "credential {credential}"),
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
    /// Idle connections kept, over all backends: so many plain ones, and so many with TLS or HTTP/2.
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

/// A problem or a warning of a static setting: where it was set, and what is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The path in the document.
    Written(String, String),
    /// The variable.
    Environment(String, String),
}

type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

impl StaticConfig {
    /// Settings from the block and the environment, with warnings; or all problems.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn lower(mut self, env: Env<'_>) -> Result<(Statics, Vec<Fault>), Vec<Fault>> {
        let mut from = Sources { env, faults: Vec::new() };
        let remote = xds::Written::take(&mut self, &from);
        let mut warnings = Vec::new();
        if self.tracing.is_some() {
            let reason = "accepted, but has no effect in this version";
            warnings.push(Fault::Written("config.tracing".to_owned(), reason.to_owned()));
        }
        let ipv6 = from.over("IPV6_ENABLED", flag).or(self.enable_ipv6).unwrap_or(true) && has_ipv6();
        let read = |text: &str| server_address(text, ipv6);
        let mut address = |key, variable, written: Option<String>, default: Vec<SocketAddr>| {
            from.text(variable, key, written, read).unwrap_or(ServerAddress::Sockets(default))
        };
        let admin = address("adminAddr", "ADMIN_ADDR", self.admin_addr, loopback(ADMIN_PORT, ipv6));
        let stats = address("statsAddr", "STATS_ADDR", self.stats_addr, wildcard(STATS_PORT, ipv6));
        let readiness = address("readinessAddr", "READINESS_ADDR", self.readiness_addr, wildcard(READINESS_PORT, ipv6));
        if !is_local(&admin) {
            let reason = "is not on loopback: anybody who reaches it can read the configuration; changing calls \
                          from other hosts need `config.adminToken`";
            warnings.push(Fault::Written("config.adminAddr".to_owned(), reason.to_owned()));
        }
        let written = (self.connection_termination_deadline, self.connection_min_termination_deadline);
        let (deadline, minimum) = from.deadlines(written);
        let logging = self.logging.unwrap_or_default();
        let backend = self.backend.unwrap_or_default();
        let dns = self.dns.unwrap_or_default();
        let metrics = self.metrics.unwrap_or_default();
        let custom_functions = telemetry::functions(self.custom_functions.as_deref(), &mut from.faults);
        let metric_labels = telemetry::labels(metrics.fields, &custom_functions, &mut from.faults);
        let statics = Statics {
            enable_ipv6: ipv6,
            lookup_family: from
                .over("DNS_LOOKUP_FAMILY", family)
                .unwrap_or_else(|| dns.lookup_family.map(LookupFamily::from).unwrap_or_default()),
            edns0: from.over("DNS_EDNS0", flag).or(dns.edns0),
            namespace: from.word("NAMESPACE").or(self.namespace).unwrap_or_else(|| "default".to_owned()),
            gateway: from.word("GATEWAY").or(self.gateway).unwrap_or_else(|| "default".to_owned()),
            admin,
            stats,
            readiness,
            admin_token: from.secret("ADMIN_TOKEN", "adminToken", self.admin_token),
            log_format: from
                .over("LOG_FORMAT", log_format)
                .unwrap_or_else(|| logging.format.map(LogFormat::from).unwrap_or_default()),
            log_filter: from.log_filter(logging.level),
            worker_threads: from.threads(self.worker_threads),
            termination_deadline: deadline,
            termination_deadline_min: minimum.min(deadline),
            sensitive_headers: self.sensitive_headers.iter().map(|name| name.to_ascii_lowercase()).collect(),
            egress_allow: self.egress_allow,
            connect_timeout: backend.connect_timeout.map_or(Duration::from_secs(10), |span| span.0),
            keepalives: backend.keepalives.unwrap_or_default().into(),
            pool_idle_timeout: backend.pool_idle_timeout.map_or(Duration::from_secs(90), |span| span.0),
            pool_size_max: backend.pool_max_size,
            locality: locality(from.word("LOCALITY")),
            node: from.word("NODE_NAME").unwrap_or_default(),
            metrics_removed: metrics.remove,
            metrics_per_route: metrics.per_route,
            metric_labels,
            custom_functions,
            handoff: from.word("HANDOFF_SOCKET").or(self.handoff_socket).map(PathBuf::from),
            handoff_timeout: from.patience(self.handoff_timeout),
            local_xds: from.word("LOCAL_XDS_PATH").or(self.local_xds_path).map(PathBuf::from),
            state_directory: xds::state_directory(&from, self.state_directory),
            state_key: xds::state_key(&mut from, self.state_key),
            mcp_sessions: session::lower(&mut from, self.session, &self.mcp),
            model_catalog: from.catalogs(self.model_catalog),
            xds: None,
        };
        let statics = Statics { xds: xds::lower(&mut from, remote, &statics, &mut warnings), ..statics };
        if from.faults.is_empty() { Ok((statics, warnings)) } else { Err(from.faults) }
    }
}

/// Where settings come from: the environment first, then the document. Collects what is wrong.
struct Sources<'a> {
    env: Env<'a>,
    faults: Vec<Fault>,
}

impl Sources<'_> {
    /// A variable; an empty one counts as absent.
    fn word(&self, variable: &str) -> Option<String> {
        (self.env)(variable).filter(|text| !text.is_empty())
    }

    /// What a variable says, where it is set.
    fn over<T>(&mut self, variable: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let read = read(&self.word(variable)?);
        read.map_err(|reason| self.faults.push(Fault::Environment(variable.to_owned(), reason))).ok()
    }

    /// What a variable says, or else the text in the document.
    fn text<T>(
        &mut self,
        variable: &str,
        key: &str,
        written: Option<String>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        if self.word(variable).is_some() {
            return self.over(variable, read);
        }
        read(&written?).map_err(|reason| self.faults.push(Fault::Written(format!("config.{key}"), reason))).ok()
    }

    /// The longest drain, and the part of it in which new connections are still accepted.
    fn deadlines(&mut self, (longest, shortest): (Option<Span>, Option<Span>)) -> (Duration, Duration) {
        let grace = self.over("TERMINATION_GRACE_PERIOD_SECONDS", grace);
        let longest = self.over("CONNECTION_TERMINATION_DEADLINE", Span::parse).or(longest);
        let shortest = self.over("CONNECTION_MIN_TERMINATION_DEADLINE", Span::parse).or(shortest);
        let longest = longest.map(|span| span.0).or(grace).unwrap_or(TERMINATION_DEADLINE);
        (longest, shortest.map_or(Duration::ZERO, |span| span.0))
    }

    fn log_filter(&mut self, written: Option<StringOrList>) -> String {
        let written = written.map(|level| match level {
            StringOrList::One(one) => one,
            StringOrList::Many(many) => many.join(","),
        });
        let read = |text: &str| logging::readable(text).map(|()| text.to_owned());
        self.text("RUST_LOG", "logging.level", written, read).unwrap_or_else(|| "info".to_owned())
    }

    /// What a variable says, or else the document, a file or a credential.
    fn secret(&mut self, variable: &str, key: &str, written: Option<FileOrInline>) -> Option<ir::Secret> {
        if let Some(text) = self.word(variable) {
            return Some(ir::Secret::new(text.into_bytes()));
        }
        let (part, content) = match written? {
            FileOrInline::Inline(text) => return Some(ir::Secret::new(text.into_bytes())),
            FileOrInline::File { file } => {
                let content = files::read_bounded(file.as_ref());
                ("file", content.map_err(|reason| format!("cannot read `{file}`: {reason}")))
            }
            FileOrInline::Credential { credential } => {
                let path = files::credential(&credential, self.env);
                let content = path.and_then(|it| files::read_bounded(&it));
                ("credential", content.map_err(|reason| format!("cannot read credential `{credential}`: {reason}")))
            }
        };
        match content {
            Ok(content) => Some(ir::Secret::new(content.trim_ascii().to_vec())),
            Err(reason) => {
                self.faults.push(Fault::Written(format!("config.{key}.{part}"), reason));
                None
            }
        }
    }

    fn patience(&mut self, written: Option<Span>) -> Duration {
        self.over("HANDOFF_TIMEOUT", Span::parse).or(written).map_or(TAKEOVER, |it| it.0)
    }

    fn catalogs(&mut self, written: Vec<ModelCatalog>) -> Vec<CatalogSource> {
        let mut lower = |(position, it): (usize, ModelCatalog)| {
            let at = format!("config.modelCatalog[{position}].inline");
            it.lower().map_err(|reason| self.faults.push(Fault::Written(at, reason))).ok()
        };
        written.into_iter().enumerate().filter_map(&mut lower).collect()
    }

    fn threads(&mut self, written: Option<StringOrInt>) -> usize {
        let number = |text: &str| text.parse().map_err(|_| format!("`{text}` is not a number of CPUs"));
        let limit: Option<usize> = self.over("CPU_LIMIT", number);
        let cpus = limit.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1);
        let written = written.map(|it| match it {
            StringOrInt::Int(count) => count.to_string(),
            StringOrInt::Text(text) => text,
        });
        self.text("WORKER_THREADS", "workerThreads", written, |text| threads(text, cpus)).unwrap_or(cpus)
    }
}

fn flag(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        _ => Err(format!("`{text}` is neither `true` nor `false`")),
    }
}

fn family(text: &str) -> Result<LookupFamily, String> {
    match text.to_ascii_lowercase().as_str() {
        "auto" => Ok(LookupFamily::Auto),
        "all" => Ok(LookupFamily::All),
        "v4preferred" => Ok(LookupFamily::V4Preferred),
        "v4only" => Ok(LookupFamily::V4Only),
        "v6only" => Ok(LookupFamily::V6Only),
        _ => Err(format!("`{text}` is not a family: write `All`, `Auto`, `V4Preferred`, `V4Only` or `V6Only`")),
    }
}

impl From<Family> for LookupFamily {
    fn from(written: Family) -> Self {
        match written {
            Family::All => Self::All,
            Family::Auto => Self::Auto,
            Family::V4Preferred => Self::V4Preferred,
            Family::V4Only => Self::V4Only,
            Family::V6Only => Self::V6Only,
        }
    }
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text.to_ascii_lowercase().as_str() {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("`{text}` is not a format: write `text` or `json`")),
    }
}

impl From<Format> for LogFormat {
    fn from(written: Format) -> Self {
        match written {
            Format::Text => Self::Text,
            Format::Json => Self::Json,
        }
    }
}

/// Kubernetes gives a grace period; five seconds of it (one, if it is short) are for the exit.
fn grace(text: &str) -> Result<Duration, String> {
    let seconds: u64 = text.parse().map_err(|_| format!("`{text}` is not a number of seconds"))?;
    let ours = if seconds > 10 { seconds - 5 } else { seconds.saturating_sub(1).max(1) };
    Ok(Duration::from_secs(ours))
}

fn threads(text: &str, cpus: usize) -> Result<usize, String> {
    let count = match text.strip_suffix('%') {
        Some(share) => share
            .parse()
            .ok()
            .filter(|share| (1..=100_000).contains(share))
            .map(|share: usize| (cpus.saturating_mul(share)).div_ceil(100).max(1)),
        None => text.parse().ok().filter(|count| (1..=THREADS_MAX).contains(count)),
    };
    count.ok_or_else(|| format!("`{text}` is not a number of threads: write `4` or `50%`"))
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
