//! Credentials for backends as run: the very last change of a request.

use http::HeaderValue;
use http::header::COOKIE;
use http::uri::PathAndQuery;
use pingora_http::RequestHeader;

use super::outgoing::Outgoing;
use super::policy::{Policy, Primary, Ready};
use crate::credential::{Location, scrub};
use crate::destination;

impl Policy {
    /// Writes every credential in the place of what the client sent there.
    ///
    /// # Errors
    /// Why the message must not leave.
    pub fn on_attempt(&self, mut message: Outgoing<'_>) -> Result<(), String> {
        for credential in &self.credentials {
            write(credential.ready(), credential.location(), message.head);
        }
        let request = &mut *message.head;
        match &self.primary {
            Some(Primary::Key(credential)) => write(credential.ready(), credential.location(), request),
            Some(Primary::Passthrough(location)) => {
                let token = message.facts.identity.jwt.as_ref().map(|it| it.token.expose());
                // A token that was verified is of characters that fit anywhere (RFC 7515 section 7.1).
                if let Some(ready) = token.and_then(|token| Ready::new(location, token).ok()) {
                    write(&ready, location, request);
                }
            }
            Some(Primary::JwtSign(sign)) => {
                let location = &sign.terms().location;
                match sign.ready(message.outside.now()) {
                    Some(ready) => write(&ready, location, request),
                    // Nobody else's credential goes in its place.
                    None => location.strip(request),
                }
            }
            // All of the message is signed, further credentials too.
            Some(Primary::Aws(aws)) => return aws.sign(&mut message),
            Some(Primary::Gcp(gcp)) => return gcp.write(&mut message),
            Some(Primary::Azure(azure)) => return azure.write(&mut message),
            None => {}
        }
        Ok(())
    }
}

fn write(ready: &Ready, location: &Location, request: &mut RequestHeader) {
    match (ready, location) {
        (Ready::Header(value), Location::Header { name, .. }) => {
            scrub(name, request);
            // Fails only where the map is full, which the limit on heads rules out.
            let _ = request.insert_header(name, value.clone());
        }
        (Ready::Pair(pair), Location::QueryParameter(name)) => {
            let others = request.uri.query().unwrap_or_default().split('&');
            let others = others.filter(|it| !it.is_empty() && !is_named(it, name)).map(str::as_bytes);
            let query = others.chain([pair.expose()]).collect::<Vec<_>>().join(&b'&');
            let target = [request.uri.path().as_bytes(), b"?", &query].concat();
            // Parts of a valid target, and what is percent-encoded, are a valid target.
            if let Ok(target) = PathAndQuery::from_maybe_shared(bytes::Bytes::from(target)) {
                destination::set_target(request, target);
            }
        }
        (Ready::Pair(pair), Location::Cookie(_)) => {
            location.strip(request);
            let held = request.headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
            let line = held.chain([pair.expose()]).collect::<Vec<_>>().join(&b"; "[..]);
            if let Ok(mut line) = HeaderValue::from_bytes(&line) {
                line.set_sensitive(true);
                let _ = request.insert_header(COOKIE, line);
            }
        }
        // A form is made for its place.
        (Ready::Header(_), _) | (Ready::Pair(_), Location::Header { .. } | Location::Expression(_)) => {}
    }
}

/// Whether a pair of a query has this name, also where letters of it are percent-encoded: the backend decodes them.
fn is_named(pair: &str, name: &str) -> bool {
    let mut sent = pair.split('=').next().unwrap_or_default().as_bytes();
    let mut wanted = name.as_bytes();
    loop {
        let byte = match sent {
            [] => return wanted.is_empty(),
            [b'%', high, low, rest @ ..] => {
                sent = rest;
                match (char::from(*high).to_digit(16), char::from(*low).to_digit(16)) {
                    (Some(high), Some(low)) => u8::try_from(high * 16 + low).unwrap_or_default(),
                    _ => return false,
                }
            }
            [byte, rest @ ..] => {
                sent = rest;
                *byte
            }
        };
        match wanted {
            [first, rest @ ..] if *first == byte => wanted = rest,
            _ => return false,
        }
    }
}
