//! `a2a`: what is behind a route or backend is an agent that speaks A2A, 0.3 or 1.0, in any of its three bindings.
//!
//! ```yaml
//! a2a:
//!   ids: sealed
//!   pushNotifications: checked
//!   card:
//!     ttl: 30s
//!     verify:
//!       jwks:
//!         file: /etc/gateway/jwks.json
//!     require: true
//! ```
//!
//! `a2a: {}` is enough. It tells messages by their path and content, so that nothing else has to be said.
//!
//! **Cards.** `GET …/.well-known/agent-card.json` (and `agent.json`), the extended card of every binding. Every URL of an
//! interface comes to name the gateway: public scheme and authority, and the rewrite of the path undone. A card that is
//! none is answered with 503. Cards are kept for `ttl` (30 s unless written, `0s` for not at all, or as its `Cache-Control`
//! says where that is less), for each client that the agent could tell from others.
//!
//! **Signatures.** A changed card is another: its signatures are taken out. With `verify` they are judged before, by keys
//! written as those of `jwtAuth`; a card with signatures of which none is right is not shown (503), with `require` one
//! without any is not either. With `sign` (`signingKey`, `alg`, `kid`, as in `backendAuth`) the card is signed anew.
//!
//! **Ids.** With `ids: sealed` (unless written) clients see ids of tasks and contexts sealed with the endpoint that they
//! came from, bound to route and client: what follows goes to the same agent, from any replica that has the same
//! `config.session.key` and after a restart; a task id that is forged, cut, or another client's is a task not found.
//! Should the endpoint be gone, any other of the backend is asked. A context id that a client made up goes on as it is, and
//! comes back so. `plain` leaves all ids alone.
//!
//! **Lists of tasks.** Where a route has several agents, `ListTasks` over JSON-RPC and REST asks all of them (one endpoint of
//! each backend) and makes one list of what they say: the latest state first, by `status.timestamp` (tasks without one come
//! last), `pageSize` (1 to 100, 50 unless written) tasks on a page, `totalSize` the sum, and in the `nextPageToken`, sealed
//! as ids are, the place of each agent's list, so that any replica goes on. A page is shorter where agents give less than
//! they are asked for eight times in a row. An agent that knows no lists (-32601, -32004; 404, 405, 501), and one whose own
//! policies answer this client with 401 or 403, is left out. Any other failure fails the call, and the log names the
//! agent: the protocol has no place that says that tasks are missing. Over gRPC agents are gone through one after the
//! other, in the order of the backends: a page holds tasks of one, and its token leads to the next page or agent;
//! `totalSize` is one agent's then. A list of one context is asked of the agent that has it.
//!
//! **Push notifications.** With `checked` (unless written) the URL that an agent is to send news to has to be one that the
//! egress rule allows: `http` or `https`, a public address after DNS, or one of `config.egressAllow`. `refused` lets none
//! pass, `unchecked` all. Ids in the news are the agent's own, for it sends them itself.
//!
//! With `relayed` news come by the gateway: the agent is told a URL below `relayUrl` (`https://gateway.internal:3000`,
//! where agents reach this gateway; the name that a client uses is not believed, for it would send agents anywhere) with
//! the client's own path, so that it leads to the same route, which has to match that host, that path and `POST` alone.
//! A ticket in its query holds, sealed with the key of ids and for this route, where the news go, the client's `token`
//! and credentials, which the agent does not see, and whose task it is; clients that ask for their configuration get what
//! they wrote. News are judged (JSON of a task or an event, of the task that they were asked for), their ids sealed, and
//! sent on with `X-A2A-Notification-Token`, `A2A-Notification-Token` and `Authorization`, as the client asked, else as the
//! agent says; the address is judged anew, and no redirect followed. The agent waits for at most 10 s and gets what the
//! client answers: 2xx and 4xx as they are, 502 for what cannot be delivered after 3 tries (no connection, 429, 502, 503,
//! 504), 504, 403 where the URL is not allowed any more, 503 while 256 are under way; 404 where the ticket is forged,
//! another route's, older than 30 days, or of a configuration whose deletion this process or its predecessor saw (another
//! replica cannot know of that). Nothing is stored: any replica with `config.session.key` sends news on. Policies of the
//! route are for clients and are not asked; those of the gateway phase and of connections are. `requestMirror` copies no
//! message that holds such a URL.
//!
//! **Expressions.** Rules of routes and backends see `a2a.method` (the names of 1.0 for both versions), `a2a.version`,
//! `a2a.binding`, `a2a.task.id`, `a2a.context.id`, `a2a.message.id` and `a2a.skill` (`skillId` of the metadata); logs
//! see `a2a.task.state`, `a2a.result.kind`, `a2a.response.outcome` and `a2a.response.errorCode` as well. Ids are the
//! agent's own. News that are relayed have the method `PushNotification`.
//!
//! **Merging.** The nearest to the backend replaces the others whole.
//!
//! **Limits.** Requests, answers that do not stream, and each event are held up to `maxBufferSize`. Events are looked
//! through one by one and go on at once.
//!
//! **Outcome.** Refusals are errors of the protocol, in the binding that was spoken. The access log has `a2a.method`,
//! `a2a.response.outcome`, `a2a.response.error_code`, `a2a.result.kind`, `a2a.task.state`, `a2a.context.id`;
//! `agentgateway_a2a_requests_total` counts.
//!
//! **Where we differ.** The reference shows `a2a.method` as it was written, leaves ids alone and does not look into
//! streams or other bindings than JSON-RPC.

mod config;
mod policy;
#[cfg(test)]
mod tests;

pub use config::{CardConfig, Config, SignConfig, VerifyConfig};
pub use policy::{Ids, Policy, Push, Sign, State, Verified};
