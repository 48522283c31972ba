//! Values picked out of JSON that streams by, by their place, wherever it is cut. Nothing else is kept.
//!
//! The text is not checked: an answer is not ours to refuse, and what makes no sense is simply not found. A value that
//! is longer than [`CAPTURE_BYTES_MAX`] is passed over.

/// Longest value picked.
pub(super) const CAPTURE_BYTES_MAX: usize = 16 << 10;

/// Longest key that is compared.
const KEY_BYTES_MAX: usize = 24;

/// Deepest containers whose members are looked at.
const LEVELS: usize = 4;

/// Keys are told apart by their first byte, up to so many kinds of it.
const KINDS: usize = 32;

/// Places, as keys from the outside in; `*` is any element of an array. At most 32.
#[derive(Debug)]
pub(super) struct Places {
    list: &'static [&'static [&'static str]],
    /// By level and kind of key, those that may go on: most keys are of none, and are not compared.
    by_kind: [[u32; KINDS]; LEVELS],
    /// Those that end at a depth.
    by_depth: [u32; LEVELS + 1],
}

impl Places {
    pub(super) fn new(list: &'static [&'static [&'static str]]) -> Self {
        let (mut by_kind, mut by_depth) = ([[0; KINDS]; LEVELS], [0; LEVELS + 1]);
        for (bit, place) in list.iter().enumerate() {
            let mask = 1_u32.checked_shl(u32::try_from(bit).unwrap_or(u32::MAX)).unwrap_or(0);
            if let Some(depth) = by_depth.get_mut(place.len()) {
                *depth |= mask;
            }
            for (level, step) in by_kind.iter_mut().zip(place.iter()) {
                if let Some(kind) = level.get_mut(kind(step.as_bytes())) {
                    *kind |= mask;
                }
            }
        }
        Self { list, by_kind, by_depth }
    }
}

fn kind(key: &[u8]) -> usize {
    key.first().map_or(0, |it| usize::from(*it) % KINDS)
}

#[derive(Clone, Copy, Debug, Default)]
struct Level {
    is_object: bool,
    /// Places that lead into here.
    places: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Structure,
    Key { escaped: bool },
    String { escaped: bool },
    Scalar,
}

#[derive(Debug)]
pub(super) struct Pick {
    places: &'static Places,
    state: State,
    /// Open containers; of the outermost ones there is more in `levels`.
    depth: usize,
    levels: [Level; LEVELS],
    /// What comes next in the object is a key.
    wants_key: bool,
    /// Places that lead to the value that comes next.
    next: u32,
    key: [u8; KEY_BYTES_MAX],
    key_len: usize,
    capture: Option<Capture>,
    text: Vec<u8>,
}

/// A value under way.
#[derive(Clone, Copy, Debug)]
struct Capture {
    place: usize,
    depth: usize,
    too_long: bool,
}

impl Pick {
    pub(super) fn new(places: &'static Places) -> Self {
        Self {
            places,
            state: State::Structure,
            depth: 0,
            levels: [Level::default(); LEVELS],
            wants_key: false,
            next: u32::MAX,
            key: [0; KEY_BYTES_MAX],
            key_len: 0,
            capture: None,
            text: Vec::new(),
        }
    }

    /// Another document begins; of a number at the end of the last one it is known only now that it was whole.
    pub(super) fn end(&mut self, out: &mut impl FnMut(usize, &[u8])) {
        if self.state == State::Scalar {
            self.value_ends(&[], out);
        }
        self.state = State::Structure;
        (self.depth, self.wants_key, self.next, self.capture) = (0, false, u32::MAX, None);
        self.text.clear();
    }

