//! A small generator for draws, jitter and sampling: a thread's own, without locks, good enough for
//! balancing and not for secrets.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

thread_local! {
    static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(0x5eed_u64) | 1);
}

/// The next 64 bits (xorshift64*).
pub fn next() -> u64 {
    STATE.with(|state| {
        let mut x = state.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        state.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    })
}

/// A number below `bound`; 0 where `bound` is 0. The bias of the multiplication is below 2^-32
/// for the bounds used here.
pub fn below(bound: u64) -> u64 {
    ((u128::from(next()) * u128::from(bound)) >> 64) as u64
}

/// A number in `[0, 1)`.
pub fn unit() -> f64 {
    (next() >> 11) as f64 / (1_u64 << 53) as f64
}

/// `duration` give or take `share` of it.
pub fn jitter(duration: Duration, share: f64) -> Duration {
    duration.mul_f64((1.0 + share * (2.0 * unit() - 1.0)).max(0.0))
}

/// Spreads a number over 64 bits (splitmix64): the same in every process and on every host.
pub fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A hash for session affinity: the same in every process. FNV-1a, then spread.
pub fn affinity_key(text: &[u8]) -> u64 {
    let fnv = text
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    mix(fnv)
}
