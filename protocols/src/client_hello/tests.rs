//! ClientHellos put together by hand, whole, cut and broken.

use super::*;

fn vector8(bytes: &[u8]) -> Vec<u8> {
    [&[u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

fn vector16(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

fn extension(kind: u16, value: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &vector16(value)].concat()
}

fn server_name(name: &[u8]) -> Vec<u8> {
    extension(SERVER_NAME, &vector16(&[&[0], &vector16(name)[..]].concat()))
}

fn alpn(names: &[&[u8]]) -> Vec<u8> {
    extension(ALPN, &vector16(&names.iter().flat_map(|it| vector8(it)).collect::<Vec<_>>()))
}

fn message(tail: &[u8]) -> Vec<u8> {
    let body = [&[3, 3][..], &[7; 32], &vector8(&[9; 32]), &vector16(&[0x13, 0x01]), &vector8(&[0]), tail].concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[CLIENT_HELLO], &length[1..], &body].concat()
}

fn hello(extensions: &[Vec<u8>]) -> Vec<u8> {
    message(&vector16(&extensions.concat()))
}

fn records(message: &[u8], fragment_bytes: usize) -> Vec<u8> {
    message.chunks(fragment_bytes).flat_map(|it| [&[22, 3, 1][..], &vector16(it)].concat()).collect()
}

#[track_caller]
fn check(message: &[u8], expected: Result<ClientHello, HelloFault>) {
    let expected = expected.map_or_else(Hello::Invalid, Hello::Hello);
    assert_eq!(parse(&records(message, BYTES_MAX)), expected);
}

fn example() -> Vec<u8> {
    let versions = extension(SUPPORTED_VERSIONS, &vector8(&[0x1a, 0x1a, 3, 4, 3, 3]));
    hello(&[extension(0x0a0a, b""), server_name(b"Example.COM"), alpn(&[b"h2", b"http/1.1"]), versions])
}

fn expected() -> ClientHello {
    ClientHello {
        sni: Some("example.com".into()),
        alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        versions: vec![0x0304, 0x0303],
    }
}

#[test]
fn name_protocols_and_versions_are_read() {
    check(&example(), Ok(expected()));
    let bare = ClientHello { versions: vec![0x0303], ..ClientHello::default() };
    check(&hello(&[]), Ok(bare.clone()));
    check(&message(&[]), Ok(bare));
}

#[test]
fn a_message_may_be_cut_into_records_and_be_followed_by_others_rfc8446_5_1() {
    let message = example();
    for fragment_bytes in [message.len() - 1, 100, 50, 4, 3] {
        let mut bytes = records(&message, fragment_bytes);
        let whole = bytes.len();
        for cut in 0..whole {
            assert_eq!(parse(&bytes[..cut]), Hello::Incomplete, "{cut} of {whole} bytes");
        }
        bytes.extend_from_slice(&[20, 3, 3, 0, 1, 1]);
        assert_eq!(parse(&bytes), Hello::Hello(expected()), "records of {fragment_bytes} bytes");
    }
}

#[test]
fn other_protocols_are_known_by_the_first_byte_that_differs() {
    for (bytes, expected) in [
        (&b""[..], Hello::Incomplete),
        (b"GET", Hello::NotTls),
        (&[22], Hello::Incomplete),
        (&[22, 2], Hello::NotTls),
        (&[22, 3], Hello::Incomplete),
        (&[22, 3, 9], Hello::NotTls),
        (&[21, 3, 1, 0, 2, 2, 40], Hello::NotTls),
        (&[0x80, 46, 1, 3, 1], Hello::NotTls),
    ] {
        assert_eq!(parse(bytes), expected, "{bytes:?}");
    }
}

#[test]
fn broken_records_are_invalid() {
    for (bytes, fault) in [
        (&[22, 3, 1, 0, 0][..], HelloFault::Record),
        (&[22, 3, 1, 0x40, 1], HelloFault::Record),
        (&[22, 3, 1, 0, 1, 1, 23, 3, 3, 0, 1], HelloFault::Record),
        (&[22, 3, 1, 0, 4, 2], HelloFault::NotClientHello),
        (&[22, 3, 1, 1, 0, 1, 0, 0x40, 0], HelloFault::TooLong),
        (&[22, 3, 1, 1, 0, 1, 1, 0, 0], HelloFault::TooLong),
    ] {
        assert_eq!(parse(bytes), Hello::Invalid(fault), "{bytes:?}");
    }
    assert_eq!(parse(&records(&example(), 1)), Hello::Invalid(HelloFault::TooManyRecords));
}

#[test]
fn broken_messages_are_invalid() {
    let two_names = [&[0][..], &vector16(b"a"), &[0], &vector16(b"b")].concat();
    for (message, fault) in [
        (hello(&[server_name(b"a"), server_name(b"b")]), HelloFault::Repeated),
        (hello(&[extension(SERVER_NAME, &vector16(&two_names))]), HelloFault::Repeated),
        (hello(&[alpn(&[b"h2"]), alpn(&[b"h2"])]), HelloFault::Repeated),
        (hello(&[server_name(b"")]), HelloFault::ServerName),
        (hello(&[server_name(b"a b")]), HelloFault::ServerName),
        (hello(&[server_name(b"a\0.b")]), HelloFault::ServerName),
        (hello(&[server_name(&[0xff])]), HelloFault::ServerName),
        (hello(&[server_name(&[b'a'; 256])]), HelloFault::ServerName),
        (hello(&[alpn(&[b""])]), HelloFault::Malformed),
        (hello(&[extension(ALPN, &[0, 9, 1])]), HelloFault::Malformed),
        (hello(&[extension(SUPPORTED_VERSIONS, &[1, 3])]), HelloFault::Malformed),
        (hello(&[extension(SUPPORTED_VERSIONS, &[2, 3, 4, 0])]), HelloFault::Malformed),
        (hello(&[vec![0, 0, 0]]), HelloFault::Malformed),
        (message(&[0, 0, 0]), HelloFault::Malformed),
        (message(&[0]), HelloFault::Malformed),
        (vec![CLIENT_HELLO, 0, 0, 0], HelloFault::Malformed),
    ] {
        check(&message, Err(fault));
    }
}

#[test]
fn the_outer_name_of_an_encrypted_hello_is_the_name() {
    let name = ClientHello { sni: Some("public.example".into()), versions: vec![0x0303], ..ClientHello::default() };
    check(&hello(&[extension(0xfe0d, &[0; 40]), server_name(b"public.example.")]), Ok(name));
}

#[test]
fn names_of_unknown_kinds_are_skipped() {
    let names = [&[1][..], &vector16(b"\xff"), &[0], &vector16(b"a")].concat();
    let name = ClientHello { sni: Some("a".into()), versions: vec![0x0303], ..ClientHello::default() };
    check(&hello(&[extension(SERVER_NAME, &vector16(&names))]), Ok(name));
}
