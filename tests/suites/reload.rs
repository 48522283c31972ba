//! A configuration that changes under a gateway that serves.
//!
//! The file may be written in place, renamed over, or swapped as a ConfigMap is; what it says may be wrong; sockets may
//! be taken. None of it may cut what is in flight, and what is in force is always visible.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tests::gateway::Signal;
use tests::http::channel;
use tests::wait::PATIENCE;
use tests::{Authority, Backend, Client, Gateway, eventually};

/// One port, one route for all paths that answers with this text.
fn says(text: &str) -> String {
    format!(
        "gateways: {{default: {{port: 0}}}}\nroutes:\n- name: all\n  policies: {{directResponse: {{status: 200, body: {text}}}}}\n"
    )
}

/// What the harness would have written; for tests that write the file themselves.
fn whole(gateway: &Gateway, yaml: &str) -> String {
    let held = std::fs::read_to_string(gateway.config_path()).expect("the configuration");
    let lines: Vec<&str> = held.lines().take_while(|it| it.starts_with("config:") || it.starts_with(' ')).collect();
    format!("{}\n{yaml}", lines.join("\n"))
}

async fn eventually_says(client: &Client, text: &str) {
    eventually(PATIENCE, || async { client.get("/").await.text().trim() == text }).await;
}

#[tokio::test]
async fn an_edit_takes_effect_however_the_file_is_written() {
    let gateway = Gateway::start(&says("one")).await;
    let client = gateway.client();
    assert_eq!(client.get("/").await.text(), "one");
    std::fs::write(gateway.config_path(), whole(&gateway, &says("in-place"))).expect("written");
    eventually_says(&client, "in-place").await;
    gateway.write_raw(&whole(&gateway, &says("renamed")));
    eventually_says(&client, "renamed").await;
    std::fs::remove_file(gateway.config_path()).expect("removed");
    eventually(PATIENCE, || async { gateway.status().await.last_error.is_some() }).await;
    assert_eq!(client.get("/").await.text(), "renamed", "a file that is gone changes nothing");
    let error = gateway.status().await.last_error.expect("an error");
    assert_eq!(error["problems"][0]["message"], "no such file");
    gateway.write_raw(&whole_of(&gateway, &says("back")));
    eventually_says(&client, "back").await;
    assert!(gateway.status().await.last_error.is_none(), "a good file clears the error");
    assert_eq!(client.connections(), 1, "one kept-alive connection saw every plan");
    gateway.stop().await;
}

/// As [`whole`], when the file is not there.
fn whole_of(gateway: &Gateway, yaml: &str) -> String {
    let dir = gateway.dir().display();
    format!(
        "config:\n  stateDirectory: {dir}/state\n  adminAddr: unix:{dir}/admin.sock\n  statsAddr: unix:{dir}/stats.sock\n  readinessAddr: unix:{dir}/ready.sock\n  workerThreads: 2\n  connectionTerminationDeadline: 5s\n  logging: {{ level: info, format: json }}\n{yaml}"
    )
}

#[tokio::test]
async fn a_config_map_is_swapped() {
    let dir = tempfile::Builder::new().prefix("agw-map-").tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    let document = |text: &str| {
        let own = |name: &str| format!("unix:{}/{name}.sock", dir.path().display());
        let (admin, stats, ready) = (own("a"), own("s"), own("r"));
        format!(
            "config: {{adminAddr: '{admin}', statsAddr: '{stats}', readinessAddr: '{ready}', workerThreads: 1}}\n{}",
            says(text)
        )
    };
    let put = |version: &str, text: &str| {
        std::fs::create_dir(at(version)).expect("a folder");
        std::fs::write(at(version).join("config.yaml"), document(text)).expect("written");
        let fresh = at("..data_tmp");
        std::os::unix::fs::symlink(version, &fresh).expect("a link");
        std::fs::rename(&fresh, at("..data")).expect("swapped");
    };
    put("..v1", "one");
    std::os::unix::fs::symlink("..data/config.yaml", at("config.yaml")).expect("a link");
    let mut process = Started::new(&at("config.yaml"));
    let admin = Client::unix(at("a.sock"));
    let address = eventually_address(&admin).await;
    let client = Client::h1(address);
    assert_eq!(client.get("/").await.text(), "one");
    for (version, text) in [("..v2", "two"), ("..v3", "three")] {
        put(version, text);
        eventually_says(&client, text).await;
    }
    std::fs::remove_dir_all(at("..v1")).expect("kubelet removes old versions");
    put("..v4", "four");
    eventually_says(&client, "four").await;
    process.end().await;
}

