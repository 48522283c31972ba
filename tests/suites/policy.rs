//! Every traffic policy, seen from both ends.

#[path = "policy/answers.rs"]
mod answers;
#[path = "policy/attached.rs"]
mod attached;
#[path = "policy/authz.rs"]
mod authz;
#[path = "policy/bodies.rs"]
mod bodies;
#[path = "policy/expressions.rs"]
mod expressions;
#[path = "policy/quotas.rs"]
mod quotas;
#[path = "policy/rewrites.rs"]
mod rewrites;
#[path = "policy/tls.rs"]
mod tls;
#[path = "policy/trying.rs"]
mod trying;