    /// Takes a piece; `out` gets the position of a place, and the text of the value there.
    pub(super) fn push(&mut self, piece: &[u8], out: &mut impl FnMut(usize, &[u8])) {
        // Where what is captured begins in this piece.
        let mut from = 0;
        let mut at = 0;
        while let Some(&byte) = piece.get(at) {
            match self.state {
                State::Structure => {
                    let captured = self.capture.is_some();
                    self.structure(byte, piece.get(from..at + 1).unwrap_or_default(), out);
                    if !captured && self.capture.is_some() {
                        from = at;
                    }
                    at += 1;
                }
                State::Key { escaped: true } => {
                    self.key_bytes(&[byte]);
                    self.state = State::Key { escaped: false };
                    at += 1;
                }
                State::Key { escaped: false } => {
                    let rest = piece.get(at..).unwrap_or_default();
                    let length = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                    self.key_bytes(rest.get(..length).unwrap_or_default());
                    at += length + 1;
                    match rest.get(length) {
                        Some(b'"') => self.key_ends(),
                        Some(_) => {
                            self.key_bytes(b"\\");
                            self.state = State::Key { escaped: true };
                        }
                        None => {}
                    }
                }
                State::String { escaped: true } => {
                    self.state = State::String { escaped: false };
                    at += 1;
                }
                State::String { escaped: false } => {
                    let rest = piece.get(at..).unwrap_or_default();
                    let Some(found) = memchr::memchr2(b'"', b'\\', rest) else { break };
                    at += found + 1;
                    if rest.get(found) == Some(&b'\\') {
                        self.state = State::String { escaped: true };
                        continue;
                    }
                    self.state = State::Structure;
                    self.value_ends(piece.get(from..at).unwrap_or_default(), out);
                }
                State::Scalar => {
                    if matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r') {
                        self.state = State::Structure;
                        self.value_ends(piece.get(from..at).unwrap_or_default(), out);
                        continue;
                    }
                    at += 1;
                }
            }
        }
        if self.capture.is_some() {
            self.keep(piece.get(from..).unwrap_or_default());
        }
    }

    /// `so_far` is what is captured of this piece, with this byte.
    fn structure(&mut self, byte: u8, so_far: &[u8], out: &mut impl FnMut(usize, &[u8])) {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' | b':' => {}
            b',' => match self.level() {
                Some(Level { is_object: true, .. }) => self.wants_key = true,
                Some(Level { places, .. }) => self.next = self.leading(places, b"*"),
                None => {}
            },
            b'"' if self.wants_key => {
                (self.wants_key, self.key_len) = (false, 0);
                self.state = State::Key { escaped: false };
            }
            b'"' => {
                self.value_begins();
                self.state = State::String { escaped: false };
            }
            b'{' | b'[' => {
                self.value_begins();
                self.open(byte == b'{');
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                self.wants_key = false;
                self.value_ends(so_far, out);
            }
            _ => {
                self.value_begins();
                self.state = State::Scalar;
            }
        }
    }

    fn key_ends(&mut self) {
        self.state = State::Structure;
        let key = self.key;
        self.next = match (self.level(), key.get(..self.key_len)) {
            (Some(level), Some(key)) if level.places != 0 => self.leading(level.places, key),
            _ => 0,
        };
    }

    fn key_bytes(&mut self, bytes: &[u8]) {
        let room = self.key.get_mut(self.key_len..).unwrap_or_default();
        for (slot, byte) in room.iter_mut().zip(bytes) {
            *slot = *byte;
        }
        // One more than fits says that it did not fit.
        self.key_len = (self.key_len + bytes.len()).min(KEY_BYTES_MAX + 1);
    }

    /// The container we are in, where its members are looked at.
    fn level(&self) -> Option<Level> {
        self.levels.get(self.depth.checked_sub(1)?).copied()
    }

    /// Those of the places that go on with this key.
    fn leading(&self, places: u32, key: &[u8]) -> u32 {
        let may = self.places.by_kind.get(self.depth - 1).and_then(|it| it.get(kind(key)));
        let (mut out, mut rest) = (0, places & may.copied().unwrap_or(0));
        while rest != 0 {
            let bit = rest.trailing_zeros();
            rest &= rest - 1;
            let step = self.places.list.get(bit as usize).and_then(|it| it.get(self.depth - 1));
            if step.is_some_and(|it| it.as_bytes() == key) {
                out |= 1 << bit;
            }
        }
        out
    }

    fn open(&mut self, is_object: bool) {
        let places = self.next;
        self.depth += 1;
        let known = self.depth <= LEVELS;
        if let Some(level) = self.levels.get_mut(self.depth - 1) {
            *level = Level { is_object, places };
        }
        self.wants_key = is_object && known;
        self.next = if !is_object && known { self.leading(places, b"*") } else { 0 };
    }

