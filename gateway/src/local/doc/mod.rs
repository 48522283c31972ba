//! The positioned document: YAML text as a tree whose every node knows its line and column, and
//! everything that can be done to it before it means anything.
//!
//! ```text
//! text ── parse ──> Node ── expand ──> Node ── check ──> Node ── read ──> T
//!           │        $NAME, ~/          against a schema       serde
//!           └ cache::Incremental: the same, for the changed items only
//! ```
//!
//! Each stage reports [`Problem`]s with a file, a line, a column and a path such as
//! `routes[3].policies.cors`, and all of them at once where that is possible.
//!
//! What this deliberately does not do: it knows nothing of gateways or routes (the schema is
//! given), it opens no file and reads no environment (a function is given), and it does not write
//! YAML. Expansion happens in scalars after parsing, so a variable can never add structure.
//!
//! Read next: [`parse()`] for the dialect, [`check`] for the schema subset, [`cache`] for how one
//! edit among ten thousand items stays cheap and why that equals a full parse.

pub mod cache;
pub mod check;
mod document;
mod expand;
mod node;
mod parse;
mod path;
mod problem;
mod read;
mod scalar;
mod split;

pub use document::{Document, Entry, Item, Section};
pub use expand::expand;
pub use node::{Key, Node, Place, Value};
pub use parse::{ALIAS_NODES_MAX, DEPTH_MAX, NODES_MAX, TEXT_BYTES_MAX, parse};
pub use path::place_of;
pub use problem::Problem;
pub use read::read;
