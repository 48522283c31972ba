//! A rewrite as run.

use http::HeaderValue;
use http::header::HOST;

use super::policy::Policy;
use crate::destination::{self, Authority};
use crate::{Exchange, Verdict};

impl Policy {
    pub fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        if let Some(authority) = &self.authority {
            rewrite_authority(authority, exchange);
        }
        let Exchange { request, facts, .. } = exchange;
        if let Some(change) = &self.path
            && request.uri.path().starts_with('/')
        {
            let path = change.apply(request.uri.path(), facts.matched_prefix);
            if let Some(target) = destination::with_query(request, &path) {
                destination::set_target(request, target);
            }
        }
        Verdict::Continue
    }
}

fn rewrite_authority(authority: &Authority, exchange: &mut Exchange<'_>) {
    let Exchange { request, facts, .. } = exchange;
    let text = match authority {
        Authority::Full { host, port } => destination::join(host, *port),
        Authority::Host(host) => destination::join(host, destination::port_of(request)),
        Authority::Port(port) => destination::join(&facts.host, Some(*port)),
        Authority::None => destination::join(&facts.host, destination::port_of(request)),
        Authority::Auto => {
            facts.upstream_host = None;
            facts.upstream_host_auto = true;
            return;
        }
    };
    // Hosts were checked when they were read; a request without any (HTTP/1.0) has none to keep.
    let Ok(value) = HeaderValue::try_from(text) else { return };
    if value.is_empty() {
        return;
    }
    let _ = request.insert_header(HOST, value.clone());
    facts.upstream_host = Some(value);
}
