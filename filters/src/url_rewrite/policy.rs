//! A rewrite as understood.

use serde::Serialize;

use crate::destination::{Authority, PathChange};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Policy {
    pub authority: Option<Authority>,
    pub path: Option<PathChange>,
}
