//! Whatever a message of A2A holds: JSON stays JSON, a message stays a message, and what is changed twice the same way is
//! changed once.

#![no_main]

use std::convert::Infallible;

use bytes::BytesMut;
use protocols::a2a::events::Events;
use protocols::a2a::frames::Frames;
use protocols::a2a::walk::Walk;
use protocols::a2a::wire::Wire;
use protocols::a2a::{Method, Place, Version, card, id, pages, push, rest, signature};
use protocols::json;
use protocols::mcp::Edits;
use protocols::seal::Ring;

const METHODS: [Method; 7] = [
    Method::SendMessage,
    Method::GetTask,
    Method::ListTasks,
    Method::CreateTaskPushNotificationConfig,
    Method::DeleteTaskPushNotificationConfig,
    Method::ListTaskPushNotificationConfigs,
    Method::GetExtendedAgentCard,
];

fn other(_: Place, _: &str) -> Result<Option<String>, Infallible> {
    Ok(Some("x".to_owned()))
}

fn documents(bytes: &[u8]) {
    let Ok(document) = json::parse(bytes) else { return };
    for method in METHODS {
        for shape in [method.request(Version::V0_3), method.request(Version::V1_0), method.answer()] {
            let mut place = other;
            let mut walk = Walk::new(&mut place);
            let Ok(()) = walk.value(document, shape);
            let edited = document.edited(walk.edits);
            assert!(json::parse(edited.as_bytes()).is_ok(), "a message stays JSON");
        }
    }
    let relocation = card::Relocation::new(true, "gw", "/a/b", "/b");
    if let Ok(moved) = card::relocated(document, &relocation) {
        let moved = json::parse(moved.as_bytes()).expect("a card stays JSON");
        let signed = card::with_signatures(moved, "[]");
        assert!(json::parse(signed.as_bytes()).is_ok(), "a signed card as well");
    }
    let _ = (signature::of_card(document), signature::contents(document), push::shape_of(document));
    let _ = (pages::size(Some(document)), pages::Page::of(document));
    if document.kind() == json::Kind::Object {
        let mut edits = Edits::default();
        pages::ask(document, "t\"", 7, &mut edits);
        let asked = document.edited(edits);
        let asked = json::parse(asked.as_bytes()).expect("a request stays JSON");
        assert_eq!(pages::size(Some(asked)), Some(7), "and asks for what it is to ask for");
    }
}

/// What is opened was sealed here; all the same it is read as if anybody had written it.
fn sealed(bytes: &[u8]) {
    let ring = Ring::new(&[[1; 32]]);
    if let Some(ticket) = push::Ticket::read(bytes) {
        let again = ticket.seal(&ring, b"").ok().map(|it| push::Ticket::open(&ring, &it, b""));
        assert!(again.is_none_or(|it| it == Ok(ticket)), "a ticket is what it was");
    }
    if let Some(places) = pages::read(bytes) {
        let again = pages::seal(&places, &ring, b"").ok().map(|it| pages::open(&ring, &it, b""));
        assert!(again.is_none_or(|it| it == Ok(places)), "places are what they were");
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    documents(bytes);
    sealed(bytes);
    for version in [Version::V0_3, Version::V1_0] {
        for method in METHODS {
            for shape in [method.request(version), method.answer()] {
                let mut place = other;
                let Ok(once) = Wire::new(version, &mut place).message(bytes, shape) else { continue };
                let twice = Wire::new(version, &mut place).message(&once, shape).expect("a message stays a message");
                assert_eq!(once, twice);
            }
        }
    }
    let mut frames = Frames::new(64);
    frames.push(bytes);
    while let Ok(Some(_)) = frames.take() {}
    let (mut events, mut out) = (Events::new(1 << 16), BytesMut::new());
    let mut same = |_: &[u8]| Ok::<_, Infallible>(None);
    if events.push(bytes, &mut out, &mut same).is_ok() {
        out.extend_from_slice(&events.rest());
        assert_eq!(out, bytes, "what does not change passes as it came");
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert!(id::open(&Ring::new(&[[1; 32]]), id::Of::Task, text, b"").is_err(), "nobody guesses a seal");
        assert!(push::Ticket::open(&Ring::new(&[[1; 32]]), text, b"").is_err(), "nor a ticket");
        let _ = (push::of_url(text), pages::instant(text), pages::size_in(text));
        let asked = pages::ask_query(text, "t&=%", 7);
        assert_eq!(pages::size_in(&asked), Some(7), "a query asks for what it is to ask for");
        let _ = (rest::read("GET", text), card::Relocation::new(false, "gw", text, "/").url(text));
    }
});
