//! What is shipped with the configuration language, the command line, and documents that must load as they stand.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tests::wait::PATIENCE;
use tests::{Backend, Client, Gateway};

fn conf(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf").join(name)
}

/// Compares a generated file with what the program says; `UPDATE_EXPECT=1` writes it.
async fn is_fresh(name: &str, command: &str) {
    let output = Gateway::run_cli(&[command], "").await;
    assert!(output.status.success(), "`agentgateway {command}` fails");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    let path = conf(name);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &said).expect("write the generated file");
    }
    let held = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(held == said, "conf/{name} is stale: run this test with UPDATE_EXPECT=1");
}

#[tokio::test]
async fn the_schema_is_fresh() {
    is_fresh("schema/config.json", "schema").await;
    let schema: Value =
        serde_json::from_slice(&std::fs::read(conf("schema/config.json")).expect("a schema")).expect("JSON");
    assert!(schema["title"].as_str().is_some_and(|it| it.contains("agentgateway")), "the root has a title");
    assert!(schema["description"].is_string(), "the root has a description");
    for key in ["config", "binds", "gateways", "routes", "backends", "policies", "frontendPolicies"] {
        assert!(schema["properties"][key].is_object(), "the schema knows `{key}`");
        assert!(schema["properties"][key]["description"].is_string(), "`{key}` is described");
    }
}

#[tokio::test]
async fn the_reference_is_fresh() {
    is_fresh("reference.md", "reference").await;
}

#[tokio::test]
async fn the_file_a_package_installs_is_valid_and_stays_on_loopback() {
    let path = conf("gateway.yaml");
    let output = Gateway::run_cli(&["validate", "--strict", "-f", &path.display().to_string()], "").await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(&path).expect("the file");
    // The harness has sockets of its own for the process's servers.
    let dynamic = &text[text.find("gateways:").expect("gateways")..];
    let gateway = Gateway::start(&dynamic.replace("port: 3000", "port: 0")).await;
    let bind = gateway.status().await.binds.remove(0);
    assert!(bind.address.starts_with("127.0.0.1:"), "{bind:?}");
    gateway.client().get("/hello").await.expect_status(200);
    gateway.stop().await;
}

#[tokio::test]
async fn the_products_own_description_serves() {
    let text = "\
binds:
- port: 3000
  listeners:
  - hostname: \"*.example.com\"
    protocol: http
    routes:
    - matches:
      - path:
          pathPrefix: /api
      backends:
      - host: api-service:8080
";
    let output = Gateway::run_cli(&["validate", "--strict", "-f", "-"], text).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let gateway = Gateway::start(&text.replace("3000", "0")).await;
    let client = gateway.client().host("a.example.com");
    // Nobody knows this name; it harms only itself.
    client.get("/api/x").await.expect_status(503);
    client.get("/other").await.expect_status(404);
    gateway.client().host("elsewhere.org").get("/api").await.expect_status(404);
    gateway.stop().await;
}

#[tokio::test]
async fn the_descriptions_static_settings_are_taken() {
    let setup = Gateway::setup(
        "config:
  adminAddr: unix:{{dir}}/admin.sock
  statsAddr: unix:{{dir}}/stats.sock
  logging:
    level: info,gateway=debug
    format: json
  tracing:
    otlpEndpoint: http://localhost:4317
binds: []
",
    );
    let gateway = setup.start().await;
    let warning = gateway.wait_log(|line| line.contains("config.tracing")).await;
    assert!(warning.contains("WARN") && warning.contains("no effect"), "{warning}");
    assert!(serde_json::from_str::<Value>(&warning).is_ok(), "logging.format is json: {warning}");
    let status = gateway.status().await;
    assert_eq!(status.document["warnings"][0]["path"], "config.tracing", "{}", status.document);
    let same = std::fs::read_to_string(gateway.config_path()).expect("the file");
    let status = gateway.reload(&same.replace("binds: []", "routes: []")).await;
    assert_eq!(
        status.document["warnings"][0]["path"], "config.tracing",
        "it holds after a reload: {}",
        status.document
    );
    let levels = gateway.admin("GET", "/logging").await.text();
    assert!(levels.contains("gateway=debug"), "{levels}");
    gateway.stop().await;
}

