//! The parts together, over loopback: TLS, pools, raw connections, checks, mirrors.

pub(super) mod fixture;
mod lent;
mod registry;
mod tls;
mod traffic;
