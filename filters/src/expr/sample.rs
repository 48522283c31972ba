//! A made-up request for trying expressions out: JSON in the shape of the vocabulary.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Uri, Version};
use serde::Deserialize;

use super::inputs::{Backend, Body, Destination, Env, Inputs, Json, Names, Objects, Request, Response, Source, Times};
use super::time::{Duration, Timestamp};
use crate::identity::{ApiKey, Identity, Jwt, Peer, Spiffe};

/// What an expression is to see, as JSON: `{"request": {"method": "GET", …}, "jwt": {…}, …}`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Sample {
    request: Option<SampleRequest>,
    response: Option<SampleResponse>,
    proxy: SampleProxy,
    env: Option<SampleEnv>,
    jwt: Option<Json>,
    api_key: Option<Json>,
    basic_auth: Option<BasicAuth>,
    source: Option<SampleSource>,
    destination: Option<SampleDestination>,
    backend: Option<SampleBackend>,
    llm: Option<Json>,
    llm_request: Option<serde_json::Value>,
    mcp: Option<Json>,
    a2a: Option<Json>,
    extauthz: Option<Json>,
    extproc: Option<Json>,
    mcp_guardrails: Option<Json>,
    metadata: Option<Json>,
    #[serde(skip)]
    ready: Ready,
}

