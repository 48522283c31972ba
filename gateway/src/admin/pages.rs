//! The admin pages.

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::AdminContext;
use super::answer::{self, Body};
use super::dump::{self, Dump};
use super::guard::{self, Ends};
use super::server::{Bound, Leave, Service};
use crate::cel;
use crate::telemetry::{Sensitive, memory};

/// Dumps under way at once; each holds a snapshot and a thread.
const DUMPS_MAX: usize = 2;

/// Largest request to evaluate an expression.
const CEL_BYTES_MAX: usize = 4 << 20;

const LOGGING_HELP: &str = "usage:\n  \
    POST /logging?level=debug                  the level of everything\n  \
    POST /logging?level=gateway=debug,h2=off   of parts, the rest stays\n  \
    POST /logging?reset                        back to the configuration\n\
    levels: off, error, warn, info, debug, trace\n";

/// Path, methods, and what the index says of it.
const PAGES: &[(&str, &str, &str)] = &[
    ("/", "GET, HEAD", "this page"),
    ("/config_dump", "GET, HEAD", "the configuration in force"),
    ("/config/status", "GET, HEAD", "generation, last error, warnings, binds"),
    ("/config/effective", "GET, HEAD", "merged policies of a route: ?route=<key>"),
    ("/backends", "GET, HEAD", "backends, endpoints and their health"),
    ("/mcp", "GET, HEAD", "MCP servers: health, era, and what they listed last: how old, how many, how many tokens"),
    ("/generations", "GET, HEAD", "this process, predecessors that drain, and upgrades"),
    ("/logging", "GET, HEAD, POST", "levels of the log: ?level=info|module=debug,…, ?reset"),
    ("/quitquitquit", "POST", "graceful drain"),
    ("/memory", "GET, HEAD", "memory of the process"),
    ("/debug/memory", "GET, HEAD", "the same"),
    ("/debug/tasks", "GET, HEAD", "tasks and workers of the runtimes"),
    ("/api/cel", "POST", "evaluates a CEL expression: {\"expression\": …, \"data\": …}"),
    ("/cel", "POST", "the same"),
    ("/version", "GET, HEAD", "the build"),
];

/// Serves the admin pages until dropped or told to leave.
pub async fn serve(context: AdminContext, bound: Bound, leave: Leave) {
    bound.run(Admin { context, dumps: Arc::new(Semaphore::new(DUMPS_MAX)) }, leave).await;
}

struct Admin {
    context: AdminContext,
    dumps: Arc<Semaphore>,
}

impl Service for Admin {
    async fn answer(&self, request: Request<Incoming>, ends: Ends) -> Response<Body> {
        let (head, body) = request.into_parts();
        let token = self.context.statics.admin_token.as_ref().map(ir::Secret::expose);
        if let Err(refused) = guard::check(&head, ends, token) {
            return answer::text(refused.status, format!("{}\n", refused.text));
        }
        let path = head.uri.path();
        let Some((_, allow, _)) = PAGES.iter().find(|(known, ..)| *known == path) else {
            return answer::not_found();
        };
        if !allow.split(", ").any(|method| method == head.method.as_str()) {
            return answer::not_allowed(allow);
        }
        if matches!(path, "/api/cel" | "/cel") {
            return evaluate(body).await;
        }
        if head.method == Method::POST {
            tracing::info!(path, peer = ?ends.peer, "admin request");
        }
        self.page(path, &head.method, head.uri.query().unwrap_or_default()).await
    }
}

impl Admin {
    async fn page(&self, path: &str, method: &Method, query: &str) -> Response<Body> {
        let context = &self.context;
        match path {
            "/config_dump" => self.config_dump(),
            "/config/status" => {
                let mut view = serde_json::to_value(context.status.snapshot()).unwrap_or_default();
                if let Value::Object(map) = &mut view {
                    map.insert("binds".to_owned(), self.redacted((context.listeners)()));
                    let xds = (context.control_plane)();
                    if !xds.is_null() {
                        map.insert("xds".to_owned(), xds);
                    }
                }
                answer::json(&view)
            }
            "/config/effective" => self.effective(query),
            "/backends" => answer::json(&self.redacted((context.upstreams)())),
            "/mcp" => answer::json(&context.state.mcp()),
            "/generations" => answer::json(&(context.generations)()),
            "/logging" => self.logging(method, query),
            "/quitquitquit" => {
                (context.drain)();
                answer::text(StatusCode::OK, "draining\n")
            }
            "/memory" | "/debug/memory" => {
                let figures = tokio::task::spawn_blocking(memory).await.unwrap_or_default();
                let bytes: serde_json::Map<_, _> =
                    figures.into_iter().map(|(name, bytes)| (name.to_owned(), bytes.into())).collect();
                answer::json(&json!({ "processBytes": bytes, "allocator": "mimalloc, no figures" }))
            }
            "/debug/tasks" => answer::json(&json!({ "runtimes": context.telemetry.runtimes() })),
            "/version" => answer::json(&version()),
            _ => answer::typed(StatusCode::OK, "text/html; charset=utf-8", index()),
        }
    }

