//! Placeholder of listen.
