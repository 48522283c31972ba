//! Several MCP servers as one: what the protocol needs beyond passing requests on.
//!
//! A [`Federation`] is a backend of kind `mcp` in a plan: its servers, each with the terms it is reached on. An
//! exchange comes here from `proxy::request` and is answered here ([`serve`]): `post` reads the message, `route` finds
//! whose it is, `modern` is the era without sessions, `fan` asks several servers at once, `relay` passes one server's answer on, `stream` carries what nobody
//! asked for. Servers are spoken to through [`target`], over the gateway's own connections and under the policies
//! of each ([`call`]), never through a client of another kind.
//!
//! Sessions are in the id that the client holds (`protocols::mcp::session`); what a process remembers of them beyond that
//! ([`sessions`]) can be lost without harm. What is known of a server (its lists, whether it fails) is in [`state`].

mod about;
mod answered;
mod audit;
mod call;
pub mod client;
pub mod demo;
mod duplex;
mod events;
mod fan;
mod fault;
mod federation;
mod feed;
mod going;
mod guard;
mod handover;
mod handshake;
mod kin;
mod legacy;
mod limits;
mod live;
mod modern;
mod openapi;
mod own_auth;
pub mod pin;
mod post;
mod probe;
mod recent;
mod relay;
mod replay;
mod reply;
mod route;
mod rules;
mod search;
mod serve;
mod sessions;
mod shape;
mod sse;
mod state;
mod stdio;
mod step_up;
mod stream;
mod talk;
mod target;
mod told;

pub use about::About;
pub use federation::{Endpoint, Federation, Reach, Target};
pub use kin::Kinship;
pub use serve::serve;
pub use sessions::{EndedSessions, SessionKeys, Sessions};
pub use sse::Channel;
pub use state::{Figures, Listed, Register, State};
pub use stdio::end_all;
pub(crate) use talk::{audience, scope};
pub use told::Told;

use std::sync::Arc;
use std::time::Duration;

use call::Caller;
use duplex::Lines;

use crate::listen::drain::Exit;

/// Longest wait for a server to open a session, to list, or to take a notification.
pub(crate) const TARGET_DEADLINE: Duration = Duration::from_secs(10);
/// Where one server at least has answered: how much longer the others are waited for that may be left out.
pub(crate) const STRAGGLER_GRACE: Duration = Duration::from_secs(1);
/// Largest message taken from a server.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Silence after which a stream says that it lives.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// One for the process.
pub struct Mcp {
    caller: Caller,
    sessions: Arc<Sessions>,
    /// To servers that have one of their own for each session.
    lines: Arc<Lines>,
    /// Calls that wait for clients without sessions, and questions to clients with one.
    parked: modern::parked::Parked,
    inputs: modern::inputs::Inputs,
    watches: modern::watch::Watches,
    running: modern::running::Running,
    live: Arc<live::Live>,
    /// Processes of the same line that live at this time.
    kin: kin::Kin,
    /// What clients may ask for again.
    replay: Arc<replay::Replay>,
    /// To clients of the first revision.
    channels: sse::Channels,
}

impl Mcp {
    /// `ttl`: how long a session may be idle. `exit`: keeps the process for clients that are about to come back.
    pub fn new(sessions: Arc<Sessions>, ttl: Duration, exit: Arc<Exit>) -> Self {
        Self {
            live: live::Live::new(ttl),
            replay: Arc::new(replay::Replay::new(exit)),
            kin: kin::Kin::default(),
            caller: Caller::default(),
            sessions,
            lines: Arc::default(),
            parked: modern::parked::Parked::default(),
            inputs: modern::inputs::Inputs::default(),
            watches: modern::watch::Watches::default(),
            running: modern::running::Running::default(),
            channels: sse::Channels::default(),
        }
    }

    /// A session has ended in another process: nothing of it stays here. Its servers were told there.
    fn end_here(&self, name: &protocols::mcp::session::Name) {
        self.sessions.end(*name);
        self.live.forget(name);
        self.replay.end(name);
        self.lines.end_session(name);
    }
}
