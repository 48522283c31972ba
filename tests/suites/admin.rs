//! What an operator sees: admin pages, metrics, probes, the access log; and how the process ends.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::gateway::Signal;
use tests::wait::PATIENCE;
use tests::{Authority, Backend, Client, Gateway, RawClient, config, eventually};

const HELLO: &str = "gateways: {default: {port: 0}}
routes:
- name: hello
  policies: {directResponse: {status: 200, body: hello}}
";

fn to(backend: &Backend) -> String {
    format!("gateways: {{default: {{port: 0}}}}\nroutes: [{{name: all, backends: [{{host: '{}'}}]}}]\n", backend.addr())
}

#[tokio::test]
async fn the_pages_are_there_and_take_their_methods_only() {
    let gateway = Gateway::start(HELLO).await;
    for (path, content_type) in [
        ("/", "text/html"),
        ("/config_dump", "application/json"),
        ("/config/status", "application/json"),
        ("/backends", "application/json"),
        ("/logging", "text/plain"),
        ("/memory", "application/json"),
        ("/debug/memory", "application/json"),
        ("/debug/tasks", "application/json"),
        ("/version", "application/json"),
    ] {
        let reply = gateway.admin("GET", path).await.expect_status(200);
        assert!(reply.header("content-type").is_some_and(|it| it.starts_with(content_type)), "{path}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{path}");
        let head = gateway.admin("HEAD", path).await.expect_status(200);
        assert!(head.body.is_empty(), "{path}");
        let refused = gateway.admin("DELETE", path).await.expect_status(405);
        assert!(refused.header("allow").is_some_and(|it| it.contains("GET")), "{path}");
    }
    let refused = gateway.admin("GET", "/quitquitquit").await.expect_status(405);
    assert_eq!(refused.header("allow"), Some("POST"));
    gateway.admin("GET", "/nope").await.expect_status(404);
    let memory = gateway.admin("GET", "/memory").await.json();
    assert!(memory["processBytes"]["rss"].as_u64().is_some_and(|it| it > 1 << 20), "{memory}");
    let tasks = gateway.admin("GET", "/debug/tasks").await.json();
    assert!(tasks["runtimes"].as_array().is_some_and(|it| !it.is_empty()), "{tasks}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_dump_says_where_an_object_stands_now() {
    let route = |name: &str| {
        format!(
            "- {{ name: {name}, matches: [{{ path: {{ exact: /{name} }} }}], policies: {{ timeout: {{ requestTimeout: 7s }} }}, backends: [{{ host: 'localhost:1' }}] }}\n"
        )
    };
    for prefix in ["routes", "binds[0].listeners[0].routes"] {
        let document = |names: &[&str]| {
            let routes: String = names.iter().map(|it| route(it)).collect();
            match prefix {
                "routes" => format!("gateways: {{ default: {{ port: 0 }} }}\nroutes:\n{routes}"),
                _ => config::routes(&routes),
            }
        };
        let gateway = Gateway::start(&document(&["a", "b"])).await;
        gateway.reload(&document(&["new", "a", "b"])).await;
        let dump = gateway.config_dump().await;
        let find = |table: &str, name: &str| {
            let rows = dump[table].as_array().expect("a table").iter();
            let mut rows = rows.filter(|it| it["key"].as_str().is_some_and(|it| it.contains(&format!("/{name}"))));
            rows.next().unwrap_or_else(|| panic!("no {name} in {table}: {dump}")).clone()
        };
        for (position, name) in ["new", "a", "b"].into_iter().enumerate() {
            let (route, policy) = (find("routes", name), find("policies", name));
            assert_eq!(route["origin"]["path"], format!("{prefix}[{position}]"));
            let at = format!("{prefix}[{position}].policies.timeout");
            assert_eq!(policy["origin"]["path"], at.as_str());
            let key = route["key"].as_str().expect("a key").replace('#', "%23");
            let effective = gateway.admin("GET", &format!("/config/effective?route={key}")).await.expect_status(200);
            assert!(effective.text().contains(&at), "{name}: {}", effective.text());
        }
        gateway.stop().await;
    }
}

#[tokio::test]
async fn the_dump_and_the_effective_policies_say_what_is_in_force() {
    let backend = Backend::echo();
    let document = format!(
        "{}policies:\n- {{name: {{name: slow}}, target: {{gateway: {{gatewayName: default}}}}, policy: {{timeout: {{requestTimeout: 7s}}}}}}\n",
        to(&backend)
    );
    let gateway = Gateway::start(&document).await;
    let dump = gateway.config_dump().await;
    assert_eq!(dump["generation"], 1, "{dump}");
    for table in ["binds", "listeners", "routes", "backends", "policies"] {
        assert_eq!(dump[table].as_array().map(Vec::len), Some(1), "{table}: {dump}");
    }
    let key = dump["routes"][0]["key"].as_str().expect("a key");
    let effective = gateway.admin("GET", &format!("/config/effective?route={key}")).await.expect_status(200);
    assert!(
        effective.text().contains("\"secs\": 7"),
        "the gateway's timeout holds for the route: {}",
        effective.text()
    );
    gateway.admin("GET", "/config/effective?route=nope").await.expect_status(404);
    gateway.admin("GET", "/config/effective").await.expect_status(400);
    gateway.client().get("/").await.expect_status(200);
    let backends = gateway.admin("GET", "/backends").await.text();
    assert!(backends.contains(&backend.addr().to_string()), "{backends}");
    gateway.stop().await;
}

#[tokio::test]
async fn secrets_appear_nowhere() {
    let authority = Authority::new("canary");
    let identity = authority.server(&["a.example"]);
    let backend = Backend::echo();
    let read = |path: &std::path::Path| std::fs::read(path).expect("a PEM file");
    let key_lines: Vec<String> =
        identity.key_pem.lines().filter(|it| !it.starts_with('-')).map(str::to_owned).collect();
    let document = format!(
        "config:
  adminToken: canary-token
  sensitiveHeaders: [x-own-secret]
gateways: {{default: {{port: 0, tls: {{cert: '{{{{dir}}}}/c.pem', key: '{{{{dir}}}}/k.pem'}}}}}}
frontendPolicies:
  accessLog:
    add: {{a: 'request.headers[\"authorization\"]', b: 'request.headers[\"x-own-secret\"]', c: 'request.headers[\"cookie\"]'}}
routes:
- name: all
  matches: [{{headers: [{{name: x-api-key, value: {{exact: canary-match}}}}]}}, {{}}]
  policies:
    requestHeaderModifier: {{set: {{Authorization: canary-auth, x-own-secret: canary-own}}}}
    responseHeaderModifier: {{add: {{set-cookie: canary-cookie}}}}
  backends: [{{host: '{}'}}]
",
        backend.addr()
    );
    let gateway = Gateway::setup(&document)
        .env("RUST_LOG", "trace")
        .file("c.pem", read(&identity.cert_path))
        .file("k.pem", read(&identity.key_path))
        .start()
        .await;
    let client = Client::tls(gateway.addr(0), "a.example", authority.client_config(None, &["http/1.1"]));
    let call =
        client.get("/x?token=canary-query").header("authorization", "canary-client").header("cookie", "s=canary-jar");
    call.header("x-own-secret", "canary-mine").await.expect_status(200);
    assert_eq!(backend.stats().last().header("authorization"), Some("canary-auth"), "the policy works");
    gateway.wait_log(|line| line.contains("\"http.path\":\"/x\"")).await;
    let mut seen = vec![("log", gateway.log().text()), ("metrics", gateway.metrics().await)];
    for path in [
        "/config_dump",
        "/config/status",
        "/config/effective?route=route/default/all",
        "/backends",
        "/logging",
        "/debug/tasks",
    ] {
        seen.push((path, gateway.admin("GET", path).await.text()));
    }
    for (place, text) in seen {
        // Trace output of libraries shows the traffic itself; what we say ourselves must not.
        let ours = text
            .lines()
            .filter(|it| place != "log" || !it.contains("\"level\":\"TRACE\"") && !it.contains("\"level\":\"DEBUG\""));
        for line in ours {
            assert!(!line.contains("canary-"), "{place} shows a secret: {line}");
            assert!(key_lines.iter().all(|key| !line.contains(key)), "{place} shows the private key: {line}");
        }
    }
    let dump = gateway.admin("GET", "/config_dump").await.text();
    assert!(dump.contains("***"), "{dump}");
    gateway.stop().await;
}

#[tokio::test]
async fn levels_of_the_log_change_and_come_back() {
    let gateway = Gateway::start(HELLO).await;
    let current = |text: String| text.lines().next().unwrap_or_default().to_owned();
    assert_eq!(current(gateway.admin("GET", "/logging").await.text()), "current: info");
    let reply = gateway.admin("POST", "/logging?level=debug").await.expect_status(200);
    assert_eq!(current(reply.text()), "current: debug");
    let reply = gateway.admin("POST", "/logging?level=gateway%3Dtrace,request=off").await.expect_status(200);
    assert_eq!(current(reply.text()), "current: debug,gateway=trace,request=off");
    let client = gateway.client();
    client.get("/unlogged").await.expect_status(200);
    // The line of a request is due when its connection takes the next one.
    client.get("/other").await.expect_status(200);
    let refused = gateway.admin("POST", "/logging?level=loud").await.expect_status(400);
    assert!(refused.text().contains("`loud` is not a level") && refused.text().contains("usage"), "{}", refused.text());
    assert_eq!(current(gateway.admin("GET", "/logging").await.text()), "current: debug,gateway=trace,request=off");
    gateway.admin("POST", "/logging?level=info&reset").await.expect_status(400);
    gateway.admin("GET", "/logging?level=info").await.expect_status(405);
    let reply = gateway.admin("POST", "/logging?reset").await.expect_status(200);
    assert_eq!(current(reply.text()), "current: info");
    gateway.client().get("/logged").await.expect_status(200);
    gateway.wait_log(|line| line.contains("/logged")).await;
    assert!(!gateway.log().text().contains("\"http.path\":\"/unlogged\""), "the access log was off");
    gateway.stop().await;
}

/// The address a server was given with port 0, from the sockets of the process.
fn listening(gateway: &Gateway) -> Vec<u16> {
    let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", gateway.pid())).expect("the sockets");
    let folder = std::fs::read_dir(format!("/proc/{}/fd", gateway.pid())).expect("the descriptors");
    let links = folder.filter_map(|it| std::fs::read_link(it.ok()?.path()).ok());
    let inodes: Vec<String> =
        links.filter_map(|it| Some(it.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())).collect();
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let ports = rows
        .filter(|row| row[3] == "0A" && inodes.iter().any(|it| it == row[9]))
        .map(|row| u16::from_str_radix(row[1].rsplit(':').next().unwrap_or_default(), 16).expect("a port"));
    ports.collect()
}

#[tokio::test]
async fn pages_of_other_sites_cannot_ask() {
    // The harness asks through a socket that this gateway has not; so it waits for the log.
    let document =
        format!("config:\n  adminAddr: 127.0.0.1:0\n{}", HELLO.replace("port: 0", "address: 'unix:{{dir}}/h.sock'"));
    let mut gateway = Gateway::setup(&document).spawn();
    gateway.wait_log(|line| line.contains("\"ready\"")).await;
    let ports = listening(&gateway);
    assert_eq!(ports.len(), 1, "the admin server alone: {ports:?}");
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], ports[0]));
    for (head, status) in [
        ("GET /version HTTP/1.1\r\nHost: localhost\r\n", 200),
        ("GET /version HTTP/1.1\r\nHost: 127.0.0.1:1\r\n", 200),
        ("GET /version HTTP/1.1\r\nHost: evil.example\r\n", 421),
        ("GET /version HTTP/1.1\r\n", 400),
        ("POST /logging?level=info HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n", 403),
        ("POST /logging?level=info HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\n", 403),
        ("POST /logging?level=info HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n", 200),
        ("POST /logging?level=info HTTP/1.1\r\nHost: localhost\r\n", 200),
    ] {
        let mut raw = RawClient::connect(address).await;
        raw.write(format!("{head}Content-Length: 0\r\n\r\n")).await.expect("written");
        assert_eq!(raw.reply().await.expect("an answer").status.as_u16(), status, "{head}");
    }
    let mut raw = RawClient::connect(address).await;
    raw.write("POST /quitquitquit HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("written");
    assert_eq!(raw.reply().await.expect("an answer").status.as_u16(), 200);
    let status = gateway.wait_exit(PATIENCE).await;
    assert!(status.success(), "quitquitquit ends the process well: {status}");
}

