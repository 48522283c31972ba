//! One spelling for each path, so that routes, policies and upstreams see the same one (RFC 3986 6.2.2).
//!
//! Done: escapes of unreserved characters are decoded, other escapes upper-cased, raw non-ASCII
//! characters escaped, dot segments removed *after* decoding.
//!
//! Deliberately not done: slashes are not merged (`//` is an empty segment and stays, so a result may
//! begin with `//`: never use it alone as a `Location`); `%2F` stays as it is (see
//! [`has_encoded_slash`]); `;` parameters are ordinary characters, so `/..;/` is no dot segment; encoded
//! control characters other than NUL stay encoded. The query and the `*` of OPTIONS are the caller's.

use std::borrow::Cow;

/// Why a path is refused. Each is a 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    #[error("path does not begin with a slash")]
    NotOriginForm,
    #[error("path contains a control character")]
    Control,
    #[error("path contains a space, query or fragment delimiter")]
    Delimiter,
    #[error("path contains a backslash")]
    Backslash,
    #[error("path contains a malformed percent escape")]
    Escape,
    #[error("path climbs above the root")]
    AboveRoot,
}

/// The normal form of `path`, which must not contain the query. Idempotent; borrows when `path` is normal.
pub fn normalise(path: &str) -> Result<Cow<'_, str>, PathFault> {
    let Some(rest) = path.strip_prefix('/') else { return Err(PathFault::NotOriginForm) };
    if is_normal(path.as_bytes())? {
        return Ok(Cow::Borrowed(path));
    }
    rewrite(rest).map(Cow::Owned)
}

/// Whether a normal path has an escaped slash, which some upstreams decode into a further segment.
pub fn has_encoded_slash(path: &str) -> bool {
    path.as_bytes().windows(3).any(|it| it.eq_ignore_ascii_case(b"%2F"))
}

/// Checks the raw bytes and says whether they can stay as they are. A segment that begins with a dot
/// is compared only here and in `rewrite`, as most paths have none.
fn is_normal(path: &[u8]) -> Result<bool, PathFault> {
    let mut normal = true;
    let mut rest = path;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            0..=0x1f | 0x7f => return Err(PathFault::Control),
            b' ' | b'?' | b'#' => return Err(PathFault::Delimiter),
            b'\\' => return Err(PathFault::Backslash),
            0x80.. => normal = false,
            b'%' => {
                let (value, spelled_upper, after) = unescape(tail)?;
                normal &= spelled_upper && !is_unreserved(value);
                rest = after;
            }
            b'/' => normal &= !begins_with_dot_segment(tail),
            _ => {}
        }
    }
    Ok(normal)
}

fn begins_with_dot_segment(segment: &[u8]) -> bool {
    matches!(segment, [b'.'] | [b'.', b'/', ..] | [b'.', b'.'] | [b'.', b'.', b'/', ..])
}

/// Reads the two digits after a `%`: the byte, whether both digits are in normal case, what follows.
fn unescape(after_percent: &[u8]) -> Result<(u8, bool, &[u8]), PathFault> {
    let [high, low, rest @ ..] = after_percent else { return Err(PathFault::Escape) };
    let (Some(h), Some(l)) = (hex(*high), hex(*low)) else { return Err(PathFault::Escape) };
    match h << 4 | l {
        0 => Err(PathFault::Control),
        b'\\' => Err(PathFault::Backslash),
        value => Ok((value, !high.is_ascii_lowercase() && !low.is_ascii_lowercase(), rest)),
    }
}

fn rewrite(without_slash: &str) -> Result<String, PathFault> {
    let mut out = String::with_capacity(without_slash.len() + 1);
    let mut segments = without_slash.split('/').peekable();
    while let Some(segment) = segments.next() {
        let before = out.len();
        out.push('/');
        let start = out.len();
        decode_segment(segment, &mut out)?;
        let keep = match out.get(start..) {
            Some(".") => before,
            Some("..") => out.get(..before).and_then(|it| it.rfind('/')).ok_or(PathFault::AboveRoot)?,
            _ => continue,
        };
        out.truncate(keep);
        if segments.peek().is_none() {
            out.push('/');
        }
    }
    Ok(out)
}

