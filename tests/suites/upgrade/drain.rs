//! What becomes of connections that are there when a successor takes over.

use std::time::Duration;

use tests::client::{Duplex, Events, GrpcClient, Streaming};
use tests::gateway::Lineage;
use tests::http::{BodySender, channel};
use tests::load::{Doors, Site};
use tests::wait::PATIENCE;
use tests::{Client, Gateway, RawClient, WsClient, eventually, within};

const KINDS: [&str; 6] = ["upload", "events", "websocket", "call", "tcp", "passthrough"];

/// The last of all eras: events that go on until the test ends them otherwise.
const NEVER: u64 = u64::MAX;

async fn start(site: &Site, limit: &str) -> (Lineage, Doors) {
    let config =
        format!("config:\n  handoffSocket: '{{{{dir}}}}/handoff.sock'\n  connectionTerminationDeadline: {limit}\n");
    let gateway = Gateway::start(&format!("{config}{}", site.binds())).await;
    let doors = site.doors(&gateway);
    (Lineage::new(gateway), doors)
}

/// Something under way.
enum Open {
    Upload { client: Client, sender: BodySender, answer: Streaming },
    Events { client: Client, events: Events },
    Socket(Box<WsClient>),
    Call(Duplex),
    Bytes(RawClient),
}

impl Open {
    async fn start(kind: &str, site: &Site, doors: Doors, until: u64) -> Open {
        let client = Client::h1(doors.http).deadline(Duration::from_secs(600));
        match kind {
            "upload" => {
                let (sender, body) = channel();
                assert!(sender.data("first").await);
                let answer = client.post("/mirror").stream_body(body).stream().await;
                Open::Upload { client, sender, answer }
            }
            "events" => {
                let events = client.get(&format!("/events?until={until}")).events().await;
                Open::Events { client, events }
            }
            "websocket" => {
                Open::Socket(Box::new(WsClient::connect(doors.http, "/websocket", &[]).await.expect("a WebSocket")))
            }
            "call" => {
                let client = Client::h2c(doors.http).deadline(Duration::from_secs(600));
                Open::Call(GrpcClient::new(client).duplex("/test.Echo/Bidi", &[]).await)
            }
            "tcp" => Open::Bytes(RawClient::connect(doors.tcp).await),
            "passthrough" => Open::Bytes(site.sealed(doors).connect().await.expect("a handshake")),
            other => panic!("no kind {other}"),
        }
    }

    /// Something there, and something back.
    async fn exchange(&mut self) {
        match self {
            Open::Upload { sender, answer, .. } => {
                assert!(sender.data("more").await, "the upload is still taken");
                assert!(answer.chunk().await.expect("the mirror goes on").is_some());
            }
            Open::Events { events, .. } => assert!(events.next().await.expect("events go on").is_some()),
            Open::Socket(socket) => assert_eq!(socket.ask("said").await, "said"),
            Open::Call(call) => {
                assert!(call.send(b"said").await);
                assert_eq!(call.next().await.expect("the call goes on").expect("a message"), "pong:said");
            }
            Open::Bytes(client) => {
                client.write("said").await.expect("written");
                assert_eq!(client.read_exact(4).await.expect("the echo"), "said");
            }
        }
    }

    /// Comes to its proper end. What is kept alive then is asked once more, and told to close.
    async fn end(self) {
        match self {
            Open::Upload { client, sender, mut answer } => {
                drop(sender);
                while answer.chunk().await.expect("a proper end").is_some() {}
                last_answer(&client).await;
            }
            Open::Events { client, mut events } => {
                let mut last = None;
                while let Some(event) = events.next().await.expect("a proper end") {
                    last = Some(event.name);
                }
                assert_eq!(last.as_deref(), Some("end"));
                last_answer(&client).await;
            }
            Open::Socket(socket) => socket.close().await.expect("a closing handshake"),
            Open::Call(mut call) => {
                call.finish();
                assert_eq!(call.next().await.expect("a proper end"), None);
                assert_eq!(call.trailers()["grpc-status"], "0");
            }
            Open::Bytes(mut client) => {
                client.finish().await.expect("half closed");
                assert!(client.at_end().await.expect("a clean end"));
            }
        }
    }

