//! `mode`: whether the decisions of a policy are put into effect.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::exchange::Mode;

/// Whether decisions are put into effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "PolicyMode")]
pub enum ModeConfig {
    /// They are.
    #[default]
    Enforce,
    /// They are counted and logged only.
    Shadow,
}

impl ModeConfig {
    pub fn lower(self) -> Mode {
        match self {
            Self::Enforce => Mode::Enforce,
            Self::Shadow => Mode::Shadow,
        }
    }

    pub fn of(mode: Mode) -> Self {
        match mode {
            Mode::Enforce => Self::Enforce,
            Mode::Shadow => Self::Shadow,
        }
    }
}
