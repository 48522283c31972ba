//! HTTP/2 connections to servers that are asked by gRPC: one for each endpoint and set of terms,
//! shared by all calls. HTTP/2 carries them side by side; where the server bounds its streams, the
//! next call waits for one, within its deadline.
//!
//! A connection that nobody used for the idle time of its terms is closed. Whoever finds it broken
//! says so ([`Connection::give_up`]), and the next call dials.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use filters::callout::{ANSWER_BYTES_MAX, Fault};
use h2::client::{Builder, SendRequest};
use parking_lot::Mutex;

use super::super::dial::Flow;
use super::super::{EndpointId, Lease, Template};
use super::gather::Gather;

/// Longest head of an answer, trailers included.
const HEAD_BYTES_MAX: u32 = 64 * 1024;
/// What one connection may have under way towards us.
const WINDOW_BYTES: u32 = 4 << 20;
/// Streams that were given up and may still be answered, on one connection.
const RESETS_MAX: usize = 256;

/// Shortest time between two looks at whether a connection is in use.
const IDLE_MIN: Duration = Duration::from_millis(100);

/// Terms of a connection and the endpoint it leads to.
type Key = (u64, EndpointId);

/// Every connection that is open or being opened.
#[derive(Default)]
pub(super) struct Channels(Mutex<HashMap<Key, Arc<Channel>>>);

/// The way to one endpoint.
#[derive(Default)]
struct Channel {
    open: Mutex<Option<Connection>>,
    /// Who holds this dials; all others wait for what comes of it.
    dialling: tokio::sync::Mutex<()>,
    used: AtomicBool,
}

/// A connection as a call holds it.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) sender: SendRequest<Bytes>,
    /// Somebody has used it before.
    pub(super) reused: bool,
    number: u64,
    channel: Weak<Channel>,
}

impl Channels {
    /// A connection to the endpoint that is open already: what most calls find.
    pub(super) fn at_hand(&self, template: &Template, lease: &Lease) -> Option<Connection> {
        self.0.lock().get(&(template.key(), lease.id()))?.take()
    }

    /// A connection to the endpoint, dialled if there is none.
    pub(super) async fn connect(self: &Arc<Self>, template: &Template, lease: &Lease) -> Result<Connection, Fault> {
        let key = (template.key(), lease.id());
        let channel = self.0.lock().entry(key).or_default().clone();
        if let Some(open) = channel.take() {
            return Ok(open);
        }
        let _turn = channel.dialling.lock().await;
        if let Some(open) = channel.take() {
            return Ok(open);
        }
        let flow = template.connect(lease, &[b"h2"]).await;
        let dialled = match flow {
            Ok(flow) => self.open(flow, key, &channel, template.idle_timeout()).await,
            Err(fault) => Err(Fault::Unreachable(fault.to_string())),
        };
        if dialled.is_err() {
            self.forget(&key, &channel);
        }
        dialled
    }

    async fn open(
        self: &Arc<Self>,
        flow: Flow,
        key: Key,
        channel: &Arc<Channel>,
        idle: Duration,
    ) -> Result<Connection, Fault> {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        if !flow.may_speak_h2() {
            return Err(Fault::Unreachable("the server does not speak HTTP/2 over TLS".to_owned()));
        }
        let window = ANSWER_BYTES_MAX as u32 + HEAD_BYTES_MAX;
        let shaken = Builder::new()
            .enable_push(false)
            .initial_window_size(window)
            .initial_connection_window_size(WINDOW_BYTES)
            .max_header_list_size(HEAD_BYTES_MAX)
            .max_concurrent_reset_streams(RESETS_MAX)
            .handshake(flow)
            .await;
        let (sender, connection) = shaken.map_err(|error| Fault::Unreachable(format!("HTTP/2: {error}")))?;
        let number = NUMBERS.fetch_add(1, Relaxed);
        let open = Connection { sender, reused: false, number, channel: Arc::downgrade(channel) };
        *channel.open.lock() = Some(Connection { reused: true, ..open.clone() });
        let (channels, channel) = (Arc::downgrade(self), channel.clone());
        tokio::spawn(async move {
            drive(connection, &channel, number, idle).await;
            channel.close(number);
            if let Some(channels) = channels.upgrade() {
                channels.forget(&key, &channel);
            }
        });
        Ok(open)
    }

    /// Drops the way to an endpoint unless somebody is on it.
    fn forget(&self, key: &Key, channel: &Arc<Channel>) {
        let mut channels = self.0.lock();
        let ours = channels.get(key).is_some_and(|it| Arc::ptr_eq(it, channel));
        if ours && channel.open.lock().is_none() {
            channels.remove(key);
        }
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.0.lock().len()
    }
}

impl Channel {
    fn take(&self) -> Option<Connection> {
        let open = self.open.lock().clone();
        if open.is_some() {
            self.used.store(true, Relaxed);
        }
        open
    }

    /// The connection of this number takes no further calls.
    fn close(&self, number: u64) {
        let mut open = self.open.lock();
        if open.as_ref().is_some_and(|it| it.number == number) {
            *open = None;
        }
    }
}

impl Connection {
    /// It is broken, or on its way out.
    pub(super) fn give_up(&self) {
        if let Some(channel) = self.channel.upgrade() {
            channel.close(self.number);
        }
    }
}

/// Moves bytes until the connection ends; lets go of it when it was idle for so long.
async fn drive<T>(connection: h2::client::Connection<T>, channel: &Channel, number: u64, idle: Duration)
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let connection = pin!(connection);
    let mut connection = Gather::new(connection);
    let ended = loop {
        match tokio::time::timeout(idle.max(IDLE_MIN), &mut connection).await {
            Ok(ended) => break ended,
            Err(_) if !channel.used.swap(false, Relaxed) => {
                // With the last sender gone it ends by itself, after the calls that are under way.
                channel.close(number);
                break connection.await;
            }
            Err(_) => {}
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection of calls ended");
    }
}
