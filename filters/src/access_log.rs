//! `accessLog`: what the access log says, and of which requests. A setting of `frontendPolicies`.

use serde::Serialize;

use crate::field::{Field, Predicate};

/// The access log as understood.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Log only what this holds for.
    pub filter: Option<Predicate>,
    /// Fields added (or replacing a default one of that name).
    pub add: Vec<(String, Field)>,
    /// Default fields left out.
    pub remove: Vec<String>,
}
