//! Forms are read or refused, and a model changes its own place alone.

#![no_main]

use bytes::Bytes;
use protocols::llm::{Edits, boundary, scan_form};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((length, rest)) = bytes.split_first() else { return };
    let (kind, body) = rest.split_at(usize::from(*length).min(rest.len()));
    let kind = String::from_utf8_lossy(kind);
    // Most of what is drawn names no boundary: the body is read with a short one then.
    let mark = boundary(&kind).unwrap_or("b");
    let Ok(form) = scan_form(mark, body) else { return };
    let body = Bytes::copy_from_slice(body);
    let mut edits = Edits::default();
    form.set_model(&mut edits, "other");
    let edited = edits.apply(&body).concat();
    let again = scan_form(mark, &edited).expect("an edited form is one");
    assert_eq!(again.model.as_deref(), form.model.as_ref().map(|_| "other"));
    assert_eq!(again.stream, form.stream);
    if form.model.is_none() {
        assert_eq!(edited, body);
    }
});
