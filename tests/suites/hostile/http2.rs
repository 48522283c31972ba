//! HTTP/2 by hand: frames no library would send.

use bytes::{BufMut, BytesMut};
use tests::wait::PATIENCE;
use tests::{Client, RawClient, eventually};

use super::Rig;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_uint(u64::try_from(payload.len()).expect("a short payload"), 3);
    out.put_u8(kind);
    out.put_u8(flags);
    out.put_u32(stream);
    out.put_slice(payload);
    out
}

/// A literal field that no table keeps.
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut out = vec![0];
    for text in [name, value] {
        let length = u8::try_from(text.len()).expect("below 127");
        assert!(length < 127, "longer lengths are not written here");
        out.push(length);
        out.extend_from_slice(text.as_bytes());
    }
    out
}

fn request(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", path)];
    pseudo.iter().chain(more).flat_map(|(name, value)| field(name, value)).collect()
}

/// Preface and empty SETTINGS sent.
async fn opened(rig: &Rig) -> RawClient {
    let mut client = rig.raw().await;
    let mut bytes = BytesMut::from(&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..]);
    bytes.extend_from_slice(&frame(SETTINGS, 0, 0, &[]));
    client.write(&bytes).await.expect("write the preface");
    client
}

/// Kind, flags, stream, payload of the next frame; `None` at the end of the connection.
async fn next(client: &mut RawClient) -> Option<(u8, u8, u32, Vec<u8>)> {
    let head = client.read_exact(9).await.ok()?;
    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
    let payload = client.read_exact(length).await.ok()?;
    Some((head[3], head[4], stream, payload.to_vec()))
}

/// Reads to the end, and says whether a GOAWAY with an error came before it.
async fn ends_with_error(client: &mut RawClient) -> bool {
    let mut error = false;
    while let Some((kind, _, _, payload)) = next(client).await {
        error |= kind == GOAWAY && payload.get(4..8).is_some_and(|it| it != [0; 4]);
    }
    error
}

async fn recovered(rig: &Rig, after: &str) {
    rig.still_good(after).await;
    let h2 = Client::h2c(rig.gateway.addr(0)).host("a");
    assert_eq!(h2.get("/good").await.status, 200, "{after}");
    h2.disconnect().await;
    eventually(PATIENCE, || async { rig.backend.stats().in_flight() == 0 }).await;
    eventually(PATIENCE, || async { rig.active().await <= 1.0 }).await;
}

#[tokio::test]
async fn a_continuation_flood_is_cut_cve_2024_27316() {
    let rig = Rig::new().await;
    let rss = rig.gateway.rss_kib();
    let mut client = opened(&rig).await;
    let piece: Vec<u8> = (0..100).flat_map(|it| field(&format!("x-{it}"), &"a".repeat(100))).collect();
    let _ = client.write(frame(HEADERS, END_STREAM, 1, &request("/flood", &[]))).await;
    for _ in 0..5_000 {
        if client.write(frame(CONTINUATION, 0, 1, &piece)).await.is_err() {
            break;
        }
    }
    // Cut with a GOAWAY or with a reset, which may overtake it.
    ends_with_error(&mut client).await;
    drop(client);
    recovered(&rig, "a CONTINUATION flood").await;
    assert!(rig.gateway.rss_kib().saturating_sub(rss) < 32 * 1024, "the headers of a flood are not kept");
    assert!(rig.backend.stats().seen().iter().all(|it| it.uri.path() == "/good"));
    rig.done().await;
}

#[tokio::test]
async fn a_header_bomb_is_refused_and_costs_no_memory() {
    let rig = Rig::new().await;
    let rss = rig.gateway.rss_kib();
    let mut client = opened(&rig).await;
    // One entry of the dynamic table, then thousands of references to it (HPACK bomb).
    let mut block = request("/bomb", &[]);
    block.extend_from_slice(&[0x40, 6]);
    block.extend_from_slice(b"x-bomb");
    // 4,000 as an integer of HPACK: the entry fits into a table of 4,096 bytes.
    block.extend_from_slice(&[127, 0xa1, 0x1e]);
    block.extend_from_slice(&[b'a'; 4000]);
    let room = 16_000 - block.len();
    block.extend(std::iter::repeat_n(0xbe_u8, room));
    client.write(frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)).await.expect("write");
    client.write(frame(HEADERS, END_STREAM | END_HEADERS, 3, &request("/good", &[]))).await.expect("write");
    // Alone or with its connection.
    let refused = loop {
        match next(&mut client).await {
            None | Some((RST_STREAM, _, 1, _) | (GOAWAY, ..)) => break true,
            Some((HEADERS, _, 1, payload)) => break payload.first() != Some(&0x88),
            Some(_) => {}
        }
    };
    assert!(refused, "the bomb is answered, reset or ends the connection");
    assert!(rig.gateway.rss_kib().saturating_sub(rss) < 32 * 1024, "64 MB of headers are not unpacked");
    drop(client);
    recovered(&rig, "a header bomb").await;
    assert!(rig.backend.stats().seen().iter().all(|it| it.uri.path() == "/good"));
    rig.done().await;
}