/// A gateway on a file of the test's own.
struct Started(tokio::process::Child);

impl Started {
    fn new(config: &Path) -> Started {
        let mut command = tokio::process::Command::new(tests::gateway::binary_path());
        command
            .arg("-f")
            .arg(config)
            .kill_on_drop(true)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        Started(command.spawn().expect("start the gateway"))
    }

    async fn end(&mut self) {
        let pid =
            self.0.id().and_then(|it| i32::try_from(it).ok()).and_then(rustix::process::Pid::from_raw).expect("an id");
        rustix::process::kill_process(pid, Signal::TERM).expect("signal");
        let status = tests::within(PATIENCE, self.0.wait()).await.expect("an end");
        assert!(status.success(), "ended with {status}");
    }
}

async fn eventually_address(admin: &Client) -> std::net::SocketAddr {
    tests::wait::eventually_some(PATIENCE, || async {
        let reply = admin.get("/config/status").try_send().await.ok()?;
        let bind = reply.json()["binds"][0]["address"].as_str()?.parse::<std::net::SocketAddr>().ok()?;
        Some(std::net::SocketAddr::from(([127, 0, 0, 1], bind.port())))
    })
    .await
}

#[tokio::test]
async fn an_invalid_edit_changes_nothing_and_shows_everywhere() {
    let gateway = Gateway::start(&says("good")).await;
    let client = gateway.client();
    assert_eq!(gateway.metric_sum("agentgateway_config_synchronized", &[]).await, 1.0);
    let before = gateway.status().await;
    let bad =
        "gateways: {default: {port: 0}}\nroutes:\n- name: all\n  polices: {}\n- matches: [{path: {regex: '('}}]\n";
    let status = gateway.reload(bad).await;
    let error = status.last_error.expect("an error");
    let problems = error["problems"].as_array().expect("problems");
    assert_eq!(problems.len(), 2, "{error}");
    for (problem, path) in problems.iter().zip(["routes[0].polices", "routes[1].matches[0].path.regex"]) {
        assert_eq!(problem["path"], path, "{error}");
        assert!(problem["line"].as_u64().is_some_and(|it| it > 1) && problem["column"].is_u64(), "{error}");
        assert_eq!(problem["file"], gateway.config_path().display().to_string());
    }
    assert_eq!(problems[0]["hint"], "did you mean `policies`?");
    assert_eq!((status.generation, &status.document["appliedAt"]), (before.generation, &before.document["appliedAt"]));
    assert_eq!(gateway.metric_sum("agentgateway_config_synchronized", &[]).await, 0.0);
    assert_eq!(gateway.metric_sum("agentgateway_config_refused_total", &[]).await, 1.0);
    gateway.wait_log(|line| line.contains("ERROR") && line.contains("routes[0].polices: unknown key")).await;
    gateway.wait_log(|line| line.contains("the last good one stays in force")).await;
    assert_eq!(client.get("/").await.text(), "good");
    let status = gateway.reload(&says("better")).await;
    assert_eq!((status.last_error, status.generation), (None, before.generation + 1));
    assert_eq!(gateway.metric_sum("agentgateway_config_synchronized", &[]).await, 1.0);
    assert_eq!(client.get("/").await.text(), "better");
    gateway.stop().await;
}

