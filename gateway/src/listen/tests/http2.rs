use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::listen::drain::Stage;
use crate::listen::http2::{prior_knowledge, serve};

#[tokio::test]
async fn a_preface_is_told_from_a_request_by_its_first_different_byte() {
    let cases: [(&[u8], bool); 5] = [
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0", true),
        (b"GET / HTTP/1.1\r\n", false),
        (b"G", false),
        (b"PRI * HTTP/1.1\r\n", false),
        (b"PO", false),
    ];
    for (sent, expected) in cases {
        let exit = Drain::new().exit();
        let (mut client, wire) = connection(&exit).await;
        let mut stream = Downstream::new(Layer::Plain(wire));
        client.write_all(sent).await.unwrap();
        // The client keeps its side open: waiting for more than is needed would never end.
        assert_eq!(prior_knowledge(&mut stream, Duration::from_secs(5)).await, expected, "{sent:?}");
        let mut again = vec![0; sent.len()];
        stream.read_exact(&mut again).await.unwrap();
        assert_eq!(again, sent, "what was looked at is still to be read");
    }
}

#[tokio::test]
async fn streams_are_served_and_the_drain_says_goaway() {
    let drain = Drain::new();
    let exit = drain.exit();
    let (client, wire) = connection(&exit).await;
    let stream = downstream(wire, &exit, true);
    let mut talk = talk(&exit, Terms::default());
    let server = serve(&mut talk, stream);
    let asking = async {
        let (mut sender, connection) = h2::client::handshake(client).await.unwrap();
        let connection = tokio::spawn(connection);
        let ask = |path: &str| http::Request::get(format!("http://a{path}")).body(()).unwrap();
        let (slow, _) = sender.send_request(ask("/1"), true).unwrap();
        let answer = body(slow.await.unwrap()).await;
        drain.enter(Stage::Draining);
        // The connection ends by itself once the client has nothing under way.
        drop(sender);
        connection.await.unwrap().unwrap();
        answer
    };
    let ((), answer) = tokio::join!(server, asking);
    assert_eq!(answer, "GET /1 ");
    assert_eq!(drain.live(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_no_ping_is_dropped() {
    let exit = Drain::new().exit();
    let (mut client, wire) = connection(&exit).await;
    let stream = downstream(wire, &exit, true);
    let mut terms = Terms::default();
    terms.http.http2_keepalive_interval = Some(Duration::from_secs(10));
    terms.http.http2_keepalive_timeout = Some(Duration::from_secs(5));
    let mut talk = talk(&exit, terms);
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let start = Instant::now();
    serve(&mut talk, stream).await;
    assert_eq!(start.elapsed().as_secs(), 15);
}

async fn body(response: http::Response<h2::RecvStream>) -> String {
    let mut stream = response.into_body();
    let mut all = Vec::new();
    while let Some(bytes) = stream.data().await {
        let bytes: Bytes = bytes.unwrap();
        stream.flow_control().release_capacity(bytes.len()).unwrap();
        all.extend_from_slice(&bytes);
    }
    String::from_utf8(all).unwrap()
}
