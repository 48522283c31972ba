//! Requests to language models are read or refused, and edited where they say; answers are accounted the same in whatever
//! pieces they come.

#![no_main]

use bytes::Bytes;
use protocols::llm::{Catalog, Edits, Framing, Operation, Seen, Tap, scan};

fn seen(framing: Framing, bytes: &[u8], piece: usize) -> Seen {
    let mut tap = Tap::new(framing);
    for piece in bytes.chunks(piece) {
        tap.push(piece);
    }
    tap.finish()
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for framing in [Framing::Json, Framing::Events, Framing::Frames] {
        assert_eq!(seen(framing, bytes, bytes.len().max(1)), seen(framing, bytes, 1));
    }
    let _ = Catalog::parse(bytes);
    let body = Bytes::copy_from_slice(bytes);
    if let Ok(request) = scan(Operation::Completions, &body) {
        assert_eq!(Edits::default().apply(&body).concat(), bytes);
        let mut edits = Edits::default();
        request.set_model(&mut edits, "other \"model\"");
        request.ask_for_usage(&mut edits);
        let edited = edits.apply(&body).concat();
        let again = scan(Operation::Completions, &edited).expect("an edited request is one");
        assert_eq!(again.model.as_deref(), Some("other \"model\""));
        assert_eq!(again.include_usage, Some(true));
    }
});