#[tokio::test]
async fn enumerations_are_read_in_any_case_and_numbers_where_text_is_meant() {
    for text in [
        "gateways: {a: {port: 0, protocol: hTtP}}",
        "gateways: {a: {port: 0, protocol: TCP}}",
        "frontendPolicies: {tls: {minVersion: tls_v1_3}}",
        "frontendPolicies: {proxyProtocol: {version: ALL, mode: Optional}}",
        "config: {logging: {format: JSON}, dns: {lookupFamily: v4only}}",
        "gateways: {default: {port: 0}}\nroutes: [{name: 5, hostnames: [a.b]}]",
        r#"{"binds": [{"port": 0, "listeners": [{"protocol": "http", "routes": [{"backends": [{"host": "a:1"}]}]}]}]}"#,
        "",
        "# nothing\n",
        "routes:\nbinds:\n",
    ] {
        let output = Gateway::run_cli(&["validate", "-f", "-"], text).await;
        assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test]
async fn variables_stand_in_values_and_never_add_structure() {
    let backend = Backend::echo();
    let gateway = Gateway::setup(
        "gateways: {default: {port: $TEST_PORT}}
routes:
- matches: [{path: {regex: '^/a$'}}]
  policies: {requestHeaderModifier: {set: {x-a: '${TEST_TEXT}', x-b: '$$5', x-c: '${TEST_NONE:-none}'}}}
  backends: [{host: '${TEST_HOST}'}]
# ${NOT_READ}
",
    )
    .env("TEST_PORT", "0")
    .env("TEST_TEXT", "a, b: {c}")
    .env("TEST_HOST", &backend.addr().to_string())
    .start()
    .await;
    gateway.client().get("/a").await.expect_status(200);
    let asked = backend.stats().last();
    assert_eq!(asked.header("x-a"), Some("a, b: {c}"));
    assert_eq!(asked.header("x-b"), Some("$5"));
    assert_eq!(asked.header("x-c"), Some("none"));
    gateway.stop().await;
    let output = Gateway::run_cli(&["validate", "-c", "gateways: {default: {port: '${TEST_UNSET_PORT}'}}"], "").await;
    assert_eq!(
        String::from_utf8_lossy(&output.stderr).trim_end(),
        "command line:1:28: gateways.default.port: the variable `TEST_UNSET_PORT` is not defined \
         (write `$$` for a `$`, or `${NAME:-default}` for a default)"
    );
}

#[tokio::test]
async fn the_environment_wins_over_the_document_and_is_checked_alike() {
    let gateway = Gateway::setup("config:\n  logging: { level: error, format: text }\nbinds: []\n")
        .env("RUST_LOG", "debug")
        .env("LOG_FORMAT", "JSON")
        .start()
        .await;
    let line = gateway.wait_log(|line| line.contains("configuration applied")).await;
    assert!(line.starts_with('{'), "{line}");
    gateway.stop().await;
    let wrong = [
        ("ADMIN_ADDR", "foo"),
        ("STATS_ADDR", "1.2.3.4"),
        ("LOG_FORMAT", "xml"),
        ("RUST_LOG", "loud"),
        ("IPV6_ENABLED", "maybe"),
        ("DNS_LOOKUP_FAMILY", "v9"),
        ("WORKER_THREADS", "0"),
        ("CONNECTION_TERMINATION_DEADLINE", "5"),
        ("TERMINATION_GRACE_PERIOD_SECONDS", "soon"),
    ];
    for (name, value) in wrong {
        let mut gateway = Gateway::setup("binds: []\n").env(name, value).spawn();
        let status = gateway.wait_exit(PATIENCE).await;
        let log = gateway.log().text();
        assert_eq!(status.code(), Some(1), "{name}={value}: {log}");
        assert!(log.contains(&format!("environment: {name}: `{value}`")), "{log}");
    }
}

#[tokio::test]
async fn references_that_lead_nowhere_are_warnings_and_strict_refuses_them() {
    let text = "\
gateways: {default: {port: 0}}
routes:
- backends: [{host: 'a:1'}, {backend: nope}]
- backends: [{service: {name: a/b, port: 80}}]
- backends: [{routeGroup: zz}]
policies:
- {name: {name: p}, target: {gateway: {gatewayName: nope}}, policy: {timeout: {requestTimeout: 1s}}}
- {name: {name: q}, target: {route: {name: nope}}, policy: {timeout: {requestTimeout: 1s}}}
- {name: {name: r}, target: {backend: {backend: {name: nope}}}, policy: {http: {version: HTTP/1.1}}}
- {name: {name: s}, target: {gateway: {gatewayName: default}}, policy: {timeout: {requestTimeout: 1s}}}
";
    let expected = "\
warning: stdin:3:29: routes[0].backends[1]: backend `nope` does not exist; its requests get 500
warning: stdin:4:14: routes[1].backends[0]: service `a/b` does not exist; its requests get 500
warning: stdin:5:14: routes[2].backends[0]: route group `zz` does not exist; its requests get 500
warning: stdin:7:21: policies[0].target: gateway `default/nope` does not exist; the policy has no effect
warning: stdin:8:21: policies[1].target: route `default/nope` does not exist; the policy has no effect
warning: stdin:9:21: policies[2].target: backend `nope` does not exist; the policy has no effect
";
    let output = Gateway::run_cli(&["validate", "-f", "-"], text).await;
    assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"Configuration is valid!\n"[..]));
    let output = Gateway::run_cli(&["validate", "--strict", "-f", "-"], text).await;
    assert_eq!(output.status.code(), Some(1), "--strict refuses warnings");
    assert!(output.stdout.is_empty());
}