#[tokio::test]
async fn text_that_is_no_yaml_and_then_the_same_file_again() {
    let gateway = Gateway::start(&says("good")).await;
    let good = std::fs::read_to_string(gateway.config_path()).expect("the file");
    let settings = whole(&gateway, "");
    for bad in ["gateways: [", "\u{0}", "a: b: c", &settings] {
        gateway.write_raw(bad);
        if bad == settings {
            // A document with nothing in it is a good one.
            eventually(PATIENCE, || async { gateway.status().await.binds.is_empty() }).await;
        } else {
            eventually(PATIENCE, || async { gateway.status().await.last_error.is_some() }).await;
            assert_eq!(gateway.client().get("/").await.text(), "good");
        }
        gateway.write_raw(&good);
        eventually(PATIENCE, || async {
            let status = gateway.status().await;
            status.last_error.is_none() && status.binds.first().is_some_and(|it| it.state == "listening")
        })
        .await;
    }
    assert_eq!(gateway.client().get("/").await.text(), "good");
    gateway.stop().await;
}

#[tokio::test]
async fn a_certificate_is_exchanged_when_its_file_changes() {
    let authority = Authority::new("reload");
    let (one, two) = (authority.server(&["a.example"]), authority.server(&["a.example"]));
    let read = |path: &Path| std::fs::read(path).expect("a PEM file");
    let gateway = Gateway::setup(
        "gateways: {default: {port: 0, tls: {cert: '{{dir}}/c.pem', key: '{{dir}}/k.pem'}}}
routes: [{policies: {directResponse: {status: 200, body: hi}}}]
",
    )
    .file("c.pem", read(&one.cert_path))
    .file("k.pem", read(&one.key_path))
    .start()
    .await;
    let config = || authority.client_config(None, &["h2"]);
    let client = Client::tls(gateway.addr(0), "a.example", config());
    client.get("/").await.expect_status(200);
    assert_eq!(client.tls_facts().await.expect("TLS").peer, one.chain());
    // The key alone does not fit: refused, and the old pair goes on.
    std::fs::write(gateway.dir().join("k.pem"), read(&two.key_path)).expect("written");
    eventually(PATIENCE, || async { gateway.status().await.last_error.is_some() }).await;
    let fresh = Client::tls(gateway.addr(0), "a.example", config());
    fresh.get("/").await.expect_status(200);
    assert_eq!(fresh.tls_facts().await.expect("TLS").peer, one.chain());
    std::fs::write(gateway.dir().join("c.pem"), read(&two.cert_path)).expect("written");
    eventually(PATIENCE, || async { gateway.status().await.last_error.is_none() }).await;
    let fresh = Client::tls(gateway.addr(0), "a.example", config());
    fresh.get("/").await.expect_status(200);
    assert_eq!(fresh.tls_facts().await.expect("TLS").peer, two.chain());
    gateway.stop().await;
}

#[tokio::test]
async fn a_request_in_flight_finishes_on_the_plan_it_began_with() {
    let (old, new) = (Backend::echo_named("old"), Backend::echo_named("new"));
    let to = |backend: &Backend| {
        format!(
            "gateways: {{default: {{port: 0}}}}\nroutes:\n- name: all\n  policies: {{responseHeaderModifier: {{set: {{x-plan: '{}'}}}}}}\n  backends: [{{host: '{}'}}]\n",
            backend.port(),
            backend.addr()
        )
    };
    let gateway = Gateway::start(&to(&old)).await;
    let client = gateway.client();
    let (body, stream) = channel();
    assert!(body.data("first ").await);
    let upload = tokio::spawn(client.post("/upload").stream_body(stream).try_send());
    eventually(PATIENCE, || async { old.stats().in_flight() == 1 }).await;
    let other = gateway.client();
    let mut events = other.get("/sse?n=50&ms=20").events().await;
    assert!(events.next().await.expect("an event").is_some());
    gateway.reload(&to(&new)).await;
    assert_eq!(gateway.client().get("/").await.json()["backend"], "new");
    assert!(body.data("last").await);
    drop(body);
    let reply = upload.await.expect("no panic").expect("an answer").expect_status(200);
    assert_eq!(reply.json()["backend"], "old");
    assert_eq!(reply.json()["body"]["text"], "first last");
    assert_eq!(
        reply.header("x-plan"),
        Some(old.port().to_string().as_str()),
        "the response phase is of the old plan too"
    );
    assert_eq!(events.all().await.len(), 50, "the rest of the stream arrives, [DONE] included");
    assert_eq!(client.get("/").await.json()["backend"], "new", "the same connection sees the new plan next");
    assert!(client.connections() == 1, "and stays open");
    gateway.stop().await;
}

