//! Who watches over the process from outside, and what it is told. The calls are made here; what they do under a
//! certain supervisor is that supervisor's module.

use std::time::Duration;

/// Told of the turns of a life. Every call returns at once.
pub trait Supervisor: Send + Sync {
    /// Serving: at the first start, and by a successor once it accepts connections.
    fn ready(&self) {}
    /// A successor is being started.
    fn reloading(&self) {}
    /// That came to nothing: this process goes on.
    fn resumed(&self) {
        self.ready();
    }
    /// On the way out, with nobody to succeed.
    fn stopping(&self) {}
    /// One line for people.
    fn status(&self, _text: &str) {}
    /// This process is the service now.
    fn main_pid(&self, _pid: u32) {}
    /// So much more time is needed.
    fn extend(&self, _time: Duration) {}
}

/// Nobody watches.
#[derive(Debug, Default)]
pub struct Unsupervised;

impl Supervisor for Unsupervised {}