    /// Waits until it is cut; whether its client can tell that from a proper end.
    async fn cut(self) -> bool {
        let whole = async {
            match self {
                Open::Upload { mut answer, sender, .. } => {
                    let end = loop {
                        match answer.chunk().await {
                            Ok(Some(_)) => {}
                            other => break other.is_err(),
                        }
                    };
                    drop(sender);
                    end
                }
                Open::Events { mut events, .. } => loop {
                    match events.next().await {
                        Ok(Some(_)) => {}
                        other => break other.is_err(),
                    }
                },
                Open::Socket(mut socket) => match socket.next_within(Duration::from_secs(60)).await {
                    Ok(Some(message)) => panic!("nobody asked for {message:?}"),
                    Ok(None) => false,
                    Err(_) => true,
                },
                Open::Call(mut call) => match call.next().await {
                    Ok(Some(message)) => panic!("nobody asked for {message:?}"),
                    Ok(None) => call.trailers().get("grpc-status").is_some_and(|it| it != "0"),
                    Err(_) => true,
                },
                Open::Bytes(client) => {
                    let end = client.deadline(Duration::from_secs(60)).read_to_end().await;
                    // A raw stream ends with a FIN or a reset, or TLS misses its farewell.
                    drop(end);
                    true
                }
            }
        };
        within(Duration::from_secs(60), whole).await
    }
}

