//! The control plane, and where its last good word is kept.

use std::path::PathBuf;

use ::xds::Node;
use ::xds::client::{Address, Identity, Roots, Settings};
use http::{HeaderName, HeaderValue};

use super::{Fault, FileOrInline, Sources, StaticConfig};
use crate::statics::Statics;

/// Where Kubernetes mounts a token for the control plane, and its root certificate.
const TOKEN: &str = "./var/run/secrets/xds-tokens/xds-token";
const ROOTS: &str = "./var/run/secrets/xds/root-cert.pem";
const SYSTEM: &str = "SYSTEM";
const CLUSTER: &str = "Kubernetes";
/// Variables that become headers begin so.
const HEADER: &str = "XDS_HEADER_";
/// What a gateway without an address of its own says.
const NO_ADDRESS: &str = "1.1.1.1";
const OFF: &str = "off";
pub(super) const KEY_BYTES: usize = 32;

/// What the document says about the control plane.
pub(super) struct Written {
    address: Option<String>,
    token: Option<String>,
    roots: Option<String>,
    /// Certificate and key.
    identity: (Option<String>, Option<String>),
    cluster: Option<String>,
    /// Whether namespace and gateway are said.
    named: (bool, bool),
}

impl Written {
    pub(super) fn take(config: &mut StaticConfig, from: &Sources<'_>) -> Self {
        let said = |variable: &str, written: &Option<String>| from.word(variable).is_some() || written.is_some();
        Self {
            address: config.xds_address.take(),
            token: config.xds_auth_token.take(),
            roots: config.xds_root_ca.take(),
            identity: (config.xds_client_cert.take(), config.xds_client_key.take()),
            cluster: config.cluster_id.take(),
            named: (said("NAMESPACE", &config.namespace), said("GATEWAY", &config.gateway)),
        }
    }
}

pub(super) fn lower(
    from: &mut Sources<'_>,
    written: Written,
    statics: &Statics,
    warnings: &mut Vec<Fault>,
) -> Option<Settings> {
    let Written { address, token, roots, identity, cluster, named } = written;
    let address = from.text("XDS_ADDRESS", "xdsAddress", address, Address::parse)?;
    for (said, key) in [(named.0, "namespace"), (named.1, "gateway")] {
        if !said {
            let reason = format!("missing: the control plane chooses by it what this gateway gets; set `{key}`");
            from.faults.push(Fault::Written(format!("config.{key}"), reason));
        }
    }
    let plain = !address.is_tls();
    let mut settings = Settings::new(address, node(from, statics));
    settings.roots = roots_of(from, roots);
    settings.identity = identity_of(from, identity);
    settings.token_file = token_of(from, token);
    if settings.token_file.is_some() {
        let cluster = from.word("CLUSTER_ID").or(cluster).unwrap_or_else(|| CLUSTER.to_owned());
        match HeaderValue::from_str(&cluster) {
            Ok(value) => settings.headers.push((HeaderName::from_static("clusterid"), value)),
            Err(_) => from.faults.push(Fault::Written("config.clusterId".to_owned(), "cannot be a header".to_owned())),
        }
    }
    if plain && (settings.token_file.is_some() || settings.identity.is_some()) {
        let reason = "is plain HTTP: whoever is on the way reads the token and every secret; write `https://`";
        warnings.push(Fault::Written("config.xdsAddress".to_owned(), reason.to_owned()));
    }
    Some(settings)
}

