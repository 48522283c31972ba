//! State that a process leaves to its successor: a port for whoever has some.
//!
//! A part names itself and a version of its bytes, and is asked for them when a successor is there. The successor's
//! part of the same name gets them. A name that is not known is ignored, and so is one whose bytes cannot be read: a
//! successor that begins afresh is better than none. What is transferred must be small
//! ([`PAYLOAD_BYTES_MAX`] for one part), quick to make, and safe to lose.
//!
//! A part that must be there before the first configuration is compiled, as keys and what endpoints are known for,
//! goes [`Moment::Early`]. One that counts to the last moment, as buckets of a rate limit, goes [`Moment::Late`]: the
//! successor gets it when it is built, and before it accepts its first connection.

use std::sync::Arc;

use crate::listen::handoff::message::{PAYLOAD_BYTES_MAX, STATES_MAX};

/// When a part is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the successor compiles its configuration.
    Early,
    /// When the successor is built and about to accept.
    Late,
}

/// A part of the state of a process.
pub trait Transfer: Send + Sync {
    /// Unique, and for ever the same.
    fn name(&self) -> &'static str;

    /// Of the bytes; told to [`Self::import`].
    fn version(&self) -> u32 {
        1
    }

    fn moment(&self) -> Moment {
        Moment::Early
    }

    /// As it is now. Called on a thread that may take a moment.
    fn export(&self) -> Vec<u8>;

    /// Takes over what a predecessor exported, perhaps in another version. The bytes may be anything.
    ///
    /// # Errors
    /// Why they are not taken.
    fn import(&self, version: u32, bytes: &[u8]) -> Result<(), String>;
}

/// A part on its way.
#[derive(Debug)]
pub struct Carried {
    pub name: String,
    pub version: u32,
    pub bytes: Vec<u8>,
}

/// All parts of this process.
#[derive(Clone, Default)]
pub struct Transfers(Vec<Arc<dyn Transfer>>);

impl Transfers {
    pub fn add(&mut self, part: Arc<dyn Transfer>) {
        self.0.push(part);
    }

    /// What is to be handed over at this moment.
    pub fn export(&self, moment: Moment) -> Vec<Carried> {
        let parts = self.0.iter().filter(|it| it.moment() == moment).take(STATES_MAX);
        let carried = parts.map(|it| Carried { name: it.name().to_owned(), version: it.version(), bytes: it.export() });
        let small = |it: &Carried| {
            let fits = it.bytes.len() <= PAYLOAD_BYTES_MAX;
            if !fits {
                tracing::warn!(
                    state = it.name,
                    bytes = it.bytes.len(),
                    "too large to hand over: the successor begins afresh"
                );
            }
            fits
        };
        carried.filter(small).collect()
    }

    /// Gives what came to whom it is for.
    pub fn import(&self, carried: &[Carried]) {
        for Carried { name, version, bytes } in carried {
            let Some(part) = self.0.iter().find(|it| it.name() == name) else { continue };
            match part.import(*version, bytes) {
                Ok(()) => tracing::debug!(state = name, bytes = bytes.len(), "state taken over"),
                Err(reason) => tracing::warn!(state = name, version, reason, "state not taken over: beginning afresh"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    struct Part(&'static str, Moment, Mutex<Vec<u8>>);

    impl Transfer for Part {
        fn name(&self) -> &'static str {
            self.0
        }
        fn moment(&self) -> Moment {
            self.1
        }
        fn export(&self) -> Vec<u8> {
            self.2.lock().clone()
        }
        fn import(&self, version: u32, bytes: &[u8]) -> Result<(), String> {
            if version != 1 {
                return Err(format!("version {version}"));
            }
            *self.2.lock() = bytes.to_vec();
            Ok(())
        }
    }

    fn part(name: &'static str, moment: Moment, bytes: &[u8]) -> Arc<Part> {
        Arc::new(Part(name, moment, Mutex::new(bytes.to_vec())))
    }

    fn of(parts: &[&Arc<Part>]) -> Transfers {
        Transfers(parts.iter().map(|it| Arc::clone(it) as Arc<dyn Transfer>).collect())
    }

    #[test]
    fn parts_go_to_their_namesakes_and_what_is_not_known_is_ignored() {
        let old =
            of(&[&part("a", Moment::Early, b"1"), &part("gone", Moment::Early, b"2"), &part("b", Moment::Late, b"3")]);
        let (a, b, fresh) =
            (part("a", Moment::Early, b""), part("b", Moment::Late, b""), part("new", Moment::Early, b"?"));
        let new = of(&[&a, &b, &fresh]);
        new.import(&old.export(Moment::Early));
        assert_eq!((&**a.2.lock(), &**b.2.lock(), &**fresh.2.lock()), (&b"1"[..], &b""[..], &b"?"[..]));
        new.import(&old.export(Moment::Late));
        assert_eq!(&**b.2.lock(), b"3");
    }

    #[test]
    fn what_cannot_be_read_or_is_too_large_is_left() {
        let a = part("a", Moment::Early, b"mine");
        of(&[&a]).import(&[Carried { name: "a".to_owned(), version: 9, bytes: b"theirs".to_vec() }]);
        assert_eq!(&**a.2.lock(), b"mine");
        let huge = part("huge", Moment::Early, &vec![0; PAYLOAD_BYTES_MAX + 1]);
        assert!(of(&[&huge, &a]).export(Moment::Early).iter().all(|it| it.name == "a"));
    }
}
