//! What a backend is told of the client, and what is nobody else's business.

use tests::backend::Asked;
use tests::{Backend, Client, Gateway, RawClient, config};

fn with_frontend(yaml: &str, http: &str) -> String {
    format!("frontendPolicies: {{ http: {{ {http} }} }}\n{yaml}")
}

fn forwarded(seen: &Asked) -> [Option<&str>; 4] {
    ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded"].map(|it| seen.header(it))
}

#[tokio::test]
async fn what_a_stranger_says_of_itself_is_replaced() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::route(&backend, "")).await;
    let client = gateway.client().host("shop.example");
    let lies = client
        .get("/")
        .header("x-forwarded-for", "9.9.9.9")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", "evil.example")
        .header("x-forwarded-port", "1")
        .header("forwarded", "for=9.9.9.9");
    lies.await.expect_status(200);
    let seen = backend.stats().last();
    assert_eq!(forwarded(&seen), [Some("127.0.0.1"), Some("http"), Some("shop.example"), None]);
    assert_eq!(seen.header("x-forwarded-port"), None);
    gateway.stop().await;
}

#[tokio::test]
async fn what_a_trusted_hop_says_is_kept_and_continued() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&with_frontend(&config::route(&backend, ""), "trustedHops: 1, forwarded: true")).await;
    let call = gateway
        .client()
        .host("shop.example")
        .get("/")
        .header("x-forwarded-for", "9.9.9.9, 8.8.8.8")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", "front.example")
        .header("forwarded", "for=8.8.8.8");
    call.await.expect_status(200);
    let seen = backend.stats().last();
    assert_eq!(forwarded(&seen)[..3], [Some("9.9.9.9, 8.8.8.8, 127.0.0.1"), Some("https"), Some("front.example")]);
    let said = seen.header("forwarded").expect("a Forwarded header").to_owned();
    assert!(said.starts_with("for=8.8.8.8, "), "{said}");
    assert!(said.contains("for=127.0.0.1") && said.contains("proto=http") && said.contains("host="), "{said}");
    let line = gateway.wait_access(1).await.remove(0);
    assert!(line.to_string().contains("8.8.8.8"), "the client that the trusted hop names is in the log: {line}");
    gateway.stop().await;
}

#[tokio::test]
async fn via_names_the_version_of_each_hop() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::route(&backend, "")).await;
    gateway.client().get("/").header("via", "1.0 older").await.expect_status(200);
    let via = backend.stats().last().header("via").expect("a Via header").to_owned();
    assert!(via.starts_with("1.0 older, 1.1 "), "{via}");
    Client::h2c(gateway.addr(0)).get("/").await.expect_status(200);
    let via = backend.stats().last().header("via").expect("a Via header").to_owned();
    assert!(via.starts_with("2 ") || via.starts_with("2.0 "), "{via}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_request_that_goes_in_circles_is_stopped() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::route(&backend, "")).await;
    gateway.client().get("/").await.expect_status(200);
    let own = backend.stats().last().header("via").expect("a Via header").to_owned();
    let round = vec![own; 20].join(", ");
    gateway.client().get("/").header("via", round).await.expect_status(508);
    gateway.stop().await;
}

#[tokio::test]
async fn hop_by_hop_headers_of_a_request_stay_on_their_hop() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::route(&backend, "")).await;
    let mut raw = RawClient::connect(gateway.addr(0)).await;
    raw.write(
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, x-private\r\nx-private: 1\r\nkeep-alive: timeout=5\r\n\
         proxy-connection: keep-alive\r\nte: trailers, deflate\r\nupgrade: h2c\r\nproxy-authorization: Basic eA==\r\n\
         x-public: 1\r\n\r\n",
    )
    .await
    .expect("written");
    raw.reply().await.expect("an answer").expect_status(200);
    let seen = backend.stats().last();
    for name in ["x-private", "keep-alive", "proxy-connection", "upgrade"] {
        assert_eq!(seen.header(name), None, "{name}: {:?}", seen.headers);
    }
    assert_eq!(seen.header("te"), None, "trailers of HTTP/1 backends are not passed on");
    assert_eq!(seen.header("x-public"), Some("1"));
    gateway.stop().await;
}

