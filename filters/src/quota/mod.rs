//! What limits by key have in common: the table of keys, and what a client is told of its quota.
//!
//! `localRateLimit` and `concurrencyLimit` are policies; this is no unit of its own. [`table`] holds a small state for
//! each key in bounded memory; [`key`] finds the key of a
//! request; [`standing`] writes the headers.

pub mod key;
pub(crate) mod keyed;
pub mod mode;
pub mod standing;
pub mod table;

/// Keys on record unless written.
pub const KEYS_DEFAULT: usize = 100_000;

/// Most keys that can be asked for.
pub const KEYS_MAX: usize = 1_000_000;

pub use standing::Standing;
pub use table::{Hash, Seed, Table};
