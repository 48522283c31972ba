//! `agentgateway mcp ls | call | inspect URL`: a client for the command line, over Streamable HTTP.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use protocols::json::{self, Raw, quoted};
use protocols::mcp::transport::{EVENT_STREAM, JSON, PROTOCOL_VERSION, SESSION_ID};
use protocols::mcp::{List, Message, Version, answer, slim};
use protocols::sse::Reader;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::MESSAGE_BYTES_MAX;

/// Longest wait for one answer.
const DEADLINE: Duration = Duration::from_secs(60);

/// What is asked of a server.
pub enum Wish {
    /// Its tools, prompts and resources, by name.
    List,
    /// How much its tools take of a model's context, by the beginnings of their names.
    Weigh,
    /// Everything it says of itself, as JSON.
    Inspect,
    /// One tool, with arguments that are JSON.
    Call { tool: String, arguments: String },
}

/// A server and what to show it.
pub struct Client {
    uri: Uri,
    headers: HeaderMap,
    session: Option<HeaderValue>,
    version: Option<Version>,
    next: u64,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Client {
    /// # Errors
    /// The URL or a header is none.
    pub fn new(url: &str, headers: &[String]) -> anyhow::Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("`{url}` is not a URL"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
            bail!("`{url}` is not a URL: write http://host:port/path");
        }
        let mut map = HeaderMap::new();
        for line in headers {
            let (name, value) = line.split_once(':').ok_or_else(|| anyhow!("`{line}` is not `name: value`"))?;
            let name: http::HeaderName = name.trim().parse().with_context(|| format!("`{line}`"))?;
            map.append(name, HeaderValue::from_str(value.trim()).with_context(|| format!("`{line}`"))?);
        }
        Ok(Self { uri, headers: map, session: None, version: None, next: 1 })
    }

    /// Opens a session, asks, and closes it again. The text is for standard output; the flag: a tool failed.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses.
    pub async fn run(mut self, wish: &Wish) -> anyhow::Result<(String, bool)> {
        let opened = self.begin().await?;
        let done = match wish {
            Wish::List => self.list().await.map(|it| (it, false)),
            Wish::Weigh => self.weigh().await.map(|it| (it, false)),
            Wish::Inspect => self.inspect(&opened).await.map(|it| (it, false)),
            Wish::Call { tool, arguments } => self.call(tool, arguments).await,
        };
        self.end().await;
        done
    }

    /// Opens a session; what the server says of itself.
    async fn begin(&mut self) -> anyhow::Result<String> {
        let params = format!(
            r#"{{"protocolVersion":"{}","capabilities":{{}},"clientInfo":{{"name":"agentgateway","version":"{}"}}}}"#,
            Version::LEGACY,
            env!("CARGO_PKG_VERSION")
        );
        let opened = self.ask("initialize", &params).await.context("initialize")?;
        let said = json::parse(opened.as_bytes())?.get("protocolVersion").and_then(Raw::as_str);
        self.version = said.as_deref().and_then(Version::parse);
        self.post(answer::notification("notifications/initialized", "")).await?;
        Ok(opened)
    }

    async fn end(&mut self) {
        if self.session.is_some() {
            // The session ends by itself some day, if not now.
            let _ = self.exchange(Method::DELETE, String::new()).await;
        }
    }

    async fn list(&mut self) -> anyhow::Result<String> {
        let mut text = String::new();
        for list in List::ALL {
            for item in self.all(list).await? {
                let item = json::parse(item.as_bytes())?;
                let name = item.get(list.identity()).and_then(Raw::as_str).unwrap_or_default();
                let said = item.get("description").and_then(Raw::as_str).unwrap_or_default();
                let said = said.lines().next().unwrap_or_default().to_owned();
                text.push_str(format!("{:<18} {name:<40} {said}", list.key()).trim_end());
                text.push('\n');
            }
        }
        Ok(text)
    }

    /// Items of these lists, as it writes them.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses.
    pub async fn lists(mut self, lists: &[List]) -> anyhow::Result<Vec<(List, String)>> {
        self.begin().await?;
        let mut items = Ok(Vec::new());
        for list in lists {
            let listed = self.all(*list).await;
            items = items.and_then(|mut items: Vec<_>| {
                items.extend(listed?.into_iter().map(|it| (*list, it)));
                Ok(items)
            });
        }
        self.end().await;
        items
    }

    async fn weigh(&mut self) -> anyhow::Result<String> {
        let mut parts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for item in self.all(List::Tools).await? {
            let name = json::parse(item.as_bytes())?.get("name").and_then(Raw::as_str).map(|it| it.into_owned());
            let name = name.unwrap_or_default();
            let target = name.split_once('_').map_or("-", |(target, _)| target);
            for part in [target, "all"] {
                let (tools, bytes) = parts.entry(part.to_owned()).or_default();
                (*tools, *bytes) = (*tools + 1, *bytes + item.len());
            }
        }
        let mut text = format!("{:<30} {:>7} {:>10} {:>10}\n", "target", "tools", "bytes", "tokens");
        for (target, (tools, bytes)) in parts {
            text.push_str(&format!("{target:<30} {tools:>7} {bytes:>10} {:>10}\n", slim::tokens(bytes)));
        }
        Ok(text)
    }

