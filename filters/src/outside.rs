//! What a hook may ask for beyond the request: the time, and work that must not hold up traffic.
//!
//! This crate has no clock, thread or socket of its own. The gateway implements [`Outside`] once;
//! tests give a clock that stands still. Most hooks are synchronous and never call here; those that
//! wait do so on the boxed future of a call that costs far more than the box.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

use crate::callout::Callout;

/// What a call gives back later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Work for a thread that serves no traffic; `true` is a yes.
pub type Work = Box<dyn FnOnce() -> bool + Send>;

/// A document behind a URL that a configuration names, or an exchange with who is there.
#[derive(Clone, Debug)]
pub struct Fetch<'a> {
    pub url: &'a str,
    pub accept: &'static str,
    /// Of the answer's body.
    pub bytes_max: usize,
    /// What is sent, and of what type it is; else nothing is.
    pub post: Option<(&'static str, Bytes)>,
}

/// What came.
#[derive(Clone, Debug)]
pub struct Fetched {
    pub status: u16,
    pub body: Bytes,
}

/// The port to the world outside a request.
pub trait Outside: Send + Sync {
    /// The wall clock: time since 1970. It may jump.
    fn now(&self) -> Duration;

    /// Who asks servers on a policy's behalf.
    fn callout(&self) -> &dyn Callout;

    /// Fetches under the egress rule. The error is for the log: it may name addresses.
    fn fetch<'a>(&'a self, fetch: Fetch<'a>) -> Later<'a, Result<Fetched, String>> {
        let _ = fetch;
        Box::pin(async { Err("nothing is fetched here".to_owned()) })
    }

    /// Does costly work off the traffic threads. `None`: too much of it is waiting already.
    fn work(&self, work: Work) -> Later<'_, Option<bool>>;
}

#[cfg(test)]
pub(crate) mod still {
    use super::*;
    use crate::callout::Nobody;

    /// A world in which it is always the same moment and work is done on the spot.
    pub(crate) struct Still(pub(crate) Duration);

    impl Outside for Still {
        fn now(&self) -> Duration {
            self.0
        }

        fn callout(&self) -> &dyn Callout {
            &Nobody
        }

        fn work(&self, work: Work) -> Later<'_, Option<bool>> {
            Box::pin(async move { Some(work()) })
        }
    }
}
