use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

fn listener(number: usize) -> (u16, Offer) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let offer = Offer { key: format!("bind/{number}"), address: address.to_string(), socket: listener.into() };
    (address.port(), offer)
}

fn duplicates(offers: &[Offer]) -> io::Result<Vec<Offer>> {
    offers
        .iter()
        .map(|it| {
            Ok(Offer {
                key: it.key.clone(),
                address: it.address.clone(),
                socket: it.socket.as_fd().try_clone_to_owned()?,
            })
        })
        .collect()
}

#[tokio::test]
async fn sockets_of_several_batches_arrive_listening_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("handoff.sock");
    let post = Post::open(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let (ports, offers): (Vec<_>, Vec<_>) = (0..150).map(listener).unzip();
    let successor = tokio::task::spawn_blocking(move || {
        let (predecessor, got) = fetch(&path).unwrap();
        predecessor.ready().unwrap();
        got
    });
    let (served, got) = tokio::join!(serve(&post, || duplicates(&offers)), successor);
    served.unwrap();
    let got = got.unwrap();
    drop(offers);
    assert_eq!(got.len(), 150);
    for (number, (port, offer)) in ports.into_iter().zip(got).enumerate() {
        assert_eq!((offer.key, offer.address), (format!("bind/{number}"), format!("127.0.0.1:{port}")));
        let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        TcpListener::from(offer.socket).accept().unwrap();
    }
}

#[tokio::test]
async fn a_successor_that_fails_leaves_the_predecessor_waiting_for_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("handoff.sock");
    let post = Post::open(&path).unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let successors = tokio::task::spawn_blocking(move || {
        // The first dies before it is ready.
        drop(fetch(&path).unwrap());
        let (predecessor, got) = fetch(&path).unwrap();
        assert!(got.is_empty());
        predecessor.ready().unwrap();
    });
    let offers = || {
        asked.fetch_add(1, Ordering::Relaxed);
        Ok(vec![])
    };
    let (served, successors) = tokio::join!(serve(&post, offers), successors);
    served.unwrap();
    successors.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[test]
fn another_version_is_refused_by_name() {
    let (old, new) = UnixStream::pair().unwrap();
    let manifest = br#"{"v":2,"keys":"of the future"}"#;
    (&old).write_all(&u32::try_from(manifest.len()).unwrap().to_be_bytes()).unwrap();
    (&old).write_all(manifest).unwrap();
    let error = receive(&new, &mut vec![]).unwrap_err();
    assert!(error.to_string().contains("version 2"), "{error}");
}

#[tokio::test]
async fn a_successors_socket_file_survives_its_predecessor() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("handoff.sock");
    let predecessor = Post::open(&path).unwrap();
    let successor = Post::open(&path).unwrap();
    drop(predecessor);
    assert!(path.exists(), "the file is the successor's now");
    drop(successor);
    assert!(!path.exists());
}
