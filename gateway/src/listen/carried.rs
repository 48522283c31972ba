//! What the process carries, by kind: what keeps a process that drains alive, and what is asked about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Kinds of connections, and of long-lived exchanges on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Http1,
    Http2,
    Tcp,
    Passthrough,
    /// An event stream.
    Sse,
    /// A WebSocket, or another protocol switched to.
    WebSocket,
}

/// How much of each there is.
#[derive(Debug, Default)]
pub struct Carried([AtomicUsize; 6]);

/// One of a kind; counted until dropped.
#[derive(Debug)]
pub struct Load(Arc<Carried>, Kind);

impl Carried {
    pub fn take(self: &Arc<Self>, kind: Kind) -> Load {
        self.cell(kind).fetch_add(1, Ordering::Relaxed);
        Load(Arc::clone(self), kind)
    }

    pub fn count(&self, kind: Kind) -> usize {
        self.cell(kind).load(Ordering::Relaxed)
    }

    fn cell(&self, kind: Kind) -> &AtomicUsize {
        let Self([http1, http2, tcp, passthrough, sse, websocket]) = self;
        match kind {
            Kind::Http1 => http1,
            Kind::Http2 => http2,
            Kind::Tcp => tcp,
            Kind::Passthrough => passthrough,
            Kind::Sse => sse,
            Kind::WebSocket => websocket,
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.cell(self.1).fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_counted_for_itself_until_it_ends() {
        let carried = Arc::<Carried>::default();
        let (stream, _other) = (carried.take(Kind::Sse), carried.take(Kind::Http1));
        assert_eq!((carried.count(Kind::Sse), carried.count(Kind::Http1), carried.count(Kind::Tcp)), (1, 1, 0));
        drop(stream);
        assert_eq!(carried.count(Kind::Sse), 0);
    }
}