#[tokio::test]
async fn hop_by_hop_headers_of_an_answer_stay_on_their_hop() {
    let backend = Backend::canned(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close, x-private\r\nx-private: 1\r\n\
         keep-alive: timeout=5\r\nproxy-connection: close\r\nx-public: 1\r\n\r\nok",
    );
    let gateway = Gateway::start(&config::backend(&backend, "http: { version: HTTP/1.1 }")).await;
    let client = gateway.client();
    let reply = client.get("/").await.expect_status(200);
    for name in ["x-private", "keep-alive", "proxy-connection"] {
        assert_eq!(reply.header(name), None, "{name}: {:?}", reply.headers);
    }
    assert_eq!(reply.header("x-public"), Some("1"));
    assert_ne!(reply.header("connection"), Some("close, x-private"));
    assert!(client.get("/").await.reused, "the backend's close is not the client's");
    let reply = Client::h2c(gateway.addr(0)).get("/").await.expect_status(200);
    assert_eq!((reply.header("connection"), reply.header("x-private")), (None, None), "RFC 9113 section 8.2.2");
    gateway.stop().await;
}

#[tokio::test]
async fn paths_reach_the_backend_in_one_form() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::route(&backend, "")).await;
    let mut raw = RawClient::connect(gateway.addr(0)).await;
    for (sent, seen) in [
        ("/a/./b/../c", "/a/c"),
        ("/a/%2e%2E/c?x=/../y", "/c?x=/../y"),
        ("/a//b", "/a//b"),
        ("/%61?q=%61", "/a?q=%61"),
        ("/a%2Fb", "/a%2Fb"),
        ("/", "/"),
    ] {
        raw.write(format!("GET {sent} HTTP/1.1\r\nhost: a\r\n\r\n")).await.expect("written");
        raw.reply().await.expect("an answer").expect_status(200);
        let got = backend.stats().last().uri.to_string();
        let merged = seen.replace("//", "/");
        assert!(got == seen || got == merged, "{sent} arrived as {got}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn the_host_is_the_backends_for_names_and_the_clients_for_addresses() {
    let backend = Backend::echo();
    let port = backend.port();
    let gateway = Gateway::start(&config::routes(&format!(
        "
- matches: [{{ path: {{ pathPrefix: /name }} }}]
  backends: [{{ host: 'localhost:{port}' }}]
- matches: [{{ path: {{ pathPrefix: /address }} }}]
  backends: [{{ host: '127.0.0.1:{port}' }}]
- matches: [{{ path: {{ pathPrefix: /kept }} }}]
  policies: {{ urlRewrite: {{ authority: none }} }}
  backends: [{{ host: 'localhost:{port}' }}]
- matches: [{{ path: {{ pathPrefix: /other }} }}]
  policies: {{ urlRewrite: {{ authority: {{ full: 'set.example' }} }} }}
  backends: [{{ host: 'localhost:{port}' }}]
"
    )))
    .await;
    for client in [gateway.client().host("shop.example"), Client::h2c(gateway.addr(0)).host("shop.example")] {
        for (path, host) in [
            ("/name", format!("localhost:{port}")),
            ("/address", "shop.example".into()),
            ("/kept", "shop.example".into()),
            ("/other", "set.example".into()),
        ] {
            let seen = client.get(path).await.expect_status(200).json();
            assert_eq!(seen["authority"], host, "{path}");
            assert_eq!(backend.stats().last().header("x-forwarded-host"), Some("shop.example"), "{path}");
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn interim_answers_of_the_backend_do_not_end_the_exchange() {
    let backend = Backend::canned(
        "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    );
    let gateway = Gateway::start(&config::route(&backend, "")).await;
    let reply = gateway.client().get("/").await.expect_status(200);
    assert_eq!(reply.text(), "ok");
    gateway.stop().await;
}
