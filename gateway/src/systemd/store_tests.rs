use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use super::*;

fn offer(key: &str, socket: &TcpListener) -> Offer {
    Offer { key: key.to_owned(), address: "*:1".to_owned(), socket: socket.try_clone().unwrap().into() }
}

#[test]
fn what_opens_is_stored_and_what_closes_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let heard = || {
        let mut all = Vec::new();
        let mut bytes = [0; 512];
        while let Ok(length) = manager.recv(&mut bytes) {
            all.push(String::from_utf8(bytes[..length].to_vec()).unwrap().replace("\nFDNAME=", " "));
        }
        all
    };
    let (first, second) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let supervisor = Arc::new(Supervisor::at(path.to_str().unwrap()).unwrap());
    let mut store = Store::new(supervisor, left_by(&[offer("kept", &first), offer("gone", &first)]));
    store.follow(&[offer("kept", &first), offer("new", &first)]);
    assert_eq!(heard(), ["FDSTOREREMOVE=1 gone *%3A1", "FDSTORE=1 new *%3A1"]);
    store.follow(&[offer("kept", &first), offer("new", &first)]);
    assert_eq!(heard(), [""; 0], "nothing changed");
    store.follow(&[offer("kept", &second), offer("new", &first)]);
    assert_eq!(heard(), ["FDSTOREREMOVE=1 kept *%3A1", "FDSTORE=1 kept *%3A1"], "another socket at the same address");
}