/// An address of this machine that is not loopback.
fn own_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|it| it.ip()).filter(|it| !it.is_loopback() && !it.is_unspecified())
}

#[tokio::test]
async fn an_admin_address_off_loopback_is_obeyed_with_a_warning_and_changes_need_the_token() {
    let document = format!(
        "config:\n  adminAddr: 0.0.0.0:0\n  adminToken: sesame\n{}",
        HELLO.replace("port: 0", "address: 'unix:{{dir}}/h.sock'")
    );
    let gateway = Gateway::setup(&document).spawn();
    gateway
        .wait_log(|line| line.contains("WARN") && line.contains("adminAddr") && line.contains("not on loopback"))
        .await;
    gateway.wait_log(|line| line.contains("\"ready\"")).await;
    let port = listening(&gateway)[0];
    // Where a machine has no other address, there is no other host either.
    if let Some(address) = own_address() {
        let client = Client::h1((address, port).into());
        client.get("/version").await.expect_status(200);
        client.post("/logging?level=info").await.expect_status(403);
        client.post("/logging?level=info").header("authorization", "Bearer wrong").await.expect_status(403);
        client.post("/logging?level=info").header("authorization", "Bearer sesame").await.expect_status(200);
    }
    Client::h1(([127, 0, 0, 1], port).into()).post("/logging?level=info").await.expect_status(200);
    gateway.stop().await;
}

