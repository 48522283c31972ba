//! The pages of a control plane: read only.

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::answer::{self, Body};
use super::guard::{self, Ends};
use super::server::{Bound, Leave, Service};
use crate::fleet::Report;

const INDEX: &str = "/status    document, gateways, what they refused\n/metrics   Prometheus\n";

/// Serves `/status` and `/metrics` until dropped or told to leave.
pub async fn serve_fleet(report: Arc<Report>, bound: Bound, leave: Leave) {
    bound.run(Fleet(report), leave).await;
}

struct Fleet(Arc<Report>);

impl Service for Fleet {
    async fn answer(&self, request: Request<Incoming>, ends: Ends) -> Response<Body> {
        let (head, _) = request.into_parts();
        if let Err(refused) = guard::check(&head, ends, None) {
            return answer::text(refused.status, format!("{}\n", refused.text));
        }
        if !matches!(head.method, Method::GET | Method::HEAD) {
            return answer::not_allowed("GET, HEAD");
        }
        match head.uri.path() {
            "/" => answer::text(StatusCode::OK, INDEX),
            "/status" => answer::json(&self.0.json()),
            "/metrics" => answer::typed(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", self.0.metrics()),
            _ => answer::not_found(),
        }
    }
}
