//! An HTTP API as a server: what a server would say is said here, and calls become requests over the gateway's own
//! connections, under the policies of the target.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use filters::Outside as _;
use filters::outside::Fetch;
use http::{HeaderValue, Method, header};
use ir::{McpDocument, Text};
use protocols::json::{self, Raw, quoted};
use protocols::mcp::transport::JSON;
use protocols::mcp::{Message, Shape, Version, answer};
use protocols::openapi::call::{refused, result};
use protocols::openapi::document::DOCUMENT_BYTES_MAX;
use protocols::openapi::{Api, Operation};

use super::Target;
use super::call::Terms;
use super::fault::Fault;
use super::federation::Endpoint;
use super::talk::{Talk, insert};
use super::target::{Answer, CALL_DEADLINE, Sending};

/// How long a document is believed that was fetched.
const DOCUMENT_TTL: Duration = Duration::from_secs(300);
/// After a fetch that failed, how long none is tried again.
const DOCUMENT_PAUSE: Duration = Duration::from_secs(5);

/// What is known of a document.
#[derive(Default)]
pub(super) struct Known {
    /// The document, or its URL.
    of: Option<Text>,
    api: Option<Arc<Api>>,
    /// Until when it is not fetched again.
    until: Option<Instant>,
}

/// The API as its document has it. One fetches, others wait; what was fetched before serves on where it cannot be had.
async fn api(target: &Target, talk: &Talk, document: &McpDocument) -> Result<Arc<Api>, Fault> {
    let (McpDocument::Text(of) | McpDocument::Url(of)) = document;
    let mut known = target.state.api.lock().await;
    if known.of.as_ref() != Some(of) {
        *known = Known { of: Some(of.clone()), ..Known::default() };
    }
    let broken = |why: String| Fault::Broken(format!("no usable OpenAPI document: {why}").into());
    match document {
        McpDocument::Text(text) => {
            if known.api.is_none() {
                known.api = Some(read(target, text.as_bytes()).map_err(broken)?);
            }
        }
        McpDocument::Url(url) if known.until.is_none_or(|until| until <= Instant::now()) => {
            let fetch = Fetch { url, accept: JSON, bytes_max: DOCUMENT_BYTES_MAX, post: None };
            let fetched = talk.world.fetch(fetch).await.and_then(|it| read(target, &it.body));
            known.until = Some(Instant::now() + if fetched.is_ok() { DOCUMENT_TTL } else { DOCUMENT_PAUSE });
            match fetched {
                Ok(api) => known.api = Some(api),
                Err(why) if known.api.is_none() => return Err(broken(why)),
                Err(why) => {
                    tracing::warn!(target_name = &*target.name, error = %why, "an OpenAPI document is not had anew")
                }
            }
        }
        McpDocument::Url(_) => {}
    }
    known.api.clone().ok_or_else(|| broken("it could not be fetched a moment ago".to_owned()))
}

fn read(target: &Target, text: &[u8]) -> Result<Arc<Api>, String> {
    let api = Api::parse(text)?;
    if let Some(first) = api.left_out.first() {
        let left_out = api.left_out.len();
        tracing::info!(
            target_name = &*target.name,
            left_out,
            first,
            tools = api.operations.len(),
            "operations are no tools"
        );
    }
    Ok(Arc::new(api))
}

/// What it says of itself, as the answer to `initialize`.
pub(super) async fn opened(
    target: &Target,
    talk: &Talk,
    document: &McpDocument,
    (id, client): (&str, &str),
) -> Result<(Version, Bytes), Fault> {
    let api = api(target, talk, document).await?;
    let asked = json::parse(client.as_bytes()).ok().and_then(|it| it.get("protocolVersion")?.as_str());
    let version = Version::negotiate(asked.as_deref());
    let said = format!(
        r#"{{"protocolVersion":"{version}","capabilities":{{"tools":{{}}}},"serverInfo":{{"name":{},"version":{}}}}}"#,
        quoted(if api.title.is_empty() { &target.name } else { &api.title }),
        quoted(&api.version)
    );
    Ok((version, answer::result(id, &said).into()))
}

