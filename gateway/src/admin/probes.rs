//! The metrics server and the probe server.

use std::sync::Arc;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::answer::{self, Body};
use super::guard::Ends;
use super::readiness::{Liveness, Readiness};
use super::server::{Bound, Leave, Service};
use crate::telemetry::{Exposition, Telemetry};

/// Serves `/metrics` and `/stats/prometheus` until dropped or told to leave.
pub async fn serve_stats(telemetry: Arc<Telemetry>, bound: Bound, leave: Leave) {
    bound.run(Stats(telemetry), leave).await;
}

/// Serves `/healthz/ready` and `/healthz/live` until dropped or told to leave.
pub async fn serve_probes(readiness: Arc<Readiness>, liveness: Arc<Liveness>, bound: Bound, leave: Leave) {
    bound.run(Probes { readiness, liveness }, leave).await;
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

struct Stats(Arc<Telemetry>);

impl Service for Stats {
    async fn answer(&self, request: Request<Incoming>, _: Ends) -> Response<Body> {
        if !matches!(request.uri().path(), "/metrics" | "/stats/prometheus") {
            return answer::not_found();
        }
        if !is_read(request.method()) {
            return answer::not_allowed("GET, HEAD");
        }
        let accept: Vec<_> = request.headers().get_all(ACCEPT).into_iter().filter_map(|it| it.to_str().ok()).collect();
        let format = Exposition::negotiate(Some(&accept.join(",")));
        let telemetry = self.0.clone();
        // Thousands of series take milliseconds; the probes share this runtime.
        let Ok(text) = tokio::task::spawn_blocking(move || telemetry.encode(format)).await else {
            return answer::text(StatusCode::INTERNAL_SERVER_ERROR, "the scrape failed\n");
        };
        let mut response = answer::text(StatusCode::OK, text);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
        response
    }
}

struct Probes {
    readiness: Arc<Readiness>,
    liveness: Arc<Liveness>,
}

impl Service for Probes {
    async fn answer(&self, request: Request<Incoming>, _: Ends) -> Response<Body> {
        let path = request.uri().path();
        if !matches!(path, "/healthz/ready" | "/healthz/live") {
            return answer::not_found();
        }
        if !is_read(request.method()) {
            return answer::not_allowed("GET, HEAD");
        }
        if path == "/healthz/ready" {
            return match self.readiness.pending() {
                none if none.is_empty() => answer::text(StatusCode::OK, "ready\n"),
                pending => {
                    let body = format!("not ready, pending:\n  {}\n", pending.join("\n  "));
                    answer::text(StatusCode::INTERNAL_SERVER_ERROR, body)
                }
            };
        }
        let mut body = String::new();
        for (name, silence) in self.liveness.stuck() {
            body.push_str(&format!("runtime {name} has not run for {}s\n", silence.as_secs()));
        }
        match body.is_empty() {
            true => answer::text(StatusCode::OK, "live\n"),
            false => answer::text(StatusCode::INTERNAL_SERVER_ERROR, body),
        }
    }
}
