//! `agentgateway.dev.ext_mcp.ExtMcp`: what a policy asks about a message of MCP, and the answer read.

use bytes::Bytes;
use filters::callout::{Fault, Guard, Guarded, Refusal};
use prost::Message;

use super::pb::mcp::authorization_error::Code;
use super::pb::mcp::{
    AuthorizationError, McpRequest, McpRequestResult, McpResponse, McpResponseResult, mcp_request_result as request,
    mcp_response_result as response,
};
use super::{grpc, value};

const REQUEST: &str = "/agentgateway.dev.ext_mcp.ExtMcp/CheckRequest";
const RESPONSE: &str = "/agentgateway.dev.ext_mcp.ExtMcp/CheckResponse";

/// The question in its message, and the method that takes it.
pub(super) enum Question {
    Request(McpRequest),
    Response(McpResponse),
}

impl Question {
    pub(super) fn of(asked: &Guard<'_>) -> Self {
        let service_names = asked.services.iter().map(|it| (*it).to_owned()).collect();
        let (method, metadata_context) = (asked.method.to_owned(), Some(value::encode(asked.metadata)));
        let message = Bytes::copy_from_slice(asked.message.as_bytes());
        match asked.answered {
            false => Self::Request(McpRequest { service_names, method, metadata_context, mcp_request: Some(message) }),
            true => Self::Response(McpResponse { service_names, method, metadata_context, mcp_response: message }),
        }
    }

    pub(super) fn frame(&self) -> Bytes {
        match self {
            Self::Request(it) => grpc::frame(it),
            Self::Response(it) => grpc::frame(it),
        }
    }

    pub(super) fn path(&self) -> &'static str {
        match self {
            Self::Request(_) => REQUEST,
            Self::Response(_) => RESPONSE,
        }
    }
}

pub(super) fn decode(answered: bool, answer: Bytes) -> Result<Guarded, Fault> {
    let garbage = |error: prost::DecodeError| Fault::Garbage(error.to_string());
    let nothing = || Fault::Garbage("it decides nothing".to_owned());
    if answered {
        return match McpResponseResult::decode(answer).map_err(garbage)?.result.ok_or_else(nothing)? {
            response::Result::Pass(_) => Ok(Guarded::Pass),
            response::Result::Mutated(bytes) => mutated(&bytes),
            response::Result::Error(it) => Ok(Guarded::Refused(refusal(it))),
        };
    }
    match McpRequestResult::decode(answer).map_err(garbage)?.result.ok_or_else(nothing)? {
        request::Result::Pass(_) => Ok(Guarded::Pass),
        request::Result::Mutated(bytes) => mutated(&bytes),
        request::Result::Error(it) => Ok(Guarded::Refused(refusal(it))),
    }
}

fn mutated(bytes: &Bytes) -> Result<Guarded, Fault> {
    let text = std::str::from_utf8(bytes).map_err(|_| Fault::Garbage("what it changed is not text".to_owned()))?;
    Ok(Guarded::Mutated(text.to_owned()))
}

fn refusal(it: AuthorizationError) -> Refusal {
    let code = match it.code() {
        Code::Unknown => -32_000,
        Code::PermissionDenied => -32_001,
        Code::ResourceExhausted => -32_002,
        Code::Invalid => -32_602,
    };
    let error = it.mcp_error.as_ref().and_then(|it| std::str::from_utf8(it).ok()).map(str::to_owned);
    Refusal { code, reason: it.reason, error }
}
