//! `/config_dump`: everything in force, streamed; secrets are stars.
//!
//! Objects are written one by one, sorted by key, so that memory does not follow their number.
//! Besides secrets proper (which print as stars by their type), values of sensitive headers are
//! replaced wherever an object carries them: header changes, header matches.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde::Serialize;
use serde::ser::{Error, SerializeMap, SerializeSeq, Serializer};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use xds::client::Roots;

use super::answer::Body;
use crate::local::source::{Paths, Places};
use crate::statics::{CatalogSource, LogFormat, ServerAddress, Statics};
use crate::telemetry::Sensitive;

const CHUNK_BYTES: usize = 64 << 10;
const CHUNKS_WAITING: usize = 4;
/// A reader that takes nothing for this long is given up.
const STALL_MAX: Duration = Duration::from_secs(30);
const STARS: &str = "***";

/// What a dump shows.
pub(super) struct Dump {
    pub(super) generation: u64,
    pub(super) snapshot: filters::Snapshot,
    pub(super) places: Arc<Places>,
    pub(super) statics: Arc<Statics>,
    pub(super) version: Value,
}

impl Dump {
    /// The dump as a body, written by a blocking thread as the client reads.
    pub(super) fn into_body(self, permit: OwnedSemaphorePermit) -> Body {
        let (send, receive) = mpsc::channel::<io::Result<Bytes>>(CHUNKS_WAITING);
        let runtime = Handle::current();
        tokio::task::spawn_blocking(move || {
            let chunks = Chunks { send: send.clone(), runtime: runtime.clone() };
            let mut out = BufWriter::with_capacity(CHUNK_BYTES, chunks);
            let written = serde_json::to_writer(&mut out, &self).map_err(io::Error::other).and_then(|()| out.flush());
            if let Err(error) = written {
                // Cuts the response short, so that half a dump does not look like a whole one.
                let _ = runtime.block_on(tokio::time::timeout(STALL_MAX, send.send(Err(error))));
            }
            drop(permit);
        });
        let frames = futures::stream::unfold(receive, |mut receive| async move {
            let chunk = receive.recv().await?;
            Some((chunk.map(Frame::data), receive))
        });
        StreamBody::new(frames).boxed_unsync()
    }
}

/// Bytes to a body, one chunk per write; called with full buffers.
struct Chunks {
    send: mpsc::Sender<io::Result<Bytes>>,
    runtime: Handle,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let chunk = Ok(Bytes::copy_from_slice(bytes));
        let sent = self.runtime.block_on(async { tokio::time::timeout(STALL_MAX, self.send.send(chunk)).await });
        match sent {
            Ok(Ok(())) => Ok(bytes.len()),
            Ok(Err(_)) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Serialize for Dump {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let sensitive = &Sensitive::new(&self.statics);
        let paths = &self.places.paths();
        let ir::Snapshot {
            binds,
            listeners,
            routes,
            tcp_routes,
            route_groups,
            backends,
            services,
            workloads,
            policies,
        } = &self.snapshot;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("version", &self.version)?;
        map.serialize_entry("generation", &self.generation)?;
        map.serialize_entry("config", &statics_json(&self.statics))?;
        map.serialize_entry("binds", &Table { rows: binds, name: "binds", sensitive, paths })?;
        map.serialize_entry("listeners", &Table { rows: listeners, name: "listeners", sensitive, paths })?;
        map.serialize_entry("routes", &Table { rows: routes, name: "routes", sensitive, paths })?;
        map.serialize_entry("tcpRoutes", &Table { rows: tcp_routes, name: "tcpRoutes", sensitive, paths })?;
        map.serialize_entry("routeGroups", &Table { rows: route_groups, name: "routeGroups", sensitive, paths })?;
        map.serialize_entry("backends", &Table { rows: backends, name: "backends", sensitive, paths })?;
        map.serialize_entry("services", &Table { rows: services, name: "services", sensitive, paths })?;
        map.serialize_entry("workloads", &Table { rows: workloads, name: "workloads", sensitive, paths })?;
        map.serialize_entry("policies", &Table { rows: policies, name: "policies", sensitive, paths })?;
        map.end()
    }
}

/// One table of the snapshot, by key.
struct Table<'a, K, V> {
    rows: &'a ir::Map<K, Arc<V>>,
    name: &'static str,
    sensitive: &'a Sensitive,
    paths: &'a Paths<'a>,
}

impl<K: Ord + Eq + Hash, V: Serialize> Serialize for Table<'_, K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let sorted: BTreeMap<_, _> = self.rows.iter().collect();
        let mut list = serializer.serialize_seq(Some(sorted.len()))?;
        for object in sorted.into_values() {
            let mut value = serde_json::to_value(&**object).map_err(S::Error::custom)?;
            self.paths.settle(self.name, &mut value);
            redact(&mut value, self.sensitive);
            list.serialize_element(&value)?;
        }
        list.end()
    }
}

