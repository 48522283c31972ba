//! `agentgateway mock-llm`: a provider without a model, to try things with and to test against.
//!
//! It speaks the dialects of OpenAI (chat completions, responses, embeddings, images, rerank, models), Anthropic,
//! Gemini and Bedrock (conversations), by path, streamed or not, and OpenAI's realtime. What it says follows from the request alone: the same words come back, input tokens
//! are a quarter of the bytes of the body, output tokens the words of the answer. A script changes that for models by
//! name: [`script`]. It is no gateway: it reads HTTP/1.1 from whoever connects, and checks no key unless told to.

mod anthropic;
mod bedrock;
mod gemini;
mod openai;
mod realtime;
pub mod script;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use protocols::llm::{Operation, error_body, locate, scan};
use tokio::net::TcpListener;

use script::{Rule, Script};

/// Longest request body.
const BODY_BYTES_MAX: usize = 64 << 20;
/// For a head to arrive; an idle connection ends by it too.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Words of the question that are said back.
const WORDS_MAX: usize = 200;

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// A question as far as answers follow from it.
struct Question {
    operation: Operation,
    model: String,
    stream: bool,
    include_usage: bool,
    input_tokens: u64,
    /// The words of the answer, each but the first with the space before it.
    words: Vec<String>,
    /// Inputs of embeddings, documents of rerank.
    items: usize,
    cached_tokens: u64,
    reasoning_tokens: u64,
    tool: Option<String>,
    /// Its arguments.
    tool_input: serde_json::Value,
    thinking: Option<String>,
}

/// What it says: a document, or events.
enum Said {
    Document(serde_json::Value),
    Events(Vec<String>),
    /// Of AWS's event stream.
    Frames(Vec<Vec<u8>>),
}

impl Question {
    fn text(&self) -> String {
        self.words.concat()
    }

    fn output_tokens(&self) -> u64 {
        self.words.len() as u64 + self.reasoning_tokens
    }
}

/// Serves until the process ends; tells the address once it is bound.
pub async fn serve(address: SocketAddr, script: Script, told: impl FnOnce(SocketAddr)) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    told(listener.local_addr()?);
    let script = Arc::new(script);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        // Small writes go out as they are made.
        let _ = stream.set_nodelay(true);
        let script = script.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| answer(script.clone(), request));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            // A client that leaves early leaves.
            let _ = connection.await;
        });
    }
}

async fn answer(script: Arc<Script>, mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let place = locate(&path);
    let refused = |status: u16, code: &str, text: &str| {
        let (body, header) = error_body(place.operation.dialect(), status, code, text);
        let mut response = document(status, body.into());
        if let Some((name, value)) = header {
            response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        response
    };
    if let Some(key) = &script.key
        && !script::carries(request.headers(), request.uri().query(), key)
    {
        return Ok(refused(401, "invalid_api_key", "no key, or a wrong one"));
    }
    if place.operation == Operation::Models {
        return Ok(document(200, openai::models(&script).to_string().into()));
    }
    if place.operation == Operation::Realtime {
        let session = realtime::answer(&script, &mut request).await;
        return Ok(session.unwrap_or_else(|(status, code, text)| refused(status, code, text)));
    }
    let body = match Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return Ok(refused(413, "request_too_large", "the body is too large, or broke off")),
    };
    let question = match question(&place, &body) {
        Ok(question) => question,
        Err(text) => return Ok(refused(400, "invalid_request_body", &text)),
    };
    let rule = script.rule(&question.model);
    let rule = rule.as_ref();
    if let Some(delay) = rule.and_then(|it| it.delay) {
        tokio::time::sleep(delay).await;
    }
    if let Some(status) = rule.and_then(|it| it.status) {
        let mut response = refused(status, "scripted", "as the script says");
        for (name, value) in rule.into_iter().flat_map(|it| &it.headers) {
            response.headers_mut().insert(name, value.clone());
        }
        return Ok(response);
    }
    let question = match rule {
        Some(rule) => rule.apply(question),
        None => question,
    };
    let said = match question.operation {
        Operation::Messages | Operation::CountTokens => anthropic::say(&question),
        Operation::GenerateContent | Operation::GeminiCountTokens => gemini::say(&question),
        Operation::Converse => bedrock::say(&question),
        Operation::Invoke | Operation::EmbedContent | Operation::Realtime | Operation::Passthrough => {
            return Ok(refused(404, "not_found", "the mock provider has nothing at this path"));
        }
        _ => openai::say(&question),
    };
    Ok(match said {
        Said::Document(it) => document(200, it.to_string().into()),
        Said::Events(events) => stream(events.into_iter().map(Bytes::from).collect(), "text/event-stream", rule),
        Said::Frames(frames) => {
            let frames = frames.into_iter().map(Bytes::from).collect();
            stream(frames, "application/vnd.amazon.eventstream", rule)
        }
    })
}