#[tokio::test]
async fn a_route_that_is_removed_answers_404() {
    let routes = |names: &[&str]| {
        let one = |name: &&str| {
            format!(
                "- name: {name}\n  matches: [{{path: {{pathPrefix: /{name}}}}}]\n  policies: {{directResponse: {{status: 200, body: {name}}}}}\n"
            )
        };
        format!("gateways: {{default: {{port: 0}}}}\nroutes:\n{}", names.iter().map(one).collect::<String>())
    };
    let gateway = Gateway::start(&routes(&["a", "b"])).await;
    let client = gateway.client();
    client.get("/a").await.expect_status(200);
    gateway.reload(&routes(&["b", "c"])).await;
    client.get("/a").await.expect_status(404);
    client.get("/b").await.expect_status(200);
    assert_eq!(client.get("/c").await.text(), "c");
    gateway.stop().await;
}

#[tokio::test]
async fn ports_appear_change_and_disappear() {
    let port = |name: &str, address: &str| format!("  {name}: {{port: 0, address: {address}}}\n");
    let document = |ports: &str| {
        format!(
            "gateways:\n{ports}routes:\n- gateways: [a]\n  policies: {{directResponse: {{status: 200, body: x}}}}\n"
        )
    };
    let gateway = Gateway::start(&document(&port("a", "127.0.0.1"))).await;
    let client = Client::h1(gateway.addr_of("gateway/a"));
    client.get("/").await.expect_status(200);
    gateway.reload(&document(&(port("a", "127.0.0.1") + &port("b", "127.0.0.1")))).await;
    let second = Client::h1(gateway.addr_of("gateway/b"));
    second.get("/").await.expect_status(404);
    assert!(client.get("/").await.reused, "the port that did not change keeps its connections");
    gateway.reload(&document(&port("a", "127.0.0.1"))).await;
    eventually(PATIENCE, || async { Client::h1(gateway.addr_of("gateway/a")).get("/").try_send().await.is_ok() }).await;
    let gone = tests::wait::poll(PATIENCE, || async { second.get("/").try_send().await.is_err().then_some(()) }).await;
    assert!(gone.is_some(), "the port that is gone takes nobody");
    gateway.reload(&document(&port("a", "127.0.0.2"))).await;
    assert_eq!(gateway.addr_of("gateway/a").ip().to_string(), "127.0.0.2");
    Client::h1(gateway.addr_of("gateway/a")).get("/").await.expect_status(200);
    gateway.stop().await;
}

#[tokio::test]
async fn a_port_in_use_harms_only_itself_and_heals_when_it_is_freed() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port();
    let document = format!(
        "gateways:\n  good: {{port: 0}}\n  taken: {{port: {port}, address: 127.0.0.1}}\nroutes:\n- gateways: [good, taken]\n  policies: {{directResponse: {{status: 200, body: x}}}}\n"
    );
    let gateway = Gateway::start(&document).await;
    Client::h1(gateway.addr_of("gateway/good")).get("/").await.expect_status(200);
    let bind = gateway.status().await.binds.into_iter().find(|it| it.name == "gateway/taken").expect("the bind");
    assert_eq!(bind.state, "failed");
    assert!(bind.error.is_some_and(|it| it.contains("in use")), "the status says why");
    drop(taken);
    eventually(PATIENCE, || async { gateway.status().await.binds.iter().all(|it| it.state == "listening") }).await;
    Client::h1(gateway.addr_of("gateway/taken")).get("/").await.expect_status(200);
    gateway.stop().await;
}

