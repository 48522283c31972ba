//! Never reads past the buffer, never changes its mind with more bytes, reads back what it writes.

#![no_main]

use protocols::proxy_protocol::{Parse, Versions, parse, tlvs, write_v1, write_v2};

const BOTH: Versions = Versions { v1: true, v2: true };

libfuzzer_sys::fuzz_target!(|buf: &[u8]| {
    let verdict = parse(buf, BOTH);
    let shorter = parse(&buf[..buf.len() / 2], BOTH);
    if shorter != Parse::Incomplete {
        assert_eq!(verdict, shorter, "a verdict stands");
    }
    let Parse::Header { source, destination, consumed, tlvs: range } = verdict else { return };
    assert!(consumed <= buf.len());
    assert!(range.end == consumed && range.start <= range.end);
    assert!(tlvs(&buf[range]).count() <= consumed);
    let (Some(source), Some(destination)) = (source, destination) else { return };
    for write in [write_v1, write_v2] {
        let mut out = Vec::new();
        write(source, destination, &mut out);
        let once = parse(&out, BOTH);
        let Parse::Header { source: Some(source), destination: Some(destination), consumed, .. } = once else {
            panic!("what is written is a header: {once:?}");
        };
        assert_eq!(consumed, out.len());
        let mut again = Vec::new();
        write(source, destination, &mut again);
        assert_eq!(out, again);
    }
});
