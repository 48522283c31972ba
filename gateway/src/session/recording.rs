//! A request body that is remembered while it streams, to be sent again.

use bytes::Bytes;

/// The part of a body seen so far. Over the limit it is forgotten: the body streams on, and can no
/// longer be repeated.
#[derive(Debug, Default)]
pub struct Recording {
    chunks: Vec<Bytes>,
    bytes: usize,
    bytes_max: usize,
    /// Next chunk to be sent again.
    cursor: usize,
    /// The real body has no more.
    ended: bool,
    truncated: bool,
}

impl Recording {
    /// An empty recording that holds up to `bytes_max`.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, ..Self::default() }
    }

    /// A body that was read before the first attempt; `ended` if it is the whole of it.
    pub fn of(chunks: Vec<Bytes>, ended: bool, bytes_max: usize) -> Self {
        let bytes = chunks.iter().map(Bytes::len).sum();
        Self { chunks, bytes, bytes_max, cursor: 0, ended, truncated: false }
    }

    /// The next remembered chunk, if the cursor has not caught up.
    pub fn replay(&mut self) -> Option<Bytes> {
        let chunk = self.chunks.get(self.cursor)?.clone();
        self.cursor += 1;
        if self.truncated && self.cursor == self.chunks.len() {
            self.chunks = Vec::new();
            self.cursor = 0;
        }
        Some(chunk)
    }

    /// Notes what the real body gave; `None` is its end.
    pub fn note(&mut self, chunk: Option<&Bytes>) {
        match chunk {
            None => self.ended = true,
            Some(_) if self.truncated => {}
            Some(chunk) => {
                self.bytes += chunk.len();
                if self.bytes > self.bytes_max {
                    self.truncated = true;
                    self.chunks = Vec::new();
                    self.cursor = 0;
                } else {
                    self.chunks.push(chunk.clone());
                    self.cursor = self.chunks.len();
                }
            }
        }
    }

    /// Starts over for another attempt.
    pub fn rewind(&mut self) {
        self.cursor = 0;
    }

    /// Nothing is left to send, neither remembered nor real.
    pub fn is_done(&self) -> bool {
        self.ended && self.cursor >= self.chunks.len()
    }

    pub fn is_ended(&self) -> bool {
        self.ended
    }

    pub fn is_caught_up(&self) -> bool {
        self.cursor >= self.chunks.len()
    }

    /// The body is known to be empty.
    pub fn is_empty(&self) -> bool {
        self.ended && self.bytes == 0
    }

    pub fn is_truncated(&self) -> bool {
        self.truncated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_within_the_limit_is_sent_again_from_its_start() {
        let mut body = Recording::new(10);
        for chunk in ["abc", "de"] {
            assert_eq!(body.replay(), None);
            body.note(Some(&Bytes::from_static(chunk.as_bytes())));
        }
        body.note(None);
        assert!(body.is_done());
        body.rewind();
        assert_eq!((body.replay().as_deref(), body.replay().as_deref()), (Some(&b"abc"[..]), Some(&b"de"[..])));
        assert!(body.is_done() && !body.is_truncated());
    }

    #[test]
    fn a_body_over_the_limit_is_forgotten_but_goes_on() {
        let mut body = Recording::new(4);
        body.note(Some(&Bytes::from_static(b"abc")));
        body.note(Some(&Bytes::from_static(b"de")));
        assert!(body.is_truncated() && !body.is_ended());
        assert_eq!(body.replay(), None);
    }

    #[test]
    fn what_was_read_before_the_first_attempt_comes_first() {
        let mut body = Recording::of(vec![Bytes::from_static(b"abc")], false, 100);
        assert!(!body.is_done() && !body.is_caught_up());
        assert_eq!(body.replay().as_deref(), Some(&b"abc"[..]));
        assert!(body.is_caught_up() && !body.is_done());
    }
}
