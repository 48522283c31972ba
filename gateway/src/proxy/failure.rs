//! Where a fault of the data path becomes a retry, a status and a reason: nowhere else.

use std::time::Instant;

use filters::expr::Expression;
use filters::{Reason, Reply};
use pingora_error::{Error, ErrorSource, ErrorType};
use pingora_proxy::{FailToProxy, Session};
use protocols::grpc::Code;

use super::Proxy;
use super::answer;
use super::ctx::Ctx;
use super::inputs;
use crate::session::{ATTEMPT_DEADLINE, REQUEST_DEADLINE, RESPONSE_REFUSED, RESPONSE_TOO_LARGE};
use crate::upstream::Outcome;

/// Further endpoints tried after a failed connection, where no retry policy says more: nothing has
/// been sent yet, so this is always safe.
const CONNECT_RETRIES: u32 = 2;

/// `fail_to_connect`.
pub(super) fn connect(_proxy: &Proxy, session: &mut Session, ctx: &mut Ctx, mut error: Box<Error>) -> Box<Error> {
    report(ctx, true);
    let by_policy = may_retry(session, ctx) || may_go_on(session, ctx);
    // Asks for a retry itself where a backend turned out not to speak HTTP/2.
    let others = ctx.attempt.count <= CONNECT_RETRIES;
    let again = (by_policy || others) && !is_past(ctx.request_deadline);
    ctx.attempt.retryable = again;
    error.set_retry(again);
    error
}

/// `error_while_proxy`.
pub(super) fn exchange(
    _proxy: &Proxy,
    session: &mut Session,
    ctx: &mut Ctx,
    mut error: Box<Error>,
    reused: bool,
) -> Box<Error> {
    if ctx.attempt.retryable {
        return error;
    }
    let ours = error.etype == ATTEMPT_DEADLINE;
    let upstream = error.esource == ErrorSource::Upstream || ours;
    if upstream && !ctx.attempt.answered {
        report(ctx, false);
    }
    let reused = reused || ctx.attempt.loan.as_ref().is_some_and(|it| it.is_reused());
    let stale = reused && !ctx.attempt.answered && upstream && !ours;
    let again = upstream
        && !answered(session)
        && !session.as_ref().retry_buffer_truncated()
        && (may_retry(session, ctx) || may_go_on(session, ctx) || (stale && may_repeat(session, ctx)));
    let outlasted = ours || error.etype == ErrorType::ReadTimedout;
    if let Some(asked) = ctx.ai.as_mut().filter(|_| again && outlasted) {
        asked.outlast(ctx.attempt.count);
    }
    ctx.attempt.retryable = again;
    error.set_retry(again);
    error
}

/// A pooled connection that died before a byte came back says nothing of the request.
fn may_repeat(session: &mut Session, ctx: &Ctx) -> bool {
    let method = &session.req_header().method;
    let safe = method.is_idempotent() || session.is_body_empty();
    safe && ctx.attempt.count <= CONNECT_RETRIES && !is_past(ctx.request_deadline)
}

/// Whether the retry policy leaves another attempt, and the body can be sent again.
pub(super) fn may_retry(session: &Session, ctx: &Ctx) -> bool {
    let Some(policy) = ctx.settings().and_then(|it| it.retry()) else { return false };
    ctx.attempt.count <= policy.attempts
        && policy.precondition.as_ref().is_none_or(|it| is_met(it, session, ctx))
        && !session.as_ref().retry_buffer_truncated()
        && !answered(session)
        && !is_past(ctx.request_deadline)
}

/// Whether another provider is left to be asked: nothing has been answered, and the body can be sent again.
pub(super) fn may_go_on(session: &Session, ctx: &Ctx) -> bool {
    ctx.ai.as_ref().is_some_and(|it| it.has_next())
        && !session.as_ref().retry_buffer_truncated()
        && !answered(session)
        && !is_past(ctx.request_deadline)
}

/// Whether the policy retries this request at all.
fn is_met(precondition: &Expression, session: &Session, ctx: &Ctx) -> bool {
    precondition.holds(&inputs::request(session.req_header(), ctx)).unwrap_or(false)
}

/// A final head has gone to the client (an interim one has not).
fn answered(session: &Session) -> bool {
    session.response_written().is_some_and(|head| !head.status.is_informational() || head.status == 101)
}

