//! Content codings the client accepts (RFC 9110 12.5.3), and media types that change how a body is treated.
//!
//! Does not compress, and knows only the codings we can produce.

/// A content coding we can produce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    Brotli,
    Zstd,
    Identity,
}

impl Coding {
    const ALL: [Self; 4] = [Self::Zstd, Self::Brotli, Self::Gzip, Self::Identity];

    /// As in `Content-Encoding`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Identity => "identity",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case("x-gzip") {
            return Some(Self::Gzip);
        }
        Self::ALL.into_iter().find(|it| it.as_str().eq_ignore_ascii_case(name))
    }
}

/// What an `Accept-Encoding` says about each coding, in thousandths; 0 forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preference {
    pub gzip: u16,
    pub brotli: u16,
    pub zstd: u16,
    pub identity: u16,
}

impl Preference {
    /// The weight of one coding.
    pub fn weight(&self, coding: Coding) -> u16 {
        match coding {
            Coding::Gzip => self.gzip,
            Coding::Brotli => self.brotli,
            Coding::Zstd => self.zstd,
            Coding::Identity => self.identity,
        }
    }

    /// The accepted one of `offered` with the highest weight; of equals the first.
    pub fn best(&self, offered: &[Coding]) -> Option<Coding> {
        let mut best = None;
        for &coding in offered {
            let weight = self.weight(coding);
            if weight > best.map_or(0, |it| self.weight(it)) {
                best = Some(coding);
            }
        }
        best
    }
}

/// Reads an `Accept-Encoding` value. Without the header there is no value to read: send identity.
///
/// Identity is acceptable unless refused, by name or by `*;q=0`; unlisted, it ranks last.
/// A malformed weight counts as 0.
pub fn accept_encoding(value: &str) -> Preference {
    let mut named: [Option<u16>; 4] = [None; 4];
    let mut others = None;
    for element in value.split(',') {
        let (name, parameters) = element.split_once(';').unwrap_or((element, ""));
        let (name, weight) = (name.trim(), weight(parameters));
        if name == "*" {
            others = Some(weight);
            continue;
        }
        let slots = named.iter_mut().zip(Coding::ALL);
        if let Some((slot, _)) = Coding::parse(name).and_then(|it| slots.into_iter().find(|(_, coding)| *coding == it))
        {
            *slot = Some(weight);
        }
    }
    let [zstd, brotli, gzip, identity] = named.map(|it| it.or(others));
    let or_none = |it: Option<u16>| it.unwrap_or(0);
    Preference { gzip: or_none(gzip), brotli: or_none(brotli), zstd: or_none(zstd), identity: identity.unwrap_or(1) }
}

/// `q=0.5` in thousandths (RFC 9110 12.4.2).
fn weight(parameters: &str) -> u16 {
    let mut parameters = parameters.split(';').map(str::trim);
    let Some(q) = parameters.find_map(|it| it.strip_prefix("q=").or_else(|| it.strip_prefix("Q="))) else {
        return 1000;
    };
    let (whole, fraction) = q.split_once('.').unwrap_or((q, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|it| it.is_ascii_digit()) {
        return 0;
    }
    let scales = [100, 10, 1];
    let thousandths: u16 = fraction.bytes().zip(scales).map(|(it, scale)| u16::from(it - b'0') * scale).sum();
    match (whole, thousandths) {
        ("1", 0) => 1000,
        ("0", it) => it,
        _ => 0,
    }
}

/// Whether a body is a stream of server-sent events, to be passed on as it comes.
pub fn is_event_stream(content_type: &[u8]) -> bool {
    essence(content_type).eq_ignore_ascii_case(b"text/event-stream")
}

/// The media type without its parameters.
pub fn essence(content_type: &[u8]) -> &[u8] {
    content_type.split(|&it| it == b';').next().unwrap_or_default().trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_read_rfc9110_12_5_3() {
        for (value, gzip, brotli, zstd, identity) in [
            ("", 0, 0, 0, 1),
            ("gzip", 1000, 0, 0, 1),
            ("GZIP;q=0.5, br;Q=1.0 , zstd ; q=0.123", 500, 1000, 123, 1),
            ("x-gzip", 1000, 0, 0, 1),
            ("*", 1000, 1000, 1000, 1000),
            ("*;q=0", 0, 0, 0, 0),
            ("gzip, *;q=0", 1000, 0, 0, 0),
            ("gzip;q=0, *;q=0.2", 0, 200, 200, 200),
            ("identity;q=0", 0, 0, 0, 0),
            ("gzip;q=2, br;q=, zstd;q=0.1234", 0, 0, 0, 1),
            ("deflate, compress,,", 0, 0, 0, 1),
        ] {
            assert_eq!(accept_encoding(value), Preference { gzip, brotli, zstd, identity }, "{value:?}");
        }
    }

    #[test]
    fn the_best_offer_is_the_heaviest_then_the_first() {
        use Coding::{Brotli, Gzip, Identity, Zstd};
        for (value, offered, expected) in [
            ("gzip, br", &[Zstd, Brotli, Gzip, Identity][..], Some(Brotli)),
            ("gzip, br;q=0.9", &[Brotli, Gzip, Identity], Some(Gzip)),
            ("", &[Gzip, Identity], Some(Identity)),
            ("*;q=0", &[Gzip, Identity], None),
            ("gzip", &[], None),
        ] {
            assert_eq!(accept_encoding(value).best(offered), expected, "{value:?}");
        }
    }

    #[test]
    fn event_streams_are_known_by_their_type_alone() {
        for (value, expected) in [
            (&b"text/event-stream"[..], true),
            (b"Text/Event-Stream ; charset=utf-8", true),
            (b"text/event-streams", false),
            (b"", false),
        ] {
            assert_eq!(is_event_stream(value), expected);
        }
    }
}
