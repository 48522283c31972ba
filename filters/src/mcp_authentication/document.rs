//! What the endpoint says of itself and of its authorization server, and what it asks that server on a client's behalf.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Method};
use serde_json::{Map, Value, json};

use super::place::{self, Place, Wish};
use super::policy::Policy;
use super::provider;
use crate::outside::{Fetch, Fetched};
use crate::{Exchange, Outside, Reason, Reply};

/// Largest document of an authorization server.
pub(super) const DOCUMENT_BYTES_MAX: usize = 256 * 1024;
/// Largest registration and request for a token.
pub(super) const REQUEST_BYTES_MAX: usize = 64 * 1024;

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

type Document = Map<String, Value>;

/// An OAuth error of ours: status, code, description.
struct Fault(u16, &'static str, String);

impl Fault {
    fn unavailable(why: impl Into<String>) -> Self {
        Self(503, "temporarily_unavailable", why.into())
    }

    fn request(why: impl Into<String>) -> Self {
        Self(400, "invalid_request", why.into())
    }
}

impl Policy {
    /// Answers what is asked for beside the endpoint itself.
    pub(super) async fn serve(&self, place: Place<'_>, exchange: &mut Exchange<'_>) -> Reply {
        let method = exchange.request.method.clone();
        let (allowed, fits) = match place.wish {
            Wish::Resource | Wish::Server => ("GET, HEAD, OPTIONS", method == Method::GET || method == Method::HEAD),
            Wish::Authorize => ("GET, OPTIONS", method == Method::GET),
            Wish::Registration | Wish::Token => ("POST, OPTIONS", method == Method::POST),
        };
        if method == Method::OPTIONS {
            return preflight(allowed);
        }
        if !fits {
            let mut refused = refused(&Fault(405, "invalid_request", "method not allowed".to_owned()));
            refused.headers.push((ALLOW, HeaderValue::from_static(allowed)));
            return refused;
        }
        let Some(base) = place::base(exchange.request, exchange.facts.tls) else {
            return refused(&Fault::request("`Host` is missing or strange"));
        };
        let answered = match place.wish {
            Wish::Resource => Ok(self.resource(&base, place.endpoint)),
            Wish::Server => self.server(&base, place.endpoint, exchange.outside).await,
            Wish::Registration => self.register(exchange).await,
            Wish::Authorize if self.provider.is_fronted() => self.authorize(exchange).await,
            Wish::Token if self.provider.is_fronted() => self.token(exchange).await,
            Wish::Authorize | Wish::Token => Err(Fault(404, "invalid_request", "not here".to_owned())),
        };
        answered.unwrap_or_else(|fault| {
            exchange.facts.note(|| fault.2.clone());
            refused(&fault)
        })
    }

    fn resource(&self, base: &str, endpoint: &str) -> Reply {
        let server = match self.is_in_front() {
            true => format!("{base}{endpoint}"),
            false => self.issuer.to_string(),
        };
        let mut document = Document::new();
        document.insert("resource".to_owned(), Value::from(format!("{base}{endpoint}")));
        document.insert("authorization_servers".to_owned(), json!([server]));
        document.insert("bearer_methods_supported".to_owned(), json!(["header"]));
        let scopes: std::collections::BTreeSet<&str> =
            self.required_scopes.iter().chain(self.step_up.iter().flat_map(|it| &it.scopes)).map(|it| &**it).collect();
        if !scopes.is_empty() {
            document.insert("scopes_supported".to_owned(), json!(scopes));
        }
        document.extend(self.resource_metadata.clone());
        json_reply(200, Value::Object(document).to_string())
    }

    async fn server(&self, base: &str, endpoint: &str, outside: &dyn Outside) -> Result<Reply, Fault> {
        let fetched = self.document(outside).await?;
        if !self.is_in_front() {
            return Ok(json_reply(200, Value::Object(fetched.as_ref().clone()).to_string()));
        }
        let mut document = fetched.as_ref().clone();
        let here = place::server_document(base, endpoint);
        document.insert("issuer".to_owned(), Value::from(format!("{base}{endpoint}")));
        // Answers name the true issuer, which clients would hold against the one they read here (RFC 9207).
        document.remove("authorization_response_iss_parameter_supported");
        self.provider.edit(&mut document, self.audience());
        if self.client_id.is_some() || self.provider.registration(&self.issuer).is_some() {
            document.insert("registration_endpoint".to_owned(), Value::from(format!("{here}/client-registration")));
        }
        if self.client_id.is_some() {
            add(&mut document, "token_endpoint_auth_methods_supported", "none");
        }
        if self.provider.is_fronted() {
            document.insert("authorization_endpoint".to_owned(), Value::from(format!("{here}/authorize")));
            document.insert("token_endpoint".to_owned(), Value::from(format!("{here}/token")));
        }
        Ok(json_reply(200, Value::Object(document).to_string()))
    }

    /// The authorization server's own document.
    async fn document(&self, outside: &dyn Outside) -> Result<Arc<Document>, Fault> {
        let state = self.state.get(self);
        let missing = || Fault::unavailable("the authorization server's document cannot be had now");
        let (known, fresh) = state.document(outside.now());
        if fresh {
            return known.ok_or_else(missing);
        }
        let Some(_turn) = state.turn() else { return known.ok_or_else(missing) };
        let mut why = "this issuer has no document".to_owned();
        for url in self.provider.documents(&self.issuer) {
            let fetch = Fetch { url: &url, accept: JSON, bytes_max: DOCUMENT_BYTES_MAX, post: None };
            let read = outside.fetch(fetch).await.and_then(|it| self.read(&it));
            match read {
                Ok(document) => return Ok(state.accept(document, outside.now())),
                Err(error) => why = format!("{url}: {error}"),
            }
        }
        state.fail(outside.now());
        known.ok_or_else(|| Fault::unavailable(format!("no document of the authorization server: {why}")))
    }

    fn read(&self, fetched: &Fetched) -> Result<Document, String> {
        if fetched.status != 200 {
            return Err(format!("status {}", fetched.status));
        }
        let document: Document = serde_json::from_slice(&fetched.body).map_err(|_| "not a JSON object".to_owned())?;
        let issuer = document.get("issuer").and_then(Value::as_str).unwrap_or_default();
        if issuer.trim_end_matches('/') != self.issuer.trim_end_matches('/') && !self.provider.has_many_issuers() {
            return Err(format!("it is about another issuer, `{}`", issuer.escape_debug()));
        }
        for key in ["authorization_endpoint", "token_endpoint"] {
            let endpoint = document.get(key).and_then(Value::as_str).unwrap_or_default();
            if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
                return Err(format!("`{key}` is not a URL"));
            }
        }
        Ok(document)
    }

    /// A client that registers itself (RFC 7591).
    async fn register(&self, exchange: &mut Exchange<'_>) -> Result<Reply, Fault> {
        let body = held(exchange)?;
        let parsed: Result<Document, _> = serde_json::from_slice(&body);
        let asked = parsed.map_err(|_| Fault(400, "invalid_client_metadata", "not a JSON object".to_owned()))?;
        let redirects =
            asked.get("redirect_uris").and_then(Value::as_array).filter(|it| it.iter().all(Value::is_string));
        if let Some(client) = &self.client_id {
            let redirects = redirects.filter(|it| !it.is_empty());
            let redirects = redirects.ok_or_else(|| {
                Fault(400, "invalid_redirect_uri", "`redirect_uris` is missing or strange".to_owned())
            })?;
            return Ok(json_reply(201, registered(client, &asked, redirects).to_string()));
        }
        let url = self.provider.registration(&self.issuer);
        let url = url.ok_or_else(|| Fault(404, "invalid_request", "clients do not register here".to_owned()))?;
        self.pass(exchange, &url, (JSON, body)).await
    }

    /// The browser on its way to the authorization server.
    async fn authorize(&self, exchange: &mut Exchange<'_>) -> Result<Reply, Fault> {
        let query = exchange.request.uri.query().unwrap_or_default().to_owned();
        if value(&query, "code_challenge_method") != Some("S256") || value(&query, "code_challenge").is_none() {
            return Err(Fault::request("PKCE with S256 is required"));
        }
        let document = self.document(exchange.outside).await?;
        let endpoint = document.get("authorization_endpoint").and_then(Value::as_str).unwrap_or_default();
        let mark = if endpoint.contains('?') { '&' } else { '?' };
        let location = HeaderValue::try_from(format!("{endpoint}{mark}{}", without(&query, "resource")));
        let location = location.map_err(|_| Fault::request("the query is strange"))?;
        let mut reply = Reply::text(302, Reason::DirectResponse, "");
        reply.headers.push((LOCATION, location));
        reply.headers.push((CACHE_CONTROL, HeaderValue::from_static("no-store")));
        Ok(reply)
    }

    /// A request for a token, passed on.
    async fn token(&self, exchange: &mut Exchange<'_>) -> Result<Reply, Fault> {
        let kind = exchange.request.headers.get(CONTENT_TYPE).map(|it| it.as_bytes()).unwrap_or_default();
        if !kind.get(..FORM.len()).is_some_and(|it| it.eq_ignore_ascii_case(FORM.as_bytes())) {
            return Err(Fault::request("the body is not a form"));
        }
        let body = held(exchange)?;
        let form = std::str::from_utf8(&body).map_err(|_| Fault::request("the body is not text"))?;
        let mut form = without(form, "resource");
        if let (Some(client), Some(secret)) = (&self.client_id, &self.client_secret)
            && value(&form, "client_id").is_some_and(|it| it == provider::encoded(client) || *it == **client)
            && matches!(value(&form, "grant_type"), Some("authorization_code" | "refresh_token"))
            && value(&form, "client_secret").is_none()
        {
            let secret = String::from_utf8_lossy(secret.expose());
            form.push_str("&client_secret=");
            form.push_str(&provider::encoded(&secret));
        }
        let document = self.document(exchange.outside).await?;
        let endpoint = document.get("token_endpoint").and_then(Value::as_str).unwrap_or_default().to_owned();
        // A secret goes to whom the operator named, whatever a document says.
        let written = self.provider.documents(&self.issuer);
        let written = written.first().and_then(|it| provider::origin(it)).map(|(origin, _)| origin);
        if provider::origin(&endpoint).map(|(origin, _)| origin) != written {
            return Err(Fault::unavailable("the authorization server names a token endpoint on another host"));
        }
        self.pass(exchange, &endpoint, (FORM, form.into())).await
    }

    /// Asks the authorization server and says what it said.
    async fn pass(&self, exchange: &Exchange<'_>, url: &str, post: (&'static str, Bytes)) -> Result<Reply, Fault> {
        let busy = || Fault::unavailable("too much is under way");
        let _turn = self.state.get(self).turn().ok_or_else(busy)?;
        let fetch = Fetch { url, accept: JSON, bytes_max: REQUEST_BYTES_MAX, post: Some(post) };
        match exchange.outside.fetch(fetch).await {
            Ok(Fetched { status, body, .. }) if (200..600).contains(&status) && !(300..400).contains(&status) => {
                Ok(json_reply(status, body))
            }
            Ok(Fetched { status, .. }) => Err(Fault::unavailable(format!("the server answered with {status}"))),
            // For the log: clients do not get to see it.
            Err(why) => Err(Fault::unavailable(why)),
        }
    }
}

