//! Messages of a stream that is no stream of events looked through while they pass: those of a WebSocket, frames of AWS.
//!
//! [`Stream`] does the work: each message is an event to it. What is not to be looked at only keeps its turn.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::Find;
use super::stream::{Refused, Stream, WAITING_BYTES_MAX};

/// Before a message, as an event has it.
const BEFORE: &[u8] = b"data: ";
/// Behind it.
const BEHIND: &[u8] = b"\n\n";
/// An event that says nothing, for a message that is not looked at.
const SILENT: &[u8] = b":\n\n";

/// Messages under way, each with what it comes in.
#[derive(Debug)]
pub struct Messages<T> {
    stream: Stream,
    turns: VecDeque<Turn<T>>,
    /// Bytes of those that wait and are not looked at.
    aside: usize,
}

#[derive(Debug)]
struct Turn<T> {
    tag: T,
    /// A message that is not looked at.
    aside: Option<Bytes>,
}

impl<T> Default for Messages<T> {
    fn default() -> Self {
        Self { stream: Stream::default(), turns: VecDeque::new(), aside: 0 }
    }
}

impl<T> Messages<T> {
    /// Looks at a message, which is JSON. What may pass now comes in `out`.
    pub fn push(&mut self, tag: T, message: &[u8], rules: &dyn Find, out: &mut Vec<(T, Bytes)>) -> Result<(), Refused> {
        let mut event = BytesMut::with_capacity(message.len() + BEFORE.len() + BEHIND.len());
        event.extend_from_slice(BEFORE);
        // In JSON the ends of lines are between values only.
        event.extend(message.iter().map(|it| if matches!(it, b'\n' | b'\r') { b' ' } else { *it }));
        event.extend_from_slice(BEHIND);
        self.turns.push_back(Turn { tag, aside: None });
        let passed = self.stream.push(&event, rules)?;
        self.hand_out(&passed, out);
        Ok(())
    }

    /// Has a message wait for its turn, and does not look at it.
    pub fn pass(&mut self, tag: T, message: Bytes, rules: &dyn Find, out: &mut Vec<(T, Bytes)>) -> Result<(), Refused> {
        if self.turns.is_empty() {
            out.push((tag, message));
            return Ok(());
        }
        self.aside += message.len();
        if self.aside > WAITING_BYTES_MAX {
            return Err(Refused::Unreadable("too much waits"));
        }
        self.turns.push_back(Turn { tag, aside: Some(message) });
        let passed = self.stream.push(SILENT, rules)?;
        self.hand_out(&passed, out);
        Ok(())
    }

    /// The texts under way are over: what waits is decided.
    pub fn finish(&mut self, rules: &dyn Find, out: &mut Vec<(T, Bytes)>) -> Result<(), Refused> {
        let passed = self.stream.finish(rules)?;
        self.hand_out(&passed, out);
        // Texts that are over are not among those that are under way.
        let found = self.found();
        self.stream = Stream::default();
        self.stream.found = found;
        Ok(())
    }

    /// Rules that found something, once for each time, since this was asked last.
    pub fn found(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.stream.found)
    }

    fn hand_out(&mut self, passed: &[u8], out: &mut Vec<(T, Bytes)>) {
        let mut from = 0;
        // There is no end of a line within an event.
        for at in memchr::memmem::find_iter(passed, BEHIND) {
            let event = passed.get(from..at).unwrap_or_default();
            from = at + BEHIND.len();
            let Some(Turn { tag, aside }) = self.turns.pop_front() else { return };
            let message = match aside {
                Some(it) => {
                    self.aside -= it.len().min(self.aside);
                    it
                }
                None => Bytes::copy_from_slice(event.strip_prefix(BEFORE).unwrap_or(event)),
            };
            out.push((tag, message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::guard::words::Words;

    fn delta(text: &str) -> String {
        format!(r#"{{"type":"response.output_text.delta","item_id":"i","delta":"{text}"}}"#)
    }

    #[test]
    fn turns_are_kept_and_what_is_cut_in_two_is_masked() {
        let (mut messages, mut out) = (Messages::default(), Vec::new());
        messages.push(1, delta("a sec").as_bytes(), &Words(0), &mut out).unwrap();
        messages.pass(2, Bytes::from_static(b"{\n\"type\":\"x\"}"), &Words(0), &mut out).unwrap();
        messages.push(3, delta("ret is out and more").as_bytes(), &Words(0), &mut out).unwrap();
        assert_eq!(out, [(1, Bytes::from(delta("a ***"))), (2, Bytes::from_static(b"{\n\"type\":\"x\"}"))]);
        out.clear();
        messages.finish(&Words(0), &mut out).unwrap();
        assert_eq!(out, [(3, Bytes::from(delta(" is out and more")))]);
        assert_eq!(messages.found(), [0]);
        out.clear();
        messages.push(4, b"{\r\n \"type\": \"y\"\n}", &Words(0), &mut out).unwrap();
        messages.pass(5, Bytes::new(), &Words(0), &mut out).unwrap();
        assert_eq!(out, [(4, Bytes::from_static(b"{   \"type\": \"y\" }")), (5, Bytes::new())]);
        assert_eq!(messages.push(6, b"{", &Words(0), &mut out), Err(Refused::Unreadable("an event is not JSON")));
    }

    #[test]
    fn what_waits_behind_a_text_is_bounded() {
        let (mut messages, mut out) = (Messages::default(), Vec::new());
        messages.push(0, delta("sec").as_bytes(), &Words(0), &mut out).unwrap();
        let sound = Bytes::from(vec![b'x'; 1 << 18]);
        let most = (0..8).find(|_| messages.pass(0, sound.clone(), &Words(0), &mut out).is_err());
        assert_eq!((most, out.len()), (Some(4), 0));
    }
}
