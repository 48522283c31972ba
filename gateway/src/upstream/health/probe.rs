//! One check of one endpoint: TCP connect, an HTTP request, or gRPC's health service.

use bytes::{BufMut, Bytes, BytesMut};
use filters::health::Probe;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use ir::Text;

use super::super::dial::Flow;
use super::super::endpoint::Address;
use super::Checks;

/// Longest answer of a health service that is read.
const ANSWER_BYTES_MAX: usize = 4 * 1024;
/// `grpc.health.v1.HealthCheckResponse.ServingStatus.SERVING`
const SERVING: u8 = 1;

/// Checks; the error says what was wrong, for the log.
pub(super) async fn run(checks: &Checks, address: &Address, text: &Text, host: Option<&Text>) -> Result<(), String> {
    let probing = async {
        let h2 = matches!(checks.active.probe, Probe::Grpc { .. }) || checks.template.speaks_h2();
        let alpn: &[&[u8]] = if h2 { &[b"h2"] } else { &[b"http/1.1"] };
        let flow = checks.template.dial(address, text, alpn).await.map_err(|fault| fault.to_string())?;
        let authority = host.map_or_else(|| fallback_authority(address), |host| host.to_string());
        match &checks.active.probe {
            Probe::Tcp => Ok(()),
            Probe::Http { path, host, expected_statuses } => {
                let authority = host.as_deref().unwrap_or(&authority);
                let response =
                    ask(flow, h2, get(authority, path, h2)?, |response| async move { Ok(response.status()) });
                expect(response.await?, expected_statuses)
            }
            Probe::Grpc { service } => ask(flow, true, call(&authority, service)?, serving).await,
        }
    };
    match tokio::time::timeout(checks.active.timeout, probing).await {
        Ok(result) => result,
        Err(_) => Err(format!("no answer in {:?}", checks.active.timeout)),
    }
}

fn fallback_authority(address: &Address) -> String {
    match address {
        Address::Inet(address) => address.to_string(),
        Address::Unix(_) => "localhost".to_owned(),
    }
}

fn expect(status: StatusCode, expected: &[u16]) -> Result<(), String> {
    let ok = if expected.is_empty() { status.is_success() } else { expected.contains(&status.as_u16()) };
    if ok { Ok(()) } else { Err(format!("status {}", status.as_u16())) }
}

fn get(authority: &str, path: &str, h2: bool) -> Result<Request<Full<Bytes>>, String> {
    let uri =
        if h2 { absolute(authority, path)? } else { path.parse().map_err(|error| format!("path {path}: {error}"))? };
    let request = Request::get(uri).header(http::header::USER_AGENT, "agentgateway-health");
    let request = if h2 { request } else { request.header(http::header::HOST, authority) };
    request.body(Full::default()).map_err(|error| error.to_string())
}

fn call(authority: &str, service: &str) -> Result<Request<Full<Bytes>>, String> {
    Request::post(absolute(authority, "/grpc.health.v1.Health/Check")?)
        .header(http::header::CONTENT_TYPE, "application/grpc")
        .header(http::header::TE, "trailers")
        .header(http::header::USER_AGENT, "agentgateway-health")
        .body(Full::new(question(service)))
        .map_err(|error| error.to_string())
}

fn absolute(authority: &str, path: &str) -> Result<Uri, String> {
    let uri = Uri::builder().scheme("http").authority(authority).path_and_query(path).build();
    uri.map_err(|error| format!("{authority}{path}: {error}"))
}

/// `HealthCheckRequest { service }` in a frame.
fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.put_u8((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.put_u8(length as u8);
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.put_slice(&message);
    frame.freeze()
}

async fn serving(response: Response<Incoming>) -> Result<(), String> {
    let said = |headers: &http::HeaderMap| match headers.get("grpc-status") {
        Some(status) if status.as_bytes() != b"0" => {
            let reason = headers.get("grpc-message").map(|it| String::from_utf8_lossy(it.as_bytes()).into_owned());
            Err(format!("grpc-status {}: {}", String::from_utf8_lossy(status.as_bytes()), reason.unwrap_or_default()))
        }
        _ => Ok(()),
    };
    expect(response.status(), &[200])?;
    said(response.headers())?;
    let answer =
        Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(|error| error.to_string())?;
    answer.trailers().map_or(Ok(()), said)?;
    // One uncompressed frame with field 1, a varint below 128.
    match &*answer.to_bytes() {
        [0, _, _, _, _, 0x08, SERVING, ..] => Ok(()),
        _ => Err("not serving".to_owned()),
    }
}

/// Sends one request on a connection of its own, and reads of the answer what `read` wants.
async fn ask<T, F>(
    flow: Flow,
    h2: bool,
    request: Request<Full<Bytes>>,
    read: impl FnOnce(Response<Incoming>) -> F,
) -> Result<T, String>
where
    F: Future<Output = Result<T, String>>,
{
    let broken = |error: hyper::Error| error.to_string();
    let io = TokioIo::new(flow);
    if h2 {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.map_err(broken)?;
        let answered = async { read(sender.send_request(request).await.map_err(broken)?).await };
        drive(connection, answered).await
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.map_err(broken)?;
        let answered = async { read(sender.send_request(request).await.map_err(broken)?).await };
        drive(connection, answered).await
    }
}

/// Polls a connection for as long as its answer takes.
async fn drive<T>(
    connection: impl Future<Output = hyper::Result<()>>,
    answered: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let connection = std::pin::pin!(connection);
    let answered = std::pin::pin!(answered);
    match futures::future::select(answered, connection).await {
        futures::future::Either::Left((answer, _)) => answer,
        // The connection may end with the answer already delivered.
        futures::future::Either::Right((_, answered)) => answered.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_one_uncompressed_frame() {
        assert_eq!(&*question(""), &[0, 0, 0, 0, 0]);
        assert_eq!(&*question("a.B"), &[0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']);
        assert_eq!(&question(&"x".repeat(200))[..8], &[0, 0, 0, 0, 203, 0x0a, 0xc8, 0x01]);
    }

    #[test]
    fn any_success_is_expected_where_no_status_is_named() {
        for (status, expected, ok) in
            [(204, &[][..], true), (302, &[], false), (302, &[200, 302], true), (200, &[204], false)]
        {
            assert_eq!(expect(StatusCode::from_u16(status).unwrap(), expected).is_ok(), ok, "{status} {expected:?}");
        }
    }
}
