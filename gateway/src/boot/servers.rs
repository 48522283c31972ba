//! The process's own servers: admin, metrics, probes.

use anyhow::Context;

use crate::admin::{self, Bound};
use crate::listen::Offer;
use crate::statics::Statics;

/// The process's own servers, bound before anything is promised.
pub(super) struct Servers {
    pub(super) admin: Bound,
    pub(super) stats: Bound,
    pub(super) readiness: Bound,
}

impl Servers {
    /// A successor takes its predecessor's sockets, so that no probe and no scrape is refused.
    pub(super) fn bind(statics: &Statics, inherited: &mut Vec<Offer>) -> anyhow::Result<Self> {
        let mut bind = |server: &'static str, address| {
            let key = server_key(server);
            admin::bind(server, address, &mut |text| {
                let at = inherited.iter().position(|it| it.key == key && it.address == text)?;
                Some(inherited.swap_remove(at).socket)
            })
        };
        Ok(Self {
            admin: bind("admin", &statics.admin)?,
            stats: bind("stats", &statics.stats)?,
            readiness: bind("readiness", &statics.readiness)?,
        })
    }

    /// The same sockets again, for a successor.
    pub(super) fn offers(&self) -> anyhow::Result<Vec<Offer>> {
        let mut offers = Vec::new();
        for (server, bound) in [("admin", &self.admin), ("stats", &self.stats), ("readiness", &self.readiness)] {
            let sockets = bound.duplicates().with_context(|| format!("cannot share the {server} sockets"))?;
            let offer = |(address, socket)| Offer { key: server_key(server), address, socket };
            offers.extend(sockets.into_iter().map(offer));
        }
        Ok(offers)
    }
}

/// How the socket of one of the process's own servers is called in a hand-off.
fn server_key(server: &str) -> String {
    format!("server/{server}")
}
