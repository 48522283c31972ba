//! Local configuration: one YAML or JSON document, watched, lowered to the snapshot.
//!
//! text → [`doc`] (positions, variables, schema) → [`document`] (typed) → [`lower`] (objects) →
//! patch. [`source`] watches the file and everything it references; [`statics`] is the `config:`
//! block. Nothing here runs traffic.

pub mod catalog;
pub mod doc;
pub mod document;
pub mod files;
pub mod lower;
pub mod policies;
pub mod schema;
pub mod source;
pub mod statics;
pub mod watch;
