//! Placeholder of local.
