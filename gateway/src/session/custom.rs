//! The custom-session trait for [`Wrapped`]: delegation, with the four additions.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use http::HeaderMap;
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::custom::CustomMessageWrite;
use pingora_core::protocols::http::custom::server::Session as Custom;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_error::{Error, Result};
use pingora_http::{RequestHeader, ResponseHeader};

use super::hold::{Held, Hold};
use super::{RESPONSE_TOO_LARGE, Wrapped};

impl Wrapped {
    async fn read(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if self.upgrade {
            let upgraded = self.real().was_upgraded();
            return self.real_mut().read_body_or_idle(!upgraded).await;
        }
        let Some(recording) = self.recording.as_mut() else {
            return self.real_mut().read_body_or_idle(no_body_expected).await;
        };
        if no_body_expected || recording.is_done() {
            return self.real_mut().read_body_or_idle(true).await;
        }
        if let Some(chunk) = recording.replay() {
            return Ok(Some(chunk));
        }
        let chunk = self.real_mut().read_body_or_idle(false).await?;
        let ended = self.real_mut().is_body_done();
        if let Some(recording) = self.recording.as_mut() {
            if let Some(chunk) = &chunk {
                recording.note(Some(chunk));
            }
            if chunk.is_none() || ended {
                recording.note(None);
            }
        }
        Ok(chunk)
    }

    async fn read_in_time(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        match self.deadline() {
            None => self.read(no_body_expected).await,
            Some((at, kind)) => {
                tokio::select! {
                    biased;
                    read = self.read(no_body_expected) => read,
                    () = tokio::time::sleep_until(at.into()) => Err(Error::new(kind)),
                }
            }
        }
    }

    /// With an upgrade the end of the body is not known before the answer: 101 makes the tunnel
    /// the body, anything else means there is none.
    fn upgrade_done(&mut self) -> bool {
        if self.real().was_upgraded() {
            return self.real_mut().is_body_done();
        }
        self.real().response_written().is_some_and(|head| !head.status.is_informational())
    }
}

#[async_trait]
impl Custom for Wrapped {
    fn req_header(&self) -> &RequestHeader {
        self.real().req_header()
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        self.real_mut().req_header_mut()
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        self.read(false).await
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        self.real_mut().drain_request_body().await
    }

    async fn write_response_header(&mut self, head: Box<ResponseHeader>, _end: bool) -> Result<()> {
        self.settle();
        self.real_mut().write_response_header(head).await
    }

    async fn write_response_header_ref(&mut self, head: &ResponseHeader, _end: bool) -> Result<()> {
        self.settle();
        self.real_mut().write_response_header_ref(head).await
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.real_mut().write_response_body(data, end).await
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.real_mut().write_response_trailers(trailers).await
    }

    async fn response_duplex_vec(&mut self, mut tasks: Vec<HttpTask>) -> Result<bool> {
        if let Some((finish, bytes_max)) = self.shared.finish.lock().take() {
            self.hold.get_or_insert_with(|| Hold::new(bytes_max, false)).finish_with(finish, bytes_max);
        }
        if let Some(hold) = self.hold.as_mut() {
            match hold.take(tasks) {
                Held::Wait => return Ok(false),
                Held::Release(ready) => tasks = ready,
                Held::Failed(error) => return Err(error),
                Held::TooLarge => return Err(Error::new(RESPONSE_TOO_LARGE)),
            }
        }
        if let Some(examine) = self.shared.examine.lock().take() {
            self.examine = Some(examine);
        }
        if let Some(examine) = self.examine.as_mut() {
            tasks = examine.examine(tasks).await?;
            if tasks.is_empty() {
                return Ok(false);
            }
        }
        let Some(tasks) = self.keep_early(tasks)? else { return Ok(false) };
        self.settle();
        if self.drain.is_none() {
            return self.real_mut().response_duplex_vec(tasks).await;
        }
        let ends = tasks.iter().any(HttpTask::is_end);
        if self.drains_until.is_some() {
            return Ok(ends);
        }
        match self.real_mut().response_duplex_vec(tasks).await {
            Err(_) if self.real().response_written().is_some() && self.abandon() => Ok(ends),
            written => written,
        }
    }

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.real_mut().set_read_timeout(timeout);
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.real().get_read_timeout()
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.real_mut().set_write_timeout(timeout);
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.real().get_write_timeout()
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.real_mut().set_total_drain_timeout(timeout);
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.real().get_total_drain_timeout()
    }

    fn request_summary(&self) -> String {
        self.real().request_summary()
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.real().response_written()
    }

    async fn shutdown(&mut self, _code: u32, _reason: &str) {
        self.real_mut().shutdown().await;
    }

    fn is_body_done(&mut self) -> bool {
        if self.upgrade && self.begun {
            return self.upgrade_done();
        }
        match &self.recording {
            Some(recording) => recording.is_done() || (recording.is_caught_up() && self.real_mut().is_body_done()),
            None => self.real_mut().is_body_done(),
        }
    }

    async fn finish(&mut self) -> Result<()> {
        self.real_mut().finish_body().await
    }

    /// Asked once for framing, before the attempt begins, and once to decide whether to queue an
    /// end of body; with an upgrade that very end would tear the tunnel down.
    fn is_body_empty(&mut self) -> bool {
        if self.upgrade {
            return !self.begun;
        }
        match &self.recording {
            Some(recording) if recording.is_ended() => recording.is_empty(),
            Some(recording) if !recording.is_caught_up() => false,
            _ => self.real_mut().is_body_empty(),
        }
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if self.drains_until.is_none() && self.drain.is_some() && no_body_expected {
            let read = self.read_in_time(no_body_expected).await;
            let left = matches!(&read, Ok(None))
                || matches!(&read, Err(it) if it.etype != super::REQUEST_DEADLINE && it.etype != super::ATTEMPT_DEADLINE);
            if !(left && self.real().response_written().is_some() && self.abandon()) {
                return read;
            }
        }
        if let Some((until, kind)) = self.drains_until.and_then(|_| self.deadline()) {
            // Nobody is there to be read from.
            tokio::time::sleep_until(until.into()).await;
            return Err(Error::new(kind).into_down());
        }
        self.read_in_time(no_body_expected).await
    }

    fn body_bytes_sent(&self) -> usize {
        self.real().body_bytes_sent()
    }

    fn body_bytes_read(&self) -> usize {
        self.real().body_bytes_read()
    }

    fn digest(&self) -> Option<&Digest> {
        self.real().digest()
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        self.real_mut().digest_mut()
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.real().client_addr()
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.real().server_addr()
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        self.real().to_h1_raw()
    }

    /// Pingora calls this at the start of every attempt.
    fn enable_retry_buffering(&mut self) {
        self.begun = true;
        self.early.clear();
        *self.shared.finish.lock() = None;
        *self.shared.examine.lock() = None;
        self.examine = None;
        if let Some(hold) = self.hold.as_mut() {
            hold.reset();
        }
        if let Some(recording) = self.recording.as_mut() {
            recording.rewind();
        }
    }

    fn retry_buffer_truncated(&self) -> bool {
        self.recording.as_ref().is_some_and(super::Recording::is_truncated)
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        None
    }

    fn is_upgrade_req(&self) -> bool {
        self.upgrade && self.real().is_upgrade_req()
    }

    fn was_upgraded(&self) -> bool {
        self.real().was_upgraded()
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(
        &mut self,
    ) -> Option<Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>> {
        None
    }

    fn restore_custom_message_reader(
        &mut self,
        _: Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>,
    ) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(&mut self, _: Box<dyn CustomMessageWrite>) -> Result<()> {
        Ok(())
    }
}