fn is_past(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|at| Instant::now() >= at)
}

fn report(ctx: &Ctx, connect_failed: bool) {
    let Some(lease) = &ctx.attempt.lease else { return };
    let latency = ctx.attempt.started.map(|at| at.elapsed());
    let outcome = Outcome { ok: false, connect_failed, latency, retry_after: None };
    lease.report(outcome, ctx.settings().and_then(|it| it.health()));
}

/// `fail_to_proxy`: the last word.
pub(super) async fn answer(session: &mut Session, error: &Error, ctx: &mut Ctx) -> FailToProxy {
    let fault = Fault::of(error, ctx);
    ctx.fail(fault.reason, fault.status, error.to_string());
    let status = ctx.outcome.status;
    let silent = FailToProxy { error_code: status, can_reuse_downstream: false };
    if answered(session) || ctx.outcome.reason == Reason::ClientGone {
        return silent;
    }
    if let Some(slot) = ctx.wrapped.take() {
        slot.restore(&mut session.downstream_session);
    }
    session.set_keepalive(None);
    let reply = match ctx.outcome.reply.take() {
        Some(reply) => *reply,
        None => Reply::text(status, ctx.outcome.reason, fault.text),
    };
    // The client may have gone meanwhile; there is nobody left to tell.
    let _ = answer::write(session, ctx, reply).await;
    silent
}

/// What the client may read, and what is counted.
struct Fault {
    reason: Reason,
    status: u16,
    text: &'static str,
}

impl Fault {
    fn of(error: &Error, ctx: &Ctx) -> Self {
        let fault = |reason, status, text| Self { reason, status, text };
        if error.etype == REQUEST_DEADLINE || error.etype == ATTEMPT_DEADLINE {
            return fault(Reason::Timeout, 504, "upstream request timeout\n");
        }
        if error.etype == RESPONSE_REFUSED {
            return fault(Reason::Transformation, 502, "the response could not be transformed\n");
        }
        if error.etype == RESPONSE_TOO_LARGE {
            return fault(Reason::TooLarge, 502, "the response is larger than the gateway may hold\n");
        }
        match (&error.esource, &error.etype) {
            (_, ErrorType::HTTPStatus(413)) => {
                fault(Reason::TooLarge, 413, "the request body is larger than the gateway may hold\n")
            }
            (_, ErrorType::HTTPStatus(503)) if ctx.outcome.reason != Reason::Upstream => {
                fault(ctx.outcome.reason, 503, "no healthy backend\n")
            }
            (ErrorSource::Downstream, ErrorType::ReadTimedout) => {
                fault(Reason::Timeout, 408, "the request body did not arrive in time\n")
            }
            (
                ErrorSource::Downstream,
                ErrorType::ConnectionClosed | ErrorType::WriteError | ErrorType::WriteTimedout | ErrorType::H2Error,
            ) => fault(Reason::ClientGone, 499, ""),
            (ErrorSource::Downstream, ErrorType::ReadError) if !is_framing(error) => fault(Reason::ClientGone, 499, ""),
            (ErrorSource::Downstream, _) => fault(Reason::InvalidRequest, 400, "malformed request\n"),
            (ErrorSource::Upstream, ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout) => {
                fault(Reason::UpstreamFailure, 503, "upstream connection timed out\n")
            }
            (ErrorSource::Upstream, ErrorType::ReadTimedout | ErrorType::WriteTimedout) => {
                fault(Reason::Timeout, 504, "upstream request timeout\n")
            }
            (
                ErrorSource::Upstream,
                ErrorType::ConnectRefused
                | ErrorType::ConnectNoRoute
                | ErrorType::ConnectError
                | ErrorType::ConnectProxyFailure
                | ErrorType::BindError
                | ErrorType::SocketError
                | ErrorType::TLSHandshakeFailure
                | ErrorType::InvalidCert
                | ErrorType::HandshakeError,
            ) => fault(Reason::UpstreamFailure, 503, "upstream connection failed\n"),
            (ErrorSource::Upstream, _) => fault(Reason::UpstreamFailure, 502, "upstream failed\n"),
            _ => fault(Reason::Internal, 500, "internal error\n"),
        }
    }
}

