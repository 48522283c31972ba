//! Who may ask, from the flags. What would leave keys open to strangers is refused, with the cure.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use xds::client::Identity;
use xds::server::{Chooser, Grouping, Limits, Settings, Tls};

use crate::local::statics::server_address;
use crate::statics::ServerAddress;
use crate::telemetry::is_loopback;

/// Where gateways ask, and where people do.
const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 18000);
const STATUS_ADDRESS: &str = "127.0.0.1:18001";

/// Flags of `xds serve`.
#[derive(clap::Args, Clone)]
pub struct Flags {
    /// Configuration file, YAML or JSON; watched. Its `config:` block does not travel.
    #[arg(short = 'f', long)]
    pub file: PathBuf,
    /// Where gateways ask. Off loopback it needs TLS, and a token or a client CA.
    #[arg(long, default_value_t = ADDRESS)]
    pub address: SocketAddr,
    /// PEM chain shown to gateways, leaf first; read again when it changes.
    #[arg(long, requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// PEM private key of it.
    #[arg(long, requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// PEM roots that the certificates of gateways must chain to; makes one mandatory.
    #[arg(long, requires = "tls_cert")]
    pub client_ca: Option<PathBuf>,
    /// Bearer tokens, one a line, of which gateways must show one; read for each stream.
    #[arg(long)]
    pub token_file: Option<PathBuf>,
    /// Only these node ids are served; `edge-*` stands for all that begin so. Default: all.
    #[arg(long, value_delimiter = ',')]
    pub nodes: Vec<String>,
    /// Most gateways connected at once.
    #[arg(long, default_value_t = Limits::default().connections)]
    pub clients_max: usize,
    /// Who is connected, what they refused, metrics: `ip:port`, `unix:/path` or `off`.
    #[arg(long, default_value = STATUS_ADDRESS, value_parser = status_address)]
    pub status_address: ServerAddress,
}

/// Flags that do not go together: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(String);

impl Flags {
    /// The terms of the server.
    ///
    /// # Errors
    /// What would be served to whoever asks.
    pub fn settings(self) -> Result<Settings, Refusal> {
        let Self { file: _, address, tls_cert, tls_key, client_ca, token_file, nodes, clients_max, status_address } =
            self;
        let is_known = client_ca.is_some() || token_file.is_some();
        if !is_loopback(address.ip()) && (tls_cert.is_none() || !is_known) {
            return Err(Refusal(format!(
                "`--address {address}` is open to other hosts, and what is served holds keys: add `--tls-cert` and \
                 `--tls-key`, and `--token-file` or `--client-ca`; or stay on loopback"
            )));
        }
        if let ServerAddress::Sockets(list) = &status_address
            && let Some(open) = list.iter().find(|it| !is_loopback(it.ip()))
        {
            return Err(Refusal(format!(
                "`--status-address {open}` is open to other hosts: use loopback or `unix:/path`"
            )));
        }
        if let Some(path) = &token_file {
            xds::server::check_tokens(path).map_err(|reason| Refusal(format!("`--token-file`: {reason}")))?;
        }
        let identity = tls_cert.zip(tls_key).map(|(cert, key)| Identity { cert, key });
        Ok(Settings {
            identifier: format!("agentgateway {}", env!("CARGO_PKG_VERSION")),
            grouping: grouping(nodes),
            tls: identity.map(|identity| Tls { identity, client_roots: client_ca }),
            tokens_file: token_file,
            limits: Limits { connections: clients_max, streams: clients_max, ..Limits::default() },
        })
    }
}

/// The group of everybody.
pub(super) const FLEET: &str = "";

fn grouping(nodes: Vec<String>) -> Grouping {
    if nodes.is_empty() {
        return Grouping::One(FLEET.to_owned());
    }
    let choose = move |node: &xds::Node| {
        let fits = |pattern: &String| match pattern.strip_suffix('*') {
            Some(prefix) => node.id.starts_with(prefix),
            None => node.id == *pattern,
        };
        nodes.iter().any(fits).then(|| FLEET.to_owned())
    };
    Grouping::By(Chooser(Arc::new(choose)))
}

fn status_address(text: &str) -> Result<ServerAddress, String> {
    server_address(text, true)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: Flags,
    }

    fn settings(flags: &str) -> Result<Settings, String> {
        let words = ["serve", "-f", "x.yaml"].into_iter().chain(flags.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        line.flags.settings().map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn off_loopback_strangers_get_nothing() {
        let tls = "--tls-cert c --tls-key k";
        for open in ["", tls, "--token-file /dev/null", "--nodes a"] {
            let said = settings(&format!("--address 0.0.0.0:1 {open}")).unwrap_err();
            assert!(said.contains("is open to other hosts") && said.contains("--tls-cert"), "{open}: {said}");
        }
        assert!(settings(&format!("--address 0.0.0.0:1 {tls} --client-ca r")).unwrap().tls.is_some());
        assert!(settings("--address [::1]:1").unwrap().tls.is_none());
        assert!(settings("--status-address 0.0.0.0:1").unwrap_err().contains("use loopback"));
        assert!(settings("--tls-cert c").unwrap_err().contains("--tls-key"));
        assert!(settings("--client-ca c").unwrap_err().contains("--tls-cert"));
        assert!(settings("--status-address x").unwrap_err().contains("write `ip:port`"));
    }

    #[test]
    fn a_token_file_without_a_token_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let flags = format!("--token-file {}", file.path().display());
        assert!(settings(&flags).unwrap_err().contains("holds no token"));
        std::fs::write(file.path(), "secret\n").unwrap();
        assert!(settings(&flags).is_ok());
        assert!(settings("--token-file /nowhere").unwrap_err().contains("/nowhere"));
    }

    #[test]
    fn nodes_are_chosen_by_their_id() {
        let Grouping::By(Chooser(choose)) = settings("--nodes a,edge-*").unwrap().grouping else { panic!("everybody") };
        let served = |id: &str| choose(&xds::Node { id: id.to_owned(), ..Default::default() }).is_some();
        assert_eq!(["a", "b", "edge-", "edge-7", ""].map(served), [true, false, true, true, false]);
    }
}
