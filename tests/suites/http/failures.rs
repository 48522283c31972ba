//! What clients and the access log get when something is wrong.

use serde_json::Value;
use tests::wait::PATIENCE;
use tests::{Authority, Backend, Client, Gateway, RawClient, config};

/// Field and value of the newest access line.
async fn reason(gateway: &Gateway, n: usize) -> (u64, String) {
    let lines = gateway.wait_access(n).await;
    let line = &lines[n - 1];
    (line["http.status"].as_u64().unwrap_or(0), line["reason"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn each_failure_has_its_status_and_its_reason() {
    let dead = Backend::dead().await;
    let echo = Backend::echo();
    let gateway = Gateway::start(&config::routes(&format!(
        "
- name: dead
  matches: [{{ path: {{ pathPrefix: /dead }} }}]
  backends: [{{ host: '{0}' }}]
- name: none
  matches: [{{ path: {{ pathPrefix: /none }} }}]
  backends: []
- name: zero
  matches: [{{ path: {{ pathPrefix: /zero }} }}]
  backends: [{{ host: '{1}', weight: 0 }}]
- name: echo
  matches: [{{ path: {{ pathPrefix: /reset }} }}, {{ path: {{ pathPrefix: /early-close }} }}]
  backends: [{{ host: '{1}' }}]
- name: late
  matches: [{{ path: {{ pathPrefix: /stall }} }}]
  policies: {{ timeout: {{ requestTimeout: 300ms }} }}
  backends: [{{ host: '{1}' }}]
",
        dead.addr(),
        echo.addr()
    )))
    .await;
    let rows = [
        ("/nowhere", 404, "NotFound"),
        ("/none", 500, "NoBackend"),
        ("/zero", 500, "NoBackend"),
        ("/dead", 503, "UpstreamFailure"),
        ("/reset", 502, "UpstreamFailure"),
        ("/early-close", 502, "UpstreamFailure"),
        ("/stall", 504, "Timeout"),
    ];
    for (n, (path, status, name)) in rows.into_iter().enumerate() {
        let reply = gateway.client().get(path).await;
        assert_eq!(reply.status.as_u16(), status, "{path}: {}", reply.text());
        assert_eq!(reason(&gateway, n + 1).await, (u64::from(status), name.to_owned()), "{path}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_host_of_another_certificate_is_misdirected() {
    let authority = Authority::new("tests");
    let (one, two) = (authority.server(&["one.example", "two.example"]), authority.server(&["two.example"]));
    let backend = Backend::echo();
    let listener = |name: &str, cert: &tests::certs::Identity| {
        format!(
            "- name: {name}\n  hostname: {name}.example\n  protocol: HTTPS\n  tls: {{ cert: '{}', key: '{}' }}\n  routes: [{{ backends: [{{ host: '{}' }}] }}]\n",
            cert.cert_path.display(),
            cert.key_path.display(),
            backend.addr()
        )
    };
    let gateway = Gateway::start(&config::listeners(&(listener("one", &one) + &listener("two", &two)))).await;
    for alpn in ["h2", "http/1.1"] {
        let client = Client::tls(gateway.addr(0), "one.example", authority.client_config(None, &[alpn]));
        client.get("/").await.expect_status(200);
        client.clone().host("two.example").get("/").await.expect_status(421);
        client.clone().host("three.example").get("/").await.expect_status(404);
    }
    let lines = gateway.wait_access(6).await;
    let reasons: Vec<_> = lines.iter().map(|it| it["reason"].as_str().unwrap_or_default()).collect();
    assert_eq!(reasons.iter().filter(|it| **it == "Misdirected").count(), 2, "{reasons:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn malformed_requests_are_the_clients_fault() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::route(&backend, "")).await;
    let chunked = "POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let rows = [
        ("no host", "GET / HTTP/1.1\r\n\r\n".to_owned()),
        ("two hosts", "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n".to_owned()),
        ("bad host", "GET / HTTP/1.1\r\nhost: a b\r\n\r\n".to_owned()),
        (
            "length and chunks",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        ),
        ("two lengths", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd".to_owned()),
        ("sign in length", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +3\r\n\r\nabc".to_owned()),
        ("unknown coding", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: x\r\n\r\n".to_owned()),
        ("chunk size is a word", format!("{chunked}hello\r\nabc\r\n0\r\n\r\n")),
        ("chunk size too large", format!("{chunked}fffffffffffffffff\r\nabc\r\n0\r\n\r\n")),
        ("chunk longer than said", format!("{chunked}3\r\nabcdef\r\n0\r\n\r\n")),
        ("path above the root", "GET /../../etc HTTP/1.1\r\nhost: a\r\n\r\n".to_owned()),
        ("escape cut short", "GET /%4 HTTP/1.1\r\nhost: a\r\n\r\n".to_owned()),
        ("not HTTP", "hello\r\n\r\n".to_owned()),
    ];
    for (what, bytes) in rows {
        let mut raw = RawClient::connect(gateway.addr(0)).await.deadline(PATIENCE);
        raw.write(bytes).await.expect("written");
        let reply = match raw.reply().await {
            Ok(reply) => reply,
            Err(error) => panic!("{what}: {error:#}"),
        };
        assert_eq!(reply.status.as_u16(), 400, "{what}: {}", reply.text());
        assert!(raw.read_to_end().await.is_ok(), "{what}: the connection ends");
    }
    gateway.client().get("/").await.expect_status(200);
    gateway.stop().await;
}

#[tokio::test]
async fn a_refused_head_is_logged_and_counted_like_any_other() {
    let backend = Backend::echo();
    let rows = [
        ("POST /a?q HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n".to_owned(), 400, "InvalidRequest", "/a"),
        (format!("GET /b HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(5000)), 431, "TooLarge", "/b"),
        ("CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n".to_owned(), 405, "InvalidRequest", "a:1"),
        ("GET /x HTTP/1.1\r\nhost: a\r\nx: a\u{7f}b\r\n\r\n".to_owned(), 400, "InvalidRequest", ""),
        ("GET /c HTTP/7.1\r\nhost: a\r\n\r\n".to_owned(), 505, "InvalidRequest", "/c"),
        ("GET /d HTTP/1.1\r\nhost: a\r\nx: y".to_owned(), 408, "Timeout", "/d"),
        ("\u{1}".to_owned(), 400, "InvalidRequest", ""),
    ];
    for format in ["json", "text"] {
        let gateway = Gateway::start(&format!(
            "config:\n  logging: {{ format: {format} }}\n\
             frontendPolicies:\n  http: {{ requestHeaderTimeout: 2s, maxHeaderBytes: 4096 }}\n  \
             accessLog: {{ add: {{ by: source.address }}, remove: [duration] }}\n{}",
            config::route(&backend, "")
        ))
        .await;
        for (bytes, status, reason, path) in &rows {
            let lines = gateway.logs().len();
            let mut raw = RawClient::connect(gateway.addr(0)).await.deadline(PATIENCE);
            raw.write(bytes).await.expect("written");
            assert_eq!(raw.reply().await.expect("an answer").status.as_u16(), *status, "{bytes:?}");
            let line = gateway.log().wait_after(lines, |it| it.contains(reason)).await;
            let shown = match format {
                "json" => [format!("\"http.status\":{status},"), format!("\"http.path\":\"{path}\"")],
                _ => [format!(" http.status={status} "), format!(" http.path={path} ")],
            };
            let [status_shown, path_shown] = shown;
            assert!(line.contains(&status_shown), "{line}");
            assert!(path.is_empty() || line.contains(&path_shown), "{line}");
            assert!(line.contains("127.0.0.1") && line.contains("error"), "who and why: {line}");
            assert!(line.contains("by") && !line.contains("duration"), "the policy of the log holds: {line}");
            let labels = [("status", &*status.to_string()), ("reason", *reason)];
            assert_eq!(gateway.metric_sum("agentgateway_requests_total", &labels).await.min(1.0), 1.0, "{labels:?}");
        }
        assert_eq!(gateway.metric_sum("agentgateway_requests_total", &[]).await, 7.0, "each once");
        gateway.stop().await;
    }
    assert_eq!(backend.stats().requests(), 0);
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_for_the_client_too() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::route(&backend, "")).await;
    for path in ["/reset?after=10", "/early-close?after=10"] {
        for client in [gateway.client(), Client::h2c(gateway.addr(0))] {
            client.get(path).try_send().await.expect_err("a truncated answer must not look whole");
        }
    }
    let lines: Vec<Value> = gateway.wait_access(4).await;
    assert!(lines.iter().all(|it| it["reason"] == "UpstreamFailure"), "{lines:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_malformed_answer_is_a_bad_gateway() {
    for bytes in ["nonsense\r\n\r\n", "HTTP/1.1 abc OK\r\n\r\n", "HTTP/1.1 200 OK\r\nbad header\r\n\r\n", ""] {
        let backend = Backend::canned(bytes);
        let gateway = Gateway::start(&config::route(&backend, "")).await;
        gateway.client().get("/").await.expect_status(502);
        assert_eq!(reason(&gateway, 1).await, (502, "UpstreamFailure".to_owned()), "{bytes:?}");
        gateway.stop().await;
    }
}
