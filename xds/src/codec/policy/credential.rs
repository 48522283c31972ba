//! Where credentials stand: what the policies of authentication share.

use filters::Scope;
use filters::credential::{Config, HeaderConfig, Location, Mode, NameConfig};

use crate::codec::read;
use crate::pb;
use crate::pb::authorization_location::Kind as Wire;

pub(super) fn encode_mode(it: Mode) -> i32 {
    let mode = match it {
        Mode::Strict => pb::AuthenticationMode::Strict,
        Mode::Optional => pb::AuthenticationMode::Optional,
        Mode::Permissive => pb::AuthenticationMode::Permissive,
    };
    mode.into()
}

pub(super) fn decode_mode(scope: &mut Scope<'_>, number: i32) -> Mode {
    match read::choice(scope, "mode", number) {
        pb::AuthenticationMode::Unspecified | pb::AuthenticationMode::Strict => Mode::Strict,
        pb::AuthenticationMode::Optional => Mode::Optional,
        pb::AuthenticationMode::Permissive => Mode::Permissive,
    }
}

pub(super) fn encode(it: &Location) -> Option<pb::AuthorizationLocation> {
    let kind = match it.config() {
        Config::Header(HeaderConfig { name, prefix }) => {
            Wire::Header(pb::AuthorizationHeader { name, prefix: prefix.unwrap_or_default() })
        }
        Config::QueryParameter(NameConfig { name }) => Wire::QueryParameter(name),
        Config::Cookie(NameConfig { name }) => Wire::Cookie(name),
        Config::Expression(text) => Wire::Expression(text),
    };
    Some(pb::AuthorizationLocation { kind: Some(kind) })
}

/// `None` where nothing was said, or something this version does not know, which is a problem.
pub(super) fn decode(scope: &mut Scope<'_>, key: &str, it: Option<pb::AuthorizationLocation>) -> Option<Config> {
    let Some(kind) = it?.kind else {
        scope.problem_at(key, "missing, or a kind of location this version does not know");
        return None;
    };
    Some(match kind {
        Wire::Header(pb::AuthorizationHeader { name, prefix }) => {
            Config::Header(HeaderConfig { name, prefix: Some(prefix).filter(|it| !it.is_empty()) })
        }
        Wire::QueryParameter(name) => Config::QueryParameter(NameConfig { name }),
        Wire::Cookie(name) => Config::Cookie(NameConfig { name }),
        Wire::Expression(text) => Config::Expression(text),
    })
}
