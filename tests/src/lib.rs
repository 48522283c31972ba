//! The end-to-end harness: it starts the real `agentgateway` binary, real backends and real clients.
//!
//! It never links the gateway, so a test sees what an operator sees: a process, sockets, files and logs.
//! Every port is chosen by the kernel, every wait has a deadline, every child is killed by its own handle.
//!
//! Read next: [`gateway::Gateway`] (the process), [`backend::Backend`] (who answers), [`client::Client`] (who asks),
//! and `tests/README.md` for one whole test.

pub mod backend;
pub mod certs;
pub mod client;
pub mod config;
pub mod control;
pub mod gateway;
pub mod grpc;
pub mod http;
pub mod io;
pub mod issuer;
pub mod load;
pub mod manager;
pub mod mcp;
mod mcp_listening;
pub mod mcp_modern;
pub mod mock_llm;
pub mod pb;
pub mod wait;

pub use backend::Backend;
pub use certs::Authority;
pub use client::{Client, GrpcClient, RawClient, WsClient};
pub use control::Control;
pub use gateway::Gateway;
pub use http::Reply;
pub use manager::Manager;
pub use mcp::{McpClient, McpServer};
pub use mcp_modern::{ModernClient, ModernServer};
pub use mock_llm::MockLlm;
pub use wait::{eventually, within};
