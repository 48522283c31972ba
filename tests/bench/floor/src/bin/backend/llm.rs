//! Canned answers of language models in two dialects: what a provider costs is not measured, and is always the same.
//!
//! `…/chat/completions` answers as OpenAI does, `…/messages` as Anthropic does: at once as a whole, or as a stream where
//! the request has `"stream":true`. A stream has `n` (200) pieces of text with a pause of `us` (1,000) microseconds before
//! each but the first; both are in the query. Each piece of text says when it was written, for the load to tell how
//! long it took: ` @` and twenty digits, nanoseconds of the system's clock.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout_at};

const PIECES: u64 = 200;
const PAUSE_US: u64 = 1_000;
const STREAM: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// What was asked, once the request is there as a whole.
pub struct Asked {
    dialect: &'static Dialect,
    stream: bool,
    pieces: u64,
    pause: Duration,
}

struct Dialect {
    whole: &'static str,
    /// Events before, around, and after the text.
    before: &'static [&'static str],
    piece: (&'static str, &'static str),
    after: &'static [&'static str],
}

const OPENAI: Dialect = Dialect {
    whole: r#"{"id":"chatcmpl-bench0000000000000000000000","object":"chat.completion","created":1732300000,"model":"gpt-5-mini-2025-08-07","choices":[{"index":0,"message":{"role":"assistant","content":"It adds two numbers and prints a line each time. I would test it with zero, with negative numbers, and at the ends of the range, where the sum overflows.","refusal":null,"annotations":[]},"finish_reason":"stop"}],"usage":{"prompt_tokens":211,"completion_tokens":37,"total_tokens":248,"prompt_tokens_details":{"cached_tokens":128,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"service_tier":"default"}"#,
    before: &[
        "data: {\"id\":\"chatcmpl-bench0000000000000000000000\",\"object\":\"chat.completion.chunk\",\"created\":1732300000,\"model\":\"gpt-5-mini-2025-08-07\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}],\"usage\":null}\n\n",
    ],
    piece: (
        "data: {\"id\":\"chatcmpl-bench0000000000000000000000\",\"object\":\"chat.completion.chunk\",\"created\":1732300000,\"model\":\"gpt-5-mini-2025-08-07\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"",
        "\"},\"finish_reason\":null}],\"usage\":null}\n\n",
    ),
    after: &[
        "data: {\"id\":\"chatcmpl-bench0000000000000000000000\",\"object\":\"chat.completion.chunk\",\"created\":1732300000,\"model\":\"gpt-5-mini-2025-08-07\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":null}\n\n",
        "data: {\"id\":\"chatcmpl-bench0000000000000000000000\",\"object\":\"chat.completion.chunk\",\"created\":1732300000,\"model\":\"gpt-5-mini-2025-08-07\",\"choices\":[],\"usage\":{\"prompt_tokens\":211,\"completion_tokens\":200,\"total_tokens\":411,\"prompt_tokens_details\":{\"cached_tokens\":128}}}\n\n",
        "data: [DONE]\n\n",
    ],
};

const ANTHROPIC: Dialect = Dialect {
    whole: r#"{"id":"msg_bench00000000000000000000","type":"message","role":"assistant","model":"claude-sonnet-4-5-20250929","content":[{"type":"text","text":"It adds two numbers and prints a line each time. I would test it with zero, with negative numbers, and at the ends of the range, where the sum overflows."}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":83,"cache_creation_input_tokens":0,"cache_read_input_tokens":128,"output_tokens":37,"service_tier":"standard"}}"#,
    before: &[
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_bench00000000000000000000\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-sonnet-4-5-20250929\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":83,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":128,\"output_tokens\":1}}}\n\n",
        "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
    ],
    piece: (
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"",
        "\"}}\n\n",
    ),
    after: &[
        "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":200}}\n\n",
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    ],
};

impl Asked {
    /// Nothing where the target is no language model's.
    pub fn of(target: &str, body: &[u8]) -> Option<Self> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let dialect = match path {
            _ if path.ends_with("/chat/completions") => &OPENAI,
            _ if path.ends_with("/messages") => &ANTHROPIC,
            _ => return None,
        };
        let number = |name: &str, default| {
            let found = query.split('&').filter_map(|it| it.split_once('=')).find(|(key, _)| *key == name);
            found.and_then(|(_, value)| value.parse::<u64>().ok()).unwrap_or(default)
        };
        let asks = |text: &[u8]| body.windows(text.len()).any(|it| it == text);
        Some(Self {
            dialect,
            stream: asks(b"\"stream\":true") || asks(b"\"stream\": true"),
            pieces: number("n", PIECES),
            pause: Duration::from_micros(number("us", PAUSE_US)),
        })
    }

    pub async fn answer(self, stream: &mut TcpStream) -> io::Result<()> {
        let Dialect { whole, before, piece: (begin, end), after } = self.dialect;
        if !self.stream {
            let length = whole.len();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n");
            return stream.write_all(&[head.as_bytes(), whole.as_bytes()].concat()).await;
        }
        stream.write_all(STREAM).await?;
        for event in *before {
            stream.write_all(&chunk(event)).await?;
        }
        let mut due = Instant::now();
        for number in 0..self.pieces {
            if number > 0 && !self.pause.is_zero() {
                due += self.pause;
                pause(stream, due).await?;
            }
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is set").as_nanos();
            stream.write_all(&chunk(&format!("{begin} @{now:020}{end}"))).await?;
        }
        for event in *after {
            stream.write_all(&chunk(event)).await?;
        }
        stream.write_all(b"0\r\n\r\n").await
    }
}

/// Until it is due, or nobody listens any more: thousands of streams are left open.
async fn pause(stream: &TcpStream, due: Instant) -> io::Result<()> {
    match timeout_at(due, stream.peek(&mut [0])).await {
        Ok(Ok(0)) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(Err(fault)) => Err(fault),
        Ok(Ok(_)) => {
            sleep_until(due).await;
            Ok(())
        }
        Err(_) => Ok(()),
    }
}

fn chunk(event: &str) -> Vec<u8> {
    [format!("{:x}\r\n", event.len()).as_bytes(), event.as_bytes(), b"\r\n"].concat()
}
