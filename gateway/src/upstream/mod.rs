//! Backends at run time: endpoints, balancing, health, DNS, connection terms.
//!
//! [`Upstreams`] is the register, one in a process. A plan asks it for a [`Cluster`] for each
//! backend reference and compiles a [`Template`] for each set of policies over it. A request admits
//! itself ([`Cluster::admit`]), picks an endpoint ([`Cluster::draw`]), gets its peer
//! ([`Template::peer`]), and reports how it went ([`Lease::report`]). Raw connections use
//! [`connect_tcp`]; copies of requests go through [`Mirrors`]; calls of policies are in [`callout`].
//!
//! Names are resolved and endpoints are checked in the background ([`Upstreams::run`]), never while
//! a request waits, save for the very first answer. Nothing here decides on routes or retries.

mod admit;
mod agenda;
mod balance;
pub mod callout;
mod cluster;
pub(crate) mod credentials;
mod dial;
pub mod dns;
pub mod egress;
mod endpoint;
mod fault;
mod health;
pub mod key_sets;
mod memory;
mod mirror;
mod registry;
mod tcp;
mod template;
mod tls;
mod wires;

#[cfg(test)]
mod tests;

pub use admit::{Counted, Overflow, PENDING_DEFAULT_MAX, Permit};
pub use balance::Affinity;
pub use cluster::{AppProtocol, Cluster, PickFault};
pub use egress::Egress;
pub use endpoint::{Address, EndpointId, Lease, Outcome};
pub use fault::Fault;
pub use key_sets::KeySets;
pub use memory::Endpoints;
pub use mirror::{MirrorBody, Mirrors};
pub use registry::{ClusterReport, EndpointReport, Upstreams};
pub use tcp::{TcpLease, connect_tcp};
pub use template::{Template, Wanted};
pub use wires::lent::{Lender, Loan};
pub use wires::{Wires, ask};
