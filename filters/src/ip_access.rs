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
    /// Whether a client may come in: not denied, and allowed where anybody is named.
    pub fn permits(&self, client: std::net::IpAddr) -> bool {
        let within = |nets: &[IpNet]| nets.iter().any(|it| it.contains(&client));
        !within(&self.deny) && (self.allow.is_empty() || within(&self.allow))
    }

    pub fn on_request(&self, _exchange: &mut Exchange<'_>) -> Verdict {
        Verdict::Continue
    }
}
