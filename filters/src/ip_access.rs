//! `ipAccess`: allow and deny clients by network.

use ipnet::IpNet;
use serde::Serialize;

use crate::{Exchange, Verdict};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// Empty means everybody not denied.
    pub allow: Vec<IpNet>,
    pub deny: Vec<IpNet>,
}

impl Policy {
    pub fn on_request(&self, _exchange: &mut Exchange<'_>) -> Verdict {
        Verdict::Continue
    }
}
