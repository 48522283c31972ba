//! OpenAI's realtime API: a WebSocket on which every answer is what a script says, or the client's own words.

use bytes::BytesMut;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use protocols::websocket::{self, Opcode, Piece, Reader, Side, unmask};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::script::{Rule, Script};
use super::{Body, WORDS_MAX, last_text};

const KEY: HeaderName = HeaderName::from_static("sec-websocket-key");
const ACCEPT: HeaderName = HeaderName::from_static("sec-websocket-accept");
const PROTOCOL: HeaderName = HeaderName::from_static("sec-websocket-protocol");

/// Longest message of a client.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// A little silence: two samples of sound.
const SOUND: &str = "AAAAAA==";

/// Shakes hands as the script wants it; the error is for the client.
pub(super) async fn answer(
    script: &Script,
    request: &mut Request<Incoming>,
) -> Result<Response<Body>, (u16, &'static str, &'static str)> {
    let model = request.uri().query().and_then(|it| it.split('&').find_map(|it| it.strip_prefix("model=")));
    let model = model.unwrap_or("mock").to_owned();
    let rule = script.rule(&model);
    if let Some(delay) = rule.as_ref().and_then(|it| it.delay) {
        tokio::time::sleep(delay).await;
    }
    if let Some(status) = rule.as_ref().and_then(|it| it.status) {
        return Err((status, "scripted", "as the script says"));
    }
    open(request, model, rule).ok_or((426, "upgrade_required", "this is a WebSocket"))
}

/// Talks once hands are shaken. Nothing where this is no handshake.
fn open(request: &mut Request<Incoming>, model: String, rule: Option<Rule>) -> Option<Response<Body>> {
    let key = request.headers().get(&KEY)?.to_str().ok()?;
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(ACCEPT, HeaderValue::from_str(&websocket::accept(key)).ok()?);
    let offered = request.headers().get(&PROTOCOL).and_then(|it| it.to_str().ok()).unwrap_or_default();
    if offered.split(',').any(|it| it.trim() == "realtime") {
        headers.insert(PROTOCOL, HeaderValue::from_static("realtime"));
    }
    let upgraded = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgraded.await else { return };
        let mut session = Session { model, rule, text: String::new(), bytes: 0, speaks: false, events: 0 };
        // A client that leaves early leaves.
        let _ = Box::pin(session.run(TokioIo::new(upgraded))).await;
    });
    Some(response)
}

struct Session {
    model: String,
    rule: Option<Rule>,
    /// What the client said last.
    text: String,
    /// Bytes of what it has said since the last answer.
    bytes: usize,
    /// Answers are sounds with their transcript.
    speaks: bool,
    events: usize,
}

type Link = TokioIo<hyper::upgrade::Upgraded>;

impl Session {
    async fn run(&mut self, mut link: Link) -> std::io::Result<()> {
        let session = self.session();
        self.say(&mut link, &[json!({"type": "session.created", "session": session})]).await?;
        let (mut reader, mut message, mut control) = (Reader::new(Side::Client), Vec::new(), Vec::new());
        let (mut piece, mut within) = ([0_u8; 16 << 10], false);
        loop {
            let read = link.read(&mut piece).await?;
            let mut rest = piece.get(..read).unwrap_or_default();
            if rest.is_empty() {
                return Ok(());
            }
            while let Some(it) = reader.next(&mut rest).map_err(std::io::Error::other)? {
                match it {
                    Piece::Head(head) => within = head.opcode.is_control(),
                    Piece::Payload(bytes) if within => control.extend_from_slice(bytes),
                    Piece::Payload(bytes) => message.extend_from_slice(bytes),
                    Piece::End(head) => {
                        let held = if head.opcode.is_control() { &mut control } else { &mut message };
                        if held.len() > MESSAGE_BYTES_MAX || !head.fin {
                            return Err(std::io::Error::other("a message is too long, or in parts"));
                        }
                        let mut whole = std::mem::take(held);
                        unmask(&mut whole, head.key.unwrap_or_default(), 0);
                        let mut out = BytesMut::new();
                        match head.opcode {
                            Opcode::Close => {
                                websocket::write(&mut out, Opcode::Close, None, &whole);
                                link.write_all(&out).await?;
                                return link.shutdown().await;
                            }
                            Opcode::Ping => websocket::write(&mut out, Opcode::Pong, None, &whole),
                            Opcode::Pong => {}
                            _ => self.hear(&mut link, &whole).await?,
                        }
                        link.write_all(&out).await?;
                    }
                }
            }
        }
    }

    fn session(&self) -> Value {
        let modality = if self.speaks { "audio" } else { "text" };
        json!({"id": "sess_mock", "object": "realtime.session", "type": "realtime", "model": self.model,
            "output_modalities": [modality], "instructions": "", "tools": [], "tool_choice": "auto",
            "max_output_tokens": "inf"})
    }

    async fn say(&mut self, link: &mut Link, events: &[Value]) -> std::io::Result<()> {
        for event in events {
            let mut event = event.clone();
            if let Some(event) = event.as_object_mut() {
                self.events += 1;
                event.insert("event_id".to_owned(), format!("event_mock_{}", self.events).into());
            }
            let mut out = BytesMut::new();
            websocket::write(&mut out, Opcode::Text, None, event.to_string().as_bytes());
            link.write_all(&out).await?;
        }
        link.flush().await
    }

