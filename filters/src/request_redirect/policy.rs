//! A redirect as understood.

use ir::Text;
use serde::Serialize;

use crate::destination::{Authority, PathChange};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// Lower case; absent means the request's own.
    pub scheme: Option<Text>,
    pub authority: Option<Authority>,
    pub path: Option<PathChange>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}
