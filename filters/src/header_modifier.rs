//! `requestHeaderModifier`, `responseHeaderModifier`.

use serde::Serialize;

use crate::Exchange;
use crate::exchange::Answer;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Policy {}

impl Policy {
    pub fn on_request(&self, _exchange: &mut Exchange<'_>) {}
    pub fn on_response(&self, _answer: &mut Answer<'_>) {}
}
