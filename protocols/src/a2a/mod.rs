//! The Agent2Agent protocol, versions 0.3 and 1.0, as one who stands between agents has to know it.
//!
//! Messages are read in place and go on byte by byte; what has to change (an id, a URL) is changed in its place alone,
//! in JSON ([`walk`]) and in Protocol Buffers ([`wire`]), by one description of where things are ([`shape`]).
//! [`method`] says what is asked for in each of the three bindings, [`rest`] what paths say, [`id`] what a sealed id
//! carries, [`card`] how an agent's card comes to name the gateway, [`signature`] what its signatures are over,
//! [`answer`] how a refusal looks in each binding, [`pages`] how lists of several agents become one, [`push`] what an agent is told in the place of a client's own URL.
//!
//! Not here: who may ask what (`filters`), which agent is asked and how (`gateway`).

pub mod answer;
pub mod card;
pub mod events;
pub mod frames;
pub mod id;
pub mod jcs;
pub mod message;
pub mod method;
pub mod pages;
pub mod push;
pub mod rest;
pub mod shape;
pub mod signature;
pub mod walk;
pub mod wire;

#[cfg(test)]
mod tests;

pub use id::Pin;
pub use message::Seen;
pub use method::{Binding, Method, Version};
pub use shape::{Place, Shape};

/// Says the version that a client speaks (1.0).
pub const VERSION_HEADER: &str = "a2a-version";
