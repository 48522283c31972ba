use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::listen::drain::Stage;

/// What a client gets for what it sends, when it then closes its side or not.
async fn exchange(terms: Terms, sent: &[u8], close: bool) -> String {
    let drain = Drain::new();
    let exit = drain.exit();
    let (mut client, wire) = connection(&exit).await;
    let stream = downstream(wire, &exit, false);
    let mut talk = talk(&exit, terms);
    let server = crate::listen::http1::serve(&mut talk, stream);
    let asking = async {
        client.write_all(sent).await.unwrap();
        if close {
            client.shutdown().await.unwrap();
        }
        let mut got = Vec::new();
        let _ = client.read_to_end(&mut got).await;
        String::from_utf8(got).unwrap()
    };
    let ((), got) = tokio::join!(server, asking);
    assert_eq!(drain.live(), 0, "the connection has left the gauges");
    got
}

fn answers(got: &str) -> Vec<&str> {
    got.split("HTTP/1.1 200 OK").skip(1).map(|it| it.split("\r\n\r\n").nth(1).unwrap()).collect()
}

#[tokio::test]
async fn requests_sent_all_at_once_are_answered_one_by_one() {
    let sent = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\
        POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
        POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1\r\nf\r\n0\r\n\r\n\
        GET /4 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let got = exchange(Terms::default(), sent, false).await;
    assert_eq!(answers(&got), ["GET /1 ", "POST /2 abc", "POST /3 def", "GET /4 "]);
    assert!(got.contains("bind: bind/1"), "the connection's terms reach the application");
}

#[tokio::test]
async fn a_request_that_comes_early_does_not_abort_the_one_before() {
    let sent = b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n";
    // The client closing its side after that still wants both.
    let got = exchange(Terms::default(), sent, true).await;
    assert_eq!(answers(&got), ["GET /slow ", "GET /2 "]);
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_request() {
    let got = exchange(Terms::default(), b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n", true).await;
    assert_eq!(got, "");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_request_in_time_and_size_is_told_so() {
    let mut terms = Terms::default();
    terms.http.max_header_bytes = 100;
    let large = [b'x'; 200];
    let cases: [(&[u8], &str); 4] = [
        (b"GET / HTTP/1.1\r\nHost", "408"),
        (&large, "431"),
        (b"\x16\x03\x01", "400"),
        // Nothing at all: closed without a word.
        (b"", ""),
    ];
    for (sent, status) in cases {
        let got = exchange(terms.clone(), sent, false).await;
        assert_eq!(got.get(9..12).unwrap_or_default(), status, "{got:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_connection_says_goodbye_with_its_next_response() {
    let mut terms = Terms::default();
    terms.http.max_connection_duration = Some(Duration::ZERO);
    let got = exchange(terms, b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n", false).await;
    assert!(got.to_ascii_lowercase().contains("connection: close"), "{got:?}");
}

#[tokio::test]
async fn an_idle_connection_outlives_the_drain_until_its_next_response() {
    let drain = Drain::new();
    let exit = drain.exit();
    let (mut client, wire) = connection(&exit).await;
    let stream = downstream(wire, &exit, false);
    let mut talk = talk(&exit, Terms::default());
    let server = crate::listen::http1::serve(&mut talk, stream);
    let asking = async {
        drain.enter(Stage::Closed);
        tokio::time::sleep(Duration::from_millis(50)).await;
        client.write_all(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut got = String::new();
        client.read_to_string(&mut got).await.unwrap();
        got.to_ascii_lowercase()
    };
    let ((), got) = tokio::join!(server, asking);
    assert!(got.contains("connection: close") && got.ends_with("get /1 "), "{got:?}");
}

#[tokio::test]
async fn the_cut_ends_idle_connections() {
    let drain = Drain::new();
    let exit = drain.exit();
    let (_client, wire) = connection(&exit).await;
    let stream = downstream(wire, &exit, false);
    let mut talk = talk(&exit, Terms::default());
    let server = crate::listen::http1::serve(&mut talk, stream);
    tokio::join!(server, async { drain.enter(Stage::Cut) });
    assert_eq!(drain.live(), 0);
}

#[tokio::test]
async fn an_upgrade_that_was_not_taken_leaves_the_connection_usable() {
    let exit = Drain::new().exit();
    let (mut client, wire) = connection(&exit).await;
    let stream = downstream(wire, &exit, false);
    let mut talk = talk(&exit, Terms::default());
    let server = crate::listen::http1::serve(&mut talk, stream);
    let asking = async {
        let mut got = String::new();
        for head in ["GET /1 HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n", "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n"] {
            client.write_all(head.as_bytes()).await.unwrap();
            let mut space = [0; 4096];
            while !got.ends_with(&format!("{} ", &head[..6])) {
                let count = client.read(&mut space).await.unwrap();
                assert!(count > 0, "closed after {got:?}");
                got.push_str(std::str::from_utf8(&space[..count]).unwrap());
            }
        }
        drop(client);
        got
    };
    let ((), got) = tokio::join!(server, asking);
    assert_eq!(answers(&got), ["GET /1 ", "GET /2 "]);
}

/// The task of a connection lives as long as the connection: what it could need is not what it holds.
#[test]
fn the_task_of_a_connection_is_small() {
    use crate::listen::arrival::Reception;
    use crate::listen::drain::Seat;
    fn size<F>(_: impl FnOnce(Reception<Echo>, Socket, Seat) -> F) -> usize {
        size_of::<F>()
    }
    let task = size(|reception, socket, seat| reception.serve(socket, seat));
    assert!(task < 4096, "{task} bytes");
}

#[tokio::test]
async fn what_an_idle_connection_holds_is_small() {
    let exit = Drain::new().exit();
    let (_client, wire) = connection(&exit).await;
    let stream = downstream(wire, &exit, false);
    let mut talk = talk(&exit, Terms::default());
    let future = size_of_val(&crate::listen::http1::serve(&mut talk, stream));
    let stream = size_of::<Downstream>();
    assert!(future < 2048 && stream < 1024, "future {future}, stream {stream} bytes");
}
