//! Paths rewritten for an upstream or a redirect (Gateway API `HTTPPathModifier`).
//!
//! Takes normal paths (see [`super::path`]) without query and does not normalise again.

/// `ReplacePrefixMatch`: `path` with `matched_prefix` replaced by `new`.
///
/// Prefixes match whole segments, and a slash at the end of either prefix does not matter. A path that the
/// prefix does not match comes back as it is. The result always begins with a slash.
pub fn replace_prefix(path: &str, matched_prefix: &str, new: &str) -> String {
    let prefix = matched_prefix.strip_suffix('/').unwrap_or(matched_prefix);
    let rest = match path.strip_prefix(prefix) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
        _ => return path.to_owned(),
    };
    // With nothing left over, a slash that ends `new` is meant.
    let kept = if rest.is_empty() { new } else { new.strip_suffix('/').unwrap_or(new) };
    let mut out = String::with_capacity(1 + kept.len() + rest.len());
    if !kept.is_empty() && !kept.starts_with('/') {
        out.push('/');
    }
    out.push_str(kept);
    out.push_str(rest);
    if out.is_empty() {
        out.push('/');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_replaced_as_in_the_table_of_the_gateway_api() {
        for (path, prefix, new, expected) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
        ] {
            assert_eq!(replace_prefix(path, prefix, new), expected, "{path} with {prefix} → {new:?}");
        }
    }

    #[test]
    fn edges_beyond_the_table_are_settled() {
        for (path, prefix, new, expected) in [
            ("/foo", "/foo/", "/xyz", "/xyz"),
            ("/foo", "/foo", "/xyz/", "/xyz/"),
            ("/bar", "/", "/xyz", "/xyz/bar"),
            ("/", "/", "/xyz", "/xyz/"),
            ("/bar", "/", "/", "/bar"),
            ("/foo/bar", "/foo", "xyz", "/xyz/bar"),
            ("/foobar", "/foo", "/xyz", "/foobar"),
            ("/other", "/foo", "/xyz", "/other"),
            ("/foo//bar", "/foo", "/xyz", "/xyz//bar"),
        ] {
            assert_eq!(replace_prefix(path, prefix, new), expected, "{path} with {prefix} → {new:?}");
        }
    }
}
