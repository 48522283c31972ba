//! Frames are read the same in whatever pieces they come, and a session passes as it came where nobody guards it.

#![no_main]

use bytes::Bytes;
use protocols::llm::guard::{Find, Found, Part};
use protocols::llm::realtime::{Rules, Talk};

/// Enforces, and finds nothing.
struct Nothing;

impl Find for Nothing {
    fn find(&self, _: Part, _: &str) -> Vec<Found> {
        Vec::new()
    }

    fn settled(&self, text: &str, _: usize) -> usize {
        text.len()
    }

    fn enforces(&self) -> bool {
        true
    }
}

const RULES: Rules<'static> = Rules { request: &Nothing, response: &Nothing, told: &|_, _| String::new() };

/// What the client and the provider get of this.
fn passed(guarded: bool, bytes: &[u8], piece: usize) -> (Vec<u8>, Vec<u8>) {
    let (mut back, mut on) = (Talk::new(guarded), Talk::new(guarded));
    let (mut to_client, mut to_provider) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(piece) {
        let piece = Bytes::copy_from_slice(piece);
        to_client.extend_from_slice(&back.from_provider(&piece, &RULES, &mut |_| None));
        to_provider.extend_from_slice(&on.from_client(&piece, &RULES));
    }
    (to_client, to_provider)
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    assert_eq!(passed(false, bytes, 1), (bytes.to_vec(), bytes.to_vec()));
    assert_eq!(passed(true, bytes, bytes.len().max(1)), passed(true, bytes, 1));
});
