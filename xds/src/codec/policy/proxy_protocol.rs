//! `frontendPolicies.proxyProtocol`.

use filters::Scope;
use filters::proxy_protocol::{Config, Mode, Policy, Version};

use crate::codec::read;
use crate::pb;
use crate::pb::proxy_protocol as wire;

pub(super) fn encode(it: &Policy) -> pb::ProxyProtocol {
    let Policy { v1, v2, optional } = it;
    let version = match (v1, v2) {
        (true, true) => wire::Version::All,
        (true, false) => wire::Version::V1,
        // Without either nothing would be served: no configuration says so.
        (false, _) => wire::Version::V2,
    };
    let mode = if *optional { wire::Mode::Optional } else { wire::Mode::Strict };
    pb::ProxyProtocol { version: version.into(), mode: mode.into() }
}

pub(super) fn decode(it: pb::ProxyProtocol, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::ProxyProtocol { version, mode } = it;
    let version = match read::choice(scope, "version", version) {
        wire::Version::Unspecified | wire::Version::V2 => Version::V2,
        wire::Version::V1 => Version::V1,
        wire::Version::All => Version::All,
    };
    let mode = match read::choice(scope, "mode", mode) {
        wire::Mode::Unspecified | wire::Mode::Strict => Mode::Strict,
        wire::Mode::Optional => Mode::Optional,
    };
    Config { version, mode }.lower(scope)
}