/// 2,000 routes, each answering with its version.
fn many(edit: impl Fn(&mut Vec<String>)) -> String {
    let route = |number: usize| {
        format!(
            "- name: r{number}\n  matches: [{{path: {{pathPrefix: /r{number}}}}}]\n  policies: {{directResponse: {{status: 200, body: v1}}}}\n"
        )
    };
    let mut routes: Vec<String> = (0..2_000).map(route).collect();
    edit(&mut routes);
    format!("gateways: {{default: {{port: 0}}}}\nroutes:\n{}", routes.concat())
}

/// The field `changes` of the load that is in force; the log may be a little behind the status.
async fn changes(gateway: &Gateway) -> u64 {
    let generation = gateway.status().await.generation;
    let load =
        |line: &str| serde_json::from_str::<Value>(line).ok().filter(|it| it["message"] == "configuration applied");
    let line = gateway.wait_log(|line| load(line).is_some_and(|it| it["generation"] == generation)).await;
    load(&line).and_then(|it| it["changes"].as_u64()).expect("a number of changes")
}

#[tokio::test]
async fn one_edited_route_of_many_is_one_change() {
    let gateway = Gateway::start(&many(|_| {})).await;
    let client = gateway.client();
    for (version, number) in [("v2", 1_000), ("v3", 1_000), ("v2", 0), ("v2", 1_999)] {
        gateway.reload(&many(|routes| routes[number] = routes[number].replace("v1", version))).await;
        assert_eq!(client.get(&format!("/r{number}")).await.text(), version);
        // The route and its policy, and those of the route whose edit was undone.
        let changes = changes(&gateway).await;
        assert!(changes <= 4, "{changes} changes for one route");
    }
    gateway.reload(&many(|routes| drop(routes.remove(500)))).await;
    client.get("/r500").await.expect_status(404);
    assert!(changes(&gateway).await <= 4, "{}", changes(&gateway).await);
    gateway.stop().await;
}

#[tokio::test]
async fn of_routes_that_match_alike_the_first_in_the_file_wins_after_an_insertion_too() {
    let extra = |name: &str| {
        format!(
            "- name: {name}\n  matches: [{{path: {{pathPrefix: /r1000}}}}]\n  policies: {{directResponse: {{status: 200, body: {name}}}}}\n"
        )
    };
    let gateway = Gateway::start(&many(|_| {})).await;
    let client = gateway.client();
    gateway.reload(&many(|routes| routes.insert(1_500, extra("later")))).await;
    assert_eq!(client.get("/r1000").await.text(), "v1", "the older one stands first");
    assert!(changes(&gateway).await <= 2, "{}", changes(&gateway).await);
    gateway.reload(&many(|routes| routes.insert(1_000, extra("zz-first")))).await;
    assert_eq!(client.get("/r1000").await.text(), "zz-first", "the inserted one stands first now");
    assert!(changes(&gateway).await <= 4, "{}", changes(&gateway).await);
    gateway
        .reload(&many(|routes| {
            let moved = routes.remove(1_000);
            routes.insert(0, extra("second"));
            routes.insert(0, moved);
        }))
        .await;
    assert_eq!(client.get("/r1000").await.text(), "v1", "a route moved to the top");
    gateway.stop().await;
}

#[tokio::test]
async fn static_settings_that_change_are_told_and_taken_by_a_successor() {
    let mut gateway = Gateway::start(&format!("config:\n  workerThreads: 1\n{}", says("one"))).await;
    gateway.reload(&format!("config:\n  workerThreads: 2\n{}", says("two"))).await;
    gateway.wait_log(|line| line.contains("static settings take effect in a new process")).await;
    assert!(gateway.wait_succeeded(PATIENCE).await.success());
    assert_eq!(gateway.client().get("/").await.text(), "two");
    let report = gateway.generations().await;
    let pid = report.pointer("/generations/0/pid").expect("a successor");
    tests::gateway::Successor::of(&format!("\"pid\":{pid}")).stop(PATIENCE).await;
}