fn decode_segment(segment: &str, out: &mut String) -> Result<(), PathFault> {
    let mut rest = segment.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'%' => {
                let (value, _, after) = unescape(tail)?;
                rest = after;
                if is_unreserved(value) {
                    out.push(char::from(value));
                } else {
                    push_escape(value, out);
                }
            }
            0x80.. => push_escape(byte, out),
            _ => out.push(char::from(byte)),
        }
    }
    Ok(())
}

fn push_escape(byte: u8, out: &mut String) {
    out.push('%');
    for digit in [byte >> 4, byte & 15] {
        out.push(char::from(if digit < 10 { b'0' + digit } else { b'A' + digit - 10 }));
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|it| u8::try_from(it).ok())
}

/// RFC 3986 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &str, expected: Result<&str, PathFault>) {
        let actual = normalise(input);
        assert_eq!(actual.as_deref(), expected.as_ref().copied(), "{input:?}");
        if let Ok(once) = actual {
            let twice = normalise(&once).expect("a normal path is accepted");
            assert_eq!(twice, once, "normalising {input:?} twice changes it");
            assert!(matches!(twice, Cow::Borrowed(_)), "a normal path is borrowed: {once:?}");
        }
    }

    #[test]
    fn a_normal_path_is_borrowed() {
        for path in ["/", "/a/b.c", "/.well-known/x", "/...", "/a//b", "/%20x", "/a%2Fb", "/a;b=c,d", "//a", "/{id}"] {
            check(path, Ok(path));
            assert!(matches!(normalise(path), Ok(Cow::Borrowed(_))), "{path}");
        }
    }

    #[test]
    fn escapes_of_unreserved_characters_are_decoded_and_others_upper_cased_rfc3986_6_2_2() {
        for (input, expected) in [
            ("/%61%7e%2D", "/a~-"),
            ("/a%2fb", "/a%2Fb"),
            ("/%c3%a9", "/%C3%A9"),
            ("/é", "/%C3%A9"),
            ("/%252e%252e/a", "/%252e%252e/a"),
            ("/a%0d%0a", "/a%0D%0A"),
        ] {
            check(input, Ok(expected));
        }
    }

    #[test]
    fn dot_segments_are_removed_after_decoding_rfc3986_5_2_4() {
        for (input, expected) in [
            ("/a/b/c/./../../g", "/a/g"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/.", "/"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e", "/"),
            ("/%2e/a", "/a"),
            ("/a//../b", "/a/b"),
            ("/a/..//b", "//b"),
            ("/a/..%2fb", "/a/..%2Fb"),
            ("/a/..;/b", "/a/..;/b"),
        ] {
            check(input, Ok(expected));
        }
    }

    #[test]
    fn ambiguous_paths_are_refused() {
        for (input, fault) in [
            ("", PathFault::NotOriginForm),
            ("*", PathFault::NotOriginForm),
            ("http://a/b", PathFault::NotOriginForm),
            ("/a\0", PathFault::Control),
            ("/a%00", PathFault::Control),
            ("/a\r\nb", PathFault::Control),
            ("/a\x7f", PathFault::Control),
            ("/a b", PathFault::Delimiter),
            ("/a?b", PathFault::Delimiter),
            ("/a#b", PathFault::Delimiter),
            ("/a\\b", PathFault::Backslash),
            ("/a%5cb", PathFault::Backslash),
            ("/%", PathFault::Escape),
            ("/%2", PathFault::Escape),
            ("/%zz", PathFault::Escape),
            ("/%+1", PathFault::Escape),
            ("/%2%35", PathFault::Escape),
            ("/..", PathFault::AboveRoot),
            ("/a/../../b", PathFault::AboveRoot),
            ("/%2e%2e/a", PathFault::AboveRoot),
        ] {
            check(input, Err(fault));
        }
    }

    #[test]
    fn an_encoded_slash_is_noticed() {
        assert!(has_encoded_slash("/a%2Fb"));
        assert!(!has_encoded_slash("/a%2Eb/"));
    }
}
