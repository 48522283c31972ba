//! What stands behind the proxies: as little work as a server can do, so that the load's core has room.
//!
//! `bench-backend <address>`: `/16k` answers 16 KiB, `/sse?n=<events>&us=<pause>` a stream of events, all else
//! 12 bytes; request bodies are read and dropped. HTTP/1.1, keep-alive. Language models answer too, and MCP servers
//! below `/mcp`: see `llm` and `mcp`.

#[path = "backend/llm.rs"]
mod llm;
#[path = "backend/mcp.rs"]
mod mcp;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until};

const SMALL: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 12\r\n\r\nhello world\n";
const STREAM: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const EVENT: &[u8] =
    b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\" token\"}}],\"created\":1732300000}\n\n";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let address = std::env::args().nth(1).expect("an address");
    let listener = TcpListener::bind(&address).await.expect("a free address");
    let large =
        [b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 16384\r\n\r\n".to_vec(), vec![b'x'; 16384]];
    let large: &'static [u8] = large.concat().leak();
    let mcp = Arc::<mcp::Mcp>::default();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let mcp = mcp.clone();
        tokio::spawn(async move {
            // Whoever leaves, leaves.
            let _ = serve(stream, large, mcp).await;
        });
    }
}

async fn serve(mut stream: TcpStream, large: &'static [u8], mcp: Arc<mcp::Mcp>) -> io::Result<()> {
    let mut seen = Vec::with_capacity(32 * 1024);
    loop {
        let end = loop {
            if let Some(at) = seen.windows(4).position(|it| it == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut seen).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&seen[..end]).into_owned();
        let length = head.lines().find_map(|it| {
            let (name, value) = it.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok()).flatten()
        });
        let target = head.split(' ').nth(1).unwrap_or("/");
        let whole = match length {
            Some(length) => end + length,
            None if is_chunked(&head) => loop {
                if let Some(at) = last_chunk(&seen, end) {
                    break at;
                }
                if stream.read_buf(&mut seen).await? == 0 {
                    return Ok(());
                }
            },
            None => end,
        };
        while seen.len() < whole {
            if stream.read_buf(&mut seen).await? == 0 {
                return Ok(());
            }
        }
        if target.starts_with("/mcp") {
            mcp.answer(&mut stream, &head, &seen[end..whole]).await?;
            seen.drain(..whole);
            continue;
        }
        let asked = llm::Asked::of(target, &seen[end..whole]);
        seen.drain(..whole);
        if let Some(asked) = asked {
            asked.answer(&mut stream).await?;
            continue;
        }
        match target.split_once('?') {
            Some(("/sse", query)) => events(&mut stream, query).await?,
            _ if target == "/16k" => stream.write_all(large).await?,
            _ => stream.write_all(SMALL).await?,
        }
    }
}

fn is_chunked(head: &str) -> bool {
    head.lines().any(|it| it.to_ascii_lowercase().starts_with("transfer-encoding:"))
}

/// Where a body in chunks that begins at `at` ends, if it is there as a whole.
fn last_chunk(seen: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let line = seen[at..].windows(2).position(|it| it == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&seen[at..at + line]).ok()?, 16).ok()?;
        at += line + 2 + size + 2;
        if at > seen.len() {
            return None;
        }
        if size == 0 {
            return Some(at);
        }
    }
}

async fn events(stream: &mut TcpStream, query: &str) -> io::Result<()> {
    let number = |name: &str| {
        let found = query.split('&').filter_map(|it| it.split_once('=')).find(|(key, _)| *key == name);
        found.and_then(|(_, value)| value.parse::<u64>().ok()).unwrap_or(0)
    };
    let (count, pause) = (number("n"), Duration::from_micros(number("us")));
    let chunk = [format!("{:x}\r\n", EVENT.len()).as_bytes(), EVENT, b"\r\n"].concat();
    stream.write_all(STREAM).await?;
    let mut due = Instant::now();
    for _ in 0..count {
        stream.write_all(&chunk).await?;
        if !pause.is_zero() {
            due += pause;
            sleep_until(due).await;
        }
    }
    stream.write_all(b"0\r\n\r\n").await
}
