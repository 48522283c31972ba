use std::io::{IoSliceMut, Read, Write};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use super::*;

/// A manager's end and a supervisor that speaks to it.
fn pair() -> (tempfile::TempDir, UnixDatagram, Supervisor) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let supervisor = Supervisor::at(path.to_str().unwrap()).unwrap();
    (dir, manager, supervisor)
}

fn heard(manager: &UnixDatagram) -> String {
    let mut buffer = [0; 512];
    let length = manager.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

#[test]
fn messages_are_what_the_manual_says() {
    let (_dir, manager, supervisor) = pair();
    type Call = fn(&Supervisor);
    let cases: [(Call, &str); 5] = [
        (Supervisor::stopping, "STOPPING=1"),
        (Supervisor::alive, "WATCHDOG=1"),
        (|it| it.status("two\nlines"), "STATUS=two lines"),
        (|it| it.main_pid(7), "MAINPID=7"),
        (|it| it.extend(Duration::from_millis(1500)), "EXTEND_TIMEOUT_USEC=1500000"),
    ];
    for (call, wanted) in cases {
        call(&supervisor);
        assert_eq!(heard(&manager), wanted);
    }
    supervisor.ready();
    assert_eq!(heard(&manager), format!("MAINPID={}\nREADY=1", std::process::id()));
    supervisor.reloading();
    let reloading = heard(&manager);
    let (first, second) = reloading.split_once('\n').unwrap();
    assert_eq!(first, "RELOADING=1");
    assert!(second.strip_prefix("MONOTONIC_USEC=").unwrap().parse::<u64>().unwrap() > 0);
}

#[test]
fn a_stored_descriptor_arrives_with_its_name() {
    let (_dir, manager, supervisor) = pair();
    let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    assert!(supervisor.store("bind/3000 *%3A3000", ours.as_fd()));
    let mut bytes = [0; 512];
    let mut space = [MaybeUninit::uninit(); SPACE_BYTES];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let slices = &mut [IoSliceMut::new(&mut bytes)];
    let length = rustix::net::recvmsg(&manager, slices, &mut control, RecvFlags::empty()).unwrap().bytes;
    assert_eq!(&bytes[..length], b"FDSTORE=1\nFDNAME=bind/3000 *%3A3000");
    let Some(RecvAncillaryMessage::ScmRights(mut brought)) = control.drain().next() else { panic!("no descriptor") };
    let mut copy = std::os::unix::net::UnixStream::from(brought.next().unwrap());
    drop(ours);
    copy.write_all(b"x").unwrap();
    let mut byte = [0];
    theirs.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"x", "what came back is the descriptor that was stored");
    assert!(supervisor.forget("bind/3000 *%3A3000"));
    assert_eq!(heard(&manager), "FDSTOREREMOVE=1\nFDNAME=bind/3000 *%3A3000");
}

#[test]
fn a_name_the_manager_would_refuse_is_not_sent() {
    let (_dir, manager, supervisor) = pair();
    let (ours, _) = std::os::unix::net::UnixStream::pair().unwrap();
    for name in ["", "a:b", "a\nREADY=1", "ä", &"x".repeat(256)] {
        assert!(!supervisor.store(name, ours.as_fd()), "{name}");
    }
    manager.set_nonblocking(true).unwrap();
    assert!(manager.recv(&mut [0; 8]).is_err(), "nothing was sent");
}

#[test]
fn abstract_names_and_paths_are_addresses_and_nothing_else_is() {
    assert!(address("@somewhere").is_ok());
    assert!(address("/run/systemd/notify").is_ok());
    for text in ["", "vsock:2:1", "relative/path"] {
        assert!(matches!(address(text), Err(NotifyFault::Address(_))), "{text}");
    }
}

#[test]
fn without_a_manager_nothing_happens() {
    let supervisor = Supervisor::default();
    supervisor.ready();
    assert!(!supervisor.is_there());
    assert_eq!(supervisor.watchdog(), None);
}
