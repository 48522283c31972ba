//! Keys as judged, request by request.

use std::sync::Arc;

use http::HeaderValue;
use http::header::AUTHORIZATION;
use ir::Secret;

use super::config::KEY_BYTES_MAX;
use super::policy::{Hash, Policy};
use crate::credential::{Found, Location, Mode};
use crate::identity::ApiKey;
use crate::{Exchange, Reason, Reply, Verdict};

impl Policy {
    pub fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let Exchange { request, facts, .. } = exchange;
        let found = match self.location.find(request, facts) {
            Found::Nothing if self.mode == Mode::Strict => return self.refuse("no api key\n"),
            Found::Nothing => return Verdict::Continue,
            Found::Unclear => None,
            Found::One(key) if key.len() > KEY_BYTES_MAX => None,
            Found::One(key) => self.known.find(&Hash::of(key.as_bytes())).map(|entry| {
                let key = ApiKey::new(Secret::new(key.as_bytes()), entry.metadata.clone());
                Arc::new(key.for_models(entry.models.clone()))
            }),
        };
        match found {
            Some(key) => {
                facts.identity.api_key = Some(key);
                if !self.forward {
                    self.location.strip(request);
                }
                Verdict::Continue
            }
            None if self.mode == Mode::Permissive => Verdict::Continue,
            None => self.refuse("the api key is not known\n"),
        }
    }

    /// RFC 9110 section 11.6.1 wants a challenge; there is no registered scheme for keys of one's own.
    fn refuse(&self, text: &'static str) -> Verdict {
        let challenge = match &self.location {
            Location::Header { name, .. } if *name == AUTHORIZATION => "Bearer realm=\"gateway\"".to_owned(),
            Location::Header { name, .. } => format!("ApiKey realm=\"gateway\", header=\"{name}\""),
            Location::QueryParameter(name) => format!("ApiKey realm=\"gateway\", query=\"{name}\""),
            Location::Cookie(name) => format!("ApiKey realm=\"gateway\", cookie=\"{name}\""),
            Location::Expression(_) => "ApiKey realm=\"gateway\"".to_owned(),
        };
        let challenge = HeaderValue::try_from(challenge).expect("names of locations are visible ASCII without quotes");
        Verdict::Reply(Reply::unauthorized(Reason::ApiKeyAuth, challenge, text))
    }
}
