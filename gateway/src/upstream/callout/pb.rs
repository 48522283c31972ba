//! The messages as generated from `proto/`. Nothing outside this folder names them.

#[allow(clippy::all, clippy::pedantic, missing_docs, unreachable_pub, unused_qualifications, dead_code)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/callouts.rs"));
}

pub(super) use generated::agentgateway::dev::ext_mcp as mcp;
pub(super) use generated::envoy::config::core::v3 as core;
pub(super) use generated::envoy::extensions::common::ratelimit::v3 as descriptor;
pub(super) use generated::envoy::service::auth::v3 as auth;
pub(super) use generated::envoy::service::ratelimit::v3 as rls;
pub(super) use generated::envoy::r#type::v3 as kind;
#[cfg(test)]
pub(super) use generated::google::rpc;
