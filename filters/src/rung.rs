//! The fixed order of filters within a phase, with the reason for each rung. Requests climb,
//! responses come back down in reverse.

/// A step of the order. Within a rung the table of `lib.rs` decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rung {
    /// Who may speak at all: cheapest refusal first, before anything reads the request.
    Edge,
    /// Browser admission (CORS): before identity, so that refusals carry CORS headers too.
    Admission,
    /// Who may do what: servers that are asked first, so that rules see what they answered.
    Authority,
    /// How much they may do: after it is known who asks and that they may.
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
