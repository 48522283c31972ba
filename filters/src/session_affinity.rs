//! `sessionAffinity`: keep a client on one endpoint (weighted rendezvous hash).

use serde::Serialize;

use crate::field::Field;

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// What is hashed; absent or empty in a request means ordinary balancing.
    pub source: Field,
}
