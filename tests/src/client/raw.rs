//! Bytes in, bytes out: for requests no proper client would send, and for answers no proper client would show.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use crate::http::Reply;
use crate::io::{Place, Stream};
use crate::wait::PATIENCE;

/// More than any answer a test asks for.
const BYTES_MAX: usize = 64 * 1024 * 1024;

pub struct RawClient {
    stream: Stream,
    pending: BytesMut,
    deadline: Duration,
    replies: u64,
}

/// How the peer ended the connection, and what it said until then.
#[derive(Clone, Debug)]
pub struct End {
    pub bytes: Bytes,
    /// RST rather than FIN.
    pub reset: bool,
}

/// A response head, names and order as they came.
#[derive(Clone, Debug)]
pub struct RawHead {
    pub status: StatusCode,
    pub version: Version,
    pub reason: String,
    pub headers: Vec<(String, String)>,
}

impl RawHead {
    /// The first value of a header, by its name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|it| it.0.eq_ignore_ascii_case(name)).map(|it| it.1.as_str())
    }
}

impl RawClient {
    pub async fn connect(addr: SocketAddr) -> RawClient {
        RawClient::to(&Place::Tcp(addr)).await
    }

    pub async fn to(place: &Place) -> RawClient {
        RawClient::over(place.connect().await.expect("a connection"))
    }

    /// Over a stream that is already there, a TLS one for instance.
    pub fn over(stream: Stream) -> RawClient {
        RawClient { stream, pending: BytesMut::new(), deadline: PATIENCE, replies: 0 }
    }