/// A kept connection of the old process: it answers once more, says close, and closes.
async fn last_answer(client: &Client) {
    let reply = client.get("/last").await.expect_status(200);
    assert!(reply.reused, "the connection was still there");
    assert_eq!(reply.header("connection"), Some("close"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_under_way_keeps_the_old_process_until_it_ends() {
    let site = Site::start();
    let (mut lineage, doors) = start(&site, "600s").await;
    for kind in KINDS {
        let until = site.advance() + 1;
        let mut open = Open::start(kind, &site, doors, until).await;
        open.exchange().await;
        let handover = lineage.upgrade().await;
        for _ in 0..5 {
            open.exchange().await;
        }
        assert_eq!(
            Client::h1(doors.http).get("/new").await.status,
            200,
            "{kind}: new connections are served beside it"
        );
        assert_eq!(lineage.draining(), [handover.from], "{kind}: the old process stays for it");
        site.advance();
        open.end().await;
        lineage.drained(PATIENCE).await;
    }
    assert!(!lineage.gateway().log().text().contains("drain limit reached"));
    lineage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_is_not_closed_before_it_can_be_told() {
    let site = Site::start();
    let (mut lineage, doors) = start(&site, "600s").await;
    let idle = Client::h1(doors.http);
    assert_ne!(idle.get("/first").await.expect_status(200).header("connection"), Some("close"));
    // Never used at all; whichever process accepts it, it answers.
    let fresh = Client::h1(doors.http);
    fresh.connect().await.expect("a connection");
    let handover = lineage.upgrade().await;
    let log = lineage.gateway().log();
    log.wait(|it| it.contains("a successor has taken over")).await;
    assert_eq!(lineage.draining(), [handover.from], "the old process waits for it");
    last_answer(&idle).await;
    assert_eq!(fresh.get("/first").await.expect_status(200).connection, 1, "over the connection made before");
    fresh.disconnect().await;
    lineage.drained(PATIENCE).await;
    lineage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_http2_connection_is_told_to_go_away() {
    let site = Site::start();
    let (mut lineage, doors) = start(&site, "600s").await;
    let mut client = RawClient::connect(doors.http).await;
    client.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("a preface");
    let settings = frame(&mut client).await.expect("the server's settings");
    assert_eq!(settings.kind, 4);
    lineage.upgrade().await;
    let mut farewells = Vec::new();
    while let Some(frame) = frame(&mut client).await {
        match frame.kind {
            6 if frame.flags == 0 => {
                let ack = [&[0, 0, 8, 6, 1, 0, 0, 0, 0][..], &frame.payload].concat();
                client.write(ack).await.expect("an answer to the ping");
            }
            7 => farewells.push(frame.payload),
            _ => {}
        }
    }
    let said: Vec<_> = farewells.iter().map(|it| (number(&it[..4]), number(&it[4..8]))).collect();
    assert_eq!(said, [(0x7fff_ffff, 0), (0, 0)], "RFC 9113 section 6.8: no more streams, then the last one served");
    lineage.drained(PATIENCE).await;
    lineage.stop().await;
}

struct Frame {
    kind: u8,
    flags: u8,
    payload: Vec<u8>,
}

/// `None` at the end of the connection.
async fn frame(client: &mut RawClient) -> Option<Frame> {
    if client.at_end().await.expect("a clean end") {
        return None;
    }
    let head = client.read_exact(9).await.expect("the head of a frame");
    let length = usize::try_from(number(&head[..3])).expect("a length");
    let payload = client.read_exact(length).await.expect("a payload").to_vec();
    Some(Frame { kind: head[3], flags: head[4], payload })
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum, it| (sum << 8) | u32::from(*it))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_outlasts_the_limit_is_cut_and_counted() {
    let site = Site::start();
    let (mut lineage, doors) = start(&site, "1s").await;
    let mut all = Vec::new();
    for kind in KINDS {
        let mut open = Open::start(kind, &site, doors, NEVER).await;
        open.exchange().await;
        all.push(open);
    }
    let idle = Client::h1(doors.http);
    assert_eq!(idle.get("/idle").await.status, 200);
    lineage.upgrade().await;
    for (kind, open) in KINDS.iter().zip(all) {
        assert!(open.cut().await, "{kind}: a cut stream must not look complete");
    }
    let line = lineage.gateway().log().wait(|it| it.contains("drain limit reached")).await;
    assert!(line.contains(&format!("\"connections\":{}", KINDS.len() + 1)), "all of them and the idle one: {line}");
    lineage.drained(PATIENCE).await;
    for kind in KINDS {
        Open::start(kind, &site, doors, NEVER).await.exchange().await;
    }
    lineage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draining_process_gives_memory_back_as_its_streams_end() {
    const STREAMS: usize = 200;
    let site = Site::start();
    let (mut lineage, doors) = start(&site, "600s").await;
    assert_eq!(Client::h1(doors.http).get("/first").await.status, 200);
    let empty = lineage.rss_kib(lineage.newest());
    let mut open = Vec::new();
    for _ in 0..STREAMS {
        let (sender, body) = channel();
        assert!(sender.data(vec![b'x'; 64 << 10]).await);
        let client = Client::h1(doors.http).deadline(Duration::from_secs(600));
        // Nobody reads the answer: what comes back stays in buffers on the way.
        let answer = client.post("/mirror").stream_body(body).stream().await;
        open.push((client, sender, answer));
    }
    for (_, sender, _) in &open {
        for _ in 0..4 {
            assert!(sender.data(vec![b'x'; 64 << 10]).await);
        }
    }
    let old = lineage.upgrade().await.from;
    let full = lineage.rss_kib(old);
    println!("resident KiB of the draining process: empty {empty}, {STREAMS} streams {full}");
    while open.len() > 1 {
        for (client, sender, answer) in open.split_off(open.len() / 2) {
            drop((sender, answer));
            client.disconnect().await;
        }
        let left = u64::try_from(open.len()).expect("a count");
        eventually(PATIENCE, || async { site.in_flight() == left }).await;
        println!("{left:>4} streams {}", lineage.rss_kib(old));
    }
    // The allocator takes its time, and some of it stays with the process: a robust bound, not a goal.
    let bound = full - (full - empty) / 8;
    eventually(PATIENCE, || async { lineage.rss_kib(old) < bound }).await;
    println!("   1 stream, later {}", lineage.rss_kib(old));
    drop(open);
    lineage.drained(PATIENCE).await;
    lineage.stop().await;
}
