//! The head of a request as one provider wants it: path, key, length.

use std::borrow::Cow;

use http::header::{ACCEPT_ENCODING, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, ORIGIN, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, Uri};
use ir::AiKeyPlace;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::RequestHeader;
use protocols::http::number;
use protocols::llm::{Dialect, Operation, locate};

use super::{Asked, Provider};
use crate::proxy::names::{self, Fields};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const X_GOOG_API_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");
const API_KEY: HeaderName = HeaderName::from_static("api-key");
const ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");

/// The revision of Anthropic's API that a request without one gets.
const ANTHROPIC_REVISION: HeaderValue = HeaderValue::from_static("2023-06-01");

/// What Anthropic's tokens of users begin with: they stay where they are.
const USER_TOKEN: &[u8] = b"Bearer sk-ant-oat";

/// What a browser adds, and Anthropic takes for a page that holds a key.
static BROWSER: [HeaderName; 7] = [
    ORIGIN,
    ACCESS_CONTROL_REQUEST_METHOD,
    ACCESS_CONTROL_REQUEST_HEADERS,
    HeaderName::from_static("sec-fetch-dest"),
    HeaderName::from_static("sec-fetch-mode"),
    HeaderName::from_static("sec-fetch-site"),
    HeaderName::from_static("sec-fetch-user"),
];

/// Where clients say their keys.
static KEYS: [HeaderName; 4] = [AUTHORIZATION, X_API_KEY, X_GOOG_API_KEY, API_KEY];

/// Writes target and length for the provider that is asked now.
pub(crate) fn requested(head: &mut RequestHeader, asked: &Asked) -> Result<()> {
    let Some(provider) = asked.provider() else { return Ok(()) };
    let target = match &asked.translation {
        Some(translation) => translation.target(asked, provider),
        None => target(head, asked, provider),
    };
    if let Some(target) = target {
        let uri = Uri::try_from(target)
            .map_err(|_| Error::explain(ErrorType::InternalError, "a path of a provider is no URI"))?;
        head.set_uri(uri);
    }
    if asked.operation == Operation::Realtime {
        return super::realtime::requested(head, asked);
    }
    names::change(head, |fields| written(fields, asked, provider))
}

fn written(fields: &mut Fields<'_>, asked: &Asked, provider: &Provider) -> Result<()> {
    if let Some(translation) = &asked.translation {
        translation.clean(fields)?;
    }
    if let Some(bytes) = asked.changed_bytes() {
        // What was changed goes on plain.
        without(fields, &[CONTENT_ENCODING, TRANSFER_ENCODING]);
        fields.insert(&CONTENT_LENGTH, number(bytes))?;
    }
    // What is used must be read on the way.
    if asked.operation != Operation::Passthrough && !provider.is_opaque() {
        fields.insert(&ACCEPT_ENCODING, HeaderValue::from_static("identity"))?;
    }
    if provider.key == AiKeyPlace::XApiKey {
        without(fields, &BROWSER);
        if matches!(asked.spoken(), Operation::Messages | Operation::CountTokens)
            && !fields.map().contains_key(&ANTHROPIC_VERSION)
        {
            fields.insert(&ANTHROPIC_VERSION, ANTHROPIC_REVISION)?;
        }
    }
    Ok(())
}

/// Puts the gateway's credential where the provider looks for it. Those of the client, which were for the gateway, do
/// not go on beside it. To be called around the policy that writes it: `write` does.
pub(crate) fn sign(
    head: &mut RequestHeader,
    place: AiKeyPlace,
    write: impl FnOnce(&mut RequestHeader) -> Result<()>,
) -> Result<()> {
    if names::any_of(&head.headers, &KEYS) {
        names::change(head, |fields| {
            KEYS.iter().for_each(|name| fields.remove(name));
            Ok(())
        })?;
    }
    if place == AiKeyPlace::XGoogApiKey {
        without_key(head)?;
    }
    write(head)?;
    let name = match place {
        AiKeyPlace::Authorization => return Ok(()),
        AiKeyPlace::XApiKey => X_API_KEY,
        AiKeyPlace::XGoogApiKey => X_GOOG_API_KEY,
        AiKeyPlace::ApiKey => API_KEY,
    };
    let Some(value) = head.headers.get(AUTHORIZATION).map(HeaderValue::as_bytes) else { return Ok(()) };
    // Google's access tokens stay bearers; its keys begin like this.
    let stays =
        value.starts_with(USER_TOKEN) || (place == AiKeyPlace::XGoogApiKey && value.starts_with(b"Bearer ya29."));
    let Some(key) = value.strip_prefix(b"Bearer ").filter(|_| !stays) else { return Ok(()) };
    let mut key = HeaderValue::from_bytes(key).map_err(|_| Error::new(ErrorType::InternalError))?;
    key.set_sensitive(true);
    names::change(head, |fields| {
        fields.remove(&AUTHORIZATION);
        fields.insert(&name, key)
    })
}

fn without(fields: &mut Fields<'_>, gone: &[HeaderName]) {
    if names::any_of(fields.map(), gone) {
        gone.iter().for_each(|name| fields.remove(name));
    }
}

