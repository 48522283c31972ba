//! Revisions of the protocol, and who speaks which with whom.
//!
//! *Legacy* revisions begin with `initialize` and may have sessions; *modern* ones say everything in each request. A
//! gateway speaks its own revision with each side: the versions here are ordered by age.

use std::fmt;

/// A revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Version {
    V2024_11_05 = 1,
    V2025_03_26 = 2,
    V2025_06_18 = 3,
    V2025_11_25 = 4,
    V2026_07_28 = 5,
}

impl Version {
    pub const ALL: [Self; 5] =
        [Self::V2024_11_05, Self::V2025_03_26, Self::V2025_06_18, Self::V2025_11_25, Self::V2026_07_28];
    /// The newest one that begins with `initialize`.
    pub const LEGACY: Self = Self::V2025_11_25;
    /// What a client speaks over Streamable HTTP that does not say (2025-06-18, transports).
    pub const UNSAID: Self = Self::V2025_03_26;

    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == text)
    }

    pub fn of_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|it| *it as u8 == byte)
    }

    /// Whether requests stand alone: no `initialize`, no session.
    pub fn is_modern(self) -> bool {
        self >= Self::V2026_07_28
    }

    /// What `initialize` is answered with: what was asked for, or the newest there is for one who shakes hands.
    pub fn negotiate(asked: Option<&str>) -> Self {
        asked.and_then(Self::parse).filter(|it| !it.is_modern()).unwrap_or(Self::LEGACY)
    }

    /// Whether several messages may come as one array. Only one revision had it.
    pub fn has_batches(self) -> bool {
        self == Self::V2025_03_26
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_apart_and_ordered() {
        for (position, version) in Version::ALL.into_iter().enumerate() {
            assert_eq!(Version::parse(version.as_str()), Some(version));
            assert_eq!(Version::of_byte(version as u8), Some(version));
            assert_eq!(Version::ALL.iter().filter(|it| **it < version).count(), position);
        }
        assert_eq!((Version::parse("2025-06-19"), Version::parse(""), Version::of_byte(0)), (None, None, None));
    }

    #[test]
    fn a_handshake_never_ends_in_a_revision_without_one() {
        for (asked, want) in [
            (Some("2024-11-05"), Version::V2024_11_05),
            (Some("2025-06-18"), Version::V2025_06_18),
            (Some("2026-07-28"), Version::LEGACY),
            (Some("1999-01-01"), Version::LEGACY),
            (None, Version::LEGACY),
        ] {
            assert_eq!(Version::negotiate(asked), want, "{asked:?}");
        }
    }
}