    /// How long each operation may take.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> RawClient {
        self.deadline = deadline;
        self
    }

    /// Writes these bytes and gives every answer until the connection closes; panics when it stays open.
    pub async fn exchange(addr: SocketAddr, bytes: impl AsRef<[u8]>) -> anyhow::Result<Vec<Reply>> {
        let mut client = RawClient::connect(addr).await;
        client.write(bytes).await?;
        let mut replies = Vec::new();
        while !client.at_end().await? {
            replies.push(client.reply().await?);
        }
        Ok(replies)
    }

    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) -> anyhow::Result<()> {
        let writing = async {
            self.stream.write_all(bytes.as_ref()).await?;
            self.stream.flush().await
        };
        Ok(timeout(self.deadline, writing).await.context("the peer does not read")??)
    }

    /// Writes a byte at a time with a pause after each: the slow client is the point, not a wait for something.
    pub async fn dribble(&mut self, bytes: impl AsRef<[u8]>, pause: Duration) -> anyhow::Result<()> {
        for byte in bytes.as_ref() {
            self.write([*byte]).await?;
            sleep(pause).await;
        }
        Ok(())
    }

    /// Says that nothing more will be written.
    pub async fn finish(&mut self) -> anyhow::Result<()> {
        Ok(timeout(self.deadline, self.stream.shutdown()).await.context("the end does not go out")??)
    }

    /// Makes the end of the connection a reset, once this client is dropped; only over bare TCP.
    pub fn reset(&self) {
        let socket = self.stream.socket.as_ref().expect("a bare TCP connection");
        // Fails only when the peer has already reset it.
        let _ = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
    }

    /// Reads until these bytes, included.
    pub async fn read_until(&mut self, needle: &[u8]) -> anyhow::Result<Bytes> {
        loop {
            if let Some(at) = self.pending.windows(needle.len()).position(|it| it == needle) {
                return Ok(self.pending.split_to(at + needle.len()).freeze());
            }
            ensure!(self.more().await?, "the connection ended after {:?}", self.pending);
        }
    }

    pub async fn read_exact(&mut self, n: usize) -> anyhow::Result<Bytes> {
        while self.pending.len() < n {
            ensure!(self.more().await?, "the connection ended {} bytes early", n - self.pending.len());
        }
        Ok(self.pending.split_to(n).freeze())
    }

    /// Reads until the peer ends the connection; an error when it does not in time.
    pub async fn read_to_end(&mut self) -> anyhow::Result<End> {
        let reset = loop {
            match self.more().await {
                Ok(true) => {}
                Ok(false) => break false,
                Err(error) if is_reset(&error) => break true,
                Err(error) => return Err(error),
            }
        };
        Ok(End { bytes: self.pending.split().freeze(), reset })
    }

    /// Whether the peer has nothing more to say and closed; waits for either.
    pub async fn at_end(&mut self) -> anyhow::Result<bool> {
        Ok(self.pending.is_empty() && !self.more().await?)
    }

    /// A response head, 1xx included.
    pub async fn head(&mut self) -> anyhow::Result<RawHead> {
        let bytes = self.read_until(b"\r\n\r\n").await?;
        parse_head(std::str::from_utf8(&bytes).context("a head in UTF-8")?)
    }

    /// A whole answer, its body framed as HTTP/1.1 says. A 1xx counts as an answer of its own.
    pub async fn reply(&mut self) -> anyhow::Result<Reply> {
        self.reply_to(false).await
    }

    /// An answer to HEAD: a length, but no body.
    pub async fn reply_to_head(&mut self) -> anyhow::Result<Reply> {
        self.reply_to(true).await
    }

    async fn reply_to(&mut self, head_request: bool) -> anyhow::Result<Reply> {
        let head = self.head().await?;
        let bare = head_request || head.status.is_informational() || matches!(head.status.as_u16(), 204 | 304);
        let mut trailers = HeaderMap::new();
        let chunked = head.header("transfer-encoding").is_some_and(|it| it.eq_ignore_ascii_case("chunked"));
        let body = if bare {
            Bytes::new()
        } else if chunked {
            self.chunked(&mut trailers).await?
        } else if let Some(length) = head.header("content-length") {
            self.read_exact(length.parse().context("a content-length")?).await?
        } else {
            self.read_to_end().await?.bytes
        };
        self.replies += 1;
        Ok(Reply {
            status: head.status,
            version: head.version,
            headers: header_map(&head.headers)?,
            body,
            trailers,
            connection: 1,
            reused: self.replies > 1,
        })
    }

    async fn chunked(&mut self, trailers: &mut HeaderMap) -> anyhow::Result<Bytes> {
        let mut body = BytesMut::new();
        loop {
            let line = self.read_until(b"\r\n").await?;
            let text = std::str::from_utf8(&line)?.trim_end();
            let size = text.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).with_context(|| format!("a chunk size, not {text:?}"))?;
            ensure!(size <= BYTES_MAX, "a chunk of {size} bytes");
            if size == 0 {
                break;
            }
            body.extend_from_slice(&self.read_exact(size).await?);
            let mut end = self.read_exact(2).await?;
            ensure!(end.get_u16() == 0x0d0a, "a chunk does not end with CR LF");
        }
        loop {
            let line = self.read_until(b"\r\n").await?;
            if line.len() == 2 {
                return Ok(body.freeze());
            }
            trailers.extend(header_map(&[parse_field(std::str::from_utf8(&line)?.trim_end())?])?);
        }
    }

    /// Reads some bytes; `false` at the end of the connection.
    async fn more(&mut self) -> anyhow::Result<bool> {
        ensure!(self.pending.len() <= BYTES_MAX, "more than {BYTES_MAX} bytes");
        let reading = self.stream.read_buf(&mut self.pending);
        let n = timeout(self.deadline, reading).await.context("the peer says nothing, and stays")??;
        Ok(n > 0)
    }
}

fn is_reset(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|it| it.kind() == std::io::ErrorKind::ConnectionReset)
}

fn parse_head(text: &str) -> anyhow::Result<RawHead> {
    let mut lines = text.trim_end().split("\r\n");
    let line = lines.next().unwrap_or_default();
    let mut words = line.splitn(3, ' ');
    let version = match words.next() {
        Some("HTTP/1.1") => Version::HTTP_11,
        Some("HTTP/1.0") => Version::HTTP_10,
        _ => bail!("not a status line: {line:?}"),
    };
    let status = words.next().unwrap_or_default().parse().with_context(|| format!("a status in {line:?}"))?;
    let reason = words.next().unwrap_or_default().to_owned();
    let headers = lines.map(parse_field).collect::<anyhow::Result<_>>()?;
    Ok(RawHead { status, version, reason, headers })
}

fn parse_field(line: &str) -> anyhow::Result<(String, String)> {
    let (name, value) = line.split_once(':').with_context(|| format!("a header line, not {line:?}"))?;
    Ok((name.to_owned(), value.trim().to_owned()))
}

fn header_map(pairs: &[(String, String)]) -> anyhow::Result<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
    }
    Ok(map)
}
