//! How intent travels.
pub mod codec;
mod pb;