    async fn inspect(&mut self, opened: &str) -> anyhow::Result<String> {
        let mut parts = vec![format!(r#""server":{opened}"#)];
        for list in List::ALL {
            let items = self.all(list).await?;
            parts.push(format!(r#""{}":[{}]"#, list.key(), items.join(",")));
        }
        let whole: serde_json::Value = serde_json::from_str(&format!("{{{}}}", parts.join(",")))?;
        Ok(format!("{whole:#}\n"))
    }

    /// All items of a list; none where the server has no such lists.
    async fn all(&mut self, list: List) -> anyhow::Result<Vec<String>> {
        let (mut items, mut params) = (Vec::new(), String::new());
        loop {
            let result = match self.ask(list.method(), &params).await {
                Ok(result) => result,
                Err(error) if error.to_string().contains("-32601") => return Ok(items),
                Err(error) => return Err(error.context(list.method())),
            };
            let result = json::parse(result.as_bytes())?;
            items.extend(list.items(result).map(|(_, item)| item.text().to_owned()));
            match result.get("nextCursor").and_then(Raw::as_str) {
                Some(cursor) if !cursor.is_empty() => params = format!(r#"{{"cursor":{}}}"#, quoted(&cursor)),
                _ => return Ok(items),
            }
        }
    }

    async fn call(&mut self, tool: &str, arguments: &str) -> anyhow::Result<(String, bool)> {
        json::parse(arguments.as_bytes()).map_err(|fault| anyhow!("the arguments: {fault}"))?;
        let params = format!(r#"{{"name":{},"arguments":{arguments}}}"#, quoted(tool));
        let result = self.ask("tools/call", &params).await?;
        let failed = json::parse(result.as_bytes())?.get("isError").and_then(Raw::as_bool) == Some(true);
        let whole: serde_json::Value = serde_json::from_str(&result)?;
        Ok((format!("{whole:#}\n"), failed))
    }

    /// The result of a request.
    async fn ask(&mut self, method: &str, params: &str) -> anyhow::Result<String> {
        let id = self.next.to_string();
        self.next += 1;
        let messages = self.post(answer::request(&id, method, params)).await?;
        for message in &messages {
            let Ok(parsed) = Message::parse(message) else { continue };
            if let Some(error) = parsed.error {
                bail!("the server answers with an error: {}", error.text());
            }
            if let Some(result) = parsed.result.filter(|_| parsed.answers(&id)) {
                return Ok(result.text().to_owned());
            }
        }
        bail!("the server does not answer")
    }

    async fn post(&mut self, message: String) -> anyhow::Result<Vec<Bytes>> {
        let exchange = tokio::time::timeout(DEADLINE, self.exchange(Method::POST, message));
        exchange.await.context("no answer in time")?
    }

    /// The messages of an answer.
    async fn exchange(&mut self, method: Method, body: String) -> anyhow::Result<Vec<Bytes>> {
        let stream = self.connect().await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let path = self.uri.path_and_query().map_or("/", |it| it.as_str());
        let authority = self.uri.authority().map_or("", |it| it.as_str());
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, authority)
            .header(header::ACCEPT, format!("{JSON}, {EVENT_STREAM}"))
            .header(header::CONTENT_TYPE, JSON);
        if let Some(session) = &self.session {
            request = request.header(SESSION_ID, session);
        }
        if let Some(version) = self.version {
            request = request.header(PROTOCOL_VERSION, version.as_str());
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let answer = sender.send_request(request.body(Full::new(Bytes::from(body)))?).await?;
        let (head, body) = answer.into_parts();
        if let Some(session) = head.headers.get(SESSION_ID) {
            self.session = Some(session.clone());
        }
        let body = Limited::new(body, MESSAGE_BYTES_MAX).collect().await;
        let body = body.map_err(|error| anyhow!("the answer breaks off: {error}"))?.to_bytes();
        if !head.status.is_success() {
            bail!("status {}: {}", head.status, String::from_utf8_lossy(&body).trim());
        }
        let kind = head.headers.get(header::CONTENT_TYPE).map_or("", |it| it.to_str().unwrap_or_default());
        if !kind.starts_with(EVENT_STREAM) {
            return Ok(vec![body]);
        }
        let mut messages = Vec::new();
        Reader::new(MESSAGE_BYTES_MAX).push(&body, &mut |event| messages.push(event.data))?;
        Ok(messages)
    }

    async fn connect(&self) -> anyhow::Result<Box<dyn Stream>> {
        let host = self.uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let tls = self.uri.scheme_str() == Some("https");
        let port = self.uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let socket =
            TcpStream::connect((host, port)).await.with_context(|| format!("cannot connect to {host}:{port}"))?;
        if !tls {
            return Ok(Box::new(socket));
        }
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from(host.to_owned())?;
        Ok(Box::new(TlsConnector::from(Arc::new(config)).connect(name, socket).await?))
    }
}
