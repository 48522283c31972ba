//! A normal path is a fixed point, in origin form, and without dot segments or bytes that were refused.

#![no_main]

use std::borrow::Cow;

use protocols::http::path::normalise;

libfuzzer_sys::fuzz_target!(|path: &str| {
    let Ok(once) = normalise(path) else { return };
    let twice = normalise(&once).expect("a normal path is accepted");
    assert_eq!(once, twice, "normalising is idempotent");
    assert!(matches!(twice, Cow::Borrowed(_)), "a normal path is borrowed");
    assert!(once.starts_with('/'));
    assert!(once.bytes().all(|it| it.is_ascii_graphic() && !b"\\?#".contains(&it)));
    assert!(once.split('/').all(|it| it != "." && it != ".."));
});
