//! Backends at run time: endpoints, balancing, health, DNS, connection terms.

pub struct Cluster {}
pub struct Template {}
