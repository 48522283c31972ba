use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};

use super::*;

fn binds(all: &[(&str, &str)]) -> BTreeMap<BindKey, BindAddress> {
    let address = |text: &str| match (text.strip_prefix("*:"), text.strip_prefix("unix:")) {
        (Some(port), _) => BindAddress::Wildcard(port.parse().unwrap()),
        (_, Some(path)) => BindAddress::Unix(path.into()),
        _ => BindAddress::Socket(text.parse().unwrap()),
    };
    all.iter().map(|(key, text)| (BindKey::new(*key), address(text))).collect()
}

fn placed(brought: Vec<(&str, OwnedFd)>, all: &BTreeMap<BindKey, BindAddress>) -> Vec<(String, String)> {
    let brought = Brought(brought.into_iter().map(|(name, it)| (name.to_owned(), it)).collect());
    brought.offers(all).into_iter().map(|it| (it.key, it.address)).collect()
}

fn tcp(address: &str) -> (OwnedFd, u16) {
    let socket = TcpListener::bind(address).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket.into(), port)
}

fn own_pair(key: &str, address: &str) -> (String, String) {
    (key.to_owned(), address.to_owned())
}

#[test]
fn a_socket_unit_serves_by_name_and_else_by_address() {
    let (named, _) = tcp("127.0.0.1:0");
    let (unnamed, port) = tcp("127.0.0.1:0");
    let (anywhere, wild) = tcp("0.0.0.0:0");
    let (here, star) = (format!("127.0.0.1:{port}"), format!("*:{wild}"));
    let all = binds(&[("bind/443", "*:443"), ("a", &here), ("b", &star), ("c", "127.0.0.1:1")]);
    let brought = vec![("bind/443", named), ("agentgateway.socket", unnamed), ("agentgateway.socket", anywhere)];
    assert_eq!(placed(brought, &all), [own_pair("bind/443", "*:443"), own_pair("a", &here), own_pair("b", &star)]);
}

#[test]
fn a_stored_socket_serves_its_bind_at_its_address_only() {
    let all = binds(&[("bind/8080", "*:8080")]);
    let same = stored_name("bind/8080", "*:8080");
    assert_eq!(placed(vec![(&same, tcp("127.0.0.1:0").0)], &all), [own_pair("bind/8080", "*:8080")]);
    let moved = stored_name("bind/8080", "127.0.0.1:8080");
    assert_eq!(placed(vec![(&moved, tcp("127.0.0.1:0").0)], &all), []);
    let own = stored_name("server/admin", "127.0.0.1:15000");
    assert_eq!(placed(vec![(&own, tcp("127.0.0.1:0").0)], &all), [own_pair("server/admin", "127.0.0.1:15000")]);
}

#[test]
fn a_bind_takes_one_socket_and_only_of_its_kind() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let text = format!("unix:{}", path.display());
    let all = binds(&[("tcp", "*:1"), ("unix", &text)]);
    let listener: OwnedFd = UnixListener::bind(&path).unwrap().into();
    let (first, second) = (tcp("127.0.0.1:0").0, tcp("127.0.0.1:0").0);
    let brought = vec![("tcp", listener), ("tcp", first), ("tcp", second)];
    assert_eq!(placed(brought, &all), [own_pair("unix", &text), own_pair("tcp", "*:1")]);
}

#[test]
fn what_does_not_listen_is_not_offered() {
    let all = binds(&[("a", "*:1")]);
    let connected: OwnedFd = UnixStream::pair().unwrap().0.into();
    let datagram: OwnedFd = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into();
    assert_eq!(placed(vec![("a", connected), ("a", datagram)], &all), []);
}

#[test]
fn a_stored_name_can_be_read_back() {
    for (key, address) in [("bind/1", "[::1]:80"), ("a b%c:d", "unix:/run/é x"), ("%", "*:0")] {
        let name = stored_name(key, address);
        assert!(name.bytes().all(|it| (b' '..0x7f).contains(&it) && it != b':'), "{name}");
        let (first, second) = name.split_once(BETWEEN).unwrap();
        assert_eq!((plain(first).as_str(), plain(second).as_str()), (key, address));
    }
    assert_eq!(plain("%zz%4"), "%zz%4", "what is no code stays");
}
