//! What strangers send: every row of the smuggling table in pingora.md §4, and then worse.
//!
//! Each case says what the gateway answers or that it closes. After each the gateway must serve a good request, and the
//! backend must never have seen `/smuggled`.

#[path = "hostile/http2.rs"]
mod http2;
#[path = "hostile/slow.rs"]
mod slow;

use std::sync::Mutex;
use std::time::Duration;

use tests::wait::PATIENCE;
use tests::{Backend, Gateway, RawClient, eventually};

/// A gateway before an echo.
struct Rig {
    backend: Backend,
    gateway: Gateway,
    /// What went wrong so far: a table is read to its end.
    wrong: Mutex<Vec<String>>,
}

impl Rig {
    async fn new() -> Rig {
        Rig::with("").await
    }

    /// With these `frontendPolicies`, in flow style.
    async fn with(frontend: &str) -> Rig {
        let backend = Backend::echo();
        let frontend = if frontend.is_empty() { String::new() } else { format!("frontendPolicies: {frontend}\n") };
        let yaml = format!(
            "{frontend}binds:\n- port: 0\n  address: 127.0.0.1\n  listeners:\n  - routes:\n    - backends: [{{ host: '{}' }}]\n",
            backend.addr()
        );
        let gateway = Gateway::start(&yaml).await;
        Rig { backend, gateway, wrong: Mutex::default() }
    }

    async fn raw(&self) -> RawClient {
        RawClient::connect(self.gateway.addr(0)).await
    }

    /// Writes, and gives the statuses heard until the connection ends; it must end.
    async fn statuses(&self, bytes: &[u8]) -> Vec<u16> {
        let mut client = self.raw().await;
        // A gateway that has heard enough does not read the rest.
        let _ = client.write(bytes).await;
        let end = client.read_to_end().await;
        statuses(&end.unwrap_or_else(|error| panic!("{}: {error:#}", shown(bytes))).bytes)
    }

    async fn check(&self, name: &str, bytes: &[u8], wanted: &[u16]) {
        let heard = self.statuses(bytes).await;
        if heard != wanted {
            let line = format!("{name}: {heard:?}, not {wanted:?}, after {:?}", shown(bytes));
            self.wrong.lock().expect("no panic under the lock").push(line);
        }
        self.still_good(name).await;
    }

    async fn still_good(&self, after: &str) {
        let reply = self.gateway.client().get("/good").await;
        assert_eq!(reply.status, 200, "a good request after: {after}");
        let smuggled = self.backend.stats().seen().into_iter().find(|it| it.uri.path().contains("smuggled"));
        assert!(smuggled.is_none(), "{after}: the backend was asked {smuggled:?}");
    }

    async fn active(&self) -> f64 {
        self.gateway.metric_sum("agentgateway_downstream_connections_active", &[]).await
    }

    async fn done(self) {
        let wrong = self.wrong.lock().expect("no panic under the lock").join("\n");
        assert!(wrong.is_empty(), "{wrong}");
        self.gateway.stop().await;
    }
}

/// The status of each answer in these bytes.
fn statuses(bytes: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.split("HTTP/1.1 ").skip(1).chain(text.split("HTTP/1.0 ").skip(1));
    lines.filter_map(|it| it.get(..3)?.parse().ok()).collect()
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.get(..120).unwrap_or(bytes)).into_owned()
}

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

fn post(fields: &str, body: &str) -> Vec<u8> {
    format!("POST /outer HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}{SMUGGLED}").into_bytes()
}