fn stats(gateway: &Gateway) -> Client {
    Client::unix(gateway.dir().join("stats.sock"))
}

#[tokio::test]
async fn prometheus_takes_the_metrics() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&to(&backend)).await;
    gateway.client().get("/a").await.expect_status(200);
    gateway.client().get("/status/404").await.expect_status(404);
    gateway.wait_access(2).await;
    let client = stats(&gateway);
    let reply = client.get("/metrics").await.expect_status(200);
    assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let mut promtool = Command::new("promtool");
    let child =
        promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("promtool, which tests/run fetches");
    child.stdin.take().expect("a pipe").write_all(&reply.body).expect("written");
    let output = child.wait_with_output().expect("promtool's end");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
    let open = "application/openmetrics-text; version=1.0.0, text/plain;q=0.5";
    let reply = client.get("/stats/prometheus").header("accept", open).await.expect_status(200);
    assert!(reply.header("content-type").is_some_and(|it| it.starts_with("application/openmetrics-text")));
    assert!(reply.text().ends_with("# EOF\n"));
    client.post("/metrics").await.expect_status(405);
    client.get("/other").await.expect_status(404);
    assert_eq!(gateway.metric_sum("agentgateway_requests_total", &[("status", "200"), ("method", "GET")]).await, 1.0);
    assert_eq!(gateway.metric_sum("agentgateway_requests_total", &[("status", "404")]).await, 1.0);
    assert_eq!(gateway.metric_sum("agentgateway_request_duration_seconds_count", &[]).await, 2.0);
    assert_eq!(gateway.metric_sum("agentgateway_build_info", &[]).await, 1.0);
    gateway.stop().await;
}

