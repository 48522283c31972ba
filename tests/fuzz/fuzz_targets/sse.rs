//! Events are the same in whatever pieces they come, and what is written is read again.

#![no_main]

use protocols::sse::{Event, Reader};

fn read(bytes: &[u8], piece: usize) -> Option<Vec<Event>> {
    let (mut reader, mut events) = (Reader::new(4096), Vec::new());
    for piece in bytes.chunks(piece) {
        reader.push(piece, &mut |it| events.push(it)).ok()?;
    }
    Some(events)
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let whole = read(bytes, bytes.len().max(1));
    assert_eq!(whole, read(bytes, 1));
    for event in whole.into_iter().flatten() {
        let again = read(&event.to_bytes(), 7);
        if !event.data.contains(&b'\r') {
            assert_eq!(again, Some(vec![event]));
        }
    }
});