/// Replaces values of sensitive headers, in the three shapes they are written:
/// `{"authorization": …}`, `{"name": "authorization", "value": …}` and `["authorization", …]`.
pub(crate) fn redact(value: &mut Value, sensitive: &Sensitive) {
    let is_secret = |name: Option<&Value>| name.and_then(Value::as_str).is_some_and(|name| sensitive.covers(name));
    match value {
        Value::Object(map) => {
            let named = is_secret(map.get("name"));
            for (key, part) in map {
                match sensitive.covers(key) || (named && key != "name") {
                    true => *part = STARS.into(),
                    false => redact(part, sensitive),
                }
            }
        }
        Value::Array(list) if list.len() == 2 && is_secret(list.first()) => {
            if let Some(part) = list.last_mut() {
                *part = STARS.into();
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|part| redact(part, sensitive)),
        _ => {}
    }
}

/// The static settings. Destructured in full: a new one must be shown or left out on purpose.
fn statics_json(statics: &Statics) -> Value {
    let Statics {
        enable_ipv6,
        lookup_family,
        edns0,
        namespace,
        gateway,
        admin,
        stats,
        readiness,
        admin_token,
        log_format,
        log_filter,
        worker_threads,
        termination_deadline,
        termination_deadline_min,
        sensitive_headers,
        egress_allow,
        connect_timeout,
        keepalives,
        pool_idle_timeout,
        pool_size_max,
        locality,
        node,
        metrics_removed,
        metrics_per_route,
        metric_labels,
        custom_functions,
        handoff,
        handoff_timeout,
        xds,
        local_xds,
        state_directory,
        state_key,
        mcp_sessions: sessions,
        model_catalog,
    } = statics;
    json!({
        "enableIpv6": enable_ipv6,
        "lookupFamily": format!("{lookup_family:?}"),
        "edns0": edns0,
        "namespace": namespace,
        "gateway": gateway,
        "adminAddr": address_json(admin), "statsAddr": address_json(stats), "readinessAddr": address_json(readiness),
        "adminToken": admin_token.as_ref().map(|_| STARS),
        "logFormat": match log_format { LogFormat::Text => "text", LogFormat::Json => "json" },
        "logFilter": log_filter,
        "workerThreads": worker_threads,
        "terminationDeadlineMs": termination_deadline.as_millis(),
        "terminationDeadlineMinMs": termination_deadline_min.as_millis(),
        "sensitiveHeaders": sensitive_headers,
        "egressAllow": egress_allow,
        "connectTimeoutMs": connect_timeout.as_millis(),
        "keepalives": format!("{keepalives:?}"),
        "poolIdleTimeoutMs": pool_idle_timeout.as_millis(),
        "poolSizeMax": pool_size_max,
        "locality": format!("{locality:?}"),
        "node": node,
        "metricsRemoved": metrics_removed,
        "metricsPerRoute": metrics_per_route,
        "metricLabels": metric_labels,
        "customFunctions": custom_functions.names().collect::<Vec<_>>(),
        "handoff": handoff,
        "handoffTimeoutMs": handoff_timeout.as_millis(),
        "xds": xds.as_ref().map(xds_json),
        "localXdsPath": local_xds,
        "stateDirectory": state_directory,
        "stateKey": state_key.as_ref().map(|_| STARS),
        "modelCatalog": model_catalog.iter().map(catalog_json).collect::<Vec<_>>(),
        "mcpSessions": json!({"keys": vec![STARS; sessions.keys.len()], "ttlMs": sessions.ttl.as_millis()}),
    })
}

fn catalog_json(source: &CatalogSource) -> Value {
    match source {
        CatalogSource::File(path) => json!({"file": path}),
        CatalogSource::Inline(catalog) => json!({"models": catalog.models(), "date": catalog.date()}),
    }
}

/// Of the headers the names only: some are credentials.
fn xds_json(settings: &xds::client::Settings) -> Value {
    let xds::client::Settings { address, node, roots, identity, token_file, headers, terms: _ } = settings;
    json!({
        "address": address.to_string(),
        "node": node.id,
        "metadata": node.metadata,
        "roots": match roots { Roots::System => "SYSTEM".into(), Roots::File(path) => path.display().to_string() },
        "clientCert": identity.as_ref().map(|it| &it.cert),
        "tokenFile": token_file,
        "headers": headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
    })
}

fn address_json(address: &ServerAddress) -> Value {
    match address {
        ServerAddress::Sockets(addresses) => json!(addresses),
        ServerAddress::Unix(path) => format!("unix:{}", path.display()).into(),
        ServerAddress::Off => "off".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::tests::statics;

    #[test]
    fn values_of_sensitive_headers_are_stars_in_every_shape() {
        let sensitive = Sensitive::new(&statics());
        for (mut value, expected) in [
            (
                json!({"set": {"Authorization": "hunter2", "x": "1"}}),
                json!({"set": {"Authorization": "***", "x": "1"}}),
            ),
            (json!([["x-api-key", "hunter2"], ["x", "1"]]), json!([["x-api-key", "***"], ["x", "1"]])),
            (json!([{"name": "cookie", "value": {"exact": "hunter2"}}]), json!([{"name": "cookie", "value": "***"}])),
            (json!({"name": "x-session", "matcher": "h"}), json!({"name": "x-session", "matcher": "***"})),
            (json!({"name": "x", "value": "1"}), json!({"name": "x", "value": "1"})),
        ] {
            redact(&mut value, &sensitive);
            assert_eq!(value, expected);
        }
    }

    #[test]
    fn the_token_of_the_configuration_is_not_shown() {
        let statics = Statics { admin_token: Some(ir::Secret::new(*b"hunter2")), ..statics() };
        let text = statics_json(&statics).to_string();
        assert!(!text.contains("hunter2") && text.contains(r#""adminToken":"***""#), "{text}");
    }
}
