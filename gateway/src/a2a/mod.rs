//! Agents that speak A2A: what the protocol needs beyond passing requests on.
//!
//! An exchange with an agent is an ordinary one: endpoints, retries, timeouts and policies are those of every other. Under
//! the policy `a2a` a [`Talk`] goes with it. `begin` sees by its head what it is; [`read`] reads the message, before rules
//! ask about it or a backend is admitted, and puts the agent's own ids in the place of sealed ones; `answer` looks
//! through what comes back, whole or as it streams ([`stream`]), and seals ids the other way; [`cards`] keeps agents'
//! cards; [`list`] asks all agents for their tasks; [`relay`] and [`news`] take what agents have to tell by way of the gateway. What was learnt is for rules, log and
//! counters.
//!
//! Shapes, ids and cards themselves are in `protocols::a2a`.

mod answer;
mod ask;
mod card;
mod cards;
mod deleted;
mod list;
mod names;
mod news;
mod push;
mod read;
mod refuse;
mod relay;
mod report;
mod stream;
mod talk;

use std::sync::Arc;

pub use answer::begin as begin_answer;
pub use cards::kept;
pub use deleted::Deleted;
pub use list::{asks_all, list};
pub use news::news;
pub use read::read;
pub use relay::{requested, swap};
pub use report::{Told, settle};
pub use stream::pass;
pub use talk::{Talk, begin};

use tokio::sync::Semaphore;

use crate::mcp::Sessions;
use crate::upstream::Egress;

/// One for the process.
pub struct A2a {
    sessions: Arc<Sessions>,
    egress: Egress,
    cards: Arc<cards::Cards>,
    caller: ask::Caller,
    deleted: Arc<Deleted>,
    /// Places for news that are sent on.
    letters: Arc<Semaphore>,
}

impl A2a {
    /// Ids are sealed with the keys of sessions.
    pub fn new(sessions: Arc<Sessions>, egress: Egress, deleted: Arc<Deleted>) -> Self {
        let letters = Arc::new(Semaphore::new(news::LETTERS_MAX));
        Self { sessions, egress, cards: Arc::default(), caller: ask::Caller::default(), deleted, letters }
    }
}