/// The body of a request, all of it.
fn held(exchange: &Exchange<'_>) -> Result<Bytes, Fault> {
    match exchange.facts.body.held() {
        Some(held) if held.whole && held.bytes.len() <= REQUEST_BYTES_MAX => Ok(held.bytes.clone()),
        Some(_) => Err(Fault(413, "invalid_request", format!("larger than {REQUEST_BYTES_MAX} bytes"))),
        None => Err(Fault::request("the body cannot be read")),
    }
}

/// The one client that there is.
fn registered(client: &str, asked: &Document, redirects: &[Value]) -> Value {
    let mut answer = json!({
        "client_id": client,
        "client_id_issued_at": 0,
        "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "redirect_uris": redirects,
    });
    for key in ["client_name", "client_uri", "scope"] {
        if let (Some(Value::String(text)), Some(answer)) = (asked.get(key), answer.as_object_mut()) {
            answer.insert(key.to_owned(), Value::from(text.as_str()));
        }
    }
    answer
}

/// A text into a list of the document.
fn add(document: &mut Document, key: &str, text: &str) {
    let list = document.entry(key).or_insert_with(|| json!([]));
    if let Value::Array(list) = list
        && !list.iter().any(|it| it == text)
    {
        list.push(Value::from(text));
    }
}

