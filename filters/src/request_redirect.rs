//! `request_redirect`.

use serde::Serialize;

use crate::{Exchange, Verdict};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Policy {}

impl Policy {
    pub fn on_request(&self, _exchange: &mut Exchange<'_>) -> Verdict {
        Verdict::Continue
    }
}
