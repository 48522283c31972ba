//! Refusals as each binding writes them (1.0 sections 5.4 and 9 to 11).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::method::Version;
use crate::json::quoted;
use crate::mcp::answer;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The task is not there, or is somebody else's.
    TaskNotFound,
    InvalidParams,
    InvalidRequest,
    Parse,
    /// News of tasks are not sent.
    PushNotSupported,
    Unsupported,
    /// What the agent said is not what it should be.
    AgentResponse,
}

/// A refusal with what the client may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub kind: Kind,
    pub text: String,
}

impl Refusal {
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    pub fn task_not_found() -> Self {
        Self::new(Kind::TaskNotFound, "Task not found")
    }

    /// JSON-RPC; `id` is JSON, or empty where there is none.
    pub fn json_rpc(&self, id: &str) -> String {
        answer::error(id, self.kind.terms().code, &self.text)
    }

    /// The status of REST, and the body.
    pub fn rest(&self, version: Version) -> (u16, String) {
        let Terms { http, name, reason, code, .. } = self.kind.terms();
        let text = quoted(&self.text);
        let body = match version {
            Version::V0_3 => format!(r#"{{"code":{code},"message":{text}}}"#),
            Version::V1_0 => format!(
                r#"{{"error":{{"code":{http},"status":"{name}","message":{text},"details":[{{"@type":"{TYPE}","reason":"{reason}","domain":"{DOMAIN}"}}]}}}}"#
            ),
        };
        (http, body)
    }

    /// The status of gRPC.
    pub fn grpc_code(&self) -> u16 {
        self.kind.terms().grpc
    }

    /// `grpc-status-details-bin`: a `google.rpc.Status` with its `ErrorInfo`.
    pub fn grpc_details(&self) -> String {
        let Terms { grpc, reason, .. } = self.kind.terms();
        let info = [text(1, reason), text(2, DOMAIN)].concat();
        let any = [text(1, TYPE), bytes(2, &info)].concat();
        let status = [vec![0x08, u8::try_from(grpc).unwrap_or_default()], text(2, &self.text), bytes(3, &any)].concat();
        STANDARD_NO_PAD.encode(status)
    }
}

const TYPE: &str = "type.googleapis.com/google.rpc.ErrorInfo";
const DOMAIN: &str = "a2a-protocol.org";

/// How a refusal is said in each binding.
struct Terms {
    code: i32,
    http: u16,
    grpc: u16,
    name: &'static str,
    reason: &'static str,
}

impl Kind {
    fn terms(self) -> Terms {
        let (code, http, grpc, name, reason) = match self {
            Self::TaskNotFound => (-32001, 404, 5, "NOT_FOUND", "TASK_NOT_FOUND"),
            Self::InvalidParams => (answer::INVALID_PARAMS, 400, 3, "INVALID_ARGUMENT", "INVALID_PARAMS"),
            Self::InvalidRequest => (answer::INVALID_REQUEST, 400, 3, "INVALID_ARGUMENT", "INVALID_REQUEST"),
            Self::Parse => (answer::PARSE_ERROR, 400, 3, "INVALID_ARGUMENT", "INVALID_REQUEST"),
            Self::PushNotSupported => (-32003, 400, 9, "FAILED_PRECONDITION", "PUSH_NOTIFICATION_NOT_SUPPORTED"),
            Self::Unsupported => (-32004, 400, 9, "FAILED_PRECONDITION", "UNSUPPORTED_OPERATION"),
            Self::AgentResponse => (-32006, 502, 13, "INTERNAL", "INVALID_AGENT_RESPONSE"),
        };
        Terms { code, http, grpc, name, reason }
    }
}

fn text(number: u8, text: &str) -> Vec<u8> {
    bytes(number, text.as_bytes())
}

/// A field with a length.
fn bytes(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 6);
    out.push(number << 3 | 2);
    super::wire::push_varint(bytes.len() as u64, &mut out);
    out.extend_from_slice(bytes);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_binding_says_it_in_its_way() {
        let refusal = Refusal::task_not_found();
        assert_eq!(
            refusal.json_rpc("\"1\""),
            r#"{"jsonrpc":"2.0","id":"1","error":{"code":-32001,"message":"Task not found"}}"#
        );
        let (status, body) = refusal.rest(Version::V1_0);
        assert_eq!(status, 404);
        assert!(crate::json::parse(body.as_bytes()).is_ok() && body.contains("TASK_NOT_FOUND"), "{body}");
        assert_eq!(refusal.rest(Version::V0_3).1, r#"{"code":-32001,"message":"Task not found"}"#);
        assert_eq!(refusal.grpc_code(), 5);
        let details = STANDARD_NO_PAD.decode(refusal.grpc_details()).unwrap();
        assert_eq!(details[..2], [8, 5]);
        assert!(String::from_utf8_lossy(&details).contains("TASK_NOT_FOUND"));
    }
}
