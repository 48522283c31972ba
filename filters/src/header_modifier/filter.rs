//! Header changes as run.
//!
//! Writing fails only where the map is full (32,768 names), which the limit on heads rules out
//! long before; there is nothing to do about it but to leave the header away.

use http::HeaderValue;
use http::header::HOST;
use pingora_http::RequestHeader;

use super::policy::{Change, Policy};
use crate::Exchange;
use crate::destination;
use crate::exchange::Answer;

impl Policy {
    pub fn on_request(&self, exchange: &mut Exchange<'_>) {
        if let Some(authority) = self.change(exchange.request) {
            exchange.facts.upstream_host = Some(authority);
        }
    }

    /// Changes a head that is not (yet) that of an exchange; gives back the authority where it is set.
    pub fn change(&self, request: &mut RequestHeader) -> Option<HeaderValue> {
        let mut authority = None;
        for header in &self.add {
            let _ = request.append_header(header.name.clone(), header.value.clone());
        }
        for change in &self.set {
            match change {
                Change::Header(header) => {
                    let _ = request.insert_header(header.name.clone(), header.value.clone());
                }
                Change::Authority(value) => {
                    let _ = request.insert_header(HOST, value.clone());
                    authority = Some(value.clone());
                }
                Change::Method(method) => request.set_method(method.clone()),
                Change::Path(target) => destination::set_target(request, target.clone()),
            }
        }
        for name in &self.remove {
            request.remove_header(name);
        }
        authority
    }

    pub fn on_response(&self, answer: &mut Answer<'_>) {
        let response = &mut answer.response;
        for header in &self.add {
            let _ = response.append_header(header.name.clone(), header.value.clone());
        }
        for change in &self.set {
            if let Change::Header(header) = change {
                let _ = response.insert_header(header.name.clone(), header.value.clone());
            }
        }
        for name in &self.remove {
            response.remove_header(name);
        }
    }
}
