//! x
pub struct Gateway;
