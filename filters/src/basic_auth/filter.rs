//! Users and passwords as judged, request by request.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderValue;
use http::header::{PROXY_AUTHENTICATE, RETRY_AFTER};
use ir::Text;

use super::policy::Policy;
use crate::credential::{Found, Mode};
use crate::{Exchange, Reason, Reply, Verdict};

/// User and password, decoded.
const CREDENTIALS_BYTES_MAX: usize = 1024;

/// Some clients leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a request brings.
enum Sent {
    Nothing,
    Unusable,
    /// As decoded, and where the password begins.
    Credentials(Vec<u8>, usize),
}

impl Policy {
    /// The verdict where no hash has to be computed for it.
    pub fn on_request(&self, exchange: &mut Exchange<'_>) -> Option<Verdict> {
        let (credentials, at) = match self.sent(exchange) {
            Sent::Nothing if self.mode == Mode::Strict => return Some(self.refuse()),
            Sent::Nothing => return Some(Verdict::Continue),
            Sent::Unusable => return Some(self.wrong()),
            Sent::Credentials(credentials, at) => (credentials, at),
        };
        let state = self.state.get(self);
        let known = state.remembers(&state.tag(&credentials), exchange.outside.now());
        known.then(|| self.admit(exchange, &credentials, at))
    }

    /// The verdict after a hash was computed elsewhere.
    pub async fn in_time(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let Sent::Credentials(credentials, at) = self.sent(exchange) else { return self.wrong() };
        let state = self.state.get(self);
        let tag = state.tag(&credentials);
        let (users, sent) = (self.users.clone(), credentials.clone());
        let work = Box::new(move || {
            let (user, password) = sent.split_at_checked(at).unwrap_or_default();
            let password = password.get(1..).unwrap_or_default();
            std::str::from_utf8(user).is_ok_and(|user| users.fits(user, password))
        });
        match exchange.outside.work(work).await {
            Some(true) => {
                state.remember(&tag, exchange.outside.now());
                self.admit(exchange, &credentials, at)
            }
            Some(false) => self.wrong(),
            None => {
                let mut reply = Reply::text(503, Reason::BasicAuth, "too many passwords wait to be checked\n");
                reply.headers.push((RETRY_AFTER, HeaderValue::from_static("1")));
                Verdict::Reply(reply)
            }
        }
    }

    fn sent(&self, exchange: &Exchange<'_>) -> Sent {
        let text = match self.location.find(exchange.request, exchange.facts) {
            Found::Nothing => return Sent::Nothing,
            Found::Unclear => return Sent::Unusable,
            Found::One(text) if text.len() > CREDENTIALS_BYTES_MAX * 4 / 3 + 4 => return Sent::Unusable,
            Found::One(text) => text,
        };
        let Ok(credentials) = BASE64.decode(text.as_bytes()) else { return Sent::Unusable };
        match credentials.iter().position(|it| *it == b':') {
            Some(at) => Sent::Credentials(credentials, at),
            None => Sent::Unusable,
        }
    }

    fn admit(&self, exchange: &mut Exchange<'_>, credentials: &[u8], at: usize) -> Verdict {
        // A user that was found is text.
        let user = credentials.get(..at).and_then(|it| std::str::from_utf8(it).ok()).unwrap_or_default();
        exchange.facts.identity.basic = Some(Text::from(user));
        if !self.forward {
            self.location.strip(exchange.request);
        }
        Verdict::Continue
    }

    fn wrong(&self) -> Verdict {
        if self.mode == Mode::Permissive { Verdict::Continue } else { self.refuse() }
    }

    fn refuse(&self) -> Verdict {
        let text = "user and password are required\n";
        let challenge = HeaderValue::try_from(format!("Basic realm=\"{}\", charset=\"UTF-8\"", self.realm))
            .expect("a realm is visible ASCII");
        if !self.location.is_proxy() {
            return Verdict::Reply(Reply::unauthorized(Reason::BasicAuth, challenge, text));
        }
        let mut reply = Reply::text(407, Reason::BasicAuth, text);
        reply.headers.push((PROXY_AUTHENTICATE, challenge));
        Verdict::Reply(reply)
    }
}
