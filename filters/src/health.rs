//! `health`: which endpoints of a backend are fit: passive ejection and active checks.

use std::time::Duration;

use ir::Text;
use serde::Serialize;

use crate::field::Predicate;

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// What counts as a bad answer; absent means 5xx. A failed connection always counts.
    pub unhealthy: Option<Predicate>,
    /// Absent: a bad answer only lowers the endpoint's score.
    pub eviction: Option<Eviction>,
    pub active: Option<Active>,
}

/// Passive ejection. With neither threshold the first bad answer ejects; with both, either does.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Eviction {
    /// Base time out; it grows with each ejection in a row (bounded by `duration_max`).
    pub duration: Duration,
    pub duration_max: Duration,
    /// Score (0..1) given back with the endpoint.
    pub restore_health: Option<f64>,
    pub consecutive_failures: Option<u32>,
    /// Eject below this score (0..1).
    pub health_threshold: Option<f64>,
}

/// Active checks of each endpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Active {
    pub probe: Probe,
    pub interval: Duration,
    pub timeout: Duration,
    pub unhealthy_threshold: u32,
    pub healthy_threshold: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Probe {
    Http { path: Text, host: Option<Text>, expected_statuses: Vec<u16> },
    Tcp,
    Grpc { service: Text },
}
