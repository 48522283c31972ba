//! Head and body of a request in one packet, where all of it is at hand when the request goes out.
//!
//! Pingora writes the two one after the other, which makes two packets, and wakes the backend twice: on a fast network
//! that costs more than everything that is done with a short body. Nothing of Pingora's says when the body is written.
//! What is known is that both writes happen before the request's task waits for the answer. So the kernel is asked to
//! hold packets back (`TCP_CORK` of tcp(7)), and a task of its own, which comes to its turn when the request's waits, asks
//! it to hold them no longer. Where that happens early there are two packets, as before; where it were forgotten, the
//! kernel would send them after 200 ms.

use std::os::fd::{BorrowedFd, RawFd};

use rustix::net::sockopt::set_tcp_cork;

/// Joins what the calling task writes into this socket before it waits.
pub fn join_writes(socket: RawFd) {
    if set(socket, true) {
        tokio::spawn(async move { set(socket, false) });
    }
}

/// Whether that was a TCP socket.
fn set(socket: RawFd, holds: bool) -> bool {
    if socket < 0 {
        return false;
    }
    #[expect(unsafe_code, reason = "Pingora tells the number of its socket and nothing else")]
    // SAFETY: the number is used for this one call and kept by nobody. It is that of a socket whose owner lives when
    // `join_writes` is called; later the owner may be gone, and then the call fails, or lets another connection's
    // packets go, which changes nothing of what they say.
    let socket = unsafe { BorrowedFd::borrow_raw(socket) };
    set_tcp_cork(socket, holds).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn writes_arrive_together_and_none_is_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.set_nodelay(true).unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let mut joined = 0;
        for round in 0..50 {
            let wrote = tokio::spawn(async move {
                join_writes(client.as_raw_fd());
                client.write_all(b"head ").await.unwrap();
                client.write_all(b"body").await.unwrap();
                client
            });
            let mut got = [0; 9];
            let read = server.read(&mut got).await.unwrap();
            joined += usize::from(read == got.len());
            server.read_exact(&mut got[read..]).await.unwrap();
            assert_eq!(&got, b"head body", "round {round}");
            client = wrote.await.unwrap();
        }
        // On a machine that stands still between the two writes, the kernel does not wait.
        assert!(joined > 40, "{joined} of 50");
    }

    #[tokio::test]
    async fn what_is_no_socket_of_tcp_is_left_alone() {
        let (one, _other) = tokio::net::UnixStream::pair().unwrap();
        assert!(!set(one.as_raw_fd(), true));
        join_writes(-1);
    }
}
