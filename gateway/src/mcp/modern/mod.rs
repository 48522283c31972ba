//! Revision 2026-07-28, in which requests stand alone, and the bridges between it and the elder ones.
//!
//! [`door`] takes a client's request and answers `server/discover`; [`listen`] is its `subscriptions/listen`. [`server`]
//! speaks to servers of this era. Everything else is the same for both eras (`post`, `fan`, `relay`); what differs for
//! one call is its [`seam`].
//!
//! A client of this era and an elder server: what the client says of itself opens a session there, which all requests
//! of the same client share; what the server asks in the middle of a call becomes a result that asks for input, and the
//! call waits meanwhile ([`parked`]). An elder client and a server of this era: results that ask for input become
//! requests to the client, and the call is made again with what it answers ([`inputs`]).
//!
//! Bound to this process are calls that wait, and what elder clients have subscribed to ([`watch`]).

pub(super) mod door;
pub(super) mod inputs;
pub(super) mod listen;
pub(super) mod parked;
pub(super) mod running;
pub(super) mod seam;
mod server;
pub(super) mod watch;