fn document(status: u16, body: Bytes) -> Response<Body> {
    let body = Full::new(body).map_err(|never: Infallible| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Events, with the pauses and the end that the script asks for.
fn stream(mut events: Vec<Bytes>, kind: &'static str, rule: Option<&Rule>) -> Response<Body> {
    let pause = rule.and_then(|it| it.pause);
    let cut = rule.and_then(|it| it.cut_after);
    if let Some(cut) = cut {
        events.truncate(cut);
    }
    let frames = futures::stream::iter(events).then(move |event| async move {
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
        Ok(Frame::data(event))
    });
    // What was said before goes out first: hyper writes when there is nothing to be had for a moment.
    let broken = futures::stream::iter(cut).then(|_| async {
        tokio::task::yield_now().await;
        Err(std::io::Error::other("cut, as the script says"))
    });
    let mut response = Response::new(BodyExt::boxed_unsync(StreamBody::new(frames.chain(broken))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Reads what is asked; the error is for the client.
fn question(place: &protocols::llm::Path<'_>, body: &[u8]) -> Result<Question, String> {
    let form = place.operation == Operation::Detect && !body.starts_with(b"{");
    let scanned = (!form).then(|| scan(place.operation, body)).transpose().map_err(|it| it.to_string())?;
    let model = place.model.as_deref().or(scanned.as_ref().and_then(|it| it.model.as_deref())).unwrap_or("mock");
    let asked: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let text =
        ["messages", "input", "contents"].iter().find_map(|it| asked.get(*it)).map(last_text).unwrap_or_default();
    let said = text.split_whitespace().take(WORDS_MAX);
    let words = ["You", "said:"].into_iter().chain(said).enumerate();
    let words = words.map(|(at, word)| if at == 0 { word.to_owned() } else { format!(" {word}") }).collect();
    let items = ["input", "documents"].iter().find_map(|it| asked.get(*it)?.as_array()).map_or(1, Vec::len);
    let tools = asked.get("tools").or_else(|| asked.get("toolConfig")?.get("tools")).and_then(|it| it.get(0));
    let tool = tools.and_then(|it| {
        let declared = it.get("functionDeclarations").and_then(|it| it.get(0));
        let named = it.get("function").or(declared).or_else(|| it.get("toolSpec")).unwrap_or(it);
        named.get("name")?.as_str().map(str::to_owned)
    });
    // A result of the tool is an answer's time.
    let results: [&[u8]; 5] =
        [b"\"tool\"", b"tool_result", b"functionResponse", b"function_call_output", b"toolResult"];
    let answered = text.is_empty() || results.iter().any(|it| contains(body, it));
    Ok(Question {
        operation: place.operation,
        model: model.to_owned(),
        stream: place.stream || scanned.as_ref().is_some_and(|it| it.stream),
        include_usage: scanned.as_ref().and_then(|it| it.include_usage).unwrap_or(false),
        input_tokens: (body.len() as u64).div_ceil(4),
        words,
        items,
        cached_tokens: 0,
        reasoning_tokens: 0,
        tool: tool.filter(|_| !answered),
        tool_input: serde_json::json!({}),
        thinking: None,
    })
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    memchr::memmem::find(body, text).is_some()
}

/// The last text in whatever a dialect has for it.
fn last_text(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Array(list) => list.last().map(last_text).unwrap_or_default(),
        serde_json::Value::Object(object) => {
            ["content", "parts", "text"].iter().find_map(|it| object.get(*it)).map(last_text).unwrap_or_default()
        }
        _ => String::new(),
    }
}

/// One event, with its name where the dialect has one.
fn event(name: Option<&str>, data: &serde_json::Value) -> String {
    match name {
        Some(name) => format!("event: {name}\ndata: {data}\n\n"),
        None => format!("data: {data}\n\n"),
    }
}
