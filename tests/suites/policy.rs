//! Every traffic policy, seen from both ends.

#[path = "policy/answers.rs"]
mod answers;
#[path = "policy/attached.rs"]
mod attached;
#[path = "policy/authority.rs"]
mod authority;
#[path = "policy/authz.rs"]
mod authz;
#[path = "policy/aws.rs"]
mod aws;
#[path = "policy/azure.rs"]
mod azure;
#[path = "policy/bodies.rs"]
mod bodies;
#[path = "policy/both.rs"]
mod both;
#[path = "policy/conditional.rs"]
mod conditional;
#[path = "policy/connections.rs"]
mod connections;
#[path = "policy/credentials.rs"]
mod credentials;
#[path = "policy/expressions.rs"]
mod expressions;
#[path = "policy/faults.rs"]
mod faults;
#[path = "policy/google.rs"]
mod google;
#[path = "policy/identity.rs"]
mod identity;
#[path = "policy/lent.rs"]
mod lent;
#[path = "policy/quotas.rs"]
mod quotas;
#[path = "policy/reading.rs"]
mod reading;
#[path = "policy/remote_quotas.rs"]
mod remote_quotas;
#[path = "policy/rewrites.rs"]
mod rewrites;
#[path = "policy/tls.rs"]
mod tls;
#[path = "policy/transforming.rs"]
mod transforming;
#[path = "policy/trying.rs"]
mod trying;