#[tokio::test]
async fn active_checks_that_another_place_overrules_are_warnings() {
    let text = "\
gateways: {default: {port: 0}}
backends:
- {name: own, host: '127.0.0.1:1', policies: {health: {active: {tcp: {}}}}}
- {name: shared, host: '127.0.0.1:2'}
routes:
- {name: a, backends: [{backend: own, policies: {health: {active: {tcp: {}}}}}]}
- {name: b, backends: [{backend: own, policies: {health: {active: {grpc: {}}}}}]}
- {name: d, backends: [{backend: shared, policies: {health: {active: {grpc: {}}}}}]}
- {name: c, backends: [{backend: shared, policies: {health: {active: {tcp: {}}}}}]}
- {name: e, backends: [{host: '127.0.0.1:3', policies: {health: {active: {tcp: {}}}}}]}
- {name: f, backends: [{host: '127.0.0.1:3', policies: {health: {active: {grpc: {}}}}}]}
";
    let expected = "\
warning: stdin:7:50: routes[1].backends[0].policies.health: these active checks do not run: those of the backend are \
said by `backends[0].policies.health` (line 3)
warning: stdin:8:53: routes[2].backends[0].policies.health: these active checks do not run: those of the backend are \
said by `routes[3].backends[0].policies.health` (line 9)
";
    let output = Gateway::run_cli(&["validate", "-f", "-"], text).await;
    assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
    assert_eq!(output.status.code(), Some(0));
}

#[tokio::test]
async fn exit_codes_and_output_of_the_command_line() {
    for (args, stdin, code, said) in [
        (&["-V"][..], "", 0, env!("CARGO_PKG_VERSION")),
        (&["--version"], "", 0, "\"git_revision\""),
        (&["schema"], "", 0, "\"$schema\""),
        (&["validate", "-f", "-"], "binds: []", 0, "Configuration is valid!"),
        (&["--validate-only", "-f", "-"], "binds: []", 0, "Configuration is valid!"),
        (&["--validate-only", "-c", "binds: 3"], "", 1, "command line:1:8: binds: expected a list"),
        (&["validate", "-c", "{\"binds\": []}"], "", 0, "Configuration is valid!"),
        (&["validate", "-c", "binds:"], "", 0, "Configuration is valid!"),
        (&["validate", "-c", "/nope.yaml"], "", 1, "neither a configuration nor a file that exists"),
        (&["validate", "-f", "/nope.yaml"], "", 1, "/nope.yaml: no such file"),
        (&["validate", "-f", "/tmp"], "", 1, "/tmp: is a directory"),
        (&["validate"], "", 1, "name a file with -f"),
        (&["run", "-c", "binds: 3"], "", 1, "command line:1:8: binds: expected a list"),
        (&["-c", "binds: 3"], "", 1, "command line:1:8: binds: expected a list"),
        (&["validate", "-f", "a", "-c", "b"], "", 2, "cannot be used with"),
        (&["--nonsense"], "", 2, "unexpected argument"),
        (&["-f"], "", 2, "a value is required"),
    ] {
        let output = Gateway::run_cli(args, stdin).await;
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
        assert!(text.contains(said), "{args:?}: {text}");
    }
    let path = conf("examples/timeout.yaml").display().to_string();
    let output = Gateway::run_cli(&["validate", "-c", &path], "").await;
    assert!(output.status.success(), "-c takes a path as well");
}

#[tokio::test]
async fn an_address_of_its_own_that_is_taken_keeps_the_process_from_starting() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address");
    let refusal = Gateway::start_expect_failure(&format!("config:\n  adminAddr: {address}\nbinds: []\n")).await;
    assert_eq!(refusal.status.code(), Some(1));
    assert!(refusal.log.contains(&format!("the admin server cannot listen on {address}")), "{}", refusal.log);
}

#[tokio::test]
async fn the_embedded_demo_answers_on_loopback() {
    // Its ports are fixed, and may be taken where tests run; the document is what is tested.
    let demo = std::fs::read_to_string(conf("../gateway/src/demo/default.yaml")).expect("the demo");
    let start = demo.find("binds:").expect("binds");
    let gateway = Gateway::start(&demo[start..].replace("port: 3000", "port: 0")).await;
    let bind = gateway.status().await.binds.remove(0);
    assert!(bind.address.starts_with("127.0.0.1:"), "{bind:?}");
    gateway.client().get("/hello").await.expect_status(200);
    let mut events = Client::h1(gateway.addr(0)).get("/events").events().await;
    assert!(events.next().await.expect("an event").is_some(), "/events streams");
    drop(events);
    gateway.stop().await;
}
