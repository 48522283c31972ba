//! A session of OpenAI's realtime API while it passes: events in both directions over one WebSocket.
//!
//! [`Talk`] is told what client and provider send and gives what goes on. What nobody guards passes as the same bytes, at
//! once, and is only watched: answers that begin and end, and what they used. Where there are rules each message is held
//! until it is whole; what a client says is judged before the provider gets it, what a model says is held back as in any
//! stream. A message that nothing is changed of goes on as the same text, in one frame.
//!
//! What the gateway itself says to a client is put in between two messages of the provider. So that there is an
//! occasion, the provider is sent a ping where a client's message was refused, and its answer is taken out.

mod guarded;
mod watch;

use bytes::{Bytes, BytesMut};

use super::tap::Seen;
use crate::json::quoted;
use crate::websocket::{self, Opcode, Piece, Reader, Side};
use guarded::Guarded;
pub use guarded::Rules;
pub use watch::Moment;
use watch::Watch;

/// RFC 6455 section 7.4.1: the session breaks a rule of whoever runs this.
const POLICY_VIOLATION: u16 = 1008;

/// Why a session goes no further: a code for programs, a text for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: &'static str,
    pub text: String,
}

/// See the file.
#[derive(Debug)]
pub struct Talk {
    client: Reader,
    provider: Reader,
    watch: Watch,
    guarded: Option<Box<Guarded>>,
    /// The message under way is text.
    is_text: bool,
    /// The frame under way belongs to no message.
    is_control: bool,
    /// Nothing more is seen of it: it is no WebSocket any more.
    garbled: bool,
    /// The gateway has ended it.
    over: bool,
    /// The provider was told so.
    parted: bool,
    said: u32,
}

impl Talk {
    pub fn new(is_guarded: bool) -> Self {
        Self {
            client: Reader::new(Side::Client),
            provider: Reader::new(Side::Server),
            watch: Watch::new(),
            guarded: is_guarded.then(Box::default),
            is_text: false,
            is_control: false,
            garbled: false,
            over: false,
            parted: false,
            said: 0,
        }
    }

    /// What was seen so far; the second says about how many tokens came of answers that are not over.
    pub fn seen(&self) -> (&Seen, Option<u64>) {
        (&self.watch.seen, self.watch.cut_off())
    }

    /// Whether the gateway has ended the session: nothing more passes.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Takes what the provider sends, and gives what the client gets. `ask` may end the session with an answer that
    /// begins.
    pub fn from_provider(
        &mut self,
        piece: &Bytes,
        rules: &Rules<'_>,
        ask: &mut dyn FnMut(Moment) -> Option<Refusal>,
    ) -> Bytes {
        if self.garbled {
            return if self.over { Bytes::new() } else { piece.clone() };
        }
        match self.guarded.take() {
            Some(mut guarded) => {
                let passed = self.guard_provider(&mut guarded, piece, rules, ask);
                self.guarded = Some(guarded);
                passed
            }
            None => self.watch_provider(piece, ask),
        }
    }

    fn watch_provider(&mut self, piece: &Bytes, ask: &mut dyn FnMut(Moment) -> Option<Refusal>) -> Bytes {
        let mut rest = &piece[..];
        let was_over = self.over;
        let mut cut = None;
        loop {
            match self.provider.next(&mut rest) {
                Ok(Some(Piece::Head(head))) => {
                    self.is_control = head.opcode.is_control();
                    self.is_text = head.opcode == Opcode::Text || self.is_text && head.opcode != Opcode::Binary;
                }
                Ok(Some(Piece::Payload(payload))) => {
                    if self.is_text && !self.is_control {
                        self.watch.push(payload);
                    }
                }
                Ok(Some(Piece::End(head))) if head.ends_message() => {
                    let moment = if self.is_text { self.watch.end().1 } else { None };
                    self.is_text = false;
                    if let Some(refusal) = moment.and_then(&mut *ask).filter(|_| !self.over) {
                        cut = Some((piece.len() - rest.len(), self.end_with(&refusal)));
                    }
                }
                Ok(Some(Piece::End(_))) => {}
                Ok(None) => break,
                Err(_) => {
                    self.garbled = true;
                    self.watch.seen.is_garbled = true;
                    break;
                }
            }
        }
        match cut {
            _ if was_over => Bytes::new(),
            Some((at, end)) => [piece.get(..at).unwrap_or_default(), &end].concat().into(),
            None => piece.clone(),
        }
    }

    /// Takes what the client sends, and gives what the provider gets.
    pub fn from_client(&mut self, piece: &Bytes, rules: &Rules<'_>) -> Bytes {
        if let Some(mut guarded) = self.guarded.take() {
            let passed = self.guard_client(&mut guarded, piece, rules);
            self.guarded = Some(guarded);
            return passed;
        }
        if !self.over {
            // Where frames end matters to whoever ends the session, and to nobody else.
            let mut rest = &piece[..];
            while let Ok(Some(_)) = self.client.next(&mut rest) {}
            return piece.clone();
        }
        self.parting(piece)
    }

    /// Of a session that was ended the provider is told that its client has gone.
    fn parting(&mut self, piece: &Bytes) -> Bytes {
        let mut rest = &piece[..];
        let mut out = BytesMut::new();
        while let Ok(Some(it)) = self.client.next(&mut rest) {
            if let Piece::Head(head) = it
                && head.opcode == Opcode::Close
            {
                self.part(head.key, &mut out);
            }
        }
        out.freeze()
    }

    /// Tells the provider that its client has gone; nothing may follow that (RFC 6455 section 5.5.1), not even the same.
    fn part(&mut self, key: Option<[u8; 4]>, out: &mut BytesMut) {
        if !std::mem::replace(&mut self.parted, true) {
            websocket::write_close(out, key, 1000, "");
        }
    }

    /// An error event and the end of the connection, for the client.
    fn end_with(&mut self, refusal: &Refusal) -> Bytes {
        self.over = true;
        let mut out = BytesMut::new();
        self.say(&mut out, refusal, None);
        websocket::write_close(&mut out, None, POLICY_VIOLATION, refusal.code);
        out.freeze()
    }

    /// An error event for the client, about an event of its own or another.
    fn say(&mut self, out: &mut BytesMut, refusal: &Refusal, about: Option<&str>) {
        self.said += 1;
        let kind = match refusal.code {
            "rate_limit_exceeded" => "rate_limit_error",
            "upstream_error" => "server_error",
            _ => "invalid_request_error",
        };
        let event = format!(
            r#"{{"type":"error","event_id":"event_gateway_{}","error":{{"type":"{kind}","code":{},"message":{},"param":null,"event_id":{}}}}}"#,
            self.said,
            quoted(refusal.code),
            quoted(&refusal.text),
            about.map_or_else(|| "null".to_owned(), quoted),
        );
        websocket::write(out, Opcode::Text, None, event.as_bytes());
    }
}

#[cfg(test)]
mod tests;
