//! How held resources are written down, for a successor and for the disk: one record after the other.
//!
//! A record is name, version, and the resource as it travels. Its version is empty where the resource is not whole
//! (a substitute, or a stand-in for what needs a secret that was left out): the control plane then sends it anew.

use filters::{Change, Patch};
use xds::client::Versions;
use xds::codec::{self, Name};

/// What is said of a record in its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    /// Encrypted.
    Sealed,
}

/// Form and three lengths.
const HEAD_BYTES: usize = 1 + 2 + 2 + 4;

/// One resource, written down.
#[derive(Debug)]
pub(super) struct Record<'a> {
    pub(super) form: Form,
    pub(super) name: &'a str,
    pub(super) version: &'a str,
    pub(super) bytes: &'a [u8],
}

impl<'a> Record<'a> {
    /// Appends it. False where it has no room: a name or version of more than 64 KiB.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> bool {
        let Self { form, name, version, bytes } = self;
        let lengths = (u16::try_from(name.len()), u16::try_from(version.len()), u32::try_from(bytes.len()));
        let (Ok(names), Ok(versions), Ok(contents)) = lengths else { return false };
        out.push(match form {
            Form::Plain => 0,
            Form::Sealed => 1,
        });
        out.extend_from_slice(&names.to_be_bytes());
        out.extend_from_slice(&versions.to_be_bytes());
        out.extend_from_slice(&contents.to_be_bytes());
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(version.as_bytes());
        out.extend_from_slice(bytes);
        true
    }

    /// The first record, and what comes after it. `None` where these are no records.
    pub(super) fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
        let [form, n0, n1, v0, v1, c0, c1, c2, c3] = head else { return None };
        let form = match form {
            0 => Form::Plain,
            1 => Form::Sealed,
            _ => return None,
        };
        let (name, rest) = rest.split_at_checked(u16::from_be_bytes([*n0, *n1]).into())?;
        let (version, rest) = rest.split_at_checked(u16::from_be_bytes([*v0, *v1]).into())?;
        let contents = usize::try_from(u32::from_be_bytes([*c0, *c1, *c2, *c3])).ok()?;
        let (bytes, rest) = rest.split_at_checked(contents)?;
        let name = std::str::from_utf8(name).ok()?;
        let version = std::str::from_utf8(version).ok()?;
        Some((Self { form, name, version, bytes }, rest))
    }
}

/// What was held, as read.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) patch: Patch,
    pub(super) known: Versions,
}

impl Held {
    /// Takes a resource up. One that this version does not understand is closed, and news to the control plane.
    pub(super) fn take(&mut self, name: &str, version: &str, bytes: &[u8]) {
        let (change, version) = match codec::decode(name, xds::TYPE_URL, bytes) {
            Ok(change) => (Some(change), version),
            Err(_) => (codec::substitute(name, xds::TYPE_URL, bytes), ""),
        };
        if let Some(change) = change {
            self.patch.push(change);
            self.known.insert(name.to_owned(), version.to_owned());
        }
    }
}

/// The name of a resource in force, and the version that the session knows of it.
pub(super) fn label<'a>(change: &Change, known: &'a Versions) -> (String, &'a str) {
    let name = Name::of(change).to_string();
    let version = known.get(&name).map_or("", String::as_str);
    (name, version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_written_and_no_bytes_are_trusted() {
        let mut out = Vec::new();
        let record = |form, bytes| Record { form, name: "route/a", version: "v1", bytes };
        assert!(record(Form::Plain, b"one").write(&mut out) && record(Form::Sealed, b"").write(&mut out));
        let (first, rest) = Record::read(&out).unwrap();
        assert_eq!((first.form, first.name, first.version, first.bytes), (Form::Plain, "route/a", "v1", &b"one"[..]));
        let (second, rest) = Record::read(rest).unwrap();
        assert_eq!((second.form, second.bytes.len(), rest.len()), (Form::Sealed, 0, 0));
        for length in 0..out.len() - 1 {
            // Whatever is cut off, this ends, and reads no further than it may.
            let mut left = out.get(..length).unwrap();
            while let Some((_, rest)) = Record::read(left) {
                left = rest;
            }
        }
        assert!(Record::read(&[9; 64]).is_none());
        let name = "x".repeat(70_000);
        assert!(!Record { form: Form::Plain, name: &name, version: "", bytes: b"" }.write(&mut out));
    }
}
