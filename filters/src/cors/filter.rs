//! Cross-origin rules as run.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::policy::{Listed, Origin, Policy};
use crate::exchange::Answer;
use crate::{Exchange, Reason, Reply, Verdict};

const VARY_OF_PREFLIGHT: HeaderValue =
    HeaderValue::from_static("Origin, Access-Control-Request-Method, Access-Control-Request-Headers");
const VARY_OF_ACTUAL: HeaderValue = HeaderValue::from_static("Origin");
const TRUE: HeaderValue = HeaderValue::from_static("true");
const STAR: HeaderValue = HeaderValue::from_static("*");

impl Policy {
    pub fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let Exchange { request, facts, .. } = exchange;
        let Some(origin) = request.headers.get(ORIGIN) else { return Verdict::Continue };
        let allowed = self.allows(origin);
        if request.method == Method::OPTIONS
            && let Some(method) = request.headers.get(ACCESS_CONTROL_REQUEST_METHOD)
        {
            let mut headers = vec![(VARY, VARY_OF_PREFLIGHT)];
            if allowed {
                self.admit(origin, &mut headers);
                self.answer_preflight(method, &request.headers, &mut headers);
            }
            return Verdict::Reply(Reply { status: 200, headers, body: Bytes::new(), reason: Reason::DirectResponse });
        }
        if allowed {
            self.admit(origin, &mut facts.owed);
            if let Some(names) = &self.expose_headers {
                facts.owed.push((ACCESS_CONTROL_EXPOSE_HEADERS, names.clone()));
            }
        }
        Verdict::Continue
    }

    /// Adds `Vary: Origin` where the answer depends on it: also where the request had no origin,
    /// or a cache would keep that answer for requests that have one.
    pub fn on_response(&self, answer: &mut Answer<'_>) {
        if self.is_same_for_all() || names_origin(&answer.response.headers) {
            return;
        }
        // Fails only where the header map is full, which the limit on heads rules out.
        let _ = answer.response.append_header(VARY, VARY_OF_ACTUAL);
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        origin.to_str().is_ok_and(|origin| self.allow_origins.iter().any(|known| known.covers(origin)))
    }

    fn is_same_for_all(&self) -> bool {
        !self.allow_credentials && self.allow_origins.contains(&Origin::Any)
    }

    fn admit(&self, origin: &HeaderValue, headers: &mut Vec<(HeaderName, HeaderValue)>) {
        let origin = if self.is_same_for_all() { STAR } else { origin.clone() };
        headers.push((ACCESS_CONTROL_ALLOW_ORIGIN, origin));
        if self.allow_credentials {
            headers.push((ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE));
        }
    }

    fn answer_preflight(
        &self,
        method: &HeaderValue,
        request: &HeaderMap,
        headers: &mut Vec<(HeaderName, HeaderValue)>,
    ) {
        let methods = self.allow_methods.against(Some(method));
        headers.extend(methods.map(|value| (ACCESS_CONTROL_ALLOW_METHODS, value)));
        let names = self.allow_headers.against(request.get(ACCESS_CONTROL_REQUEST_HEADERS));
        headers.extend(names.map(|value| (ACCESS_CONTROL_ALLOW_HEADERS, value)));
        let age = self.max_age_seconds.map(|seconds| (ACCESS_CONTROL_MAX_AGE, HeaderValue::from(seconds)));
        headers.extend(age);
    }
}

impl Listed {
    fn against(&self, asked: Option<&HeaderValue>) -> Option<HeaderValue> {
        match self {
            Self::Nothing => None,
            Self::Any => asked.cloned(),
            Self::Names(names) => Some(names.clone()),
        }
    }
}

fn names_origin(headers: &HeaderMap) -> bool {
    let names = headers.get_all(VARY).iter().filter_map(|value| value.to_str().ok());
    names
        .flat_map(|names| names.split(','))
        .map(str::trim)
        .any(|name| name == "*" || name.eq_ignore_ascii_case("origin"))
}
