//! Keeps from a client the event that it did not ask for.
//!
//! A provider of chat completions says what a stream used only when asked to, in a last event without choices. Where the
//! gateway asked and the client did not, that event ends here: clients take the first of the choices of every event.
//! Every other byte passes as it came; only the beginning of an event whose end is not there yet waits.

use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use memchr::memmem::Finder;

/// Most of an event that waits for its end. A longer one is not what is looked for, and passes.
const WAITING_BYTES_MAX: usize = 16 << 10;

#[derive(Debug, Default)]
pub struct Hide {
    waiting: BytesMut,
    /// An event is under way whose beginning has passed.
    passes: bool,
}

impl Hide {
    /// Takes a piece of the stream and gives what of it may go on; nothing at all where that is empty.
    pub fn push(&mut self, piece: &Bytes) -> Option<Bytes> {
        if self.waiting.is_empty()
            && !self.passes
            && ends_event(piece)
            && !CHOICES.find_iter(piece).any(|at| has_none(piece, at))
        {
            // Whole events, and not the one: the usual case.
            return Some(piece.clone()).filter(|it| !it.is_empty());
        }
        self.waiting.extend_from_slice(piece);
        let mut out = BytesMut::new();
        while let Some(end) = event_end(&self.waiting) {
            let event = self.waiting.split_to(end);
            let begun = std::mem::take(&mut self.passes);
            if begun || !is_usage_alone(&event) {
                out.extend_from_slice(&event);
            }
        }
        if self.waiting.len() > WAITING_BYTES_MAX {
            self.passes = true;
            // A line end stays: with what follows it may end the event.
            let keep = self.waiting.iter().rev().take_while(|it| matches!(it, b'\n' | b'\r')).count();
            out.extend_from_slice(&self.waiting.split_to(self.waiting.len() - keep));
        }
        Some(out.freeze()).filter(|it| !it.is_empty())
    }

    /// The stream is over: what waits is the rest.
    pub fn finish(&mut self) -> Option<Bytes> {
        Some(self.waiting.split().freeze()).filter(|it| !it.is_empty())
    }
}

const KEY: &[u8] = b"\"choices\"";

/// Built once: every event of a stream is searched.
static CHOICES: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(KEY));

fn ends_event(bytes: &[u8]) -> bool {
    bytes.ends_with(b"\n\n") || bytes.ends_with(b"\r\n\r\n")
}

/// Behind the first empty line.
fn event_end(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(found) = bytes.get(from..).and_then(|rest| memchr::memchr(b'\n', rest)) {
        let next = from + found + 1;
        match bytes.get(next..)? {
            [b'\n', ..] => return Some(next + 1),
            [b'\r', b'\n', ..] => return Some(next + 2),
            _ => from = next,
        }
    }
    None
}

/// Whether an event has no choices, and says what was used.
fn is_usage_alone(event: &[u8]) -> bool {
    let Some(at) = CHOICES.find(event) else { return false };
    has_none(event, at) && memchr::memmem::find(event, b"\"usage\"").is_some()
}

/// Whether the list behind the key at `at` is empty.
fn has_none(event: &[u8], at: usize) -> bool {
    let mut rest = event.iter().skip(at + KEY.len()).filter(|it| !it.is_ascii_whitespace());
    [b':', b'[', b']'].iter().all(|want| rest.next() == Some(want))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHUNK: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"\\\"choices\\\":[]\"}}],\"usage\":null}\n\n";
    const USAGE: &str = "data: {\"id\":\"c\",\"choices\": [ ],\"usage\":{\"prompt_tokens\":1}}\n\n";
    const DONE: &str = "data: [DONE]\n\n";

    fn passed(text: &str, cut: usize) -> String {
        let (mut hide, mut out) = (Hide::default(), Vec::new());
        for piece in text.as_bytes().chunks(cut) {
            out.extend(hide.push(&Bytes::copy_from_slice(piece)).unwrap_or_default());
        }
        out.extend(hide.finish().unwrap_or_default());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_event_that_was_not_asked_for_ends_here_wherever_the_stream_is_cut() {
        let first = "data: {\"choices\":[],\"prompt_filter_results\":[]}\n\n";
        for end in ["\n", "\r\n"] {
            let sent = [first, CHUNK, CHUNK, USAGE, DONE].concat().replace('\n', end);
            let want = [first, CHUNK, CHUNK, DONE].concat().replace('\n', end);
            for cut in [1, 2, 3, 5, 64, sent.len()] {
                assert_eq!(passed(&sent, cut), want, "cut by {cut}");
            }
        }
    }

    #[test]
    fn long_events_pass_and_what_is_after_them_is_still_looked_at() {
        let long = format!("data: {{\"choices\":[{{\"delta\":\"{}\"}}]}}\n\n", "x".repeat(3 * WAITING_BYTES_MAX));
        let sent = [&long, USAGE, DONE].concat();
        for cut in [1, 1000, sent.len()] {
            assert_eq!(passed(&sent, cut), [&long, DONE].concat(), "cut by {cut}");
        }
    }

    proptest! {
        #[test]
        fn everything_else_passes_as_it_came(text in "(data: x|[a\"]{1,3}|\r\n|\n){0,30}", cut in 1_usize..9) {
            prop_assert_eq!(passed(&text, cut), text);
        }
    }
}
