//! Bytes both ways between two streams, each direction closing on its own.
//!
//! While nothing moves it holds no buffer: bytes pass through the stack, and only what could not be
//! written is kept.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Bytes moved at once.
const STEP_BYTES: usize = 16 << 10;

/// Steps of one direction before others have their turn.
const STEPS_MAX: usize = 16;

/// How a relay ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// Both sides closed.
    Closed,
    /// No byte either way for the time given.
    Idle,
    Client(io::Error),
    Backend(io::Error),
}

/// Bytes moved so far; stays readable when the relay is dropped.
#[derive(Debug, Default)]
pub(super) struct Moved {
    pub(super) received: u64,
    pub(super) sent: u64,
}

/// Relays until both directions are closed, one fails, or nothing moves for `idle`.
pub(super) async fn relay<C, B>(client: &mut C, backend: &mut B, idle: Duration, moved: &mut Moved) -> Ended
where
    C: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (mut up, mut down) = (Way::default(), Way::default());
    let mut timer = Box::pin(tokio::time::sleep(idle));
    let mut seen = 0;
    poll_fn(|cx| {
        let to_backend = up.poll(client, backend, cx, &mut moved.received);
        let to_client = down.poll(backend, client, cx, &mut moved.sent);
        let now = moved.received + moved.sent;
        let progress = std::mem::replace(&mut seen, now) != now;
        match (to_backend, to_client) {
            (Poll::Ready(Err(Side::From(error))), _) | (_, Poll::Ready(Err(Side::To(error)))) => {
                Poll::Ready(Ended::Client(error))
            }
            (Poll::Ready(Err(Side::To(error))), _) | (_, Poll::Ready(Err(Side::From(error)))) => {
                Poll::Ready(Ended::Backend(error))
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ended::Closed),
            _ => poll_idle(timer.as_mut(), cx, idle, progress).map(|()| Ended::Idle),
        }
    })
    .await
}

fn poll_idle(mut timer: Pin<&mut Sleep>, cx: &mut Context<'_>, idle: Duration, progress: bool) -> Poll<()> {
    if progress {
        timer.as_mut().reset(Instant::now() + idle);
    }
    timer.poll(cx)
}

use std::future::Future as _;

enum Side {
    From(io::Error),
    To(io::Error),
}

/// One direction.
#[derive(Default)]
struct Way {
    kept: Vec<u8>,
    at: usize,
    stage: Stage,
    flush: bool,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Stage {
    #[default]
    Open,
    /// The source has closed; what is kept still goes out.
    Closing,
    Closed,
}

impl Way {
    fn poll<F, T>(&mut self, from: &mut F, to: &mut T, cx: &mut Context<'_>, count: &mut u64) -> Poll<Result<(), Side>>
    where
        F: AsyncRead + Unpin,
        T: AsyncWrite + Unpin,
    {
        for _ in 0..STEPS_MAX {
            if self.stage == Stage::Closed {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_kept(to, cx)).map_err(Side::To)?;
            if self.stage == Stage::Closing {
                // A peer that is gone already cannot be told; its own direction reports it.
                let _ = ready!(Pin::new(&mut *to).poll_shutdown(cx));
                self.stage = Stage::Closed;
                continue;
            }
            let mut space = [const { MaybeUninit::uninit() }; STEP_BYTES];
            let mut fresh = ReadBuf::uninit(&mut space);
            match Pin::new(&mut *from).poll_read(cx, &mut fresh) {
                Poll::Ready(read) => read.map_err(Side::From)?,
                Poll::Pending => {
                    ready!(self.poll_flush(to, cx)).map_err(Side::To)?;
                    return Poll::Pending;
                }
            }
            if fresh.filled().is_empty() {
                self.stage = Stage::Closing;
                continue;
            }
            *count += fresh.filled().len() as u64;
            self.pass_on(to, cx, fresh.filled()).map_err(Side::To)?;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn pass_on<T: AsyncWrite + Unpin>(&mut self, to: &mut T, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        self.flush = true;
        let written = match Pin::new(to).poll_write(cx, bytes) {
            Poll::Ready(written) => written?,
            Poll::Pending => 0,
        };
        self.kept.extend_from_slice(bytes.get(written..).unwrap_or_default());
        Ok(())
    }

    fn poll_kept<T: AsyncWrite + Unpin>(&mut self, to: &mut T, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.kept.get(self.at..).filter(|it| !it.is_empty()) {
            match ready!(Pin::new(&mut *to).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.at += count,
            }
        }
        (self.kept, self.at) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }

    fn poll_flush<T: AsyncWrite + Unpin>(&mut self, to: &mut T, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.flush {
            ready!(Pin::new(to).poll_flush(cx))?;
            self.flush = false;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn one_side_may_close_while_the_other_still_talks() {
        let (mut client, mut near) = tokio::io::duplex(64);
        let (mut far, mut backend) = tokio::io::duplex(64);
        let mut moved = Moved::default();
        let large = vec![7; 100_000];
        let clients_part = async {
            client.write_all(b"question").await.unwrap();
            client.shutdown().await.unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            answer
        };
        let backends_part = async {
            let mut question = String::new();
            backend.read_to_string(&mut question).await.unwrap();
            backend.write_all(&large).await.unwrap();
            backend.shutdown().await.unwrap();
            question
        };
        let idle = Duration::from_secs(5);
        let (ended, answer, question) =
            tokio::join!(relay(&mut near, &mut far, idle, &mut moved), clients_part, backends_part);
        assert!(matches!(ended, Ended::Closed), "{ended:?}");
        assert_eq!((question.as_str(), answer.len()), ("question", 100_000));
        assert_eq!((moved.received, moved.sent), (8, 100_000));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_it() {
        let (mut client, mut near) = tokio::io::duplex(64);
        let (mut far, _backend) = tokio::io::duplex(64);
        let start = Instant::now();
        let mut moved = Moved::default();
        let (ended, ()) = tokio::join!(relay(&mut near, &mut far, Duration::from_secs(10), &mut moved), async {
            tokio::time::sleep(Duration::from_secs(7)).await;
            client.write_all(b"x").await.unwrap();
        });
        assert!(matches!(ended, Ended::Idle), "{ended:?}");
        assert_eq!(start.elapsed().as_secs(), 17, "a byte starts the time anew");
    }
}
