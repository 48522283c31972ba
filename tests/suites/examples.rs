//! Every file of `conf/examples` is valid, starts, and answers a request.
//!
//! The files are taken as they are but for what a test cannot have: ports become 0, and the backends they name become
//! one of the harness's. What each policy does is tested elsewhere; here an example must not lie.

use std::path::{Path, PathBuf};

use tests::control::Plane;
use tests::{Authority, Backend, Client, Gateway};

/// A gateway's file that needs a control plane.
const CLIENT: &str = "xds";

fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/examples");
    let entries = std::fs::read_dir(folder).expect("conf/examples").map(|it| it.expect("an entry").path());
    let mut paths: Vec<_> = entries.filter(|it| it.extension().is_some_and(|it| it == "yaml")).collect();
    paths.sort();
    assert!(paths.len() >= 20, "examples are missing: {paths:?}");
    paths
}

/// What the answer of an example must be; most pass the request on.
fn expected(name: &str) -> (&str, u16) {
    match name {
        "direct-response" => ("/", 503),
        // Nobody has shown who it is.
        "jwt-auth" | "api-key" | "basic-auth" => ("/x", 401),
        "request-redirect" => ("/x", 301),
        "url-rewrite" => ("/shop/x", 200),
        // No machine of a cloud's gives it a token.
        "backend-auth-gcp" | "backend-auth-azure" => ("/x", 500),
        // The echo is no guard: what it cannot say passes nowhere.
        "ai-webhook" => ("/x", 503),
        // A request of no MCP client.
        "llm" => ("/v1/models", 200),
        "mcp" | "mcp-authorization" | "mcp-guardrails" | "mcp-openapi" | "mcp-pinning" | "mcp-tools" => ("/mcp", 406),
        "mcp-authentication" => ("/mcp", 401),
        _ => ("/x", 200),
    }
}

#[tokio::test]
async fn every_example_is_valid() {
    for path in examples() {
        let output = Gateway::run_cli(&["validate", "--strict", "-f", &path.display().to_string()], "").await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}:\n{said}", path.display());
    }
}

#[tokio::test]
async fn every_example_starts_and_answers() {
    let authority = Authority::new("examples");
    let identity = authority.server(&["api.internal"]);
    let (plain, tls) = (Backend::echo(), Backend::tls(identity.server_config(None, &["h2", "http/1.1"])));
    for path in examples() {
        let name = path.file_stem().and_then(|it| it.to_str()).expect("a name");
        if name == CLIENT {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("the example");
        let backend = if name == "backend-tls" { &tls } else { &plain };
        let text = text
            .replace("port: 3000", "port: 0")
            .replace("127.0.0.1:8080", &backend.addr().to_string())
            .replace("127.0.0.1:8081", &plain.addr().to_string())
            .replace(
                "hostname: api.internal",
                &format!("hostname: api.internal\n        root: {}", authority.path().display()),
            );
        // Whatever machine this is, it is not asked for credentials: nothing listens there.
        let gateway = Gateway::setup(&text).env("GCE_METADATA_HOST", "127.0.0.1:1").start().await;
        let (path, status) = expected(name);
        let reply = Client::h1(gateway.addr(0)).get(path).header("x-user", "me").await;
        assert_eq!(reply.status.as_u16(), status, "{name}: {}\n{}", reply.text(), gateway.log().text());
        gateway.stop().await;
    }
}

#[tokio::test]
async fn the_two_examples_of_a_control_plane_fit() {
    let text = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/examples").join(name);
        std::fs::read_to_string(path).expect("the example")
    };
    let echo = Backend::echo();
    let served = text("xds-served.yaml").replace("port: 3000", "port: 0");
    let plane = Plane::start(&served.replace("127.0.0.1:8080", &echo.addr().to_string()), &[]).await;
    let asks = text("xds.yaml").replace("127.0.0.1:18000", &plane.addr().to_string());
    let gateway = Gateway::start(&asks).await;
    // Ready is when the control plane has spoken; its bind listens then, or in a moment.
    let client = Client::h1(gateway.listens("bind/#0").await);
    for (path, want) in [("/x", "/x"), ("/api/y", "/y")] {
        let reply = client.get(path).await.expect_status(200).text();
        assert!(reply.contains(want) && !reply.contains("/api"), "{path}: {reply}");
    }
    gateway.stop().await;
    plane.stop().await;
}
