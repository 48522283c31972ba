//! Headers of both versions, whole, cut and broken.

use super::*;

const BOTH: Versions = Versions { v1: true, v2: true };

fn at(text: &str) -> Option<SocketAddr> {
    Some(text.parse().unwrap())
}

fn v2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = v2::SIGNATURE.to_vec();
    out.extend_from_slice(&[command, family]);
    out.extend_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// Parses `header` with more bytes behind it, and each shorter piece of it.
#[track_caller]
fn check(header: &[u8], source: Option<SocketAddr>, destination: Option<SocketAddr>, tlv_bytes: usize) {
    let consumed = header.len();
    let expected = Parse::Header { source, destination, consumed, tlvs: consumed - tlv_bytes..consumed };
    let mut buf = header.to_vec();
    buf.extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(parse(&buf, BOTH), expected);
    for cut in 0..consumed {
        assert_eq!(parse(&header[..cut], BOTH), Parse::Incomplete, "the first {cut} bytes");
    }
}

#[track_caller]
fn check_fault(header: &[u8], fault: ProxyFault) {
    assert_eq!(parse(header, BOTH), Parse::Invalid(fault), "{:?}", String::from_utf8_lossy(header));
}

#[test]
fn version_1_lines_are_read_section_2_1() {
    for (line, source, destination) in [
        ("PROXY TCP4 1.2.3.4 5.6.7.8 9 65535\r\n", at("1.2.3.4:9"), at("5.6.7.8:65535")),
        ("PROXY TCP6 2001:db8::1 ::1 0 443\r\n", at("[2001:db8::1]:0"), at("[::1]:443")),
        ("PROXY UNKNOWN\r\n", None, None),
        ("PROXY UNKNOWN ffff:: whatever 1 2\r\n", None, None),
    ] {
        check(line.as_bytes(), source, destination, 0);
    }
}

#[test]
fn broken_version_1_lines_are_invalid_section_2_1() {
    for (line, fault) in [
        ("PROXY \r\n", ProxyFault::Family),
        ("PROXY UDP4 1.2.3.4 5.6.7.8 9 10\r\n", ProxyFault::Family),
        ("PROXY TCP4\r\n", ProxyFault::Malformed),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 9\r\n", ProxyFault::Malformed),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 9 10 \r\n", ProxyFault::Malformed),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 9 \u{661}\r\n", ProxyFault::Malformed),
        ("PROXY TCP4  1.2.3.4 5.6.7.8 9 10\r\n", ProxyFault::Address),
        ("PROXY TCP4 ::1 ::1 9 10\r\n", ProxyFault::Address),
        ("PROXY TCP6 1.2.3.4 5.6.7.8 9 10\r\n", ProxyFault::Address),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 65536 10\r\n", ProxyFault::Port),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 +9 10\r\n", ProxyFault::Port),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 09 10\r\n", ProxyFault::Port),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 9 10\n\r\n", ProxyFault::Port),
    ] {
        check_fault(line.as_bytes(), fault);
    }
}

#[test]
fn a_version_1_line_has_at_most_107_bytes() {
    let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107 - 16));
    check(longest.as_bytes(), None, None, 0);
    let longer = format!("PROXY UNKNOWN {}\r\n", "x".repeat(108 - 16));
    check_fault(longer.as_bytes(), ProxyFault::TooLong);
    check_fault(&longer.as_bytes()[..107], ProxyFault::TooLong);
}

#[test]
fn version_2_headers_are_read_section_2_2() {
    let v4 = [1, 2, 3, 4, 5, 6, 7, 8, 0, 9, 1, 187];
    let mut v6 = [0; 36];
    (v6[15], v6[31], v6[33], v6[34], v6[35]) = (1, 2, 80, 1, 187);
    let mut v4_and_tlv = v4.to_vec();
    v4_and_tlv.extend_from_slice(&[0x02, 0, 1, b'a']);
    let (from4, to4) = (at("1.2.3.4:9"), at("5.6.7.8:443"));
    check(&v2(0x21, 0x11, &v4), from4, to4, 0);
    check(&v2(0x21, 0x12, &v4), from4, to4, 0);
    check(&v2(0x21, 0x11, &v4_and_tlv), from4, to4, 4);
    check(&v2(0x21, 0x21, &v6), at("[::1]:80"), at("[::2]:443"), 0);
    check(&v2(0x21, 0x31, &[0; 216]), None, None, 0);
    check(&v2(0x21, 0x00, &[]), None, None, 0);
    check(&v2(0x21, 0x00, &[1, 2]), None, None, 2);
    check(&v2(0x20, 0x00, &[]), None, None, 0);
    check(&v2(0x20, 0x11, &v4_and_tlv), None, None, 4);
    check(&v2(0x20, 0x11, &[1]), None, None, 0);
    check(&v2(0x20, 0xff, &[]), None, None, 0);
    check(&v2(0x21, 0x00, &[0; V2_PAYLOAD_BYTES_MAX]), None, None, V2_PAYLOAD_BYTES_MAX);
}