/// What an answer of our own is in gRPC. The reason says more than the status; where it does not, the table of
/// `http-grpc-status-mapping.md` holds.
pub(super) fn grpc_code(reason: Reason, status: u16) -> Code {
    match reason {
        Reason::Timeout => Code::DeadlineExceeded,
        // Of a message, too: `statuscodes.md` knows no other for what is larger than allowed.
        Reason::TooLarge => Code::ResourceExhausted,
        Reason::NotFound => Code::Unimplemented,
        Reason::IpAccess | Reason::Csrf | Reason::Authorization => Code::PermissionDenied,
        // As `http-grpc-status-mapping.md` has 429, and worth another try whichever status was asked for.
        Reason::RateLimit | Reason::ConcurrencyLimit => Code::Unavailable,
        Reason::InvalidRequest | Reason::Transformation => Code::Internal,
        Reason::ClientGone => Code::Cancelled,
        // Whatever the status of a refusal is, it does not say that the call succeeded.
        Reason::ExtAuth if status < 400 => Code::PermissionDenied,
        // Worth another try, elsewhere or later.
        Reason::NoBackend | Reason::NoHealthyBackend | Reason::Overflow | Reason::UpstreamFailure => Code::Unavailable,
        Reason::JwtAuth | Reason::ApiKeyAuth | Reason::BasicAuth if status != 503 => Code::Unauthenticated,
        Reason::Upstream
        | Reason::DirectResponse
        | Reason::FaultInjected
        | Reason::Misdirected
        | Reason::Internal
        | Reason::ExtAuth
        | Reason::JwtAuth
        | Reason::ApiKeyAuth
        | Reason::BasicAuth => Code::from_http(status),
    }
}

/// A read that failed for what was in it, not for the connection.
fn is_framing(error: &Error) -> bool {
    // Our own stream refuses bad chunks, see `listen::boundary`.
    let cause = error.root_cause().downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    if cause == Some(std::io::ErrorKind::InvalidData) {
        return true;
    }
    let text = error.to_string();
    text.contains("chunk") || text.contains("Chunk") || text.contains("content-length")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_a_grpc_status() {
        for (reason, status, code) in [
            (Reason::Timeout, 504, Code::DeadlineExceeded),
            (Reason::Timeout, 408, Code::DeadlineExceeded),
            (Reason::TooLarge, 413, Code::ResourceExhausted),
            (Reason::TooLarge, 502, Code::ResourceExhausted),
            (Reason::NotFound, 404, Code::Unimplemented),
            (Reason::IpAccess, 403, Code::PermissionDenied),
            (Reason::Csrf, 403, Code::PermissionDenied),
            (Reason::Authorization, 403, Code::PermissionDenied),
            (Reason::RateLimit, 429, Code::Unavailable),
            (Reason::ConcurrencyLimit, 503, Code::Unavailable),
            (Reason::FaultInjected, 503, Code::Unavailable),
            (Reason::InvalidRequest, 400, Code::Internal),
            (Reason::InvalidRequest, 405, Code::Internal),
            (Reason::Transformation, 500, Code::Internal),
            (Reason::ClientGone, 499, Code::Cancelled),
            (Reason::NoBackend, 500, Code::Unavailable),
            (Reason::NoHealthyBackend, 503, Code::Unavailable),
            (Reason::Overflow, 503, Code::Unavailable),
            (Reason::UpstreamFailure, 502, Code::Unavailable),
            (Reason::UpstreamFailure, 503, Code::Unavailable),
            (Reason::Misdirected, 421, Code::Unknown),
            (Reason::Internal, 500, Code::Unknown),
            (Reason::DirectResponse, 401, Code::Unauthenticated),
            (Reason::JwtAuth, 401, Code::Unauthenticated),
            (Reason::JwtAuth, 503, Code::Unavailable),
            (Reason::ExtAuth, 403, Code::PermissionDenied),
            (Reason::ExtAuth, 401, Code::Unauthenticated),
            (Reason::ExtAuth, 302, Code::PermissionDenied),
            (Reason::BasicAuth, 407, Code::Unauthenticated),
            (Reason::DirectResponse, 429, Code::Unavailable),
            (Reason::DirectResponse, 504, Code::Unavailable),
        ] {
            assert_eq!(grpc_code(reason, status), code, "{reason:?} {status}");
        }
    }
}