    fn redacted(&self, mut report: Value) -> Value {
        dump::redact(&mut report, &Sensitive::new(&self.context.statics));
        report
    }

    fn config_dump(&self) -> Response<Body> {
        let Ok(permit) = self.dumps.clone().try_acquire_owned() else {
            return answer::text(StatusCode::TOO_MANY_REQUESTS, "other dumps are under way: try again later\n");
        };
        let (generation, snapshot) = self.context.state.applied();
        let (places, statics) = (self.context.state.places(), self.context.statics.clone());
        let dump = Dump { generation, snapshot, places, statics, version: version() };
        answer::with_body(StatusCode::OK, "application/json", dump.into_body(permit))
    }

    fn effective(&self, query: &str) -> Response<Body> {
        let Some(route) = parameter(query, "route") else {
            return answer::text(StatusCode::BAD_REQUEST, "which route? ?route=<key>, keys as in /config_dump\n");
        };
        match self.context.state.effective(&route) {
            Some(mut merged) => {
                self.context.state.places().paths().settle_all("policies", &mut merged);
                answer::json(&self.redacted(merged))
            }
            None => answer::text(StatusCode::NOT_FOUND, "no such route\n"),
        }
    }

    fn logging(&self, method: &Method, query: &str) -> Response<Body> {
        let log = &self.context.log;
        let (level, reset) = (parameter(query, "level"), parameter(query, "reset"));
        if *method != Method::POST {
            return match level.is_some() || reset.is_some() {
                true => answer::not_allowed("POST"),
                false => answer::text(StatusCode::OK, format!("current: {}\n{LOGGING_HELP}", log.current())),
            };
        }
        let changed = match (level, reset) {
            (Some(level), None) => log.set(&level),
            (None, Some(_)) => log.reset(),
            (None, None) => Ok(()),
            (Some(_), Some(_)) => Err("level and reset exclude each other".to_owned()),
        };
        match changed {
            Ok(()) => answer::text(StatusCode::OK, format!("current: {}\n", log.current())),
            Err(error) => answer::text(StatusCode::BAD_REQUEST, format!("{error}\n{LOGGING_HELP}")),
        }
    }
}

/// Evaluates an expression on data of the request's own: changes nothing, and sees nothing of ours.
async fn evaluate(body: Incoming) -> Response<Body> {
    let Ok(body) = Limited::new(body, CEL_BYTES_MAX).collect().await else {
        return answer::text(StatusCode::PAYLOAD_TOO_LARGE, format!("more than {CEL_BYTES_MAX} bytes\n"));
    };
    // A budget bounds it, but not to what a thread of the admin server may be held up for.
    let evaluated = tokio::task::spawn_blocking(move || cel::answer(&body.to_bytes())).await;
    match evaluated {
        Ok(Ok(result)) => answer::json(&result),
        Ok(Err(fault)) => answer::text(StatusCode::BAD_REQUEST, format!("{fault}\n")),
        Err(_) => answer::text(StatusCode::INTERNAL_SERVER_ERROR, "the evaluation broke off\n"),
    }
}

/// The build that runs.
fn version() -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "gitRevision": option_env!("AGENTGATEWAY_REVISION").unwrap_or("unknown"),
        "buildProfile": if cfg!(debug_assertions) { "debug" } else { "release" },
        "buildTarget": format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
    })
}

fn index() -> String {
    let row = |(path, methods, what): &(&str, &str, &str)| match methods.starts_with("GET") {
        true => format!("<li><a href=\"{path}\">{path}</a> {what}</li>\n"),
        false => format!("<li>{path} ({methods}) {what}</li>\n"),
    };
    let rows: String = PAGES.iter().map(row).collect();
    format!(
        "<!doctype html><html lang=\"en\"><title>agentgateway</title><h1>agentgateway</h1><ul>\n{rows}</ul></html>\n"
    )
}

/// A query parameter, percent-decoded; present without `=` means empty.
fn parameter(query: &str, name: &str) -> Option<String> {
    let pair = |pair| str::split_once(pair, '=').unwrap_or((pair, ""));
    let (_, value) = query.split('&').map(pair).find(|(key, _)| *key == name)?;
    let mut parts = value.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let code = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok())?;
        bytes.push(code);
        bytes.extend_from_slice(part.get(2..).unwrap_or_default().as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        for (query, expected) in [
            ("level=info", Some("info")),
            ("level=a%3Ddebug%2Cinfo", Some("a=debug,info")),
            ("level=a=debug,info", Some("a=debug,info")),
            ("x=1&level", Some("")),
            ("levels=1", None),
            ("level=%zz", None),
            ("level=%ff", None),
        ] {
            assert_eq!(parameter(query, "level").as_deref(), expected, "{query}");
        }
    }
}
