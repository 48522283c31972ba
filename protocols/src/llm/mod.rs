//! Dialects of language models: requests scanned in place, answers accounted as they pass, costs, errors.
//!
//! Where client and provider speak the same dialect nothing here writes a body anew: [`scan`] says in one pass what a
//! request asks for and where it stands, an [`Edits`] splices, and with no edit the bytes are the client's. [`Tap`]
//! looks at an answer while it streams by and keeps only what is counted: it holds no body. [`Usage`] is what was used,
//! said one way for every dialect, and [`Catalog`] what that costs.
//!
//! Where they do not, [`translate`] reads and writes everything anew.

pub mod cache;
mod cost;
mod edit;
pub mod enrich;
mod error;
mod event_stream;
mod form;
mod frames;
pub mod guard;
mod hide;
mod lines;
mod pattern;
mod pick;
mod profile;
pub mod realtime;
mod request;
mod route;
mod tap;
pub mod translate;
mod usage;

pub use cost::{Bill, Catalog, CatalogFault, Cost, MODELS_MAX, Priced, Rates};
pub use edit::Edits;
pub use error::{ErrorKind, error_body};
pub use form::{Form, boundary, scan_form};
pub use frames::write_frame;
pub use hide::Hide;
pub use pattern::Pattern;
pub use profile::{KeyPlace, PROFILES, Profile, profile};
pub use request::{Fault, MEMBERS_MAX, Request, Scanned, scan};
pub use route::{Operation, Path, locate, named};
pub use tap::{Framing, Seen, Tap};
pub use usage::Usage;

/// Whose shapes a body has: requests, answers, streams and errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    OpenAi,
    Anthropic,
    Gemini,
    Bedrock,
}
