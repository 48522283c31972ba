//! Ids of events on streams into which those of several servers flow.
//!
//! A client shows the last id it saw, and no more; so each id says how far every one of the streams had come:
//! `g<target>:<id>,<target>:<id>` for the stream of what nobody asked for, `p<target>:<id>` for the answer to one call.
//! The ids of servers are opaque, and written in base64url.
//!
//! Where events are kept ([`Place`]), an id says first who keeps them: `<owner>.<track>.<number>`, then `.call` where they
//! are the answer to a call, and after `~` how far the servers' streams had come, for whoever asks somebody else than the
//! owner.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Longest id of a server that is taken up in one of ours.
pub const ID_BYTES_MAX: usize = 256;
/// Longest id accepted.
pub const TEXT_BYTES_MAX: usize = 8 * 1024;

/// Ends the first part of an id of a call's answer. It is no number.
const OF_CALL: &str = ".call";

/// How far streams had come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Last {
    /// One call's answer.
    Call { target: String, id: String },
    /// The stream of what nobody asked for.
    Unasked(Vec<(String, String)>),
}

impl Last {
    /// As clients see it; `None` where nothing can be gone on from.
    pub fn write(&self) -> Option<String> {
        let one = |target: &str, id: &str| {
            (id.len() <= ID_BYTES_MAX).then(|| format!("{target}:{}", URL_SAFE_NO_PAD.encode(id)))
        };
        match self {
            Self::Call { target, id } => one(target, id).map(|it| format!("p{it}")),
            Self::Unasked(places) => {
                let places: Vec<_> = places.iter().filter_map(|(target, id)| one(target, id)).collect();
                let text = format!("g{}", places.join(","));
                (!places.is_empty() && text.len() <= TEXT_BYTES_MAX).then_some(text)
            }
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        let one = |text: &str| {
            let (target, id) = text.split_once(':')?;
            let id = String::from_utf8(URL_SAFE_NO_PAD.decode(id).ok()?).ok()?;
            Some((target.to_owned(), id))
        };
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        match text.split_at_checked(1)? {
            ("p", text) => one(text).map(|(target, id)| Self::Call { target, id }),
            ("g", text) => text.split(',').map(one).collect::<Option<_>>().map(Self::Unasked),
            _ => None,
        }
    }
}

/// Where an event stands among those that were kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The process that keeps them.
    pub owner: u64,
    /// The stream, as its owner counts.
    pub track: u64,
    /// The event, from 1.
    pub number: u64,
    /// It is a call's answer, which nobody else can go on with.
    pub is_call: bool,
    /// Where the servers were.
    pub last: Option<Last>,
}

impl Place {
    /// As clients see it.
    pub fn write(&self) -> String {
        let Self { owner, track, number, is_call, last } = self;
        let own = format!("{owner:x}.{track:x}.{number:x}{}", if *is_call { OF_CALL } else { "" });
        match last.as_ref().and_then(Last::write) {
            Some(last) => format!("{own}~{last}"),
            None => own,
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        let (own, last) = match text.split_once('~') {
            Some((own, last)) => (own, Some(Last::parse(last)?)),
            None => (text, None),
        };
        let (own, is_call) = own.strip_suffix(OF_CALL).map_or((own, false), |it| (it, true));
        let mut parts = own.split('.').map(|it| u64::from_str_radix(it, 16).ok());
        let place = Self { owner: parts.next()??, track: parts.next()??, number: parts.next()??, is_call, last };
        parts.next().is_none().then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_of_others_are_not_ours() {
        for text in ["", "p", "g", "x", "pa", "pa:!", "ga:YQ,", "1", "5d2b_3", "\u{e4}"] {
            assert_eq!(Last::parse(text), None, "{text}");
        }
        for text in [
            "",
            "1",
            "1.2",
            "1.2.",
            "1.2.3.4",
            "1.2.call",
            "1.2.3.call.call",
            "1.2.x",
            "1.2.3~",
            "1.2.3~x",
            "ga:YQ",
            "1.2.11111111111111111",
        ] {
            assert_eq!(Place::parse(text), None, "{text}");
        }
        // A number, though it looks like the beginning of a word.
        let twelfth = Place { owner: 0xca11, track: 0xc, number: 0xc, is_call: false, last: None };
        assert_eq!((&*twelfth.write(), Place::parse("ca11.c.c")), ("ca11.c.c", Some(twelfth.clone())));
        assert_eq!(Last::Unasked(Vec::new()).write(), None);
        assert_eq!(Last::Call { target: "t".into(), id: "x".repeat(ID_BYTES_MAX + 1) }.write(), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(places in prop::collection::vec(("[a-z0-9.-]{1,9}", "\\PC{0,9}"), 1..5)) {
            let (target, id) = places[0].clone();
            for last in [Last::Call { target, id }, Last::Unasked(places)] {
                let text = last.write().unwrap();
                prop_assert!(text.bytes().all(|it| it.is_ascii_graphic()));
                prop_assert_eq!(Last::parse(&text), Some(last));
            }
        }

        #[test]
        fn places_are_read_as_they_were_written(owner in any::<u64>(), track in any::<u64>(), number in any::<u64>(), is_call in any::<bool>(), id in prop::option::of("\\PC{0,9}")) {
            let last = id.map(|id| Last::Call { target: "t".into(), id });
            let place = Place { owner, track, number, is_call, last };
            prop_assert_eq!(Place::parse(&place.write()), Some(place));
        }

        #[test]
        fn no_text_makes_reading_panic(text in "\\PC{0,40}") {
            let _ = (Last::parse(&text), Place::parse(&text));
        }
    }
}