    fn value_begins(&mut self) {
        if self.next == 0 || self.capture.is_some() {
            return;
        }
        let ending = self.next & self.places.by_depth.get(self.depth).copied().unwrap_or(0);
        if ending != 0 {
            let place = ending.trailing_zeros() as usize;
            self.text.clear();
            self.capture = Some(Capture { place, depth: self.depth, too_long: false });
        }
    }

    /// `so_far` is what is captured of this piece.
    fn value_ends(&mut self, so_far: &[u8], out: &mut impl FnMut(usize, &[u8])) {
        // A member of an object has one value only; documents may follow each other.
        self.next = if self.depth == 0 { u32::MAX } else { 0 };
        let Some(capture) = self.capture.filter(|it| it.depth == self.depth) else { return };
        match self.text.is_empty() && so_far.len() <= CAPTURE_BYTES_MAX {
            true => out(capture.place, so_far),
            false => {
                self.keep(so_far);
                if self.capture.is_some_and(|it| !it.too_long) {
                    out(capture.place, &self.text);
                }
            }
        }
        self.capture = None;
    }

    fn keep(&mut self, bytes: &[u8]) {
        let Some(capture) = &mut self.capture else { return };
        capture.too_long |= self.text.len() + bytes.len() > CAPTURE_BYTES_MAX;
        if !capture.too_long {
            self.text.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    static PLACES: LazyLock<Places> =
        LazyLock::new(|| Places::new(&[&["a"], &["b", "c"], &["l", "*", "x"], &["*", "y"]]));

    fn picked(pieces: &[&[u8]]) -> Vec<(usize, String)> {
        let mut out = Vec::new();
        let mut pick = Pick::new(&PLACES);
        let mut take = |place, text: &[u8]| out.push((place, String::from_utf8(text.to_vec()).unwrap()));
        for piece in pieces {
            pick.push(piece, &mut take);
        }
        pick.end(&mut take);
        out
    }

    #[test]
    fn values_are_found_at_their_places_and_nowhere_else() {
        for (text, want) in [
            (r#"{"a":1}"#, vec![(0, "1")]),
            (
                r#"{"x":{"a":1},"b":{"a":2,"c":{"d":[1,"}"]}},"a":"s\"]"}"#,
                vec![(1, r#"{"d":[1,"}"]}"#), (0, r#""s\"]""#)],
            ),
            (
                r#"{"l":[{"x":1},{"y":2,"x":null}, 3, {"x":[]}],"a":true}"#,
                vec![(2, "1"), (2, "null"), (2, "[]"), (0, "true")],
            ),
            (r#"[{"y":1},{"y":2}]"#, vec![(3, "1"), (3, "2")]),
            (r#"{"b":[{"c":1}],"a\"":1,"aa":2}"#, vec![]),
            (r#"{"z":[[[[[{"a":1,"b":{"c":2}}]]]]],"b":{"c":3}}"#, vec![(1, "3")]),
            ("[DONE]", vec![]),
            ("}}]]{\"a\":1", vec![(0, "1")]),
            ("12", vec![]),
        ] {
            let want: Vec<_> = want.into_iter().map(|(place, text)| (place, text.to_owned())).collect();
            assert_eq!(picked(&[text.as_bytes()]), want, "{text}");
            let bytes: Vec<_> = text.as_bytes().chunks(1).collect();
            assert_eq!(picked(&bytes), want, "{text} byte by byte");
        }
    }

    #[test]
    fn what_is_too_long_is_passed_over_and_the_rest_still_found() {
        let long = "x".repeat(CAPTURE_BYTES_MAX);
        let text = format!("{{\"a\":\"{long}\",\"b\":{{\"c\":1}}}}");
        assert_eq!(picked(&[text.as_bytes()]), [(1, "1".to_owned())]);
        let pieces: Vec<_> = text.as_bytes().chunks(1000).collect();
        assert_eq!(picked(&pieces), [(1, "1".to_owned())]);
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(text in "[{}\\[\\]\",:abclxy1 \\\\]{0,60}", cut in 1_usize..9) {
            let pieces: Vec<_> = text.as_bytes().chunks(cut).collect();
            prop_assert_eq!(picked(&pieces), picked(&[text.as_bytes()]));
        }
    }
}
