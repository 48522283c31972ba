//! The fixed order of filters within a phase, with the reason for each rung. Requests climb,
//! responses come back down in reverse.

/// A step of the order. Within a rung the table of `lib.rs` decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rung {
    /// Who may speak at all: cheapest refusal first, before anything reads the request.
    Edge,
    /// Browser admission (CORS): before identity, so that refusals carry CORS headers too.
    Admission,
    /// Who it is: before everything that asks, and before anything changes what was signed or sent.
    Identity,
    /// Who may do what: after identity, which it asks for, and before quotas, which refusals do not use up. Servers that
    /// are asked come first, so that rules see what they answered.
    Authority,
    /// Who and what the request may be is known: how much of it there may be. What was refused before uses nothing up.
    Quota,
    /// Heads are changed after every decision about the request as the client sent it.
    Transformation,
    /// The target changes after headers, so that header values see the client's own URL.
    Rewrite,
    /// Answers from the gateway itself come last: what admission and quota say goes first.
    Answer,
    /// Not a filter: a setting that the gateway reads.
    Setting,
}
