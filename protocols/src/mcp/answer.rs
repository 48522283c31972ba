//! Answers of one's own.

use crate::json::quoted;

pub const PARSE_ERROR: i32 = -32700;
pub const INVALID_REQUEST: i32 = -32600;
pub const METHOD_NOT_FOUND: i32 = -32601;
pub const INVALID_PARAMS: i32 = -32602;
pub const INTERNAL_ERROR: i32 = -32603;
/// The server says so, for a reason of its own.
pub const SERVER_ERROR: i32 = -32000;
/// The resource is not there (revisions up to 2025-11-25).
pub const RESOURCE_NOT_FOUND: i32 = -32002;
/// 2026-07-28: headers and body do not say the same.
pub const HEADER_MISMATCH: i32 = -32020;
/// 2026-07-28: the version asked for is not spoken.
pub const UNSUPPORTED_VERSION: i32 = -32022;
/// 2026-07-28: the client cannot do what the request needs.
pub const MISSING_CAPABILITY: i32 = -32021;

/// A result; `id` and `result` are JSON.
pub fn result(id: &str, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
}

/// An error; `id` is JSON, or empty where there is none.
pub fn error(id: &str, code: i32, message: &str) -> String {
    let id = if id.is_empty() { "null" } else { id };
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{}}}}}"#, quoted(message))
}

/// An error with more to it; `data` is JSON.
pub fn error_with(id: &str, code: i32, message: &str, data: &str) -> String {
    let id = if id.is_empty() { "null" } else { id };
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{},"data":{data}}}}}"#, quoted(message))
}

/// An error that is JSON already.
pub fn error_object(id: &str, error: &str) -> String {
    let id = if id.is_empty() { "null" } else { id };
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#)
}

/// A request; `params` is JSON or empty.
pub fn request(id: &str, method: &str, params: &str) -> String {
    let method = quoted(method);
    match params {
        "" => format!(r#"{{"jsonrpc":"2.0","id":{id},"method":{method}}}"#),
        params => format!(r#"{{"jsonrpc":"2.0","id":{id},"method":{method},"params":{params}}}"#),
    }
}

/// A notification; `params` is JSON or empty.
pub fn notification(method: &str, params: &str) -> String {
    let method = quoted(method);
    match params {
        "" => format!(r#"{{"jsonrpc":"2.0","method":{method}}}"#),
        params => format!(r#"{{"jsonrpc":"2.0","method":{method},"params":{params}}}"#),
    }
}
