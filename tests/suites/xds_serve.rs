//! `agentgateway xds serve` from outside: what it refuses to serve, what it says of itself, and how it ends. What it
//! serves is looked at by `tests/outside`, and by the property tests of `gateway/src/fleet`.

use tests::control::Plane;
use tests::wait::{PATIENCE, eventually};
use tests::{Authority, Gateway};

const DOCUMENT: &str = "binds:
- port: 3000
  listeners:
  - routes:
    - name: a
      policies: { directResponse: { status: 200 } }
";

#[tokio::test]
async fn keys_are_not_served_to_strangers() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("served.yaml");
    std::fs::write(&file, DOCUMENT).expect("the document");
    let file = file.display().to_string();
    let authority = Authority::new("fleet");
    let roots = authority.path().display().to_string();
    for (flags, code, want) in [
        (&["--address", "0.0.0.0:0"][..], 2, "add `--tls-cert` and `--tls-key`, and `--token-file` or `--client-ca`"),
        (&["--tls-cert", "x"], 2, "--tls-key"),
        (&["--status-address", "0.0.0.0:0"], 2, "use loopback"),
        (&["--token-file", "/nowhere"], 2, "cannot read `/nowhere`"),
        (&["--address", "127.0.0.1:0", "--tls-cert", "/nowhere", "--tls-key", "/nowhere"], 1, "cannot read `/nowhere`"),
        (&["--address", "127.0.0.1:0", "--tls-cert", &roots, "--tls-key", &roots], 1, "cannot read"),
    ] {
        let args = [&["xds", "serve", "-f", &file, "--status-address", "off"][..], flags].concat();
        let args: Vec<_> =
            if flags.contains(&"--status-address") { [&["xds", "serve", "-f", &file], flags].concat() } else { args };
        let output = Gateway::run_cli(&args, "").await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{flags:?}: {said}");
        assert!(said.contains(want), "{flags:?}: {said}");
    }
    let output = Gateway::run_cli(&["xds", "serve", "-f", "/nowhere"], "").await;
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test]
async fn what_does_not_travel_is_named_with_its_place() {
    let document = format!(
        "config: {{ logging: {{ level: debug }} }}\nbackends:\n- {{ name: b, host: 'unix:/run/b.sock' }}\n{DOCUMENT}"
    );
    let plane = Plane::start(&document, &[]).await;
    let log = plane.log();
    assert!(log.contains("served.yaml:1:1: config: does not travel"), "{log}");
    assert!(log.contains("served.yaml:3:3: backends[0]: a unix socket is looked for on the host of each"), "{log}");
    assert!(log.contains("neither TLS nor tokens"), "{log}");
    plane.stop().await;
}

#[tokio::test]
async fn an_edit_changes_one_resource_and_a_mistake_none() {
    let plane = Plane::start(DOCUMENT, &["--nodes", "a,edge-*"]).await;
    let first = plane.status().await;
    assert_eq!((&first["generation"], &first["resources"]), (&1.into(), &4.into()), "{first}");
    plane.edit(&DOCUMENT.replace("200", "201"));
    eventually(PATIENCE, || async { plane.status().await["generation"] == 2 }).await;
    eventually(PATIENCE, || async { plane.log().contains("changes=1") }).await;
    plane.edit("binds: [");
    eventually(PATIENCE, || async { !plane.status().await["document"]["lastError"].is_null() }).await;
    assert_eq!(plane.status().await["generation"], 2, "a refused document changes nothing");
    let metrics = plane.page("/metrics").await;
    for want in ["control_config_synchronized 0", "control_generation 2", "control_resources 4", "control_clients 0"] {
        assert!(metrics.contains(&format!("agentgateway_{want}\n")), "{want}: {metrics}");
    }
    plane.stop().await;
}
