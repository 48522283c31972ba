//! Credentials that must be there before a request leaves.

use std::time::Duration;

use filters::Facts;
use filters::backend_auth::Policy;
use http::header::HOST;
use pingora_http::RequestHeader;

/// Longest wait for a first one.
const DEADLINE: Duration = Duration::from_secs(10);

/// Waits for a first credential, where one is on its way for such a message. Whoever writes it says that none has come.
pub(crate) async fn ready(policy: &Policy, head: &RequestHeader, facts: &Facts) {
    let host = head.headers.get(HOST).and_then(|it| it.to_str().ok());
    let host = host.or_else(|| head.uri.authority().map(http::uri::Authority::as_str)).map(str::to_ascii_lowercase);
    if let Some(waits) = policy.waits(head, facts, host.as_deref()) {
        let _ = tokio::time::timeout(DEADLINE, waits).await;
    }
}
