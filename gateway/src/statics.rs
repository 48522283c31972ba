//! Static settings: the `config:` block and the environment, read once at start.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use filters::backend_tcp::Keepalives;
use filters::expr::{Expression, UserFunctions};
use protocols::llm::Catalog;

/// Where one of the process's own servers listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ServerAddress {
    Sockets(Vec<SocketAddr>),
    Unix(PathBuf),
    #[default]
    Off,
}

/// Which families of addresses DNS answers give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LookupFamily {
    #[default]
    Auto,
    All,
    V4Preferred,
    V4Only,
    V6Only,
}

/// `text` or `json` log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Everything that cannot change while the process lives.
#[derive(Clone, Debug, Default)]
pub struct Statics {
    pub enable_ipv6: bool,
    pub lookup_family: LookupFamily,
    pub edns0: Option<bool>,
    pub namespace: String,
    pub gateway: String,
    pub admin: ServerAddress,
    pub stats: ServerAddress,
    pub readiness: ServerAddress,
    /// Token that mutating admin calls from off loopback must carry.
    pub admin_token: Option<ir::Secret>,
    pub log_format: LogFormat,
    /// `tracing_subscriber::EnvFilter` directives.
    pub log_filter: String,
    pub worker_threads: usize,
    /// Longest drain.
    pub termination_deadline: Duration,
    /// Still accepting during the first part of a drain.
    pub termination_deadline_min: Duration,
    /// Header names (lower case) never shown in logs or dumps, besides the built-in ones.
    pub sensitive_headers: Vec<String>,
    /// Addresses that the gateway's own fetches may reach though they are usually refused.
    pub egress_allow: Vec<IpAddr>,
    pub connect_timeout: Duration,
    pub keepalives: Keepalives,
    pub pool_idle_timeout: Duration,
    /// Idle connections kept, over all backends of one worker; absent means 4096.
    pub pool_size_max: Option<usize>,
    /// Region, zone, subzone of this process (`LOCALITY`), for locality-aware balancing.
    pub locality: ir::backend::Locality,
    pub node: String,
    /// Metric names not exported.
    pub metrics_removed: Vec<String>,
    /// Label request metrics with route and rule as well.
    pub metrics_per_route: bool,
    /// Labels of request metrics besides the usual ones.
    pub metric_labels: Vec<(String, Expression)>,
    /// Functions for every expression.
    pub custom_functions: UserFunctions,
    /// The control socket, where it is named; see `life::place` for where it is otherwise.
    pub handoff: Option<PathBuf>,
    /// For a successor to become ready.
    pub handoff_timeout: Duration,
    /// The control plane, where there is one.
    pub xds: Option<xds::client::Settings>,
    /// The file of everything that is not static, where it is another one.
    pub local_xds: Option<PathBuf>,
    /// Where the control plane's last good word is kept.
    pub state_directory: Option<PathBuf>,
    /// 32 bytes that encrypt the secrets in it.
    pub state_key: Option<ir::Secret>,
    pub mcp_sessions: McpSessions,
    /// What tokens of language models cost, the later ones above the earlier.
    pub model_catalog: Vec<CatalogSource>,
}

/// Where a catalogue of costs is.
#[derive(Clone, Debug)]
pub enum CatalogSource {
    File(PathBuf),
    Inline(Box<Catalog>),
}

/// Sessions of MCP clients.
#[derive(Clone, Debug, Default)]
pub struct McpSessions {
    /// Seal their ids; none: one is drawn.
    pub keys: Vec<ir::Secret>,
    /// How long one may be idle.
    pub ttl: Duration,
}

#[cfg(test)]
impl Statics {
    /// What unit tests start from; the process's own servers are off.
    pub(crate) fn of_tests() -> Self {
        Self {
            enable_ipv6: true,
            lookup_family: LookupFamily::Auto,
            edns0: None,
            namespace: "default".to_owned(),
            gateway: "default".to_owned(),
            admin: ServerAddress::Off,
            stats: ServerAddress::Off,
            readiness: ServerAddress::Off,
            admin_token: None,
            log_format: LogFormat::Text,
            log_filter: String::new(),
            worker_threads: 1,
            termination_deadline: Duration::from_secs(5),
            termination_deadline_min: Duration::ZERO,
            sensitive_headers: Vec::new(),
            egress_allow: Vec::new(),
            connect_timeout: Duration::from_secs(5),
            keepalives: Keepalives::default(),
            pool_idle_timeout: Duration::from_secs(90),
            pool_size_max: None,
            locality: Default::default(),
            node: String::new(),
            metrics_removed: Vec::new(),
            metrics_per_route: false,
            metric_labels: Vec::new(),
            custom_functions: UserFunctions::default(),
            handoff: None,
            handoff_timeout: Duration::from_secs(30),
            xds: None,
            local_xds: None,
            state_directory: None,
            state_key: None,
            model_catalog: Vec::new(),
            mcp_sessions: McpSessions { keys: Vec::new(), ttl: Duration::from_secs(1800) },
        }
    }
}
