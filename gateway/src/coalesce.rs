//! Small writes joined to large ones: a head and a short body leave in one packet, to clients and to backends.
//!
//! tokio's `BufWriter` keeps its buffer for life; this one has none while there is nothing to write.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

/// Room made beyond the first write.
const HELD_BYTES_STEP: usize = 256;

#[derive(Debug)]
pub(crate) struct Coalesce {
    held: Vec<u8>,
    at: usize,
    /// Bytes held back at most.
    max: usize,
}

impl Coalesce {
    pub(crate) fn new(max: usize) -> Self {
        Self { held: Vec::new(), at: 0, max }
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    /// Takes bytes, or passes them on behind what is held.
    pub(crate) fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        io: &mut W,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.rest().len() + bytes.len() <= self.max {
            if self.at > self.max {
                self.held.drain(..self.at);
                self.at = 0;
            }
            if self.held.capacity() == 0 {
                // Room for what follows a head: most answers are one allocation.
                self.held.reserve(bytes.len() + HELD_BYTES_STEP);
            }
            self.held.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        while !self.rest().is_empty() {
            let slices = [IoSlice::new(self.rest()), IoSlice::new(bytes)];
            let written = ready!(Pin::new(&mut *io).poll_write_vectored(cx, &slices))?;
            let beyond = written.saturating_sub(self.rest().len());
            self.advance(written)?;
            if beyond > 0 {
                return Poll::Ready(Ok(beyond));
            }
        }
        if bytes.len() <= self.max {
            self.held.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(io).poll_write(cx, bytes)
    }

    /// Writes all that is held and frees the memory.
    pub(crate) fn poll_drain<W: AsyncWrite + Unpin>(
        &mut self,
        io: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.rest().is_empty() {
            let written = ready!(Pin::new(&mut *io).poll_write(cx, self.rest()))?;
            self.advance(written)?;
        }
        Poll::Ready(Ok(()))
    }

    #[cfg(test)]
    pub(crate) fn memory(&self) -> usize {
        self.held.capacity()
    }

    fn rest(&self) -> &[u8] {
        self.held.get(self.at..).unwrap_or_default()
    }

    fn advance(&mut self, count: usize) -> io::Result<()> {
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.at += count;
        if self.at >= self.held.len() {
            *self = Self::new(self.max);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn small_writes_leave_together_and_leave_no_memory_behind() {
        let (mut near, mut far) = tokio::io::duplex(1 << 20);
        let mut it = Coalesce::new(4096);
        for part in [&b"head"[..], b"body"] {
            poll_fn(|cx| it.poll_write(&mut near, cx, part)).await.unwrap();
        }
        assert!(it.memory() > 0);
        poll_fn(|cx| it.poll_drain(&mut near, cx)).await.unwrap();
        assert_eq!(it.memory(), 0, "nothing is kept while there is nothing to write");
        drop(near);
        let mut got = String::new();
        far.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, "headbody");
    }

    #[tokio::test]
    async fn a_large_write_goes_behind_what_is_held_in_order() {
        // A narrow pipe forces partial writes.
        let (mut near, mut far) = tokio::io::duplex(700);
        let sent: Vec<u8> = (0..20_000_u32).map(|it| it as u8).collect();
        let expected = sent.clone();
        let writer = async move {
            let mut it = Coalesce::new(4096);
            let mut rest = &sent[..];
            for size in [10, 4000, 9000, 100, 6890] {
                let (mut part, behind) = rest.split_at(size);
                rest = behind;
                while !part.is_empty() {
                    let count = poll_fn(|cx| it.poll_write(&mut near, cx, part)).await.unwrap();
                    part = &part[count..];
                }
            }
            poll_fn(|cx| it.poll_drain(&mut near, cx)).await.unwrap();
        };
        let mut got = Vec::new();
        tokio::join!(writer, async { far.read_to_end(&mut got).await.unwrap() });
        assert!(got == expected, "bytes must arrive whole and in order");
    }
}