/// The value of a form's only member of that name, as written.
fn value<'a>(form: &'a str, name: &str) -> Option<&'a str> {
    let mut values = form.split('&').filter_map(|pair| pair.split_once('=')).filter(|(key, _)| *key == name);
    let (_, value) = values.next()?;
    values.next().is_none().then_some(value).filter(|it| !it.is_empty())
}

fn without(form: &str, name: &str) -> String {
    let keeps = |pair: &&str| pair.split('=').next() != Some(name);
    form.split('&').filter(keeps).collect::<Vec<_>>().join("&")
}

const ALLOW_ORIGIN: HeaderName = http::header::ACCESS_CONTROL_ALLOW_ORIGIN;

fn preflight(allowed: &'static str) -> Reply {
    let mut reply = Reply::text(204, Reason::DirectResponse, "");
    for (name, value) in [
        (ALLOW_ORIGIN, "*"),
        (http::header::ACCESS_CONTROL_ALLOW_METHODS, allowed),
        (http::header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type, mcp-protocol-version"),
        (http::header::ACCESS_CONTROL_MAX_AGE, "600"),
    ] {
        reply.headers.push((name, HeaderValue::from_static(value)));
    }
    reply
}

fn json_reply(status: u16, body: impl Into<Bytes>) -> Reply {
    let headers = [(CONTENT_TYPE, JSON), (CACHE_CONTROL, "no-store"), (ALLOW_ORIGIN, "*")];
    let headers = headers.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect();
    Reply { status, headers, body: body.into(), reason: Reason::DirectResponse }
}

fn refused(fault: &Fault) -> Reply {
    let Fault(status, error, why) = fault;
    // What was fetched from where is for the log.
    let why = if *status == 503 { "the authorization server cannot be asked now" } else { why.as_str() };
    let mut reply = json_reply(*status, json!({"error": error, "error_description": why}).to_string());
    if *status == 503 {
        reply.headers.push((RETRY_AFTER, HeaderValue::from_static("5")));
        reply.reason = Reason::JwtAuth;
    }
    reply
}
