//! `Cookie` and `Set-Cookie` (RFC 6265 4.1, 5.4), as far as session affinity and login need them.
//!
//! Values are opaque: quotes are part of them and nothing is decoded. It keeps no jar.

use std::fmt::Write as _;

use super::is_tchar;

/// The value of the first cookie called `name`. `values` are those of all `Cookie` lines (HTTP/2 splits
/// them, RFC 9113 8.2.3).
pub fn find<'a>(values: impl Iterator<Item = &'a str>, name: &str) -> Option<&'a str> {
    let mut pairs = values.flat_map(|it| it.split(';')).filter_map(|it| it.split_once('='));
    pairs.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
}

/// A cookie to set.
#[derive(Clone, Copy, Debug)]
pub struct SetCookie<'a> {
    pub name: &'a str,
    pub value: &'a str,
    /// Left out when `None`: then it is the directory of the request's path.
    pub path: Option<&'a str>,
    /// `None` is a session cookie, 0 deletes.
    pub max_age_secs: Option<u64>,
    pub http_only: bool,
    pub secure: bool,
    pub same_site: Option<SameSite>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    Strict,
    Lax,
    /// Browsers drop it without `Secure`.
    None,
}

/// Why a cookie cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CookieFault {
    #[error("cookie name is not a token")]
    Name,
    #[error("cookie value has a character that cookies cannot hold")]
    Value,
    #[error("cookie path has a semicolon or control character")]
    Path,
    #[error("cookie has SameSite=None without Secure")]
    SameSite,
}

impl SetCookie<'_> {
    /// Appends the `Set-Cookie` value to `out`; on a fault nothing is written.
    pub fn write(&self, out: &mut String) -> Result<(), CookieFault> {
        self.check()?;
        let Self { name, value, path, max_age_secs, http_only, secure, same_site } = *self;
        out.push_str(name);
        out.push('=');
        out.push_str(value);
        if let Some(path) = path {
            out.push_str("; Path=");
            out.push_str(path);
        }
        if let Some(secs) = max_age_secs {
            write!(out, "; Max-Age={secs}").expect("writing to a string does not fail");
        }
        if http_only {
            out.push_str("; HttpOnly");
        }
        if secure {
            out.push_str("; Secure");
        }
        out.push_str(match same_site {
            Some(SameSite::Strict) => "; SameSite=Strict",
            Some(SameSite::Lax) => "; SameSite=Lax",
            Some(SameSite::None) => "; SameSite=None",
            None => "",
        });
        Ok(())
    }

    fn check(&self) -> Result<(), CookieFault> {
        if self.name.is_empty() || !self.name.bytes().all(is_tchar) {
            return Err(CookieFault::Name);
        }
        if !self.value.bytes().all(is_cookie_octet) {
            return Err(CookieFault::Value);
        }
        if self.path.is_some_and(|it| !it.bytes().all(|it| matches!(it, 0x20..=0x7e) && it != b';')) {
            return Err(CookieFault::Path);
        }
        if self.same_site == Some(SameSite::None) && !self.secure {
            return Err(CookieFault::SameSite);
        }
        Ok(())
    }
}

/// RFC 6265 4.1.1.
fn is_cookie_octet(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: SetCookie<'static> = SetCookie {
        name: "a",
        value: "b",
        path: None,
        max_age_secs: None,
        http_only: false,
        secure: false,
        same_site: None,
    };

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        for (lines, name, expected) in [
            (&["a=1; b=2"][..], "b", Some("2")),
            (&["a=1", "b=2"], "b", Some("2")),
            (&["ab=1; a=2"], "a", Some("2")),
            (&["a=1; a=2"], "a", Some("1")),
            (&["a=x=y=;b"], "a", Some("x=y=")),
            (&["a=\"q\""], "a", Some("\"q\"")),
            (&["A=1"], "a", None),
            (&["a"], "a", None),
            (&[], "a", None),
        ] {
            assert_eq!(find(lines.iter().copied(), name), expected, "{lines:?}");
        }
    }

    #[test]
    fn set_cookie_writes_the_attributes_asked_for() {
        let all = SetCookie {
            path: Some("/x"),
            max_age_secs: Some(60),
            http_only: true,
            secure: true,
            same_site: Some(SameSite::None),
            ..PLAIN
        };
        for (cookie, expected) in [(PLAIN, "a=b"), (all, "a=b; Path=/x; Max-Age=60; HttpOnly; Secure; SameSite=None")] {
            let mut out = String::new();
            assert_eq!(cookie.write(&mut out), Ok(()));
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn a_cookie_cannot_smuggle_attributes() {
        for (cookie, fault) in [
            (SetCookie { name: "", ..PLAIN }, CookieFault::Name),
            (SetCookie { name: "a=b", ..PLAIN }, CookieFault::Name),
            (SetCookie { value: "b; Path=/", ..PLAIN }, CookieFault::Value),
            (SetCookie { value: "b\r\n", ..PLAIN }, CookieFault::Value),
            (SetCookie { value: "é", ..PLAIN }, CookieFault::Value),
            (SetCookie { path: Some("/;Secure"), ..PLAIN }, CookieFault::Path),
            (SetCookie { same_site: Some(SameSite::None), ..PLAIN }, CookieFault::SameSite),
        ] {
            let mut out = String::new();
            assert_eq!(cookie.write(&mut out), Err(fault));
            assert_eq!(out, "");
        }
    }
}
