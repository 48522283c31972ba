//! Refusals in the binding that was spoken.

use bytes::Bytes;
use filters::{Reason, Reply};
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue};
use protocols::a2a::Version;
use protocols::a2a::answer::Refusal;

use super::talk::{Kind, Talk};
use crate::proxy::request::Stop;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// Ends the request.
pub(super) fn stop(talk: &Talk, refusal: &Refusal) -> Stop {
    Stop::Reply(reply(talk, refusal))
}

fn reply(talk: &Talk, refusal: &Refusal) -> Reply {
    let Said { status, body } = said(talk.kind, &talk.id, talk.version, refusal);
    let mut reply = Reply { status, headers: Vec::new(), body: body.into(), reason: Reason::InvalidRequest };
    if let Kind::Grpc(..) = talk.kind {
        reply.body = Bytes::from(refusal.text.clone());
        reply.headers.push((GRPC_STATUS, HeaderValue::from(refusal.grpc_code())));
        if let Ok(details) = HeaderValue::try_from(refusal.grpc_details()) {
            reply.headers.push((GRPC_DETAILS, details));
        }
    } else {
        reply.headers.push((CONTENT_TYPE, JSON));
    }
    reply
}

/// Status and body of a refusal in HTTP.
pub(super) struct Said {
    pub(super) status: u16,
    pub(super) body: String,
}

/// A JSON-RPC error has the status of every answer (JSON-RPC over HTTP), unless it is the agent's fault.
pub(super) fn said(kind: Kind, id: &str, version: Version, refusal: &Refusal) -> Said {
    let (status, body) = refusal.rest(version);
    match kind {
        Kind::JsonRpc => Said { status: if status >= 500 { status } else { 200 }, body: refusal.json_rpc(id) },
        Kind::Card | Kind::Rest(..) | Kind::Grpc(..) | Kind::News => Said { status, body },
    }
}
