//! How intent travels: protobuf messages for every object of a configuration, and delta xDS to carry
//! them.
//!
//! - [`codec`]: between `ir` values and bytes. One door: what arrives is judged as local files are.
//! - [`client`]: asks a control plane, turns what it says into [`filters::Patch`]es, says yes or no.
//! - [`server`]: the other end, as a library: a cache of resources, and what each client lacks.
//!
//! Nothing outside this crate names a message, prost or tonic. Nothing in it knows what a patch does
//! once it is delivered. The meaning of the messages is written where they are: `proto/`.

pub mod client;
pub mod codec;
mod nack;
mod node;
mod pb;
pub mod server;
mod tls;

pub use codec::{SOURCE, is_ours};
pub use nack::Refusal;
pub use node::Node;
pub use pb::TYPE_URL;
