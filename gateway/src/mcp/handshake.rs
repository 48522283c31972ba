//! How a session with a server begins, in the era that both have: the client's own where the server has it too.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::StatusCode;
use protocols::json::{self, Raw, quoted};
use protocols::mcp::session::{Name, Opened, SERVER_ID_BYTES_MAX};
use protocols::mcp::transport::SESSION_ID;
use protocols::mcp::{Message, Version, answer, modern};

use super::call::Terms;
use super::fault::Fault;
use super::federation::{Endpoint, Reach};
use super::state::Era;
use super::talk::{Talk, affinity};
use super::target::{Answer, LINE, OPENING_ID, answer_of, find_answer, post_head, refusal, result_of};
use super::{TARGET_DEADLINE, Target, legacy, openapi, stdio};

impl Target {
    pub(super) async fn shake(
        self: &Arc<Self>,
        talk: &Talk,
        client: &str,
        name: &Name,
    ) -> Result<(Opened, Bytes), Fault> {
        if let Reach::OpenApi(_, document) = &self.reach {
            let (version, message) = openapi::opened(self, talk, document, (OPENING_ID, client)).await?;
            return Ok((Opened { target: self.name.to_string(), id: None, version }, message));
        }
        let Some(endpoint) = self.http()? else { return self.shake_line(talk, client, name).await };
        let now = Instant::now();
        let (era, modern) = (self.state.era(now), talk.is_modern());
        // A client gets its own era where the server has both.
        let asks = if modern { era != Era::Legacy } else { era == Era::Modern && self.state.refuses_handshakes() };
        if asks && let Some(found) = self.discover(talk, endpoint, client).await? {
            return Ok(found);
        }
        match self.initialize(talk, endpoint, (client, name)).await {
            Err(Fault::Refused(_, error)) if speaks_modern(&error) => {
                self.state.refuse_handshakes();
                self.discover(talk, endpoint, client).await?.ok_or(Fault::Error(error))
            }
            // A server of both eras that keeps no session for elder clients cannot ask them anything; in the other era it
            // can. One that knows no other is found out about once in a while.
            Ok((opened, message)) if opened.id.is_none() && !modern && era != Era::Legacy => {
                let found = self.discover(talk, endpoint, client).await.ok().flatten();
                Ok(found.unwrap_or((opened, message)))
            }
            shaken => shaken,
        }
    }

    async fn initialize(
        self: &Arc<Self>,
        talk: &Talk,
        endpoint: &Endpoint,
        (client, name): (&str, &Name),
    ) -> Result<(Opened, Bytes), Fault> {
        let body = Bytes::from(answer::request(OPENING_ID, "initialize", client));
        let head = post_head(talk, endpoint, None, &body).await?;
        let affinity = Some(affinity(name, self));
        let terms = Terms { deadline: TARGET_DEADLINE, again: true, affinity };
        let reply = talk.mcp.caller.send(endpoint, &head, Some(body), terms).await?;
        if reply.status != StatusCode::OK {
            return Err(refusal(reply, false).await);
        }
        let id = match reply.headers.get(SESSION_ID).map(|it| it.to_str()) {
            Some(Ok(id)) if id.len() <= SERVER_ID_BYTES_MAX => Some(id.to_owned()),
            Some(_) => return Err(Fault::Message("a session id that is too long or not ASCII".to_owned())),
            None => None,
        };
        let message = match answer_of(reply).await? {
            Answer::Message(message) => message,
            Answer::Stream(mut events) => find_answer(&mut events, OPENING_ID, |_| {}).await?,
            Answer::Accepted => return Err(Fault::Silent),
        };
        let version = match version_of(&message) {
            // It came with status 200, as errors of programs do.
            Err(Fault::Error(error)) => return Err(Fault::Refused(200, error)),
            version => version?,
        };
        self.state.keep_about(talk.audience(), message.clone());
        let opened = Opened { target: self.name.to_string(), id, version };
        let ready = Bytes::from(answer::notification("notifications/initialized", ""));
        let head = post_head(talk, endpoint, Some(&opened), &ready).await?;
        let reply = talk.mcp.caller.send(endpoint, &head, Some(ready), terms).await?;
        reply.discard().await;
        Ok((opened, message))
    }

    /// As [`Self::shake`], on a line of its own.
    async fn shake_line(self: &Arc<Self>, talk: &Talk, client: &str, name: &Name) -> Result<(Opened, Bytes), Fault> {
        let line = match &self.reach {
            Reach::Stdio(process) => stdio::start(&self.name, process)?,
            _ => legacy::connect(talk, self, Some(affinity(name, self))).await?,
        };
        let mut coming = line.ask(OPENING_ID, answer::request(OPENING_ID, "initialize", client).into()).await?;
        let message = loop {
            let event = coming.recv().await.ok_or(Fault::Silent)?;
            if Message::parse(&event.data).is_ok_and(|it| it.answers(OPENING_ID)) {
                break event.data;
            }
        };
        let opened =
            Opened { target: self.name.to_string(), id: Some(LINE.to_owned()), version: version_of(&message)? };
        self.state.keep_about(talk.audience(), message.clone());
        line.tell(answer::notification("notifications/initialized", "").into()).await?;
        let most = match &self.reach {
            Reach::Stdio(process) => process.instances_max,
            _ => None,
        };
        talk.mcp.lines.keep(name, (&self.name, most), line)?;
        Ok((opened, message))
    }
}

/// The version in an answer to `initialize`.
fn version_of(message: &[u8]) -> Result<Version, Fault> {
    let result = result_of(message, OPENING_ID)?;
    let version = result.get("protocolVersion").and_then(Raw::as_str).unwrap_or_default();
    Version::parse(&version).ok_or_else(|| Fault::Message(format!("version {}", quoted(&version))))
}

/// Whether an error is one of a server that knows no handshake.
fn speaks_modern(error: &str) -> bool {
    let Ok(error) = json::parse(error.as_bytes()) else { return false };
    let unknown = error.get("code").map(Raw::text) == Some("-32601");
    let of_meta = error.get("code").map(Raw::text) == Some("-32602")
        && error.get("message").and_then(Raw::as_str).is_some_and(|it| it.contains("_meta"));
    unknown || of_meta || modern::is_modern_error(error)
}
