//! Names of several servers side by side.
//!
//! A target's name has no `_` and no `+`, so that the first of them ends it: `<target>_<tool>`, `<target>+<uri>`.
//! Resources of apps keep their scheme, `ui://<target>+<rest>`, for clients look at it. A request of a server gets the
//! id `agw_<target>_n_<id>` (`s` for strings), by which its answer finds back.

use std::borrow::Cow;

use crate::json::{Kind, Raw, quoted};
use crate::mcp::Edits;

/// Longest name of a target.
pub const TARGET_BYTES_MAX: usize = 63;

const ID_PREFIX: &str = "agw_";
const APP_SCHEME: &str = "ui://";

/// What of a federation's names says whose they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Naming {
    /// Names of tools and prompts.
    pub names: bool,
    /// URIs.
    pub uris: bool,
    /// Ids of requests of servers, and of events.
    pub ids: bool,
}

impl Naming {
    /// Everything as the one server has it.
    pub const PLAIN: Self = Self { names: false, uris: false, ids: false };

    pub fn name<'a>(self, target: &str, name: &'a str) -> Cow<'a, str> {
        if self.names { format!("{target}_{name}").into() } else { name.into() }
    }

    pub fn uri<'a>(self, target: &str, uri: &'a str) -> Cow<'a, str> {
        if self.uris { join_uri(target, uri).into() } else { uri.into() }
    }

    /// Puts a URI's target into it, where that is wanted.
    pub fn edit_uri(self, target: &str, uri: Option<Raw<'_>>, edits: &mut Edits) {
        if let Some(raw) = uri.filter(|_| self.uris)
            && let Some(text) = raw.as_str()
        {
            edits.replace(raw.range(), quoted(&join_uri(target, &text)));
        }
    }
}

/// Whether a target can be called so.
pub fn check_target(name: &str) -> Result<(), String> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    if name.is_empty() || name.len() > TARGET_BYTES_MAX || !name.bytes().all(fits) {
        return Err(format!(
            "`{name}` is not a target's name: write up to {TARGET_BYTES_MAX} lower-case letters, digits, `-` and `.`"
        ));
    }
    Ok(())
}

/// Target and name.
pub fn split(name: &str) -> Option<(&str, &str)> {
    name.split_once('_')
}

fn join_uri(target: &str, uri: &str) -> String {
    match uri.strip_prefix(APP_SCHEME) {
        Some(rest) => format!("{APP_SCHEME}{target}+{rest}"),
        None => format!("{target}+{uri}"),
    }
}

/// Target and URI.
pub fn split_uri(uri: &str) -> Option<(&str, String)> {
    match uri.strip_prefix(APP_SCHEME) {
        Some(rest) => rest.split_once('+').map(|(target, rest)| (target, format!("{APP_SCHEME}{rest}"))),
        None => uri.split_once('+').map(|(target, uri)| (target, uri.to_owned())),
    }
}

/// The id under which a server's request goes to the client, as JSON.
pub fn join_id(target: &str, id: Raw<'_>) -> String {
    match (id.kind(), id.as_str()) {
        (Kind::String, Some(text)) => quoted(&format!("{ID_PREFIX}{target}_s_{text}")),
        _ => quoted(&format!("{ID_PREFIX}{target}_n_{}", id.text())),
    }
}

/// Whose request is answered, and under which id it came (as JSON).
pub fn split_id(id: &str) -> Option<(&str, String)> {
    let (target, rest) = id.strip_prefix(ID_PREFIX)?.split_once('_')?;
    match rest.split_once('_')? {
        ("s", text) => Some((target, quoted(text))),
        ("n", text) if crate::json::parse(text.as_bytes()).is_ok_and(|it| it.kind() == Kind::Number) => {
            Some((target, text.to_owned()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json;

    #[test]
    fn target_names_leave_no_doubt_where_they_end() {
        for name in ["a", "time-2", "eu.search"] {
            assert_eq!(check_target(name), Ok(()));
        }
        for name in ["", "a_b", "a+b", "A", "a b", "\u{e4}", &"x".repeat(64)] {
            assert!(check_target(name).unwrap_err().contains("lower-case letters"), "{name}");
        }
    }

    #[test]
    fn ids_that_are_not_ours_lead_nowhere() {
        for id in ["", "1", "agw_", "agw_a", "agw_a_n", "agw_a_n_", "agw_a_n_x", "agw_a_n_{}", "agw_a_x_1", "agw__s"] {
            assert_eq!(split_id(id), None, "{id}");
        }
    }

    proptest! {
        #[test]
        fn what_is_joined_is_split_again(target in "[a-z0-9.-]{1,9}", name in "\\PC{0,9}", number in any::<i64>()) {
            let naming = Naming { names: true, uris: true, ids: true };
            let joined = naming.name(&target, &name);
            prop_assert_eq!(split(&joined), Some((&*target, &*name)));
            for uri in [name.clone(), format!("ui://{name}"), format!("file:///{name}+_")] {
                let joined = naming.uri(&target, &uri);
                prop_assert_eq!(split_uri(&joined), Some((&*target, uri.clone())));
            }
            for id in [quoted(&name), number.to_string()] {
                let joined = join_id(&target, json::parse(id.as_bytes()).unwrap());
                let joined = json::parse(joined.as_bytes()).unwrap().as_str().unwrap().into_owned();
                prop_assert_eq!(split_id(&joined), Some((&*target, id)));
            }
        }
    }
}
