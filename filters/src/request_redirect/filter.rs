//! A redirect as run.

use std::borrow::Cow;

use bytes::Bytes;
use http::HeaderValue;
use http::header::LOCATION;

use super::policy::Policy;
use crate::destination::{self, Authority};
use crate::{Exchange, Facts, Reason, Reply, Verdict};

impl Policy {
    pub fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let Ok(location) = HeaderValue::try_from(self.location(exchange)) else {
            return Verdict::Reply(Reply::text(400, Reason::InvalidRequest, "request target cannot be redirected"));
        };
        Verdict::Reply(Reply {
            status: self.status,
            headers: vec![(LOCATION, location)],
            body: Bytes::new(),
            reason: Reason::DirectResponse,
        })
    }

    fn location(&self, exchange: &Exchange<'_>) -> String {
        let Exchange { request, facts, .. } = exchange;
        let path = match &self.path {
            Some(change) => Cow::Owned(change.apply(request.uri.path(), facts.matched_prefix)),
            None => Cow::Borrowed(request.uri.path()),
        };
        let (question, query) = request.uri.query().map_or(("", ""), |query| ("?", query));
        let (host, port) = self.authority(facts);
        if host.is_empty() {
            // Two slashes in front would name a host.
            return format!("/{}{question}{query}", path.trim_start_matches('/'));
        }
        let scheme = self.scheme.as_deref().unwrap_or(facts.scheme());
        let authority = destination::join(host, port.filter(|port| Some(*port) != well_known(scheme)));
        format!("{scheme}://{authority}{path}{question}{query}")
    }

    fn authority<'a>(&'a self, facts: &'a Facts) -> (&'a str, Option<u16>) {
        // Absent: the well-known port of the scheme.
        let implied = if self.scheme.is_some() { None } else { Some(facts.port) };
        match &self.authority {
            Some(Authority::Full { host, port }) => (host, *port),
            Some(Authority::Host(host)) => (host, implied),
            Some(Authority::Port(port)) => (&facts.host, Some(*port)),
            Some(Authority::Auto | Authority::None) | None => (&facts.host, implied),
        }
    }
}

fn well_known(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}
