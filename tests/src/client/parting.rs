//! Connections of clients that nobody uses any more: a gateway that drains waits for them, as it must, and a test that
//! has ended well need not.

use std::sync::{Mutex, Weak};

use super::http::Held;
use crate::io::Place;

/// Connections made by clients that are still there.
static KNOWN: Mutex<Vec<(Place, Weak<Held>)>> = Mutex::new(Vec::new());

pub(super) fn remember(place: &Place, held: Weak<Held>) {
    let mut known = KNOWN.lock().expect("no panic under the lock");
    known.retain(|(_, it)| it.strong_count() > 0 && !Weak::ptr_eq(it, &held));
    known.push((place.clone(), held));
}

/// Closes the connections to this place over which nothing is going on.
pub(crate) fn part(place: &Place) {
    let known = KNOWN.lock().expect("no panic under the lock").clone();
    let held = known.into_iter().filter(|(there, _)| there == place).filter_map(|(_, it)| it.upgrade());
    held.for_each(|it| it.close_idle());
}