/// The answer to a message.
pub(super) async fn answer(
    target: &Target,
    talk: &Talk,
    (endpoint, document): (&Endpoint, &McpDocument),
    sending: Sending,
) -> Result<Answer, Fault> {
    let message = Message::parse(&sending.body).map_err(|fault| Fault::Message(fault.to_string()))?;
    if message.shape() != Shape::Request {
        return Ok(Answer::Accepted);
    }
    let id = message.id.map_or("null", Raw::text);
    let said = match message.method() {
        "ping" => "{}".to_owned(),
        "tools/list" => {
            let api = api(target, talk, document).await?;
            let tools: Vec<&str> = api.operations.iter().map(|it| it.tool.as_str()).collect();
            format!(r#"{{"tools":[{}]}}"#, tools.join(","))
        }
        "tools/call" => {
            let api = api(target, talk, document).await?;
            let name = message.param("name").ok().flatten().and_then(Raw::as_str).unwrap_or_default();
            let operation =
                api.operation(&name).ok_or_else(|| error(answer::INVALID_PARAMS, &format!("Unknown tool: {name}")))?;
            let arguments = message.params.and_then(|it| it.get("arguments")).map_or("{}", Raw::text);
            called(talk, (endpoint, &api, operation), arguments, sending.deadline).await?
        }
        "prompts/list" => r#"{"prompts":[]}"#.to_owned(),
        "resources/list" => r#"{"resources":[]}"#.to_owned(),
        "resources/templates/list" => r#"{"resourceTemplates":[]}"#.to_owned(),
        method => return Err(error(answer::METHOD_NOT_FOUND, &format!("method not found: {method}"))),
    };
    Ok(Answer::Message(answer::result(id, &said).into()))
}

fn error(code: i32, text: &str) -> Fault {
    Fault::Error(format!(r#"{{"code":{code},"message":{}}}"#, quoted(text)))
}

async fn called(
    talk: &Talk,
    (endpoint, api, operation): (&Endpoint, &Api, &Operation),
    arguments: &str,
    deadline: Option<Duration>,
) -> Result<String, Fault> {
    let arguments = serde_json::from_str(arguments).map_err(|fault| Fault::Message(fault.to_string()))?;
    let request = match operation.request(&arguments) {
        Ok(request) => request,
        // For the model to mend.
        Err(why) => return Ok(refused(&why)),
    };
    let path = match endpoint.path.trim_end_matches('/') {
        "" => request.target,
        base => format!("{base}{}", request.target.strip_prefix(&*api.prefix).unwrap_or(&request.target)),
    };
    let content = match request.body {
        Some((kind, body)) => {
            let kind = HeaderValue::from_str(&kind).map_err(|fault| Fault::Message(fault.to_string()))?;
            Some((kind, Bytes::from(body)))
        }
        None => None,
    };
    let bytes = content.as_ref().map_or(&b""[..], |(_, body)| body);
    let mut head = talk.head(endpoint, (&operation.method, &path), bytes).await?;
    for (name, value) in request.headers {
        // What the gateway or its policies say stands.
        if !head.headers.contains_key(&name) {
            insert(&mut head, name, value)?;
        }
    }
    insert(&mut head, header::ACCEPT, HeaderValue::from_static("application/json, */*;q=0.5"))?;
    let body = match content {
        Some((kind, body)) => {
            insert(&mut head, header::CONTENT_TYPE, kind)?;
            Some(body)
        }
        // Else some servers wait for one.
        None if !matches!(operation.method, Method::GET | Method::HEAD | Method::OPTIONS) => Some(Bytes::new()),
        None => None,
    };
    let deadline = deadline.or_else(|| endpoint.effective.timeout()?.backend_request).unwrap_or(CALL_DEADLINE);
    let again = operation.method.is_safe();
    let reply = talk.mcp.caller.send(endpoint, &head, body, Terms { deadline, again, affinity: None }).await?;
    let status = reply.status.as_u16();
    if status >= 500 {
        reply.discard().await;
        return Err(Fault::Status(status));
    }
    let is_bare = operation.method == Method::HEAD || matches!(status, 204 | 304);
    let body = if is_bare { Bytes::new() } else { reply.collect().await? };
    Ok(result(status, &body))
}