#[tokio::test]
async fn a_write_in_pieces_and_a_storm_of_writes_end_in_the_last_version() {
    let gateway = Gateway::start(&says("zero")).await;
    let client = gateway.client();
    for number in 0..60 {
        gateway.write_raw(&whole(&gateway, &says(&format!("n{number}"))));
        client.get("/").await.expect_status(200);
    }
    eventually_says(&client, "n59").await;
    let text = whole(&gateway, &says("pieces"));
    let (one, two) = text.split_at(text.len() / 2);
    let mut file = std::fs::File::create(gateway.config_path()).expect("the file");
    std::io::Write::write_all(&mut file, one.as_bytes()).expect("written");
    tokio::time::sleep(Duration::from_millis(300)).await;
    std::io::Write::write_all(&mut file, two.as_bytes()).expect("written");
    drop(file);
    eventually_says(&client, "pieces").await;
    assert_eq!(client.connections(), 1);
    gateway.stop().await;
}

/// A document of one answer in a shape of which every edit is read as a whole; `more` adds a key at its end.
fn shaped(shape: &str, gateway: &Gateway, text: &str, more: &str) -> String {
    let nested = format!(
        "binds:\n- port: 0\n  address: 127.0.0.1\n  listeners:\n  - routes:\n    - name: all\n      policies: {{directResponse: {{status: 200, body: {text}}}}}\n"
    );
    let yaml = |body: &str| whole_of(gateway, &format!("{body}{more}"));
    match shape {
        "nested" => yaml(&nested),
        "crlf" => yaml(&says(text)).replace('\n', "\r\n"),
        _ => {
            let dir = gateway.dir().display().to_string();
            let socket = |name: &str| format!("unix:{dir}/{name}.sock");
            let mut document = serde_json::json!({
                "config": {
                    "adminAddr": socket("admin"), "statsAddr": socket("stats"), "readinessAddr": socket("ready"),
                    // As the harness wrote them: other settings would be a successor's business.
                    "workerThreads": 2, "connectionTerminationDeadline": "5s",
                    "stateDirectory": format!("{dir}/state"),
                    "logging": {"level": "info", "format": "json"}
                },
                "gateways": {"default": {"port": 0}},
                "routes": [{"name": "all", "policies": {"directResponse": {"status": 200, "body": text}}}],
            });
            if let Some((key, _)) = more.split_once(':') {
                document[key] = serde_json::json!([]);
            }
            serde_json::to_string_pretty(&document).expect("JSON")
        }
    }
}

#[tokio::test]
async fn json_crlf_and_nested_documents_are_taken_and_refused_like_any_other() {
    for shape in ["json", "crlf", "nested"] {
        let gateway = Gateway::start(&says("start")).await;
        let before = gateway.status().await.generation;
        gateway.write_raw(&shaped(shape, &gateway, "one", ""));
        eventually(PATIENCE, || async { gateway.status().await.generation > before }).await;
        eventually(PATIENCE, || async { gateway.status().await.binds.iter().all(|it| it.state == "listening") }).await;
        gateway.status().await;
        let client = gateway.client();
        eventually_says(&client, "one").await;
        gateway.write_raw(&shaped(shape, &gateway, "two", ""));
        eventually_says(&client, "two").await;
        let bad = shaped(shape, &gateway, "three", "routez: []\n");
        gateway.write_raw(&bad);
        eventually(PATIENCE, || async { gateway.status().await.last_error.is_some() }).await;
        let problem = gateway.status().await.last_error.expect("an error")["problems"][0].clone();
        let line = bad.lines().position(|it| it.contains("routez")).expect("the line") + 1;
        assert_eq!((&problem["path"], &problem["line"]), (&"routez".into(), &line.into()), "{shape}: {problem}");
        assert_eq!(client.get("/").await.text(), "two", "{shape}: a refused edit changes nothing");
        gateway.write_raw(&shaped(shape, &gateway, "three", ""));
        eventually_says(&client, "three").await;
        assert_eq!(client.connections(), 1, "{shape}: one kept-alive connection saw every plan");
        gateway.stop().await;
    }
}
