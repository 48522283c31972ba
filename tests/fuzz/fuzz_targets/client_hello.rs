//! Never changes its mind with more bytes; names come out in the form that routes compare.

#![no_main]

use protocols::client_hello::{Hello, parse};
use protocols::http::authority;

libfuzzer_sys::fuzz_target!(|buf: &[u8]| {
    let verdict = parse(buf);
    for cut in [buf.len() / 4, buf.len() / 2] {
        let shorter = parse(&buf[..cut]);
        if shorter != Hello::Incomplete {
            assert_eq!(verdict, shorter, "a verdict stands");
        }
    }
    let Hello::Hello(hello) = verdict else { return };
    if let Some(name) = hello.sni {
        assert_eq!(authority::lower(&name), name);
        assert!(authority::parse(&name).is_ok());
    }
    assert!(hello.alpn.iter().all(|it| !it.is_empty()));
});
