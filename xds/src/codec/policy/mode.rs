//! `mode`, as several policies have it.

use filters::Scope;
use filters::exchange::Mode;
use filters::quota::mode::ModeConfig;

use crate::codec::read;
use crate::pb;

pub(super) fn encode(mode: Mode) -> i32 {
    let mode = match mode {
        Mode::Enforce => pb::Mode::Enforce,
        Mode::Shadow => pb::Mode::Shadow,
    };
    mode.into()
}

pub(super) fn decode(scope: &mut Scope<'_>, mode: i32) -> ModeConfig {
    match read::choice(scope, "mode", mode) {
        pb::Mode::Unspecified | pb::Mode::Enforce => ModeConfig::Enforce,
        pb::Mode::Shadow => ModeConfig::Shadow,
    }
}
