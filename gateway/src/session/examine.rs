//! Responses that wait for what somebody else says of them.

use async_trait::async_trait;
use pingora_core::protocols::http::HttpTask;
use pingora_error::Result;

/// Looks at parts of a response, behind everything that can be said at once, and gives those that may go out.
#[async_trait]
pub trait Examine: Send + Sync {
    /// What it gives goes out; nothing means that all of it waits.
    async fn examine(&mut self, tasks: Vec<HttpTask>) -> Result<Vec<HttpTask>>;
}