/// What is read out of it once.
#[derive(Debug, Default)]
struct Ready {
    uri: Uri,
    headers: HeaderMap,
    answer: HeaderMap,
    identity: Identity,
    env: Option<Env>,
    times: Times,
    host: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct SampleRequest {
    method: Option<String>,
    uri: Option<String>,
    host: Option<String>,
    scheme: Option<String>,
    path: Option<String>,
    path_and_query: Option<String>,
    version: Option<String>,
    headers: BTreeMap<String, OneOrMany>,
    body: Option<Content>,
    start_time: Option<String>,
    end_time: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct SampleResponse {
    code: u16,
    grpc_status: Option<u16>,
    headers: BTreeMap<String, OneOrMany>,
    body: Option<Content>,
}

/// A text, or a list of them.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// A text, or JSON that stands for its text.
#[derive(Debug, Deserialize)]
#[serde(from = "serde_json::Value")]
struct Content(Vec<u8>);

impl From<serde_json::Value> for Content {
    fn from(value: serde_json::Value) -> Self {
        Self(match value {
            serde_json::Value::String(text) => text.into_bytes(),
            other => other.to_string().into_bytes(),
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct SampleProxy {
    bind: String,
    gateway: Named,
    listener: Named,
    route: Named,
    request_processing_duration: Option<String>,
    upstream_duration: Option<String>,
    response_processing_duration: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Named {
    namespace: String,
    name: String,
    kind: String,
    rule: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct SampleEnv {
    pod_name: String,
    namespace: String,
    gateway: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BasicAuth {
    username: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SampleSource {
    address: IpAddr,
    port: Option<u16>,
    raw_address: Option<IpAddr>,
    raw_port: Option<u16>,
    spiffe_id: Option<String>,
    #[serde(default)]
    subject_alt_names: Vec<String>,
    issuer: Option<String>,
    subject: Option<String>,
    subject_cn: Option<String>,
    unverified_workload: Option<Json>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SampleDestination {
    address: Option<IpAddr>,
    #[serde(default)]
    port: u16,
    hostname: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SampleBackend {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    protocol: String,
}

impl Sample {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub fn read(json: serde_json::Value) -> Result<Self, String> {
        let mut sample: Self = serde_json::from_value(json).map_err(|error| format!("data: {error}"))?;
        sample.ready = sample.prepare()?;
        Ok(sample)
    }

    fn prepare(&mut self) -> Result<Ready, String> {
        let mut ready = Ready::default();
        if let Some(request) = &self.request {
            let target = request.path_and_query.as_deref().or(request.path.as_deref());
            let uri = request.uri.as_deref().or(target).unwrap_or("/");
            ready.uri = uri.parse().map_err(|_| format!("data.request.uri: `{}` is not a URI", uri.escape_debug()))?;
            ready.headers = headers(&request.headers)?;
            let of_uri = ready.uri.host().map(str::to_owned);
            ready.host = request.host.clone().or(of_uri).unwrap_or_default();
            ready.times.start = moment(request.start_time.as_deref())?;
            ready.times.end = moment(request.end_time.as_deref())?;
        }
        if let Some(response) = &self.response {
            ready.answer = headers(&response.headers)?;
        }
        ready.times.request_processing = span(self.proxy.request_processing_duration.as_deref())?;
        ready.times.upstream = span(self.proxy.upstream_duration.as_deref())?;
        ready.times.response_processing = span(self.proxy.response_processing_duration.as_deref())?;
        ready.identity = self.identity();
        ready.env =
            self.env.take().map(|SampleEnv { pod_name, namespace, gateway }| Env { pod_name, namespace, gateway });
        Ok(ready)
    }

    fn identity(&mut self) -> Identity {
        let secret = |claims: &mut Json, name: &str| {
            let value = claims.remove(name).and_then(|it| it.as_str().map(|it| it.as_bytes().to_vec()));
            ir::Secret::new(value.unwrap_or_default())
        };
        let jwt = self.jwt.take().map(|mut claims| {
            let token = secret(&mut claims, "rawToken");
            let issuer = claims.get("iss").and_then(serde_json::Value::as_str).unwrap_or_default().into();
            Arc::new(Jwt { claims, token, issuer })
        });
        let api_key = self.api_key.take().map(|mut metadata| {
            let key = secret(&mut metadata, "key");
            Arc::new(ApiKey::new(key, Some(serde_json::Value::from(metadata).to_string().into())))
        });
        let basic = self.basic_auth.take().map(|it| it.username.into());
        let has_peer = |it: &&SampleSource| {
            it.spiffe_id.is_some() || it.subject.is_some() || it.subject_cn.is_some() || it.issuer.is_some()
        };
        let peer = self.source.as_ref().filter(has_peer).map(|it| {
            let mut peer = Peer::new(Arc::default());
            peer.spiffe = it.spiffe_id.as_deref().and_then(Spiffe::parse);
            peer.names = it.subject_alt_names.iter().map(|name| name.as_str().into()).collect();
            peer.issuer = it.issuer.clone().unwrap_or_default().into();
            peer.subject = it.subject.clone().unwrap_or_default().into();
            peer.common_name = it.subject_cn.clone().map(Into::into);
            Arc::new(peer)
        });
        Identity { jwt, api_key, basic, peer }
    }

    /// As an evaluation takes it.
    pub fn inputs(&self) -> Inputs<'_> {
        let ready = &self.ready;
        let mut inputs = Inputs { identity: Some(&ready.identity), times: ready.times, ..Inputs::of_process() };
        if let Some(request) = &self.request {
            inputs.request = Some(Request {
                method: request.method.as_deref().unwrap_or("GET"),
                uri: &ready.uri,
                target: request.path_and_query.as_deref(),
                host: &ready.host,
                scheme: match request.scheme.as_deref().or(ready.uri.scheme_str()) {
                    Some("https") => "https",
                    Some(_) | None => "http",
                },
                version: match request.version.as_deref() {
                    Some("HTTP/1.0") => Version::HTTP_10,
                    Some("HTTP/2.0" | "HTTP/2") => Version::HTTP_2,
                    Some(_) | None => Version::HTTP_11,
                },
                headers: &ready.headers,
            });
            inputs.request_body = request.body.as_ref().map(|it| Body { bytes: &it.0, truncated: false });
        }
        if let Some(response) = &self.response {
            let SampleResponse { code, grpc_status, body, headers: _ } = response;
            inputs.response = Some(Response { code: *code, grpc_status: *grpc_status, headers: Some(&ready.answer) });
            inputs.response_body = body.as_ref().map(|it| Body { bytes: &it.0, truncated: false });
        }
        inputs.source = self.source.as_ref().map(|it| Source {
            address: it.address,
            port: it.port,
            raw_address: it.raw_address.unwrap_or(it.address),
            raw_port: it.raw_port.or(it.port),
            workload: it.unverified_workload.as_ref(),
            connect_headers: None,
        });
        inputs.destination = self.destination.as_ref().map(|it| Destination {
            address: it.address,
            port: it.port,
            hostname: it.hostname.as_deref(),
        });
        inputs.backend =
            self.backend.as_ref().map(|it| Backend { name: &it.name, kind: &it.kind, protocol: &it.protocol });
        inputs.env = ready.env.as_ref().or(inputs.env);
        inputs.names = self.names();
        inputs.objects = Objects {
            llm: self.llm.as_ref(),
            llm_request: self.llm_request.as_ref(),
            mcp: self.mcp.as_ref(),
            a2a: self.a2a.as_ref(),
            extauthz: self.extauthz.as_ref(),
            extproc: self.extproc.as_ref(),
            guardrails: self.mcp_guardrails.as_ref(),
            metadata: self.metadata.as_ref(),
        };
        inputs
    }

    fn names(&self) -> Names<'_> {
        let SampleProxy { bind, gateway, listener, route, .. } = &self.proxy;
        Names {
            bind,
            gateway_namespace: &gateway.namespace,
            gateway: &gateway.name,
            listener: &listener.name,
            route_namespace: &route.namespace,
            route: &route.name,
            route_kind: &route.kind,
            route_rule: &route.rule,
        }
    }
}

fn headers(written: &BTreeMap<String, OneOrMany>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, values) in written {
        let values = match values {
            OneOrMany::One(value) => std::slice::from_ref(value),
            OneOrMany::Many(values) => values,
        };
        let name = crate::head::any_name(name).map_err(|reason| format!("data: {reason}"))?;
        for value in values {
            let value = HeaderValue::from_bytes(value.as_bytes())
                .map_err(|_| format!("data: the value of `{name}` is not a header value"))?;
            headers.append(HeaderName::clone(&name), value);
        }
    }
    Ok(headers)
}

fn moment(text: Option<&str>) -> Result<Option<Timestamp>, String> {
    let read = |text: &str| Timestamp::parse(text).ok_or_else(|| format!("data: `{text}` is not a moment"));
    text.map(read).transpose()
}

fn span(text: Option<&str>) -> Result<Option<Duration>, String> {
    let read = |text: &str| Duration::parse(text).ok_or_else(|| format!("data: `{text}` is not a duration"));
    text.map(read).transpose()
}
