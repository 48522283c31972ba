use std::net::{TcpListener, TcpStream};

use super::message::{MESSAGE_BYTES_MAX, PAYLOAD_BYTES_MAX, Versions, encode, lengths};
use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

fn lines() -> (Line, Line) {
    let (one, two) = UnixStream::pair().unwrap();
    (Line::new(one, PATIENCE).unwrap(), Line::new(two, PATIENCE).unwrap())
}

fn listener(number: usize) -> (u16, Offer) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let offer = Offer { key: format!("bind/{number}"), address: address.to_string(), socket: listener.into() };
    (address.port(), offer)
}

/// What becomes of bytes that a stranger wrote.
fn read(bytes: &[u8]) -> Result<Received, HandoffFault> {
    let (peer, ours) = UnixStream::pair().unwrap();
    (&peer).write_all(bytes).unwrap();
    drop(peer);
    Line::new(ours, PATIENCE).unwrap().receive()
}

#[test]
fn sockets_of_several_batches_arrive_listening_and_in_order() {
    let (old, new) = lines();
    let (ports, offers): (Vec<_>, Vec<_>) = (0..150).map(listener).unzip();
    let sending = std::thread::spawn(move || {
        old.send_sockets(&offers).unwrap();
        old.say(&Message::Given).unwrap();
    });
    let mut got = Vec::new();
    loop {
        let Received { message, descriptors, .. } = new.receive().unwrap();
        match message {
            Message::Sockets { entries } => collect(&mut got, entries, descriptors).unwrap(),
            other => break assert_eq!(other, Message::Given),
        }
    }
    sending.join().unwrap();
    assert_eq!(got.len(), 150);
    for (number, (port, offer)) in ports.into_iter().zip(got).enumerate() {
        assert_eq!((offer.key, offer.address), (format!("bind/{number}"), format!("127.0.0.1:{port}")));
        let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        TcpListener::from(offer.socket).accept().unwrap();
    }
}

#[test]
fn bytes_behind_a_message_arrive_whole() {
    let (old, new) = lines();
    let payload: Vec<u8> = (0..3_000_000_u32).map(|it| it as u8).collect();
    let sent = payload.clone();
    let state = Message::State { name: "buckets".to_owned(), version: 3 };
    let sending = std::thread::spawn({
        let state = state.clone();
        move || old.send(&state, &sent, &[]).unwrap()
    });
    let received = new.receive().unwrap();
    sending.join().unwrap();
    assert_eq!(received.message, state);
    assert!(received.payload == payload);
}

#[test]
fn a_truncated_frame_is_a_peer_that_went_away() {
    let frame = encode(&Message::State { name: "x".to_owned(), version: 1 }, b"state").unwrap();
    for length in 0..frame.len() {
        assert!(matches!(read(&frame[..length]), Err(HandoffFault::Gone)), "{length} of {}", frame.len());
    }
    assert!(read(&frame).is_ok());
}

#[test]
fn lengths_beyond_the_limits_are_refused_before_memory_is_taken() {
    let head = |all: usize, json: usize| {
        let mut head = u32::try_from(all).unwrap().to_be_bytes().to_vec();
        head.extend(u32::try_from(json).unwrap().to_be_bytes());
        <[u8; HEAD_BYTES]>::try_from(head).unwrap()
    };
    for (all, json, good) in [
        (4 + MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX, true),
        (5 + MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX + 1, false),
        (4 + PAYLOAD_BYTES_MAX, 0, true),
        (5 + PAYLOAD_BYTES_MAX, 0, false),
        (3, 0, false),
        (10, 11, false),
        (u32::MAX as usize, u32::MAX as usize, false),
    ] {
        assert_eq!(lengths(head(all, json)).is_ok(), good, "{all} {json}");
    }
}

#[test]
fn what_is_not_a_message_is_refused_and_what_is_not_known_is_not() {
    let frame = |json: &str| {
        let mut frame = u32::try_from(json.len() + 4).unwrap().to_be_bytes().to_vec();
        frame.extend(u32::try_from(json.len()).unwrap().to_be_bytes());
        frame.extend(json.as_bytes());
        frame
    };
    for json in ["", "null", "{}", "[1]", r#"{"type":7}"#, r#"{"type":"sockets"}"#, r#"{"type":"sockets","entries":3}"#]
    {
        assert!(matches!(read(&frame(json)), Err(HandoffFault::Frame(_))), "{json}");
    }
    let unknown = read(&frame(r#"{"type":"ofTheFuture","entries":3}"#)).unwrap();
    assert_eq!(unknown.message, Message::Unknown);
    let more = read(&frame(r#"{"type":"state","name":"x","version":1,"of":"the future"}"#)).unwrap();
    assert_eq!(more.message, Message::State { name: "x".to_owned(), version: 1 });
}

#[test]
fn sockets_that_are_named_and_not_brought_are_refused() {
    let (old, new) = lines();
    let entry = Entry { key: "bind/1".to_owned(), address: "*:1".to_owned() };
    old.say(&Message::Sockets { entries: vec![entry.clone(), entry] }).unwrap();
    assert!(matches!(new.receive(), Err(HandoffFault::Count { named: 2, brought: 0 })));
}

#[test]
fn another_version_is_refused_by_name() {
    for (v, min, good) in [(2, 2, true), (3, 2, true), (9, 1, true), (1, 1, false), (9, 3, false)] {
        let objection = Versions { v, min }.objection();
        assert_eq!(objection.is_none(), good, "{v} {min}");
        assert!(objection.is_none_or(|it| it.contains(&format!("versions {min} to {v}"))));
    }
    // As the first version began to speak.
    let json = br#"{"v":1,"sockets":[],"more":false}"#;
    let mut first = u32::try_from(json.len()).unwrap().to_be_bytes().to_vec();
    first.extend(json);
    let fault = read(&first).unwrap_err();
    assert!(fault.to_string().contains("version 1"), "{fault}");
}

#[test]
fn a_peer_that_says_nothing_is_not_waited_for_beyond_the_deadline() {
    let (_silent, ours) = UnixStream::pair().unwrap();
    let line = Line::new(ours, Duration::from_millis(20)).unwrap();
    assert!(matches!(line.receive(), Err(HandoffFault::Late)));
}
