//! What outlives a configuration: key sets, caches of verified tokens, buckets.
//!
//! A policy is plain data and changes with the configuration; what it has learnt or counted must
//! not be lost because somebody edited another line. So a policy with state has a [`Slot`], and
//! whoever publishes a configuration binds each changed policy once, before requests see it
//! ([`crate::Policy::bind`]). Binding asks [`Kept::renew`] with the state that the policy of the
//! same name had: the state itself decides whether it still fits, is partly carried over, or is
//! made anew. A policy that is gone takes its state with it.
//!
//! On the request path a slot is one atomic load; the table is not touched. A slot that was never
//! bound (tests, dry runs) makes private state when first used.
//!
//! [`Keep::shared`] is for what several policies use at once under a name of its own (a key set by
//! its URL): it lives as long as somebody holds it.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};

use ir::{PolicyKey, Text};
use parking_lot::Mutex;

/// State of a policy.
pub trait Kept: Send + Sync + Sized + 'static {
    /// The policy it belongs to, or the part of it that matters.
    type Terms;

    /// The state for `terms`: `previous` itself where it fits, else a new one, which may take over
    /// what is still true of the previous.
    fn renew(terms: &Self::Terms, previous: Option<&Arc<Self>>, keep: &Keep) -> Arc<Self>;
}

type Held = Arc<dyn Any + Send + Sync>;
type Shared = Weak<dyn Any + Send + Sync>;

/// All that is kept in this process.
#[derive(Default)]
pub struct Keep {
    states: Mutex<HashMap<(PolicyKey, TypeId), Held>>,
    shared: Mutex<HashMap<(Text, TypeId), Shared>>,
    bell: Arc<Bell>,
}

/// Wakes who looks after shared things in the background.
#[derive(Default)]
pub struct Bell(Mutex<Vec<Box<dyn Fn() + Send + Sync>>>);

impl std::fmt::Debug for Bell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bell")
    }
}

impl Bell {
    /// Does nothing where nobody listens.
    pub fn ring(&self) {
        self.0.lock().iter().for_each(|listener| listener());
    }
}

impl Keep {
    /// The policy of this name is gone, and its state with it.
    pub fn forget(&self, key: &PolicyKey) {
        self.states.lock().retain(|(held, _), _| held != key);
    }

    /// The thing of this name, made where nobody has it.
    pub fn shared<T: Send + Sync + 'static>(&self, name: &Text, make: impl FnOnce(&Arc<Bell>) -> T) -> Arc<T> {
        let mut shared = self.shared.lock();
        let at = (name.clone(), TypeId::of::<T>());
        let found = shared.get(&at).and_then(Weak::upgrade).and_then(|it| it.downcast::<T>().ok());
        if let Some(found) = found {
            return found;
        }
        shared.retain(|_, it| it.strong_count() > 0);
        let made = Arc::new(make(&self.bell));
        let held: Held = made.clone();
        shared.insert(at, Arc::downgrade(&held));
        drop(shared);
        self.bell.ring();
        made
    }

    /// Everything of one kind that somebody holds.
    pub fn all_shared<T: Send + Sync + 'static>(&self) -> Vec<Arc<T>> {
        let shared = self.shared.lock();
        let ours = shared.iter().filter(|((_, kind), _)| *kind == TypeId::of::<T>());
        ours.filter_map(|(_, it)| it.upgrade()?.downcast().ok()).collect()
    }

    /// The states of one kind, with the policies they belong to.
    pub fn all<S: Kept>(&self) -> Vec<(PolicyKey, Arc<S>)> {
        let states = self.states.lock();
        let ours = states.iter().filter(|((_, kind), _)| *kind == TypeId::of::<S>());
        ours.filter_map(|((key, _), it)| Some((key.clone(), it.clone().downcast().ok()?))).collect()
    }

    /// Who is to be told, as well, that something shared is new or asks for attention.
    pub fn listen(&self, listener: impl Fn() + Send + Sync + 'static) {
        self.bell.0.lock().push(Box::new(listener));
    }

    fn state<S: Kept>(&self, key: &PolicyKey, terms: &S::Terms) -> Arc<S> {
        let at = (key.clone(), TypeId::of::<S>());
        let previous = self.states.lock().get(&at).cloned().and_then(|it| it.downcast::<S>().ok());
        let state = S::renew(terms, previous.as_ref(), self);
        self.states.lock().insert(at, state.clone());
        state
    }
}

