//! `backendAuth: { azure: … }`: tokens of Entra, had where each kind of identity says. The servers of tokens are fakes that
//! speak what Microsoft documents.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use tests::backend::{Asked, answer};
use tests::control::Plane;
use tests::http::query_pairs;
use tests::{Backend, Client, Gateway, config};

const SCOPE: &str = "https://cognitiveservices.azure.com/.default";

/// The endpoint of a tenant, the metadata server of a machine, and that of App Service.
fn tokens() -> Backend {
    let count = AtomicU64::new(0);
    Backend::http(move |asked: Asked| {
        let n = count.fetch_add(1, Ordering::SeqCst) + 1;
        let reply = judged(&asked, n);
        async move {
            match reply {
                Ok(document) => answer::json(&document),
                Err(error) => {
                    let mut reply = answer::json(&json!({"error": error, "error_description": "canary-description"}));
                    *reply.status_mut() = http::StatusCode::UNAUTHORIZED;
                    reply
                }
            }
        }
    })
}

fn judged(asked: &Asked, n: u64) -> Result<Value, &'static str> {
    let form = query_pairs(&asked.text());
    let field = |name: &str| form.iter().find(|it| it.0 == name).map(|it| it.1.as_str()).unwrap_or_default();
    match (asked.method.as_str(), asked.uri.path()) {
        ("POST", "/tenant/oauth2/v2.0/token") if field("grant_type") == "client_credentials" => {
            let proven = match field("client_id") {
                "app" => field("client_secret") == "canary-secret",
                "pod" => {
                    field("client_assertion") == "canary-pod"
                        && field("client_assertion_type") == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
                }
                _ => false,
            };
            let given = json!({"token_type": "Bearer", "expires_in": 3599, "access_token": format!("{}-{n}", field("client_id"))});
            if proven && field("scope") == SCOPE { Ok(given) } else { Err("invalid_client") }
        }
        ("GET", "/metadata/identity/oauth2/token") if asked.header("metadata") == Some("true") => {
            let id = asked.query("client_id").unwrap_or_else(|| "machine".to_owned());
            let whole = asked.query("resource").as_deref() == Some("https://cognitiveservices.azure.com");
            let given = json!({"access_token": format!("{id}-{n}"), "expires_in": "86399", "expires_on": "4102444800"});
            if whole { Ok(given) } else { Err("invalid_resource") }
        }
        ("GET", "/msi") if asked.header("x-identity-header") == Some("canary-header") => {
            Ok(json!({"access_token": format!("service-{n}"), "expires_on": "4102444800"}))
        }
        _ => Err("invalid_request"),
    }
}

fn yaml(backend: &Backend, azure: &str) -> String {
    config::backend(backend, &format!("backendAuth: {{ azure: {{ {azure} }} }}"))
}

fn sent(backend: &Backend) -> String {
    let asked = backend.stats().last();
    let values: Vec<_> = asked.headers.get_all("authorization").iter().map(|it| it.to_str().expect("a text")).collect();
    values.join(", ")
}

const APP: &str =
    "explicitConfig: { clientSecret: { tenant_id: tenant, client_id: app, client_secret: canary-secret } }";

#[tokio::test]
async fn an_application_has_its_token_from_a_file_and_from_a_control_plane() {
    let (server, backend) = (tokens(), Backend::echo());
    let authority = format!("http://{}/", server.addr());
    let document = yaml(&backend, APP);
    let plane = Plane::start(&document, &[]).await;
    let remote =
        format!("config:\n  xdsAddress: 'http://{}'\n  namespace: default\n  gateway: default\n", plane.addr());
    for (document, want) in [(document, "Bearer app-1"), (remote, "Bearer app-2")] {
        let gateway = Gateway::setup(&document).env("AZURE_AUTHORITY_HOST", &authority).start().await;
        let client = Client::h1(gateway.listens("bind/127.0.0.1#0").await);
        let calls: Vec<_> =
            (0..20).map(|_| tokio::spawn(client.get("/").header("authorization", "Bearer mine").try_send())).collect();
        for call in calls {
            call.await.expect("the client").expect("an answer").expect_status(200);
        }
        assert_eq!(sent(&backend), want, "all of them have one token");
        for path in ["/config_dump", "/config/status", "/backends"] {
            assert!(!gateway.admin("GET", path).await.text().contains("canary-"), "{path}");
        }
        assert!(!gateway.log().text().contains("canary-") && !gateway.log().text().contains("app-"));
        gateway.stop().await;
    }
    plane.stop().await;
}

