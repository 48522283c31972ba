//! A session that is looked through: whole messages, in both directions.

use bytes::{Bytes, BytesMut};

use super::super::edit::Edits;
use super::super::guard::{Find, Messages, Refused, judge_event};
use super::watch::{Event, Moment};
use super::{Refusal, Talk};
use crate::json;
use crate::websocket::{Head, Opcode, Piece, Side, unmask, write};

/// Longest message; what is appended to the buffer of sound may be 15 MiB.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// What a ping of the gateway's says, to know its answer by.
const MARK: &[u8] = b"agentgateway";

/// What stops an answer that may not pass.
const CANCEL: &[u8] = br#"{"type":"response.cancel"}"#;

const REJECTED: &str = "content_rejected";
const UNREADABLE: &str = "invalid_request_body";
const UPSTREAM: &str = "upstream_error";

/// What may be said, by client and model, and what a client is told of what may not.
pub struct Rules<'a> {
    pub request: &'a dyn Find,
    pub response: &'a dyn Find,
    /// By who said it, and the position of the rule.
    pub told: &'a dyn Fn(Side, usize) -> String,
}

/// See the file.
#[derive(Debug, Default)]
pub(super) struct Guarded {
    client: Gathered,
    provider: Gathered,
    messages: Messages<()>,
    /// What the client gets before the provider's next message.
    owed: BytesMut,
    /// Of an answer that was refused nothing more passes but its end.
    muted: bool,
    /// The provider is to be told to stop it.
    cancel: bool,
    /// The client's last key, for what the gateway writes to the provider.
    key: Option<[u8; 4]>,
    /// Rules that found something, of requests and of answers.
    pub(super) found: (Vec<usize>, Vec<usize>),
}

/// A message under way, unmasked, and a control frame between its parts.
#[derive(Debug, Default)]
struct Gathered {
    message: BytesMut,
    binary: bool,
    control: BytesMut,
    /// The frame under way.
    head: Option<Head>,
    at: usize,
}

/// A message or a control frame.
struct Whole {
    opcode: Opcode,
    payload: Bytes,
    key: Option<[u8; 4]>,
}

impl Gathered {
    fn take(&mut self, piece: Piece<'_>) -> Result<Option<Whole>, &'static str> {
        match piece {
            Piece::Head(head) => {
                (self.head, self.at) = (Some(head), 0);
                if matches!(head.opcode, Opcode::Text | Opcode::Binary) {
                    self.binary = head.opcode == Opcode::Binary;
                }
                let more = usize::try_from(head.length).unwrap_or(usize::MAX);
                let all = self.message.len().saturating_add(more);
                if all > MESSAGE_BYTES_MAX { Err("a message is too long") } else { Ok(None) }
            }
            Piece::Payload(bytes) => {
                let Some(head) = self.head else { return Ok(None) };
                let held = if head.opcode.is_control() { &mut self.control } else { &mut self.message };
                let start = held.len();
                held.extend_from_slice(bytes);
                if let (Some(key), Some(new)) = (head.key, held.get_mut(start..)) {
                    unmask(new, key, self.at);
                }
                self.at += bytes.len();
                Ok(None)
            }
            Piece::End(head) if head.opcode.is_control() => {
                Ok(Some(Whole { opcode: head.opcode, payload: self.control.split().freeze(), key: head.key }))
            }
            Piece::End(head) if head.fin => {
                let opcode = if self.binary { Opcode::Binary } else { Opcode::Text };
                Ok(Some(Whole { opcode, payload: self.message.split().freeze(), key: head.key }))
            }
            Piece::End(_) => Ok(None),
        }
    }
}

impl Talk {
    /// Rules that found something since this was asked last: of requests, and of answers.
    pub fn found(&mut self) -> (Vec<usize>, Vec<usize>) {
        self.guarded.as_mut().map(|it| std::mem::take(&mut it.found)).unwrap_or_default()
    }

    pub(super) fn guard_client(&mut self, guarded: &mut Guarded, piece: &Bytes, rules: &Rules<'_>) -> Bytes {
        if self.over {
            return self.parting(piece);
        }
        let mut out = BytesMut::new();
        let mut rest = &piece[..];
        loop {
            let whole = match self.client.next(&mut rest) {
                Ok(None) => return out.freeze(),
                Ok(Some(piece)) => guarded.client.take(piece),
                Err(_) => Err("what came is no message"),
            };
            match whole {
                Ok(Some(whole)) => self.client_message(guarded, &whole, rules, &mut out),
                Ok(None) => {}
                Err(why) => {
                    let end = self.end_with(&Refusal { code: UNREADABLE, text: why.to_owned() });
                    guarded.owed.extend_from_slice(&end);
                    // Its answer is the occasion to say so.
                    self.part(guarded.key.or(Some([0; 4])), &mut out);
                    return out.freeze();
                }
            }
        }
    }

    fn client_message(&mut self, guarded: &mut Guarded, whole: &Whole, rules: &Rules<'_>, out: &mut BytesMut) {
        let Whole { opcode, payload, key } = whole;
        guarded.key = *key;
        if std::mem::take(&mut guarded.cancel) {
            write(out, Opcode::Text, *key, CANCEL);
        }
        let enforces = rules.request.enforces();
        let judged = match opcode {
            Opcode::Text => judge_event(payload, rules.request).map_err(|_| "an event is not JSON"),
            Opcode::Binary => Err("an event is not text"),
            _ => return write(out, *opcode, *key, payload),
        };
        let (refusal, changed) = match judged {
            Ok(mut judged) => {
                guarded.found.0.append(&mut judged.found);
                let text = judged.refused.map(|rule| (rules.told)(Side::Client, rule));
                (text.map(|text| Refusal { code: REJECTED, text }), judged.edits)
            }
            Err(why) if enforces => (Some(Refusal { code: UNREADABLE, text: why.to_owned() }), Edits::default()),
            Err(_) => (None, Edits::default()),
        };
        let Some(refusal) = refusal else {
            return match changed.is_empty() {
                true => write(out, *opcode, *key, payload),
                false => write(out, *opcode, *key, &changed.apply(payload).concat()),
            };
        };
        let about = json::parse(payload).ok().and_then(|it| it.get("event_id")?.as_str().map(|it| it.into_owned()));
        self.say(&mut guarded.owed, &refusal, about.as_deref());
        write(out, Opcode::Ping, *key, MARK);
    }