/// Where a policy's state hangs. It is no part of the policy: it takes no part in equality, prints
/// nothing, and is filled when the policy comes into force.
pub struct Slot<S>(OnceLock<Arc<S>>);

impl<S: Kept> Slot<S> {
    /// Finds or makes the state of the policy of this name.
    pub fn bind(&self, key: &PolicyKey, terms: &S::Terms, keep: &Keep) {
        if self.0.get().is_none() {
            // Lost only to another source that binds the same policy at the same moment.
            let _ = self.0.set(keep.state(key, terms));
        }
    }

    /// The state; private where the policy was never bound.
    pub fn get(&self, terms: &S::Terms) -> &Arc<S> {
        self.0.get_or_init(|| S::renew(terms, None, &Keep::default()))
    }

    /// The state of a policy that is in force.
    pub fn bound(&self) -> Option<&Arc<S>> {
        self.0.get()
    }
}

impl<S> Default for Slot<S> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<S> Clone for Slot<S> {
    /// A copy of a policy is a policy of its own until it is bound.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl<S> PartialEq for Slot<S> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<S> std::fmt::Debug for Slot<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Slot")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use super::*;

    struct Bucket {
        size: u32,
        used: AtomicU32,
    }

    impl Kept for Bucket {
        type Terms = u32;

        fn renew(terms: &u32, previous: Option<&Arc<Self>>, _: &Keep) -> Arc<Self> {
            match previous.filter(|it| it.size == *terms) {
                Some(same) => same.clone(),
                None => Arc::new(Self { size: *terms, used: AtomicU32::new(0) }),
            }
        }
    }

    /// A policy of this name and size comes into force; one more is used.
    fn publish(keep: &Keep, name: &str, size: u32) -> u32 {
        let slot = Slot::<Bucket>::default();
        slot.bind(&PolicyKey::new(name), &size, keep);
        slot.get(&size).used.fetch_add(1, Relaxed) + 1
    }

    #[test]
    fn an_unrelated_reload_keeps_state_and_a_changed_parameter_remakes_it() {
        let keep = Keep::default();
        assert_eq!(publish(&keep, "a", 10), 1);
        assert_eq!(publish(&keep, "b", 10), 1, "another policy has its own");
        assert_eq!(publish(&keep, "a", 10), 2, "the same policy again");
        assert_eq!(publish(&keep, "a", 20), 1, "other terms");
        keep.forget(&PolicyKey::new("b"));
        assert_eq!(publish(&keep, "b", 10), 1, "it was gone in between");
    }

    #[test]
    fn a_slot_that_was_never_bound_has_state_of_its_own() {
        let slot = Slot::<Bucket>::default();
        slot.get(&1).used.fetch_add(1, Relaxed);
        assert_eq!(slot.get(&1).used.load(Relaxed), 1);
        assert_eq!(slot.clone().get(&1).used.load(Relaxed), 0);
        assert!(slot == Slot::default(), "state takes no part in equality");
    }

    #[test]
    fn what_is_shared_lives_as_long_as_somebody_holds_it_and_rings_when_it_is_new() {
        let keep = Keep::default();
        let rings = Arc::new(AtomicU32::new(0));
        let counted = rings.clone();
        keep.listen(move || {
            counted.fetch_add(1, Relaxed);
        });
        let name = Text::from("https://issuer.example/keys");
        let one = keep.shared(&name, |_| AtomicU32::new(7));
        let two = keep.shared(&name, |_| AtomicU32::new(8));
        assert!(Arc::ptr_eq(&one, &two));
        assert_eq!((keep.all_shared::<AtomicU32>().len(), rings.load(Relaxed)), (1, 1));
        drop((one, two));
        assert_eq!(keep.all_shared::<AtomicU32>().len(), 0);
    }
}
