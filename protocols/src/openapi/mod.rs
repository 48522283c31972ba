//! OpenAPI documents (3.0 and 3.1) as tools of MCP, and calls of these as requests of HTTP.
//!
//! A document is untrusted: [`document`] reads it within bounds and follows references inside it alone, each as deep as it
//! does not lead back to itself; [`schema`] does so; [`call`] makes a request of arguments in which nothing leaves the
//! place that the document gives it.

pub mod call;
pub mod document;
mod schema;

pub use document::{Api, Operation};