/// Google's clients may say their key in the query.
fn without_key(head: &mut RequestHeader) -> Result<()> {
    let Some(query) = head.uri.query().filter(|it| it.split('&').any(|it| it.starts_with("key="))) else {
        return Ok(());
    };
    let rest: Vec<_> = query.split('&').filter(|it| !it.starts_with("key=")).collect();
    let target =
        if rest.is_empty() { head.uri.path().to_owned() } else { format!("{}?{}", head.uri.path(), rest.join("&")) };
    head.set_uri(target.parse().map_err(|_| Error::new(ErrorType::InternalError))?);
    Ok(())
}

/// Path and query there; nothing where the client's own are right.
fn target(head: &RequestHeader, asked: &Asked, provider: &Provider) -> Option<String> {
    let path = head.uri.path();
    let wanted = match provider.format(asked.operation) {
        Some(format) => filled(format, asked, path)?,
        None => below(path, &provider.base, asked)?,
    };
    if wanted == path {
        return None;
    }
    Some(match head.uri.query() {
        // A path of the provider's may have a query of its own.
        Some(query) if wanted.contains('?') => format!("{wanted}&{query}"),
        Some(query) => format!("{wanted}?{query}"),
        None => wanted.into_owned(),
    })
}

/// A path with model and action in their places.
fn filled<'a>(format: &'a str, asked: &Asked, path: &str) -> Option<Cow<'a, str>> {
    if !format.contains('{') {
        return Some(Cow::Borrowed(format));
    }
    let model = encoded(asked.asked_model()?);
    let before = if asked.operation.dialect() == Dialect::Bedrock { '/' } else { ':' };
    let (_, action) = match asked.operation {
        Operation::Messages => ("", prediction(asked.stream)),
        _ => path.rsplit_once(before).unwrap_or_default(),
    };
    Some(Cow::Owned(format.replace("{model}", &model).replace("{action}", action)))
}

/// How a model of Anthropic's is asked in Google's clouds.
pub(super) fn prediction(stream: bool) -> &'static str {
    if stream { "streamRawPredict" } else { "rawPredict" }
}

/// The client's path, with the provider's base in the place of a revision.
fn below<'a>(path: &'a str, base: &str, asked: &Asked) -> Option<Cow<'a, str>> {
    let rest = ["/v1beta/", "/v1/", "/v2/"].iter().find_map(|it| path.strip_prefix(it));
    let path = match rest {
        Some(rest) if !base.is_empty() => Cow::Owned(format!("{base}/{rest}")),
        _ => Cow::Borrowed(path),
    };
    // A model of another name stands in the path as well.
    let own = locate(&path).model.map(Cow::into_owned);
    match (own, asked.asked_model()) {
        (Some(own), Some(wanted)) if own != wanted => {
            let model = encoded(wanted);
            if let Some((before, after)) = path.rsplit_once("/models/") {
                let (_, action) = after.rsplit_once(':')?;
                return Some(Cow::Owned(format!("{before}/models/{model}:{action}")));
            }
            // Bedrock's.
            let (before, after) = path.split_once("/model/")?;
            let (_, action) = after.rsplit_once('/')?;
            Some(Cow::Owned(format!("{before}/model/{model}/{action}")))
        }
        _ => Some(path),
    }
}

/// A model as one segment of a path.
pub(super) fn encoded(model: &str) -> String {
    let mut out = String::with_capacity(model.len());
    for byte in model.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'@' | b':' => {
                out.push(char::from(byte))
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(target: &str, headers: &[(&'static str, &str)]) -> RequestHeader {
        let mut head = RequestHeader::build("POST", target.as_bytes(), None).unwrap();
        for (name, value) in headers {
            head.insert_header(*name, *value).unwrap();
        }
        head
    }

    #[test]
    fn the_gateways_key_goes_where_the_provider_looks_and_the_clients_do_not_go_on() {
        for (place, key, name, want) in [
            (AiKeyPlace::Authorization, "k", "authorization", "Bearer k"),
            (AiKeyPlace::XApiKey, "k", "x-api-key", "k"),
            (AiKeyPlace::XApiKey, "sk-ant-oat01-k", "authorization", "Bearer sk-ant-oat01-k"),
            (AiKeyPlace::XGoogApiKey, "AIzak", "x-goog-api-key", "AIzak"),
            (AiKeyPlace::XGoogApiKey, "ya29.k", "authorization", "Bearer ya29.k"),
            (AiKeyPlace::ApiKey, "k", "api-key", "k"),
        ] {
            let sent = [("authorization", "Bearer client"), ("x-api-key", "client"), ("x-goog-api-key", "client")];
            let mut head = head("/x?alt=sse&key=client", &sent);
            sign(&mut head, place, |head| head.insert_header("authorization", format!("Bearer {key}"))).unwrap();
            assert_eq!(head.headers.get(name).unwrap(), want);
            assert_eq!(head.headers.len(), 1, "{head:?}");
            if place == AiKeyPlace::XGoogApiKey {
                assert_eq!(head.uri.path_and_query().unwrap(), "/x?alt=sse");
            }
        }
    }

    #[test]
    fn models_are_one_segment() {
        assert_eq!(encoded("a/b%c d:e@1"), "a%2Fb%25c%20d:e@1");
    }
}
