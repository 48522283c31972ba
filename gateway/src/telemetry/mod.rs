//! Placeholder of telemetry.
