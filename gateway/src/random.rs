//! Cheap random numbers for draws and jitter. Not for secrets.

use std::cell::Cell;
use std::hash::{BuildHasher, Hasher};

thread_local! {
    static STATE: Cell<u64> = Cell::new(seed());
}

fn seed() -> u64 {
    std::hash::RandomState::new().build_hasher().finish() | 1
}

/// Uniform over `u64` (splitmix64 over a per-thread state).
pub fn next() -> u64 {
    STATE.with(|state| {
        let next = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.set(next);
        let mut mixed = next;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

/// Uniform in `0.0..1.0`.
#[expect(clippy::cast_precision_loss, reason = "53 bits are what a float holds")]
pub fn fraction() -> f64 {
    (next() >> 11) as f64 / (1u64 << 53) as f64
}