#[tokio::test]
async fn ambiguous_lengths_are_refused_rfc_9112_section_6_3() {
    let rig = Rig::new().await;
    let cases: [(&str, &str, &str); 17] = [
        ("both framings", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("both framings, other order", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
        ("both framings, length 0", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("two lengths that differ", "Content-Length: 5\r\nContent-Length: 6\r\n", "hello"),
        ("a list of lengths that differ", "Content-Length: 5, 6\r\n", "hello"),
        ("a signed length", "Content-Length: +5\r\n", "hello"),
        ("a negative length", "Content-Length: -5\r\n", "hello"),
        ("a hexadecimal length", "Content-Length: 0x5\r\n", "hello"),
        ("a length with a space inside", "Content-Length: 5 5\r\n", "hello"),
        ("an empty length", "Content-Length:\r\n", ""),
        ("a length beyond 64 bits", "Content-Length: 18446744073709551621\r\n", "hello"),
        ("an unknown coding", "Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
        ("chunked not last", "Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"),
        ("chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("a coding with a vertical tab", "Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"),
        ("a space before the colon", "Content-Length : 5\r\n", "hello"),
        ("a folded coding", "Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n"),
    ];
    for (name, fields, body) in cases {
        rig.check(name, &post(fields, body), &[400]).await;
    }
    rig.done().await;
}

#[tokio::test]
async fn a_coding_with_http_1_0_is_refused_rfc_9112_section_6_1() {
    let rig = Rig::new().await;
    let bytes = format!("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}");
    rig.check("chunked over HTTP/1.0", bytes.as_bytes(), &[400]).await;
    rig.done().await;
}

#[tokio::test]
async fn malformed_heads_are_refused() {
    let rig = Rig::new().await;
    let get = |fields: &str| format!("GET /outer HTTP/1.1\r\n{fields}\r\n{SMUGGLED}").into_bytes();
    let cases = [
        ("no Host (RFC 9112 section 3.2)", get("")),
        ("an empty Host beside another", get("Host: a\r\nHost:\r\n")),
        ("two Hosts", get("Host: a\r\nHost: b\r\n")),
        ("two equal Hosts", get("Host: a\r\nHost: a\r\n")),
        ("a list of Hosts", get("Host: a, b\r\n")),
        ("a Host with user information", get("Host: u@a\r\n")),
        ("a Host with a path", get("Host: a/b\r\n")),
        ("NUL in a value", get("Host: a\r\nX: a\0b\r\n")),
        ("NUL in a name", get("Host: a\r\nX\0: a\r\n")),
        ("CR in a value", get("Host: a\r\nX: a\rb\r\n")),
        ("CR alone ends a line", get("Host: a\r\nX: a\rTransfer-Encoding: chunked\r\n")),
        ("obs-fold", get("Host: a\r\nX: a\r\n b\r\n")),
        ("a folded first field", get(" Host: a\r\n")),
        ("a space before the colon", get("Host: a\r\nX : a\r\n")),
        ("a field without a colon", get("Host: a\r\nX\r\n")),
        ("a field without a name", get("Host: a\r\n: x\r\n")),
        ("a space in a name", get("Host: a\r\nX Y: a\r\n")),
        ("a control in a value", get("Host: a\r\nX: a\x01b\r\n")),
        ("a tab before the method", format!("\tGET / HTTP/1.1\r\nHost: a\r\n\r\n{SMUGGLED}").into_bytes()),
        ("NUL in the target", format!("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n{SMUGGLED}").into_bytes()),
        ("a space in the target", format!("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n{SMUGGLED}").into_bytes()),
        ("no target", format!("GET HTTP/1.1\r\nHost: a\r\n\r\n{SMUGGLED}").into_bytes()),
        ("the version of another protocol", format!("GET / ICY/1.1\r\nHost: a\r\n\r\n{SMUGGLED}").into_bytes()),
        ("a relative target", format!("GET a/b HTTP/1.1\r\nHost: a\r\n\r\n{SMUGGLED}").into_bytes()),
        ("an asterisk for GET", format!("GET * HTTP/1.1\r\nHost: a\r\n\r\n{SMUGGLED}").into_bytes()),
        ("a fragment in the target", format!("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n{SMUGGLED}").into_bytes()),
        (
            "an absolute target of another host",
            format!("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n{SMUGGLED}").into_bytes(),
        ),
        ("a bad method", format!("G(T / HTTP/1.1\r\nHost: a\r\n\r\n{SMUGGLED}").into_bytes()),
        ("TLS on a plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
        ("NUL first", b"\0\0\0\0\r\n\r\n".to_vec()),
    ];
    for (name, bytes) in cases {
        rig.check(name, &bytes, &[400]).await;
    }
    assert!(rig.backend.stats().seen().iter().all(|it| it.uri.path() == "/good"), "nothing malformed is forwarded");
    rig.done().await;
}

#[tokio::test]
async fn a_version_that_is_not_spoken_is_505_and_http_0_9_is_refused() {
    let rig = Rig::new().await;
    for version in ["HTTP/3.0", "HTTP/2.0", "HTTP/9.9"] {
        let bytes = format!("GET / {version}\r\nHost: a\r\n\r\n{SMUGGLED}");
        rig.check(version, bytes.as_bytes(), &[505]).await;
    }
    rig.check("HTTP/0.9", b"GET /\r\n\r\n", &[400]).await;
    rig.check("a minor version of two digits", b"GET / HTTP/1.11\r\nHost: a\r\n\r\n", &[400]).await;
    rig.done().await;
}

#[tokio::test]
async fn http_1_0_closes_unless_it_asks_to_keep_the_connection() {
    let rig = Rig::new().await;
    rig.check("HTTP/1.0", b"GET / HTTP/1.0\r\n\r\n", &[200]).await;
    let mut client = rig.raw().await;
    for _ in 0..3 {
        client.write("GET /kept HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n").await.expect("write");
        assert_eq!(client.reply().await.expect("an answer on the kept connection").status, 200);
    }
    rig.still_good("HTTP/1.0").await;
    rig.done().await;
}

#[tokio::test]
async fn bad_chunks_are_the_clients_fault_also_after_the_backend_was_dialled() {
    let rig = Rig::new().await;
    let long = "a".repeat(20_000);
    let cases = [
        ("not a number", "xyz\r\nabc\r\n0\r\n\r\n".to_owned()),
        ("an empty size", "\r\nabc\r\n0\r\n\r\n".to_owned()),
        ("a signed size", "+3\r\nabc\r\n0\r\n\r\n".to_owned()),
        ("a negative size", "-3\r\nabc\r\n0\r\n\r\n".to_owned()),
        ("a size in C's hexadecimal", "0x3\r\nabc\r\n0\r\n\r\n".to_owned()),
        ("beyond 64 bits", "ffffffffffffffff1\r\nabc\r\n0\r\n\r\n".to_owned()),
        ("all of 64 bits", "ffffffffffffffff\r\nabc\r\n0\r\n\r\n".to_owned()),
        ("more digits than sense", format!("{}3\r\nabc\r\n0\r\n\r\n", "0".repeat(20_000))),
        ("an endless extension", format!("3;{long}\r\nabc\r\n0\r\n\r\n")),
        ("NUL in the size", "3\0\r\nabc\r\n0\r\n\r\n".to_owned()),
        ("CR in an extension", "3;a\rb\r\nabc\r\n0\r\n\r\n".to_owned()),
        ("data longer than its size", "3\r\nabcdef\r\n0\r\n\r\n".to_owned()),
        ("a space before the size", " 3\r\nabc\r\n0\r\n\r\n".to_owned()),
    ];
    for (name, chunks) in &cases {
        rig.check(name, &post("Transfer-Encoding: chunked\r\n", chunks), &[400]).await;
    }
    // The backend streams the body back only once it comes, so nothing was answered when the bad chunk arrives.
    for (name, chunks) in &cases {
        let mut client = rig.raw().await;
        let before = rig.backend.stats().requests();
        client
            .write("POST /sip?ms=1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
            .await
            .expect("write");
        eventually(PATIENCE, || async { rig.backend.stats().requests() > before }).await;
        let _ = client.write(format!("{chunks}{SMUGGLED}")).await;
        let heard = statuses(&client.read_to_end().await.expect("the connection ends").bytes);
        if heard != [400] {
            let line = format!("after the backend was dialled: {name}: {heard:?}");
            rig.wrong.lock().expect("no panic under the lock").push(line);
        }
        rig.still_good(name).await;
    }
    rig.done().await;
}

#[tokio::test]
async fn chunk_extensions_and_trailers_in_order_are_taken() {
    let rig = Rig::new().await;
    let body = "3;name=value\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n";
    let head = "POST /fine HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    rig.check("an extension and a trailer", format!("{head}{body}").as_bytes(), &[200]).await;
    assert_eq!(rig.backend.stats().seen().first().map(|it| it.text()).as_deref(), Some("abc"));
    rig.done().await;
}

#[tokio::test]
async fn too_much_head_is_431() {
    let rig = Rig::new().await;
    let many: String = (0..300).map(|it| format!("X-{it}: 1\r\n")).collect();
    rig.check("300 fields", format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n").as_bytes(), &[431]).await;
    let some: String = (0..120).map(|it| format!("X-{it}: 1\r\n")).collect();
    rig.check("120 fields", format!("GET / HTTP/1.1\r\nHost: a\r\n{some}\r\n").as_bytes(), &[431]).await;
    let large = "a".repeat(1 << 20);
    rig.check("a megabyte in one value", format!("GET / HTTP/1.1\r\nHost: a\r\nX: {large}\r\n\r\n").as_bytes(), &[431])
        .await;
    rig.check("a megabyte of target", format!("GET /{large} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes(), &[431]).await;
    rig.check("a megabyte without an end", large.as_bytes(), &[431]).await;
    assert_eq!(rig.backend.stats().seen().iter().filter(|it| it.uri.path() != "/good").count(), 0);
    rig.done().await;
}

#[tokio::test]
async fn paths_reach_the_backend_in_one_form_or_not_at_all() {
    let rig = Rig::new().await;
    let ask = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").into_bytes();
    let refused = ["/%00", "/a%00b", "/a\\..\\b", "/a%5cb", "/%zz", "/%", "/../x", "/a/../../x", "/%2e%2e/x", "/a\x7f"];
    for target in refused {
        rig.check(target, &ask(target), &[400]).await;
    }
    let normal = [
        ("/a/../b", "/b"),
        ("/a/%2e%2e/b", "/b"),
        ("/a/%2E%2e/b", "/b"),
        ("/a/./b", "/a/b"),
        ("/%61", "/a"),
        ("/a%2fb", "/a%2Fb"),
        ("/a/..", "/"),
    ];
    for (target, wanted) in normal {
        rig.backend.stats().seen();
        assert_eq!(rig.statuses(&ask(target)).await, [200], "{target}");
        assert_eq!(rig.backend.stats().last().uri.path(), wanted, "{target}");
        rig.still_good(target).await;
    }
    rig.done().await;
}

#[tokio::test]
async fn methods_pass_unless_they_would_make_a_tunnel() {
    let rig = Rig::new().await;
    rig.check("CONNECT", format!("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n{SMUGGLED}").as_bytes(), &[405]).await;
    rig.check(
        "CONNECT with a length",
        format!("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nContent-Length: 3\r\n\r\nabc{SMUGGLED}").as_bytes(),
        &[405],
    )
    .await;
    for method in ["PROPFIND", "M-SEARCH", "BREW", "QUERY"] {
        let bytes = format!("{method} /method HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert_eq!(rig.statuses(bytes.as_bytes()).await, [200], "{method}");
        assert_eq!(rig.backend.stats().last().method.as_str(), method);
        rig.still_good(method).await;
    }
    // RFC 9110 section 9.3.8: a client must not send content in TRACE.
    let trace = format!("TRACE /t HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello{SMUGGLED}");
    rig.check("TRACE with a body", trace.as_bytes(), &[400]).await;
    rig.done().await;
}

#[tokio::test]
async fn an_upgrade_with_a_body_smuggles_nothing() {
    let rig = Rig::new().await;
    let cases = [
        ("a length", "Content-Length: 5\r\n", "hello"),
        ("chunks", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ("no body", "", ""),
    ];
    for (name, fields, body) in cases {
        for token in ["websocket", "h2c", "x"] {
            let bytes = format!(
                "POST /outer HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: {token}\r\n{fields}\r\n{body}{SMUGGLED}"
            );
            let mut client = rig.raw().await;
            client.write(&bytes).await.expect("write");
            let heard = client.reply().await.map(|it| it.status.as_u16()).ok();
            drop(client);
            // What follows may be a second request of the same client, which is no smuggling; but never part of the first.
            if !matches!(heard, Some(200 | 400)) {
                rig.wrong.lock().expect("no panic under the lock").push(format!("{name}, {token}: {heard:?}"));
            }
            let outer = rig.backend.stats().seen().into_iter().filter(|it| it.uri.path() == "/outer");
            assert!(outer.clone().all(|it| it.body.len() <= 5), "{name}, {token}: {:?}", outer.collect::<Vec<_>>());
            assert_eq!(rig.gateway.client().get("/good").await.status, 200, "{name}");
        }
    }
    rig.done().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_and_one_by_one() {
    let rig = Rig::new().await;
    let mut client = rig.raw().await;
    let many: String = (0..200).map(|it| format!("GET /p{it} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    client.write(many).await.expect("write");
    for number in 0..200 {
        let reply = client.reply().await.expect("an answer");
        assert_eq!(reply.json()["path"], format!("/p{number}"));
    }
    // A refused request ends the connection: what follows is not looked at.
    let mixed = format!("GET /ok HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n\r\n{SMUGGLED}");
    rig.check("a bad one in the middle", mixed.as_bytes(), &[200, 400]).await;
    let bodies = "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcPOST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\ndef\r\n0\r\n\r\n";
    rig.check("bodies", bodies.as_bytes(), &[200, 200]).await;
    let seen = rig.backend.stats().seen();
    let body = |path: &str| seen.iter().find(|it| it.uri.path() == path).map(|it| it.text()).unwrap_or_default();
    assert_eq!((body("/b").as_str(), body("/c").as_str()), ("abc", "def"));
    rig.done().await;
}

#[tokio::test]
async fn five_hundred_hostile_connections_leave_nothing_behind() {
    let rig = Rig::new().await;
    rig.still_good("the start").await;
    let (fds, rss) = (rig.gateway.fds(), rig.gateway.rss_kib());
    let shapes: [&[u8]; 8] = [
        b"",
        b"GET / HT",
        b"\x16\x03\x01",
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        b"POST /sip?ms=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"GET /stall HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x01\x05",
    ];
    for round in 0..500 {
        let shape = shapes[round % shapes.len()];
        let mut client = rig.raw().await;
        client.write(shape).await.expect("write");
        match round % 3 {
            // FIN of our half, then the rest at drop.
            0 => client.finish().await.expect("finish"),
            // RST.
            1 => client.reset(),
            _ => {}
        }
    }
    eventually(PATIENCE, || async { rig.active().await <= 1.0 }).await;
    eventually(PATIENCE, || async { rig.gateway.fds() <= fds + 4 }).await;
    eventually(PATIENCE, || async { rig.backend.stats().in_flight() == 0 }).await;
    rig.still_good("500 hostile connections").await;
    let grown = rig.gateway.rss_kib().saturating_sub(rss);
    assert!(grown < 48 * 1024, "{grown} KiB more than before");
    rig.done().await;
}

/// As long as a limit under test, and some.
const SOON: Duration = Duration::from_secs(10);