#[tokio::test]
async fn pods_machines_and_who_has_logged_in_have_tokens_without_a_secret_in_the_document() {
    let (server, backend) = (tokens(), Backend::echo());
    let folder = tempfile::tempdir().expect("a folder");
    let (token, az) = (folder.path().join("token"), folder.path().join("az"));
    std::fs::write(&token, "canary-pod\n").expect("written");
    let said = r#"{"accessToken": "me-1", "expires_on": 4102444800, "tokenType": "Bearer"}"#;
    let script =
        format!("#!/bin/sh\n[ \"$*\" = 'account get-access-token --output json --scope {SCOPE}' ] && echo '{said}'\n");
    std::fs::write(&az, script).expect("written");
    std::fs::set_permissions(&az, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a program");
    let url = format!("http://{}", server.addr());
    let (token, msi) = (token.to_str().expect("a path"), format!("{url}/msi"));
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap_or_default());
    let pod = [
        ("AZURE_AUTHORITY_HOST", &*url),
        ("AZURE_TENANT_ID", "tenant"),
        ("AZURE_CLIENT_ID", "pod"),
        ("AZURE_FEDERATED_TOKEN_FILE", token),
    ];
    let secret = [pod[0], pod[1], ("AZURE_CLIENT_ID", "app"), ("AZURE_CLIENT_SECRET", "canary-secret")];
    let machine = [("AZURE_POD_IDENTITY_AUTHORITY_HOST", &*url)];
    let service = [("IDENTITY_ENDPOINT", &*msi), ("IDENTITY_HEADER", "canary-header")];
    let managed = "explicitConfig: { managedIdentity: { userAssignedIdentity: { clientId: mine } } }";
    for (azure, env, want) in [
        ("explicitConfig: { workloadIdentity: {} }", &pod[..], "Bearer pod-"),
        ("implicit: {}", &pod[..], "Bearer pod-"),
        ("implicit: {}", &secret[..], "Bearer app-"),
        ("implicit: {}", &machine[..], "Bearer machine-"),
        (managed, &machine[..], "Bearer mine-"),
        ("explicitConfig: { managedIdentity: {} }", &service[..], "Bearer service-"),
        ("developerImplicit: {}", &[("PATH", &*path)][..], "Bearer me-1"),
    ] {
        let setup = env.iter().fold(Gateway::setup(&yaml(&backend, azure)), |setup, (name, it)| setup.env(name, it));
        let gateway = setup.start().await;
        gateway.client().get("/").await.expect_status(200);
        assert!(sent(&backend).starts_with(want), "{azure}: {}", sent(&backend));
        assert!(!gateway.log().text().contains("canary-"), "{}", gateway.log().text());
        gateway.stop().await;
    }
}

#[tokio::test]
async fn what_has_no_token_does_not_leave() {
    let (server, backend) = (tokens(), Backend::echo());
    let url = format!("http://{}", server.addr());
    for (azure, env, why) in [
        (APP.replace("canary-secret", "canary-wrong"), ("AZURE_AUTHORITY_HOST", &*url), "status 401: invalid_client"),
        (
            "explicitConfig: { workloadIdentity: {} }".to_owned(),
            ("UNUSED", ""),
            "AZURE_FEDERATED_TOKEN_FILE is not set",
        ),
        ("developerImplicit: {}".to_owned(), ("PATH", "/nowhere"), "az: "),
    ] {
        let gateway = Gateway::setup(&yaml(&backend, &azure)).env(env.0, env.1).start().await;
        let reply = gateway.client().get("/").header("authorization", "Bearer mine").await.expect_status(500);
        assert!(!reply.text().contains("Azure"), "{}", reply.text());
        let line = gateway.wait_access(1).await.remove(0);
        assert!(line["error"].as_str().is_some_and(|it| it.contains(why)), "{why}: {line}");
        let status = gateway.admin("GET", "/config/status").await.text();
        assert!(status.contains("token for https://cognitiveservices.azure.com") && status.contains(why), "{status}");
        assert!(!gateway.log().text().contains("canary-"), "{}", gateway.log().text());
        assert_eq!(backend.stats().requests(), 0);
        gateway.stop().await;
    }
    for (written, said) in [
        ("explicitConfig: {}", "backendAuth.azure.explicitConfig: write exactly one of"),
        ("implict: {}", "unknown key `implict` (did you mean `implicit`?)"),
    ] {
        let output = Gateway::run_cli(&["validate", "-c", &yaml(&backend, written)], "").await;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(said), "{written}: {text}");
    }
}