    async fn hear(&mut self, link: &mut Link, message: &[u8]) -> std::io::Result<()> {
        let event: Value = serde_json::from_slice(message).unwrap_or_default();
        let modalities = |it: &Value| Some(it.get("output_modalities")?.as_array()?.contains(&json!("audio")));
        self.bytes += message.len();
        let kind = event.get("type").and_then(Value::as_str).unwrap_or_default();
        match kind {
            "session.update" => {
                self.speaks = event.get("session").and_then(modalities).unwrap_or(self.speaks);
                let session = self.session();
                self.say(link, &[json!({"type": "session.updated", "session": session})]).await
            }
            "conversation.item.create" => {
                let mut item = event.get("item").cloned().unwrap_or_default();
                self.text = last_text(&item);
                if let Some(item) = item.as_object_mut() {
                    item.insert("id".to_owned(), "item_user".into());
                    item.insert("status".to_owned(), "completed".into());
                }
                let told = |kind: &str| json!({"type": kind, "previous_item_id": null, "item": item});
                self.say(link, &[told("conversation.item.added"), told("conversation.item.done")]).await
            }
            "input_audio_buffer.append" => Ok(()),
            "input_audio_buffer.commit" => {
                self.say(link, &[json!({"type": "input_audio_buffer.committed", "item_id": "item_user"})]).await
            }
            "response.create" => {
                let speaks = event.get("response").and_then(modalities).unwrap_or(self.speaks);
                self.answer(link, speaks).await
            }
            _ => {
                let text = format!("Invalid value: '{kind}'.");
                let error = json!({"type": "invalid_request_error", "code": "invalid_value", "message": text,
                    "param": "type", "event_id": event.get("event_id")});
                self.say(link, &[json!({"type": "error", "error": error})]).await
            }
        }
    }

    fn words(&self) -> Vec<String> {
        match self.rule.as_ref().and_then(|it| it.text()) {
            Some(text) => text.split_inclusive(' ').map(str::to_owned).collect(),
            None => {
                let said = self.text.split_whitespace().take(WORDS_MAX);
                let words = ["You", "said:"].into_iter().chain(said).enumerate();
                words.map(|(at, word)| if at == 0 { word.to_owned() } else { format!(" {word}") }).collect()
            }
        }
    }

    async fn answer(&mut self, link: &mut Link, speaks: bool) -> std::io::Result<()> {
        let words = self.words();
        let (pause, cut) = self.rule.as_ref().map_or((None, None), |it| (it.pause, it.cut_after));
        let (part, kind) = match speaks {
            true => ("output_audio", "response.output_audio_transcript"),
            false => ("output_text", "response.output_text"),
        };
        let response = json!({"id": "resp_mock", "object": "realtime.response", "status": "in_progress", "output": [],
            "max_output_tokens": "inf", "usage": null});
        let item =
            json!({"id": "item_mock", "type": "message", "role": "assistant", "status": "in_progress", "content": []});
        self.say(
            link,
            &[
                json!({"type": "response.created", "response": response}),
                json!({"type": "response.output_item.added", "response_id": "resp_mock", "output_index": 0, "item": item}),
            ],
        )
        .await?;
        let place = |kind: String| {
            json!({"type": kind, "response_id": "resp_mock", "item_id": "item_mock", "output_index": 0,
                "content_index": 0})
        };
        let with = |mut event: Value, name: &str, text: &str| {
            if let Some(event) = event.as_object_mut() {
                event.insert(name.to_owned(), text.into());
            }
            event
        };
        for (at, word) in words.iter().enumerate() {
            if cut.is_some_and(|cut| at >= cut) {
                return Err(std::io::Error::other("cut, as the script says"));
            }
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
            let mut events = vec![with(place(format!("{kind}.delta")), "delta", word)];
            if speaks {
                events.push(with(place("response.output_audio.delta".to_owned()), "delta", SOUND));
            }
            self.say(link, &events).await?;
        }
        let text = words.concat();
        let name = if speaks { "transcript" } else { "text" };
        let said = with(json!({"type": part}), name, &text);
        let item = json!({"id": "item_mock", "type": "message", "role": "assistant", "status": "completed",
            "content": [said]});
        let response = json!({"id": "resp_mock", "object": "realtime.response", "status": "completed",
            "output": [item], "usage": self.usage(words.len(), speaks)});
        self.say(
            link,
            &[
                with(place(format!("{kind}.done")), name, &text),
                json!({"type": "response.output_item.done", "response_id": "resp_mock", "output_index": 0, "item": item}),
                json!({"type": "response.done", "response": response}),
            ],
        )
        .await
    }

    /// Input is a quarter of what the client has said since the last answer, output the words of this one.
    fn usage(&mut self, output: usize, speaks: bool) -> Value {
        let input = std::mem::take(&mut self.bytes).div_ceil(4);
        let cached = self.rule.as_ref().map_or(0, |it| it.cached_tokens).min(input as u64);
        let (text, audio) = if speaks { (0, output) } else { (output, 0) };
        json!({"total_tokens": input + output, "input_tokens": input, "output_tokens": output,
            "input_token_details": {"text_tokens": input, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": cached,
                "cached_tokens_details": {"text_tokens": cached, "audio_tokens": 0}},
            "output_token_details": {"text_tokens": text, "audio_tokens": audio}})
    }
}
