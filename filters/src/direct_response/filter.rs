//! A fixed answer as run.

use super::policy::Policy;
use crate::{Exchange, Reason, Reply, Verdict};

impl Policy {
    pub fn on_request(&self, _: &mut Exchange<'_>) -> Verdict {
        Verdict::Reply(Reply {
            status: self.status,
            headers: self.headers.iter().map(|header| (header.name.clone(), header.value.clone())).collect(),
            body: self.body.clone(),
            reason: Reason::DirectResponse,
        })
    }
}