#[test]
fn broken_version_2_headers_are_invalid_section_2_2() {
    for (command, family, payload, fault) in [
        (0x11, 0x11, &[0; 12][..], ProxyFault::Command),
        (0x22, 0x11, &[0; 12], ProxyFault::Command),
        (0x21, 0x13, &[0; 12], ProxyFault::Family),
        (0x21, 0x41, &[0; 12], ProxyFault::Family),
        (0x21, 0x11, &[0; 11], ProxyFault::TooShort),
        (0x21, 0x21, &[0; 12], ProxyFault::TooShort),
        (0x21, 0x31, &[0; 36], ProxyFault::TooShort),
        (0x21, 0x00, &[0; V2_PAYLOAD_BYTES_MAX + 1], ProxyFault::TooLong),
    ] {
        check_fault(&v2(command, family, payload), fault);
    }
}

#[test]
fn anything_else_is_known_by_the_first_byte_that_differs() {
    for (bytes, accept, expected) in [
        (&b""[..], BOTH, Parse::Incomplete),
        (b"G", BOTH, Parse::NotProxy),
        (b"P", BOTH, Parse::Incomplete),
        (b"PO", BOTH, Parse::NotProxy),
        (b"\r\n\r\n\0", BOTH, Parse::Incomplete),
        (b"\r\n\r\nG", BOTH, Parse::NotProxy),
        (b"\r\nP", BOTH, Parse::NotProxy),
        (b"PROXY UNKNOWN\r\n", Versions { v1: false, v2: true }, Parse::NotProxy),
        (v2::SIGNATURE, Versions { v1: true, v2: false }, Parse::NotProxy),
        (b"", Versions { v1: false, v2: false }, Parse::NotProxy),
    ] {
        assert_eq!(parse(bytes, accept), expected, "{bytes:?}");
    }
}

#[test]
fn vectors_are_read_until_one_is_malformed_section_2_2_1() {
    let alpn = Tlv { kind: 1, value: b"h2" };
    for (raw, expected) in [
        (&[][..], vec![]),
        (&[1, 0, 2, b'h', b'2', 4, 0, 0], vec![Ok(alpn), Ok(Tlv { kind: 4, value: b"" })]),
        (&[1, 0, 2, b'h', b'2', 4, 0], vec![Ok(alpn), Err(ProxyFault::Tlv)]),
        (&[1, 0, 2, b'h'], vec![Err(ProxyFault::Tlv)]),
    ] {
        assert_eq!(tlvs(raw).collect::<Vec<_>>(), expected, "{raw:?}");
    }
}

#[test]
fn a_checksum_is_verified_where_there_is_one_section_2_2_3() {
    let mut header = v2(0x21, 0x00, &[3, 0, 4, 0, 0, 0, 0, 4, 0, 0]);
    let crc = crc32c::Crc32c::default().update(&header).finish();
    header[19..23].copy_from_slice(&crc.to_be_bytes());
    check(&header, None, None, 10);
    header[22] ^= 1;
    check_fault(&header, ProxyFault::Checksum);
    check_fault(&v2(0x21, 0x00, &[3, 0, 1, 0]), ProxyFault::Tlv);
}

#[test]
fn what_is_written_is_read_back_in_one_family() {
    for (source, destination, read_source, read_destination) in [
        ("1.2.3.4:5", "6.7.8.9:10", "1.2.3.4:5", "6.7.8.9:10"),
        ("[::1]:5", "[::2]:10", "[::1]:5", "[::2]:10"),
        ("[::ffff:1.2.3.4]:5", "6.7.8.9:10", "1.2.3.4:5", "6.7.8.9:10"),
        ("1.2.3.4:5", "[::2]:10", "[::ffff:1.2.3.4]:5", "[::2]:10"),
    ] {
        for write in [write_v1, write_v2] {
            let mut out = Vec::new();
            write(source.parse().unwrap(), destination.parse().unwrap(), &mut out);
            check(&out, at(read_source), at(read_destination), 0);
        }
    }
    let mut out = Vec::new();
    write_v2_local(&mut out);
    check(&out, None, None, 0);
}
