//! A head that passes keeps within the limits, has neither NUL nor bare CR, and passes with any body behind.

#![no_main]

use protocols::http::framing::{HeadLimits, check_raw_head, host_mismatch};

libfuzzer_sys::fuzz_target!(|raw: &[u8]| {
    let limits = HeadLimits { bytes_max: 4096, count_max: 16 };
    let verdict = check_raw_head(raw, &limits);
    if let Err(fault) = verdict {
        assert!(matches!(fault.status(), 400 | 431 | 505));
    }
    if let Ok(text) = std::str::from_utf8(raw) {
        let (a, b) = text.split_once('\n').unwrap_or((text, text));
        assert_eq!(host_mismatch(Some(a), b), host_mismatch(Some(b), a), "agreement is mutual");
    }
    let head_bytes = raw.windows(4).position(|it| it == b"\r\n\r\n").map(|it| it + 4);
    let Some(head) = head_bytes.and_then(|it| raw.get(..it)) else { return };
    if verdict.is_ok() && !raw.starts_with(b"\r\n") && !raw.starts_with(b"\n") {
        assert!(raw.len() <= limits.bytes_max);
        assert_eq!(check_raw_head(head, &limits), Ok(()), "what follows the head does not matter");
    }
});
