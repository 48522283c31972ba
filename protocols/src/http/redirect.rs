//! `Location` of a redirect (RFC 9110 10.2.2; Gateway API `HTTPRequestRedirectFilter`).
//!
//! Always an absolute URI: a relative one that begins with `//` would name another host. Which parts come
//! from the request and which from configuration is the caller's; for a new path see [`super::uri`].

use std::fmt::Write as _;

/// Where to redirect to.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Without brackets, as in [`super::authority::Authority`].
    pub host: &'a str,
    /// Left out of the text when it is the scheme's own.
    pub port: Option<u16>,
    pub path: &'a str,
    /// Without the question mark.
    pub query: Option<&'a str>,
}

/// Appends the `Location` value to `out`. The parts must have been parsed: nothing is escaped here.
pub fn write_location(target: &Target<'_>, out: &mut String) {
    let Target { scheme, host, port, path, query } = *target;
    out.push_str(scheme);
    out.push_str("://");
    if host.contains(':') {
        out.push('[');
        out.push_str(host);
        out.push(']');
    } else {
        out.push_str(host);
    }
    if let Some(port) = port.filter(|&it| Some(it) != default_port(scheme)) {
        write!(out, ":{port}").expect("writing to a string does not fail");
    }
    if !path.starts_with('/') {
        out.push('/');
    }
    out.push_str(path);
    if let Some(query) = query {
        out.push('?');
        out.push_str(query);
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_absolute_and_omits_the_port_of_its_scheme() {
        for (scheme, host, port, path, query, expected) in [
            ("https", "a.example", Some(443), "/x", None, "https://a.example/x"),
            ("https", "a.example", Some(80), "/x", Some("q=1"), "https://a.example:80/x?q=1"),
            ("http", "::1", Some(8080), "/", None, "http://[::1]:8080/"),
            ("http", "a", Some(80), "", Some(""), "http://a/?"),
            ("http", "a", None, "//evil", None, "http://a//evil"),
        ] {
            let mut out = String::new();
            write_location(&Target { scheme, host, port, path, query }, &mut out);
            assert_eq!(out, expected);
        }
    }
}
