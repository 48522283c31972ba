//! HTTP through the gateway: both versions on both sides, framing, streams, upgrades, what is said of the client, and
//! what failures look like. No policies here; those are in `policy.rs`.

#[path = "http/failures.rs"]
mod failures;
#[path = "http/forwarding.rs"]
mod forwarding;
#[path = "http/grpc.rs"]
mod grpc;
#[path = "http/messages.rs"]
mod messages;
#[path = "http/streams.rs"]
mod streams;