/// How the control plane knows this process.
fn node(from: &Sources<'_>, statics: &Statics) -> Node {
    let word = |name: &str| from.word(name).unwrap_or_default();
    let Statics { namespace, gateway, node, .. } = statics;
    let (address, pod) = (from.word("INSTANCE_IP"), from.word("POD_NAME").unwrap_or_else(|| gateway.clone()));
    let shown = address.clone().unwrap_or_else(|| NO_ADDRESS.to_owned());
    let entries = [
        ("NAME", pod.clone()),
        ("NAMESPACE", namespace.clone()),
        ("INSTANCE_IPS", address.unwrap_or_default()),
        ("NODE_NAME", node.clone()),
        ("GATEWAY_NAME", gateway.clone()),
        ("SERVICE_ACCOUNT", word("SERVICE_ACCOUNT")),
        ("role", format!("{namespace}~{gateway}")),
    ];
    Node {
        id: format!("agentgateway~{shown}~{pod}.{namespace}~{namespace}.svc.cluster.local"),
        cluster: format!("{namespace}~{gateway}"),
        metadata: entries.into_iter().filter(|(_, value)| !value.is_empty()).map(|(k, v)| (k.to_owned(), v)).collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn token_of(from: &mut Sources<'_>, written: Option<String>) -> Option<PathBuf> {
    let named = from.text("XDS_AUTH_TOKEN", "xdsAuthToken", written, |text| readable(text, "the token"));
    named.or_else(|| Some(PathBuf::from(TOKEN)).filter(|it| it.is_file()))
}

fn roots_of(from: &mut Sources<'_>, written: Option<String>) -> Roots {
    let read = |text: &str| match text {
        SYSTEM => Ok(Roots::System),
        text => readable(text, "PEM certificates").map(Roots::File),
    };
    let default = || Some(PathBuf::from(ROOTS)).filter(|it| it.is_file()).map(Roots::File);
    from.text("XDS_ROOT_CA", "xdsRootCa", written, read).or_else(default).unwrap_or_default()
}

fn identity_of(from: &mut Sources<'_>, (cert, key): (Option<String>, Option<String>)) -> Option<Identity> {
    let cert = from.text("XDS_CLIENT_CERT", "xdsClientCert", cert, |text| readable(text, "a PEM certificate"));
    let key = from.text("XDS_CLIENT_KEY", "xdsClientKey", key, |text| readable(text, "a PEM key"));
    let missing = match (cert, key) {
        (Some(cert), Some(key)) => return Some(Identity { cert, key }),
        (None, None) => return None,
        (Some(_), None) => "xdsClientKey",
        (None, Some(_)) => "xdsClientCert",
    };
    if from.faults.is_empty() {
        let reason = "missing: a certificate and its key go together".to_owned();
        from.faults.push(Fault::Written(format!("config.{missing}"), reason));
    }
    None
}

/// A file that is there now; its content is read when it is needed, and again.
fn readable(text: &str, what: &str) -> Result<PathBuf, String> {
    match std::fs::File::open(text) {
        Ok(_) => Ok(PathBuf::from(text)),
        Err(error) => {
            let shown: String = text.chars().take(60).collect();
            Err(format!("cannot read `{}`: {error}; write the path of a file that holds {what}", shown.escape_debug()))
        }
    }
}

/// Headers for the control plane, from the variables that name them.
///
/// # Errors
/// Each variable that cannot be a header.
pub fn headers(
    variables: impl Iterator<Item = (String, String)>,
) -> Result<Vec<(HeaderName, HeaderValue)>, Vec<Fault>> {
    let (mut headers, mut faults) = (Vec::new(), Vec::new());
    let mut named: Vec<_> = variables.filter(|(name, _)| name.starts_with(HEADER)).collect();
    named.sort();
    for (variable, value) in named {
        let name = variable.trim_start_matches(HEADER).to_ascii_lowercase().replace('_', "-");
        match (HeaderName::try_from(&name), HeaderValue::try_from(&value)) {
            (Ok(name), Ok(mut value)) => {
                value.set_sensitive(true);
                headers.push((name, value));
            }
            _ => faults.push(Fault::Environment(variable, format!("`{}` cannot be a header", name.escape_debug()))),
        }
    }
    if faults.is_empty() { Ok(headers) } else { Err(faults) }
}

/// Where state is kept. systemd names one or several, separated by colons.
pub(super) fn state_directory(from: &Sources<'_>, written: Option<String>) -> Option<PathBuf> {
    let said = from.word("STATE_DIRECTORY").map(|it| it.split(':').next().unwrap_or_default().to_owned());
    if let Some(said) = said.or(written) {
        return Some(said).filter(|it| !it.eq_ignore_ascii_case(OFF)).map(PathBuf::from);
    }
    if rustix::process::getuid().is_root() {
        return Some(PathBuf::from("/var/lib/agentgateway"));
    }
    let absolute = |name| from.word(name).map(PathBuf::from).filter(|it| it.is_absolute());
    let own = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(own.join("agentgateway"))
}

pub(super) fn state_key(from: &mut Sources<'_>, written: Option<FileOrInline>) -> Option<ir::Secret> {
    let text = from.secret("STATE_KEY", "stateKey", written)?;
    let key = bytes(text.expose());
    if key.is_none() {
        let reason = format!("not a key: write {} hexadecimal digits", 2 * KEY_BYTES);
        from.faults.push(Fault::Written("config.stateKey".to_owned(), reason));
    }
    key.map(ir::Secret::new)
}

pub(super) fn bytes(hex: &[u8]) -> Option<Vec<u8>> {
    let digit = |it: u8| char::from(it).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let (pairs, rest) = hex.as_chunks::<2>();
    let key: Option<Vec<u8>> = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    key.filter(|it| rest.is_empty() && it.len() == KEY_BYTES)
}

/// Whether two settings ask the same control plane the same thing: what one was told holds for the other.
pub fn identity(settings: &Settings) -> String {
    format!("{} {}", settings.address, settings.node.cluster)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)], config: StaticConfig) -> Result<Statics, Vec<Fault>> {
        let env = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        config.lower(&env).map(|(statics, _)| statics)
    }

    #[test]
    fn the_environment_alone_is_enough() {
        let dir = tempfile::tempdir().unwrap();
        let token = dir.path().join("token");
        std::fs::write(&token, "t").unwrap();
        let variables = [
            ("XDS_ADDRESS", "https://cp:15010"),
            ("XDS_AUTH_TOKEN", token.to_str().unwrap()),
            ("NAMESPACE", "ns"),
            ("GATEWAY", "gw"),
            ("POD_NAME", "pod-1"),
            ("INSTANCE_IP", "10.0.0.1"),
            ("NODE_NAME", "n1"),
            ("CLUSTER_ID", "c1"),
        ];
        let settings = of(&variables, StaticConfig::default()).unwrap().xds.unwrap();
        assert_eq!(settings.node.id, "agentgateway~10.0.0.1~pod-1.ns~ns.svc.cluster.local");
        for (key, value) in [("role", "ns~gw"), ("NAME", "pod-1"), ("NODE_NAME", "n1"), ("INSTANCE_IPS", "10.0.0.1")] {
            assert_eq!(settings.node.metadata.get(key).map(String::as_str), Some(value), "{key}");
        }
        assert_eq!(settings.headers, [(HeaderName::from_static("clusterid"), HeaderValue::from_static("c1"))]);
        assert_eq!(settings.token_file, Some(token));
        assert_eq!(identity(&settings), "https://cp:15010 ns~gw");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_cure() {
        let config =
            || StaticConfig { namespace: Some("a".to_owned()), gateway: Some("b".to_owned()), ..Default::default() };
        let written = |config| of(&[("XDS_ADDRESS", "http://cp")], config).unwrap_err();
        let named = written(StaticConfig::default());
        assert!(
            matches!(&named[..], [Fault::Written(a, _), Fault::Written(b, _)] if a == "config.namespace" && b == "config.gateway")
        );
        for (config, place, cure) in [
            (
                StaticConfig { xds_auth_token: Some("secret".to_owned()), ..config() },
                "config.xdsAuthToken",
                "path of a file",
            ),
            (StaticConfig { xds_root_ca: Some("/nowhere".to_owned()), ..config() }, "config.xdsRootCa", "PEM"),
            (
                StaticConfig { xds_client_cert: Some("/dev/null".to_owned()), ..config() },
                "config.xdsClientKey",
                "go together",
            ),
            (
                StaticConfig { state_key: Some(FileOrInline::Inline("ab".to_owned())), ..config() },
                "config.stateKey",
                "64 hex",
            ),
        ] {
            let faults = written(config);
            let [Fault::Written(path, reason)] = &faults[..] else { panic!("{faults:?}") };
            assert!(path == place && reason.contains(cure), "{faults:?}");
        }
        let faults = of(&[("XDS_ADDRESS", "ftp://x")], config()).unwrap_err();
        assert!(matches!(&faults[..], [Fault::Environment(name, _)] if name == "XDS_ADDRESS"), "{faults:?}");
    }

    #[test]
    fn variables_become_headers() {
        let variables = |pairs: &[(&str, &str)]| {
            headers(
                pairs
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect::<Vec<_>>()
                    .into_iter(),
            )
        };
        let found = variables(&[("XDS_HEADER_X_TENANT", "a b"), ("PATH", "x"), ("XDS_HEADER_A", "1")]).unwrap();
        let shown: Vec<_> = found.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(shown, [("a", &b"1"[..]), ("x-tenant", b"a b")]);
        assert!(variables(&[("XDS_HEADER_", "1")]).is_err() && variables(&[("XDS_HEADER_A", "a\nb")]).is_err());
    }

    #[test]
    fn state_is_kept_where_the_system_says() {
        let at = |variables: &[(&str, &str)], written: Option<&str>| {
            let config = StaticConfig { state_directory: written.map(str::to_owned), ..Default::default() };
            of(variables, config).unwrap().state_directory
        };
        assert_eq!(at(&[("STATE_DIRECTORY", "/a:/b")], Some("/c")), Some("/a".into()));
        assert_eq!(at(&[], Some("/c")), Some("/c".into()));
        assert_eq!(at(&[], Some("off")), None);
        if !rustix::process::getuid().is_root() {
            assert_eq!(at(&[("HOME", "/h")], None), Some(PathBuf::from("/h/.local/state/agentgateway")));
            assert_eq!(at(&[("HOME", "/h"), ("XDG_STATE_HOME", "/s")], None), Some("/s/agentgateway".into()));
        }
    }
}
