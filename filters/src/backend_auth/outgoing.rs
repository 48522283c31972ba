//! A message as it leaves: the port for credentials of whatever kind.
//!
//! Whoever writes a credential gets the finished message, after every other policy: the head, which it may change, and
//! the body behind it. What it needs of the body it says beforehand ([`Policy::wants`](super::Policy::wants)); then it is
//! read before a backend is dialled. Who cannot write what it has to refuses, and the message does not leave.

use pingora_http::RequestHeader;

use crate::{Facts, Outside, RequestBody};

/// A message that is about to leave.
pub struct Outgoing<'a> {
    pub head: &'a mut RequestHeader,
    pub body: Payload<'a>,
    /// What is known of the request on whose behalf it leaves.
    pub facts: &'a Facts,
    /// The clock.
    pub outside: &'a dyn Outside,
}

/// What follows the head.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// This, and no more.
    Whole(&'a [u8]),
    /// Not known: it passes while it is sent.
    Streams,
}

impl<'a> Payload<'a> {
    /// As far as it was read ahead.
    pub fn of(body: &'a RequestBody) -> Self {
        match body.held() {
            Some(held) if held.whole => Self::Whole(&held.bytes),
            _ => Self::Streams,
        }
    }
}