/// Series of all families after one request to each of so many routes.
async fn series(routes: usize, config: &str) -> usize {
    let backend = Backend::echo();
    let route = |number: usize| {
        format!(
            "- name: r{number}\n  matches: [{{path: {{pathPrefix: /r{number}}}}}]\n  backends: [{{host: '{}'}}]\n",
            backend.addr()
        )
    };
    let routes_text: String = (0..routes).map(route).collect();
    let gateway = Gateway::start(&format!("{config}gateways: {{default: {{port: 0}}}}\nroutes:\n{routes_text}")).await;
    let client = gateway.client();
    for number in 0..routes {
        client.get(&format!("/r{number}")).await.expect_status(200);
    }
    // The line of a request is written when all of it is counted.
    gateway.wait_access(routes).await;
    let text = gateway.metrics().await;
    gateway.stop().await;
    text.lines().filter(|it| it.starts_with("agentgateway_request")).count()
}

#[tokio::test]
async fn the_number_of_series_does_not_follow_the_number_of_routes_unless_asked() {
    let (few, many) = (series(3, "").await, series(300, "").await);
    assert_eq!(few, many, "series with 3 routes and with 300");
    let asked = series(300, "config:\n  metrics: { perRoute: true }\n").await;
    assert!(asked > many * 50, "with perRoute: {asked}, without: {many}");
}

