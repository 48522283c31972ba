//! Connections lent to Pingora's own connector, as the data path has it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pingora_core::connectors::http::Connector;
use pingora_core::protocols::http::client::HttpSession;
use pingora_http::RequestHeader;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::fixture::{dialled, serve, statics};
use crate::upstream::{Cluster, Lender, Loan, Template, Wanted};

struct Client {
    connector: Connector,
    lender: Arc<Lender>,
    cluster: Arc<Cluster>,
    template: Arc<Template>,
}

impl Client {
    fn of(target: &str) -> Self {
        let (cluster, template) = dialled(target, Vec::new()).unwrap();
        Self { connector: Connector::new(None), lender: Lender::new(4), cluster, template }
    }

    /// One exchange, as Pingora makes it: the body of the answer, where it is one, and the connection it came on.
    async fn ask(&self, body: Option<&'static [u8]>) -> (Result<Vec<u8>, String>, Arc<Loan>) {
        let lease = self.cluster.draw(&[], None, None, statics().connect_timeout).await.unwrap();
        let mut peer = self.template.peer(&lease, Wanted::default());
        let loan = self.template.lend(&mut peer, &lease, &self.lender, body.is_some(), Instant::now()).unwrap();
        let (mut session, known) = Box::pin(self.connector.get_http_session(&*peer)).await.unwrap();
        assert!(!known, "Pingora keeps none of them");
        let answer = exchange(&mut session, body).await;
        if answer.is_ok() {
            self.connector.release_http_session(session, &*peer, peer.options.idle_timeout).await;
        }
        (answer, loan)
    }
}

async fn exchange(session: &mut HttpSession, body: Option<&'static [u8]>) -> Result<Vec<u8>, String> {
    let mut head = Box::new(RequestHeader::build(if body.is_some() { "POST" } else { "GET" }, b"/", None).unwrap());
    head.insert_header("host", "a.test").unwrap();
    if let Some(body) = body {
        head.insert_header("content-length", body.len()).unwrap();
    }
    session.write_request_header(head).await.map_err(|error| error.to_string())?;
    if let Some(body) = body {
        session.write_request_body(Bytes::from_static(body), true).await.map_err(|error| error.to_string())?;
    }
    session.finish_request_body().await.map_err(|error| error.to_string())?;
    session.read_response_header().await.map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    while let Some(piece) = session.read_response_body().await.map_err(|error| error.to_string())? {
        answer.extend_from_slice(&piece);
    }
    Ok(answer)
}

/// What is told of a connection when it is closed.
const CLOSED: &str = "closed";

/// Serves what is written for each connection, a piece for each request, and tells what it got in one read.
async fn scripted(
    pieces: &'static [&'static [&'static str]],
) -> (String, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(one(stream, pieces, tell.clone()));
        }
    });
    (address, told)
}

async fn one(
    mut stream: TcpStream,
    answers: &'static [&'static [&'static str]],
    tell: tokio::sync::mpsc::UnboundedSender<String>,
) {
    for pieces in answers {
        let mut got = vec![0; 1 << 16];
        let Ok(length) = stream.read(&mut got).await else { return };
        if length == 0 {
            return;
        }
        let _ = tell.send(String::from_utf8_lossy(&got[..length]).into_owned());
        for piece in *pieces {
            stream.write_all(piece.as_bytes()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    drop(stream);
    let _ = tell.send(CLOSED.to_owned());
}

#[tokio::test]
async fn a_connection_is_lent_again_and_again() {
    let (address, seen) = serve(None).await;
    let client = Client::of(&address.to_string());
    for round in 0..5 {
        let (answer, loan) = Box::pin(client.ask((round % 2 == 1).then_some(&b"body"[..]))).await;
        assert_eq!((answer.unwrap(), loan.is_reused()), (b"hello".to_vec(), round > 0), "{round}");
    }
    assert_eq!(seen.connections.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test]
async fn head_and_body_at_hand_arrive_together() {
    const ANSWER: &[&str] = &["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"];
    let (address, mut told) = scripted(&[ANSWER; 3]).await;
    let client = Client::of(&address);
    for round in 0..3 {
        let (answer, loan) = Box::pin(client.ask(Some(b"the body"))).await;
        assert_eq!((answer.unwrap(), loan.is_reused()), (Vec::new(), round > 0));
        let got = told.recv().await.unwrap();
        assert!(got.starts_with("POST / ") && got.ends_with("\r\n\r\nthe body"), "{got}");
    }
}

/// The read by which Pingora lets go of a connection is one of one byte, and so is that of a body's last byte.
#[tokio::test]
async fn a_body_of_which_one_byte_is_missing_is_waited_for() {
    const ANSWER: &[&str] = &["HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell", "o"];
    let (address, _told) = scripted(&[ANSWER, ANSWER]).await;
    let client = Client::of(&address);
    for round in 0..2 {
        let (answer, loan) = Box::pin(client.ask(None)).await;
        assert_eq!((answer.unwrap(), loan.is_reused()), (b"hello".to_vec(), round > 0));
    }
}

#[tokio::test]
async fn what_is_left_over_closed_or_to_be_closed_is_not_lent_again() {
    for answer in [
        &["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"][..],
        &["HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"],
        &["HTTP/1.0 200 OK\r\n\r\nok"],
        &["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"],
    ] {
        let script: &'static [&'static [&'static str]] = Box::leak(Box::new([answer]));
        let (address, mut told) = scripted(script).await;
        let client = Client::of(&address);
        for _ in 0..2 {
            let (got, loan) = Box::pin(client.ask(None)).await;
            assert_eq!((got.unwrap(), loan.is_reused()), (b"ok".to_vec(), false), "{answer:?}");
            while told.recv().await.unwrap() != CLOSED {}
            // Until the runtime has heard of it.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
