//! Whatever a message of A2A holds: JSON stays JSON, a message stays a message, and what is changed twice the same way is
//! changed once.

#![no_main]

use std::convert::Infallible;

use bytes::BytesMut;
use protocols::a2a::events::Events;
use protocols::a2a::frames::Frames;
use protocols::a2a::walk::Walk;
use protocols::a2a::wire::Wire;
use protocols::a2a::{Method, Place, Version, card, id, rest, signature};
use protocols::json;
use protocols::seal::Ring;

const METHODS: [Method; 5] = [
    Method::SendMessage,
    Method::GetTask,
    Method::CreateTaskPushNotificationConfig,
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
    let _ = (signature::of_card(document), signature::contents(document));
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    documents(bytes);
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
        let _ = (rest::read("GET", text), card::Relocation::new(false, "gw", text, "/").url(text));
    }
});
