//! What was parsed, written again, parses to the same.

#![no_main]

use protocols::http::authority::{BYTES_MAX, lower, parse};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let lowered = lower(text);
    assert!(!lowered.bytes().any(|it| it.is_ascii_uppercase()));
    let Ok(authority) = parse(text) else { return };
    assert!(text.len() <= BYTES_MAX);
    let host = if authority.host.contains(':') { format!("[{}]", authority.host) } else { authority.host.to_owned() };
    let written = match authority.port {
        Some(port) => format!("{host}:{port}"),
        None => host,
    };
    assert_eq!(parse(&written), Ok(authority));
});