#[tokio::test]
async fn rapid_reset_is_bounded_cve_2023_44487() {
    let rig = Rig::new().await;
    let rss = rig.gateway.rss_kib();
    let mut client = opened(&rig).await;
    let mut stream = 1;
    'flood: for _ in 0..100 {
        let mut burst = BytesMut::new();
        for _ in 0..100 {
            burst.extend_from_slice(&frame(HEADERS, END_STREAM | END_HEADERS, stream, &request("/stall", &[])));
            burst.extend_from_slice(&frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
            stream += 2;
        }
        if client.write(&burst).await.is_err() {
            break 'flood;
        }
    }
    drop(client);
    recovered(&rig, "rapid reset").await;
    let asked = rig.backend.stats().requests();
    assert!(asked < 2_000, "of 10,000 reset requests {asked} reached the backend");
    assert!(rig.gateway.rss_kib().saturating_sub(rss) < 48 * 1024);
    rig.done().await;
}

#[tokio::test]
async fn floods_of_settings_and_pings_cost_no_memory() {
    let rig = Rig::new().await;
    let rss = rig.gateway.rss_kib();
    for (kind, payload) in [(SETTINGS, vec![]), (SETTINGS, vec![0, 1, 0, 0, 16, 0]), (PING, vec![7; 8])] {
        let mut client = opened(&rig).await.deadline(std::time::Duration::from_secs(2));
        let one = frame(kind, 0, 0, &payload);
        let burst: Vec<u8> = std::iter::repeat_n(&one[..], 1000).flatten().copied().collect();
        // The answers are not read: sooner or later the gateway stops reading, too.
        for _ in 0..200 {
            if client.write(&burst).await.is_err() {
                break;
            }
        }
        rig.still_good("a flood under way").await;
    }
    recovered(&rig, "floods of SETTINGS and PING").await;
    assert!(rig.gateway.rss_kib().saturating_sub(rss) < 48 * 1024);
    rig.done().await;
}

#[tokio::test]
async fn malformed_http2_requests_are_refused_rfc_9113_section_8() {
    let rig = Rig::new().await;
    let bad: [(&str, Vec<u8>); 10] = [
        ("no :path", [field(":method", "GET"), field(":scheme", "http"), field(":authority", "a")].concat()),
        ("no :method", [field(":scheme", "http"), field(":authority", "a"), field(":path", "/")].concat()),
        ("two :path", [request("/a", &[]), field(":path", "/b")].concat()),
        ("a pseudo field after a field", [field("x", "1"), request("/a", &[])].concat()),
        ("capitals in a name", request("/a", &[("X-Y", "1")])),
        ("connection", request("/a", &[("connection", "close")])),
        ("transfer-encoding", request("/a", &[("transfer-encoding", "chunked")])),
        ("CR LF in a value", request("/a", &[("x", "a\r\nb: c")])),
        ("NUL in a value", request("/a", &[("x", "a\0b")])),
        ("another Host", request("/a", &[("host", "b")])),
    ];
    for (name, block) in bad {
        let mut client = opened(&rig).await;
        client.write(frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)).await.expect("write");
        let refused = loop {
            match next(&mut client).await {
                None => break true,
                Some((RST_STREAM | GOAWAY, ..)) => break true,
                // 0x8c to 0x8e are 400, 404 and 500 in the static table; 0x88 is 200.
                Some((HEADERS, _, 1, payload)) => break payload.first() == Some(&0x8c),
                Some(_) => {}
            }
        };
        assert!(refused, "{name} is refused");
        rig.still_good(name).await;
    }
    rig.gateway.wait_log(|it| it.contains("malformed request") && it.contains("HTTP/2.0")).await;
    let paths: Vec<_> = rig.backend.stats().seen().iter().map(|it| it.uri.path().to_owned()).collect();
    assert!(paths.iter().all(|it| it == "/good"), "{paths:?}");
    rig.done().await;
}

#[tokio::test]
async fn content_length_that_lies_over_http2_is_a_stream_error() {
    let rig = Rig::new().await;
    let mut client = opened(&rig).await;
    let mut block = request("/lie", &[("content-length", "3")]);
    block.splice(0..1 + 8 + 4 + 1, field(":method", "PUT"));
    client.write(frame(HEADERS, END_HEADERS, 1, &block)).await.expect("write");
    client.write(frame(DATA, END_STREAM, 1, b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")).await.expect("write");
    let refused = loop {
        match next(&mut client).await {
            None | Some((RST_STREAM | GOAWAY, ..)) => break true,
            Some((HEADERS, _, 1, payload)) => break payload.first() != Some(&0x88),
            Some(_) => {}
        }
    };
    assert!(refused, "a body longer than its length");
    rig.still_good("a lying length").await;
    rig.done().await;
}

#[tokio::test]
async fn broken_frames_end_the_connection_only() {
    let rig = Rig::new().await;
    let cases = [
        ("a frame too large", {
            let mut it = frame(DATA, 0, 1, &[]);
            it[0] = 0xff;
            it
        }),
        ("DATA on stream 0", frame(DATA, 0, 0, b"x")),
        ("DATA on an idle stream", frame(DATA, 0, 5, b"x")),
        ("an even stream", frame(HEADERS, END_STREAM | END_HEADERS, 2, &request("/", &[]))),
        ("a PING of 7 bytes", frame(PING, 0, 0, &[0; 7])),
        ("SETTINGS of 5 bytes", frame(SETTINGS, 0, 0, &[0; 5])),
        ("a lone CONTINUATION", frame(CONTINUATION, END_HEADERS, 1, &[])),
        ("an index beyond the tables", frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0xff, 0xff, 0xff, 0x07])),
        ("an endless integer", frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0xff; 64])),
    ];
    for (name, bytes) in cases {
        let mut client = opened(&rig).await;
        client.write(&bytes).await.expect("write");
        assert!(ends_with_error(&mut client).await, "{name}: a GOAWAY, then the end");
        rig.still_good(name).await;
    }
    recovered(&rig, "broken frames").await;
    rig.done().await;
}
