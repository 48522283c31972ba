//! Server-sent events that wait until somebody else has judged their texts, some at a time.
//!
//! What was judged passes but for its end, which is judged again with what follows: what is cut in two is seen whole. The
//! texts of a window are those of all events that wait, each put together of its pieces.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::stream::{DONE, EVENT_BYTES_MAX, Refused, WAITING_BYTES_MAX, data_of, event_end, one_line};
use super::walk;
use crate::json;
use crate::llm::Edits;

/// Bytes of text that are judged at once.
const WINDOW_BYTES: usize = 1024;
/// Bytes of text at the end of a window that wait for the next.
const OVERLAP_BYTES: usize = 256;

/// A stream under way.
#[derive(Debug, Default)]
pub struct Windows {
    begun: BytesMut,
    waiting: VecDeque<Event>,
    waiting_bytes: usize,
    /// Bytes of text that have come since the last window.
    fresh: usize,
}

#[derive(Debug)]
struct Event {
    bytes: Bytes,
    pieces: Vec<Piece>,
}

/// A text of an event, or a piece of one that goes on in others.
#[derive(Debug)]
struct Piece {
    channel: Option<u64>,
    text: String,
    place: Range<usize>,
}

impl Windows {
    /// Takes a piece of the stream, cut anywhere.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), Refused> {
        self.begun.extend_from_slice(piece);
        while let Some(end) = event_end(&self.begun) {
            let event = self.begun.split_to(end).freeze();
            self.event(event)?;
        }
        if self.begun.len() > EVENT_BYTES_MAX || self.waiting_bytes > WAITING_BYTES_MAX {
            return Err(Refused::Unreadable("an event is too long"));
        }
        Ok(())
    }

    /// The stream is over.
    pub fn end(&mut self) -> Result<(), Refused> {
        let rest = self.begun.split().freeze();
        if rest.is_empty() { Ok(()) } else { self.event(rest) }
    }

    fn event(&mut self, bytes: Bytes) -> Result<(), Refused> {
        let bytes = one_line(bytes);
        let mut pieces = Vec::new();
        let data = data_of(&bytes).filter(|it| bytes.get(it.clone()).is_some_and(|it| !it.is_empty() && it != DONE));
        if let Some(at) = data {
            let document = bytes.get(at.clone()).unwrap_or_default();
            let document = json::parse(document).map_err(|_| Refused::Unreadable("an event is not JSON"))?;
            walk::answer(document, &mut |leaf| {
                let Some(text) = leaf.value.as_str().filter(|it| !leaf.is_tokens && !it.is_empty()) else { return };
                let place = leaf.value.range();
                let place = place.start + at.start..place.end + at.start;
                pieces.push(Piece { channel: leaf.channel, text: text.into_owned(), place });
            });
        }
        self.waiting_bytes += bytes.len();
        self.fresh += pieces.iter().map(|it| it.text.len()).sum::<usize>();
        self.waiting.push_back(Event { bytes, pieces });
        Ok(())
    }

    /// The texts that are to be judged now; nothing where it is not time yet.
    pub fn window(&mut self, over: bool) -> Option<Vec<String>> {
        if self.fresh == 0 || !over && self.fresh < WINDOW_BYTES {
            return None;
        }
        self.fresh = 0;
        Some(self.texts().into_iter().map(|(_, text)| text).collect())
    }

    fn texts(&self) -> Vec<(Option<u64>, String)> {
        let mut texts: Vec<(Option<u64>, String)> = Vec::new();
        for piece in self.waiting.iter().flat_map(|it| &it.pieces) {
            let held = texts.iter_mut().find(|(channel, _)| channel.is_some() && *channel == piece.channel);
            match held {
                Some((_, text)) => text.push_str(&piece.text),
                None => texts.push((piece.channel, piece.text.clone())),
            }
        }
        texts
    }

    /// Lets go of what may pass: of a window that was judged all but its end, of others what holds no text.
    pub fn pass(&mut self, judged: bool, over: bool) -> Bytes {
        let mut out = BytesMut::new();
        let mut left: Vec<(Option<u64>, usize)> =
            self.texts().into_iter().map(|(channel, text)| (channel, text.len())).collect();
        while let Some(event) = self.waiting.front() {
            let mut ends = true;
            for piece in &event.pieces {
                // What stands alone is judged.
                let Some(channel) = piece.channel else { continue };
                let Some((_, left)) = left.iter_mut().find(|(it, _)| *it == Some(channel)) else { continue };
                *left -= piece.text.len().min(*left);
                ends &= *left >= OVERLAP_BYTES;
            }
            if !(event.pieces.is_empty() || over || judged && ends) {
                break;
            }
            let Some(event) = self.waiting.pop_front() else { break };
            self.waiting_bytes -= event.bytes.len().min(self.waiting_bytes);
            out.extend_from_slice(&event.bytes);
        }
        out.freeze()
    }

    /// Lets go of all, with these texts in the places of those of the window.
    pub fn replace(&mut self, texts: &[String]) -> Bytes {
        let judged = self.texts();
        let mut others: Vec<(Option<u64>, Option<&str>, bool)> = judged
            .iter()
            .zip(texts)
            .map(|((channel, was), is)| (*channel, (was != is).then_some(is.as_str()), false))
            .collect();
        let mut out = BytesMut::new();
        let mut alone = others.iter().filter(|it| it.0.is_none()).map(|it| it.1).collect::<VecDeque<_>>();
        for event in self.waiting.drain(..) {
            let mut edits = Edits::default();
            for piece in event.pieces {
                let text = match piece.channel {
                    None => alone.pop_front().flatten(),
                    Some(channel) => {
                        let held = others.iter_mut().find(|it| it.0 == Some(channel));
                        held.and_then(|(_, text, done)| {
                            let text = (*text)?;
                            // The first of its pieces has all of it.
                            Some(if std::mem::replace(done, true) { "" } else { text })
                        })
                    }
                };
                if let Some(text) = text {
                    edits.replace(piece.place, json::quoted(text));
                }
            }
            edits.apply(&event.bytes).iter().for_each(|it| out.extend_from_slice(it));
        }
        self.waiting_bytes = 0;
        out.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(text: &str) -> String {
        format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":{}}}}}]}}\n\n", json::quoted(text))
    }

    #[test]
    fn a_window_is_judged_as_a_whole_and_its_end_once_more() {
        let mut windows = Windows::default();
        let events: Vec<String> = (0..30).map(|it| chunk(&format!("{it:02}{}", "x".repeat(48)))).collect();
        let mut out = Vec::new();
        let mut judged = Vec::new();
        for event in &events {
            windows.push(event.as_bytes()).unwrap();
            let window = windows.window(false);
            out.extend_from_slice(&windows.pass(window.is_some(), false));
            judged.extend(window);
        }
        assert_eq!(judged.len(), 1);
        assert_eq!(judged[0][0].len(), 21 * 50);
        assert_eq!(out, events[..15].concat().as_bytes(), "all but the last 256 bytes of text");
        windows.end().unwrap();
        let rest = windows.window(true).unwrap();
        assert!(rest[0].starts_with("15") && rest[0].len() == 15 * 50, "{rest:?}");
        out.extend_from_slice(&windows.pass(true, true));
        assert_eq!(out, events.concat().as_bytes(), "as it came");
        assert_eq!(windows.window(true), None);
    }

    #[test]
    fn what_holds_no_text_does_not_wait_and_texts_are_replaced_as_wholes() {
        let mut windows = Windows::default();
        windows.push(b": ping\n\ndata: {\"id\":\"c\"}\n\n").unwrap();
        assert_eq!(windows.window(false), None);
        assert_eq!(windows.pass(false, false), ": ping\n\ndata: {\"id\":\"c\"}\n\n");
        let sent = [chunk("my se"), chunk("cret"), "data: [DONE]\n\n".to_owned()].concat();
        windows.push(sent.as_bytes()).unwrap();
        assert_eq!(windows.window(true).unwrap(), ["my secret"]);
        let got = windows.replace(&["my ***".to_owned()]);
        assert_eq!(got, [chunk("my ***"), chunk(""), "data: [DONE]\n\n".to_owned()].concat());
        assert_eq!(windows.push(b"data: {\n\n"), Err(Refused::Unreadable("an event is not JSON")));
    }
}
