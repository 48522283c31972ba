//! What a process that hands over, or asks to, may send: read or refused, within its limits.
#![no_main]

use gateway::life::transfer::Transfer;
use gateway::listen::handoff::message::{self, HEAD_BYTES, MESSAGE_BYTES_MAX, PAYLOAD_BYTES_MAX};
use gateway::listen::tickets::Keys;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() {
        if let Ok((json, payload)) = message::lengths(*head) {
            assert!(json <= MESSAGE_BYTES_MAX && payload <= PAYLOAD_BYTES_MAX);
        }
        if let Ok(message) = message::decode(rest) {
            let frame = message::encode(&message, b"").expect("what was read can be written");
            let again = frame.get(HEAD_BYTES..).expect("a frame has a head");
            assert_eq!(message::decode(again).expect("and read again"), message);
        }
    }
    let _ = Keys.import(1, bytes);
    let _ = serde_json::from_slice::<gateway::life::generation::View>(bytes);
});
