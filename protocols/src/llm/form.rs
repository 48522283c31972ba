//! The form of a request that comes in parts (RFC 7578): which model it asks for, and where that stands.
//!
//! Parts are told apart by the boundary alone; what is in them (sounds, pictures) is not looked at. A field that is there
//! twice is refused, for the gateway and the provider might each look at another one.

use std::ops::Range;

use memchr::memmem;

use super::request::Fault;
use super::route::is_model;

/// Parts of a form.
const PARTS_MAX: usize = 256;
/// Bytes of the headers of a part.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// What a form says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    pub model: Option<String>,
    pub stream: bool,
    place: Option<Range<usize>>,
}

/// The boundary that a `Content-Type` names, where it is a form's.
pub fn boundary(content_type: &str) -> Option<&str> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let mut pairs = parameters.split(';').filter_map(|it| it.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("boundary"))?;
    let value = value.trim();
    let value = value.strip_prefix('"').and_then(|it| it.strip_suffix('"')).unwrap_or(value);
    // RFC 2046 section 5.1.1.
    (1..=70).contains(&value.len()).then_some(value)
}

/// Reads a form.
pub fn scan_form(boundary: &str, body: &[u8]) -> Result<Form, Fault> {
    let mark = format!("\r\n--{boundary}");
    let finder = memmem::Finder::new(mark.as_bytes());
    let first = mark.get(2..).unwrap_or_default();
    let mut at = match body.starts_with(first.as_bytes()) {
        true => first.len(),
        // Something may stand before the first part.
        false => finder.find(body).ok_or(Fault::Form("it does not begin with its boundary"))? + mark.len(),
    };
    let (mut form, mut streams) = (Form::default(), false);
    for _ in 0..PARTS_MAX {
        let rest = body.get(at..).unwrap_or_default();
        if rest.starts_with(b"--") {
            return Ok(form);
        }
        let padding = rest.iter().take_while(|it| matches!(it, b' ' | b'\t')).count();
        if rest.get(padding..padding + 2) != Some(b"\r\n") {
            return Err(Fault::Form("a boundary does not end its line"));
        }
        at += padding + 2;
        let rest = body.get(at..).unwrap_or_default();
        let length = finder.find(rest).ok_or(Fault::Form("it is cut off"))?;
        let part = rest.get(..length).unwrap_or_default();
        let head = memmem::find(part.get(..part.len().min(HEAD_BYTES_MAX)).unwrap_or_default(), b"\r\n\r\n");
        let head = head.ok_or(Fault::Form("a part has no headers"))?;
        let place = at + head + 4..at + length;
        let value = body.get(place.clone()).unwrap_or_default();
        match name(part.get(..head).unwrap_or_default()).as_deref() {
            Some("model") => {
                let model = std::str::from_utf8(value).ok().filter(|it| is_model(it)).ok_or(Fault::Model)?;
                if form.model.replace(model.to_owned()).is_some() {
                    return Err(Fault::Twice);
                }
                form.place = Some(place);
            }
            Some("stream") if std::mem::replace(&mut streams, true) => return Err(Fault::Twice),
            Some("stream") => form.stream = value.eq_ignore_ascii_case(b"true"),
            _ => {}
        }
        at += length + mark.len();
    }
    Err(Fault::Form("it has too many parts"))
}

impl Form {
    /// Another model.
    pub fn set_model(&self, edits: &mut super::Edits, model: &str) {
        if let Some(place) = &self.place {
            edits.replace(place.clone(), model.to_owned());
        }
    }
}

/// The name of a part, by its headers.
fn name(head: &[u8]) -> Option<String> {
    let head = std::str::from_utf8(head).ok()?;
    let mut lines = head.split("\r\n").filter_map(|it| it.split_once(':'));
    let (_, disposition) = lines.find(|(name, _)| name.trim().eq_ignore_ascii_case("content-disposition"))?;
    let mut pairs = disposition.split(';').filter_map(|it| it.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("name"))?;
    Some(value.trim().trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::llm::Edits;

    fn part(name: &str, value: &str) -> String {
        format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    }

    #[test]
    fn the_model_is_found_wherever_it_stands_and_changes_its_own_place() {
        let file = "--b\r\ncontent-disposition: form-data; name=file; filename=\"a.wav\"\r\ncontent-type: audio/wav\r\n\r\n\0\r\n--x model\r\n";
        for body in [
            [&part("model", "whisper-1"), file, "--b--\r\n"].concat(),
            ["before\r\n", file, &part("stream", "true"), &part("model", "whisper-1"), "--b--"].concat(),
        ] {
            let form = scan_form("b", body.as_bytes()).unwrap();
            assert_eq!((form.model.as_deref(), form.stream), (Some("whisper-1"), body.contains("stream")));
            let mut edits = Edits::default();
            form.set_model(&mut edits, "other");
            let got = edits.apply(&Bytes::copy_from_slice(body.as_bytes())).concat();
            assert_eq!(String::from_utf8(got).unwrap(), body.replace("whisper-1", "other"));
            for end in 0..body.len() - 4 {
                let _ = scan_form("b", &body.as_bytes()[..end]).unwrap_err();
            }
        }
        assert_eq!(scan_form("b", b"--b--").unwrap(), Form::default());
    }

    #[test]
    fn what_is_no_form_or_says_it_twice_is_refused() {
        let twice = [&part("model", "a"), &part("model", "b"), "--b--"].concat();
        assert_eq!(scan_form("b", twice.as_bytes()), Err(Fault::Twice));
        for (body, fault) in [
            ([&part("model", ".."), "--b--"].concat(), Fault::Model),
            ("{}".to_owned(), Fault::Form("it does not begin with its boundary")),
            ("--bx".to_owned(), Fault::Form("a boundary does not end its line")),
            ("--b\r\nx\r\n--b--".to_owned(), Fault::Form("a part has no headers")),
            (part("x", "y").repeat(300), Fault::Form("it has too many parts")),
        ] {
            assert_eq!(scan_form("b", body.as_bytes()), Err(fault), "{body:.40}");
        }
        for (kind, want) in [
            ("multipart/form-data; charset=x; boundary=\"a b\"", Some("a b")),
            ("Multipart/Form-Data;Boundary=x", Some("x")),
            ("multipart/form-data", None),
            ("multipart/mixed; boundary=x", None),
            ("application/json", None),
        ] {
            assert_eq!(boundary(kind), want, "{kind}");
        }
    }
}
