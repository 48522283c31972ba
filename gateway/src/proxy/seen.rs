//! Bodies that only the log reads: what passes is noted, up to a limit, and nothing waits for it.

use bytes::{Bytes, BytesMut};
use filters::expr::{Body, Needs};

use super::Proxy;
use super::ctx::Ctx;

/// The bodies that the log of a request reads.
pub(super) struct Seen {
    pub(super) request: Option<Noted>,
    pub(super) response: Option<Noted>,
}

/// The beginning of a body that passed.
#[derive(Default)]
pub(super) struct Noted {
    bytes: BytesMut,
    bytes_max: usize,
    truncated: bool,
    /// The attempt it belongs to: another one sends the body again.
    attempt: u32,
}

impl Noted {
    fn new(bytes_max: usize) -> Self {
        Self { bytes_max, ..Self::default() }
    }

    pub(super) fn note(&mut self, chunk: &[u8], attempt: u32) {
        if self.attempt != attempt {
            *self = Self { attempt, ..Self::new(self.bytes_max) };
        }
        let room = self.bytes_max.saturating_sub(self.bytes.len());
        self.truncated |= chunk.len() > room;
        self.bytes.extend_from_slice(chunk.get(..room.min(chunk.len())).unwrap_or_default());
    }

    /// What went out in the end, in place of what was noted.
    pub(super) fn replace(&mut self, body: &Bytes) {
        *self = Self::new(self.bytes_max);
        self.note(body, 0);
    }

    pub(super) fn input(&self) -> Body<'_> {
        Body { bytes: &self.bytes, truncated: self.truncated }
    }
}

/// Decides, once the route is known, which bodies are noted: those that the access log or labels of metrics read.
pub(super) fn prepare(proxy: &Proxy, ctx: &mut Ctx) {
    let reads = |what| super::log::reads(ctx, proxy.telemetry.labels(), what);
    let (request, response) = (reads(Needs::ANY_REQUEST_BODY), reads(Needs::ANY_RESPONSE_BODY));
    if request || response {
        let noted = |wanted: bool| wanted.then(|| Noted::new(ctx.body_bytes_max));
        ctx.seen = Some(Box::new(Seen { request: noted(request), response: noted(response) }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_the_last_attempt_is_kept() {
        let mut noted = Noted::new(5);
        noted.note(b"abc", 1);
        noted.note(b"de", 1);
        assert!(!noted.input().truncated);
        noted.note(b"f", 1);
        assert_eq!((noted.input().bytes, noted.input().truncated), (&b"abcde"[..], true));
        noted.note(b"xy", 2);
        assert_eq!((noted.input().bytes, noted.input().truncated), (&b"xy"[..], false));
        noted.replace(&Bytes::from_static(b"final"));
        assert_eq!((noted.input().bytes, noted.input().truncated), (&b"final"[..], false));
    }
}
