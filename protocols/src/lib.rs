//! Wire formats of the traffic, without I/O.
//!
//! Everything here is a function of its arguments: no socket, clock, task or randomness (see
//! `clippy.toml`). It does not decide policy and does not know Pingora. Read `README.md` for where a
//! line belongs.

pub mod a2a;
pub mod client_hello;
pub mod grpc;
pub mod http;
pub mod json;
pub mod llm;
pub mod mcp;
pub mod openapi;
pub mod proxy_protocol;
pub mod seal;
pub mod sse;
pub mod websocket;