    pub(super) fn guard_provider(
        &mut self,
        guarded: &mut Guarded,
        piece: &Bytes,
        rules: &Rules<'_>,
        ask: &mut dyn FnMut(Moment) -> Option<Refusal>,
    ) -> Bytes {
        let mut out = BytesMut::new();
        if self.provider.is_between() {
            out.extend_from_slice(&guarded.owed.split());
        }
        let mut rest = &piece[..];
        loop {
            let whole = match self.provider.next(&mut rest) {
                Ok(None) => return out.freeze(),
                Ok(Some(piece)) => guarded.provider.take(piece),
                Err(_) => Err("what came is no message"),
            };
            match whole {
                Ok(Some(whole)) => self.provider_message(guarded, &whole, rules, (&mut out, ask)),
                Ok(None) => {}
                Err(why) => {
                    self.garbled = true;
                    self.watch.seen.is_garbled = true;
                    self.unreadable(why, &mut out);
                    return out.freeze();
                }
            }
        }
    }

    fn unreadable(&mut self, why: &str, out: &mut BytesMut) {
        if !self.over {
            let end = self.end_with(&Refusal { code: UPSTREAM, text: why.to_owned() });
            out.extend_from_slice(&end);
        }
    }

    fn provider_message(
        &mut self,
        guarded: &mut Guarded,
        whole: &Whole,
        rules: &Rules<'_>,
        (out, ask): (&mut BytesMut, &mut dyn FnMut(Moment) -> Option<Refusal>),
    ) {
        out.extend_from_slice(&guarded.owed.split());
        let Whole { opcode, payload, .. } = whole;
        match opcode {
            Opcode::Text => {
                self.watch.push(payload);
                let (event, moment) = self.watch.end();
                if !self.over {
                    self.event(guarded, payload, (&event, moment), rules, out);
                }
                if let Some(refusal) = moment.and_then(ask).filter(|_| !self.over) {
                    let end = self.end_with(&refusal);
                    out.extend_from_slice(&end);
                }
            }
            _ if self.over || *opcode == Opcode::Pong && payload == MARK => {}
            Opcode::Binary if rules.response.enforces() => self.unreadable("an event is not text", out),
            Opcode::Close => {
                let mut passed = Vec::new();
                let decided = guarded.messages.finish(rules.response, &mut passed);
                guarded.found.1.append(&mut guarded.messages.found());
                passed.iter().for_each(|(_, it)| write(out, Opcode::Text, None, it));
                if let Err(refused) = decided {
                    self.refuse(&refused, rules, out);
                }
                write(out, Opcode::Close, None, payload);
            }
            _ => write(out, *opcode, None, payload),
        }
    }

    /// An event of the provider's, with what it means.
    fn event(
        &mut self,
        guarded: &mut Guarded,
        payload: &Bytes,
        (event, moment): (&Event, Option<Moment>),
        rules: &Rules<'_>,
        out: &mut BytesMut,
    ) {
        let ended = matches!(moment, Some(Moment::Ended { .. }));
        let aside = event.is_not_of_the_model();
        if guarded.muted && !aside {
            if ended {
                write(out, Opcode::Text, None, &without_output(payload));
                guarded.muted = self.watch.open > 0;
                guarded.cancel &= guarded.muted;
            }
            return;
        }
        let mut passed = Vec::new();
        let mut judged = match aside {
            true => guarded.messages.pass((), payload.clone(), rules.response, &mut passed),
            false => guarded.messages.push((), payload, rules.response, &mut passed),
        };
        if judged.is_ok() && ended && self.watch.open == 0 {
            judged = guarded.messages.finish(rules.response, &mut passed);
        }
        guarded.found.1.append(&mut guarded.messages.found());
        passed.iter().for_each(|(_, it)| write(out, Opcode::Text, None, it));
        let Err(refused) = judged else { return };
        guarded.messages = Messages::default();
        match refused {
            Refused::Unreadable(_) if !rules.response.enforces() => write(out, Opcode::Text, None, payload),
            Refused::Unreadable(why) => self.unreadable(why, out),
            Refused::Rule(_) => {
                self.refuse(&refused, rules, out);
                if ended {
                    write(out, Opcode::Text, None, &without_output(payload));
                }
                guarded.muted = self.watch.open > 0;
                guarded.cancel = guarded.muted;
            }
        }
    }

    fn refuse(&mut self, refused: &Refused, rules: &Rules<'_>, out: &mut BytesMut) {
        let refusal = match refused {
            Refused::Rule(rule) => Refusal { code: REJECTED, text: (rules.told)(Side::Server, *rule) },
            Refused::Unreadable(why) => Refusal { code: UPSTREAM, text: (*why).to_owned() },
        };
        self.say(out, &refusal, None);
    }
}

/// The end of an answer, without what was said in it.
fn without_output(event: &Bytes) -> Vec<u8> {
    let output = json::parse(event).ok().and_then(|it| it.get("response")?.get("output"));
    let mut edits = Edits::default();
    if let Some(output) = output {
        edits.replace(output.range(), "[]");
    }
    edits.apply(event).concat()
}
