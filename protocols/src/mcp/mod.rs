//! The Model Context Protocol, as one who stands between clients and servers has to know it.
//!
//! Messages are read in place and go on byte by byte where nothing has to change; what has to (a name, an id, a URI)
//! is an [`Edits`] of its place alone. [`message`] says what a message is, [`version`] which revisions there are,
//! [`name`] how the names of several servers live side by side, [`list`] and [`capability`] how their answers become
//! one, [`session`] what a session id carries, [`transport`] what the headers of Streamable HTTP have to say, [`modern`]
//! and [`param`] what revisions without sessions do instead, [`task`] whose a task is; [`definition`], [`screen`] and
//! [`slim`] what is to be known of what tools say of themselves.
//!
//! Not here: who may call what (`filters`), where servers are and how they are reached (`gateway`).

pub mod answer;
pub mod capability;
pub mod definition;
pub mod edit;
pub mod list;
pub mod message;
pub mod modern;
pub mod name;
pub mod param;
pub mod resume;
pub mod screen;
pub mod session;
pub mod slim;
pub mod task;
pub mod transport;
pub mod version;

pub use edit::Edits;
pub use list::List;
pub use message::{Message, Shape};
pub use name::Naming;
pub use version::Version;
