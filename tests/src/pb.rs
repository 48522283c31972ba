//! Enough of protobuf to speak it by hand: fields with a length, and numbers.

/// A field that has a length: a message, text or bytes.
pub fn field(number: u8, content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    let mut out = vec![number << 3 | 2];
    varint(content.len() as u64, &mut out);
    out.extend_from_slice(content);
    out
}

/// A field that is a number.
pub fn number(number: u8, value: u64) -> Vec<u8> {
    let mut out = vec![number << 3];
    varint(value, &mut out);
    out
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Whether these bytes are somewhere in a message.
pub fn holds(message: &[u8], part: &str) -> bool {
    message.windows(part.len()).any(|it| it == part.as_bytes())
}