#[tokio::test]
async fn metrics_that_are_not_wanted_are_left_out() {
    let gateway = Gateway::start(&format!(
        "config:\n  metrics: {{ remove: [requests_total, agentgateway_tokio_parks] }}\n{HELLO}"
    ))
    .await;
    gateway.client().get("/").await.expect_status(200);
    gateway.wait_access(1).await;
    let text = gateway.metrics().await;
    assert!(!text.contains("agentgateway_requests_total") && !text.contains("tokio_parks"), "{text}");
    assert!(text.contains("agentgateway_request_duration_seconds"), "{text}");
    gateway.stop().await;
}

/// The access line of a path, as JSON.
async fn line_of(gateway: &Gateway, path: &str) -> Value {
    let wanted = format!("\"http.path\":{}", Value::from(path));
    let line = gateway.wait_log(|line| line.contains(&wanted)).await;
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[tokio::test]
async fn the_access_log_has_its_fields_and_what_is_added_removed_and_filtered() {
    let backend = Backend::echo();
    let document = format!(
        "{}frontendPolicies:
  accessLog:
    filter: request.path != \"/quiet\"
    add: {{ user: 'request.headers[\"x-user\"]', secret: 'request.headers[\"authorization\"]', duration: response.code }}
    remove: [http.host]
",
        to(&backend)
    );
    let gateway = Gateway::start(&document).await;
    let client = gateway.client();
    client.get("/quiet").await.expect_status(200);
    client
        .get("/loud?secret=1")
        .header("x-user", "me \"x\"\n".trim())
        .header("authorization", "hush")
        .await
        .expect_status(200);
    let line = line_of(&gateway, "/loud").await;
    for (field, value) in [
        ("http.method", Value::from("GET")),
        ("http.status", 200.into()),
        ("http.version", "HTTP/1.1".into()),
        ("protocol", "http".into()),
        ("user", "me \"x\"".into()),
        ("secret", "***".into()),
        ("duration", 200.into()),
        ("endpoint", backend.addr().to_string().into()),
        ("gateway", "default".into()),
        ("route", "all".into()),
    ] {
        assert_eq!(line[field], value, "{field}: {line}");
    }
    assert!(line["src.addr"].as_str().is_some_and(|it| it.parse::<std::net::SocketAddr>().is_ok()), "{line}");
    assert!(line.get("http.host").is_none(), "{line}");
    assert!(!gateway.log().text().contains("/quiet"), "the filter keeps it out");
    assert!(!gateway.log().text().contains("secret=1"), "the query is not logged");
    gateway.stop().await;
}

#[tokio::test]
async fn the_access_log_as_text_and_hostile_paths_in_it() {
    let gateway = Gateway::start(&format!("config:\n  logging: {{ level: info, format: text }}\n{HELLO}")).await;
    let mut raw = RawClient::connect(gateway.addr(0)).await;
    raw.write("GET /a%0Ab%22%1b[31m\" HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("written");
    let _ = raw.reply().await;
    let client = gateway.client();
    client.get("/plain").await.expect_status(200);
    let line = gateway.wait_log(|line| line.contains("http.path=/plain")).await;
    for part in ["http.method=GET", "http.status=200", "reason=DirectResponse", "duration="] {
        assert!(line.contains(part), "{part} in {line}");
    }
    for line in gateway.logs() {
        assert!(!line.contains('\u{1b}'), "an escape reached the terminal: {line:?}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight_and_tells_the_balancer_first() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&format!("config:\n  connectionTerminationDeadline: 60s\n{}", to(&backend))).await;
    gateway.health("/healthz/ready").await.expect_status(200);
    gateway.health("/healthz/live").await.expect_status(200);
    let client = gateway.client();
    let slow = tokio::spawn(client.get("/slow?ms=4000").try_send());
    eventually(PATIENCE, || async { backend.stats().in_flight() == 1 }).await;
    let ready = Client::unix(gateway.dir().join("ready.sock"));
    gateway.signal(Signal::TERM);
    eventually(PATIENCE, || async {
        ready.get("/healthz/ready").try_send().await.is_ok_and(|it| it.status == 500 && it.text().contains("draining"))
    })
    .await;
    ready.get("/healthz/live").await.expect_status(200);
    assert!(!slow.is_finished(), "not ready while the request is still under way");
    let reply = slow.await.expect("no panic").expect("an answer").expect_status(200);
    assert_eq!(reply.header("connection"), Some("close"), "the client is told to go elsewhere");
    let mut gateway = gateway;
    let started = Instant::now();
    let status = gateway.wait_exit(PATIENCE).await;
    assert!(status.success(), "{status}");
    assert!(started.elapsed() < Duration::from_secs(30), "nothing is waited for that has ended");
    let log = gateway.log().text();
    assert!(
        log.contains("\"draining\"") && log.contains("/slow"),
        "the access line of the last request is written: {log}"
    );
}

#[tokio::test]
async fn a_drain_ends_at_its_limit() {
    let backend = Backend::echo();
    let mut gateway = Gateway::start(&format!("config:\n  connectionTerminationDeadline: 1s\n{}", to(&backend))).await;
    let client = gateway.client();
    let stalled = tokio::spawn(client.get("/stall").try_send());
    eventually(PATIENCE, || async { backend.stats().in_flight() == 1 }).await;
    let started = Instant::now();
    gateway.signal(Signal::TERM);
    let status = gateway.wait_exit(PATIENCE).await;
    assert!(status.success(), "{status}");
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(900) && took < PATIENCE, "{took:?}");
    assert!(stalled.await.expect("no panic").is_err());
    assert!(gateway.log().text().contains("drain limit reached"), "{}", gateway.log().text());
}

#[tokio::test]
async fn an_interrupt_ends_at_once() {
    let backend = Backend::echo();
    let mut gateway = Gateway::start(&format!("config:\n  connectionTerminationDeadline: 60s\n{}", to(&backend))).await;
    let client = gateway.client();
    let stalled = tokio::spawn(client.get("/stall").try_send());
    eventually(PATIENCE, || async { backend.stats().in_flight() == 1 }).await;
    let started = Instant::now();
    gateway.signal(Signal::INT);
    gateway.wait_exit(PATIENCE).await;
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    assert!(stalled.await.expect("no panic").is_err());
}
