//! `backendAuth: { gcp: … }`: tokens of Google's, had where each kind of credential says and renewed before their end. The
//! servers of tokens are fakes that speak what Google documents.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tests::backend::{Asked, answer};
use tests::control::Plane;
use tests::issuer::Issuer;
use tests::wait::PATIENCE;
use tests::{Backend, Gateway, config, eventually};

/// What a token is good for, in seconds: half of it, and it is renewed.
const LONG: u64 = 3600;

fn policy(more: &str) -> String {
    format!("backendAuth: {{ gcp: {{ {more} }} }}")
}

/// A server of tokens. Each is numbered; what is asked for by whom it judges as Google's do.
fn tokens(issuer: &Arc<Issuer>, life: u64) -> Backend {
    let (issuer, count) = (issuer.clone(), AtomicU64::new(0));
    Backend::http(move |asked: Asked| {
        let n = count.fetch_add(1, Ordering::SeqCst) + 1;
        let reply = judged(&issuer, &asked, n, life);
        async move {
            match reply {
                Ok(Value::String(text)) => answer::text(200, text),
                Ok(document) => answer::json(&document),
                Err(error) => {
                    let mut reply = answer::json(&json!({"error": error, "error_description": "canary-description"}));
                    *reply.status_mut() = http::StatusCode::BAD_REQUEST;
                    reply
                }
            }
        }
    })
}

fn judged(issuer: &Issuer, asked: &Asked, n: u64, life: u64) -> Result<Value, &'static str> {
    let given = |token: String| json!({"access_token": token, "expires_in": life, "token_type": "Bearer"});
    let path = asked.uri.path();
    if let Some(what) = path.strip_prefix("/computeMetadata/v1/instance/service-accounts/default/") {
        if asked.header("metadata-flavor") != Some("Google") {
            return Err("no_flavor");
        }
        return match what {
            "token" => Ok(given(format!("ya29.machine-{n}"))),
            "identity" => Ok(Value::String(id_token(&asked.query("audience").unwrap_or_default(), n, life))),
            _ => Err("no_such_path"),
        };
    }
    if asked.header("content-type") == Some("application/json") && path.ends_with(":generateAccessToken") {
        let elsewhere = asked.header("authorization").is_some_and(|it| it.starts_with("Bearer ya29.d."));
        let token = json!({"accessToken": format!("ya29.as-{n}"), "expireTime": "2035-01-01T00:00:00Z"});
        return if elsewhere && asked.json()["lifetime"] == "3600s" { Ok(token) } else { Err("not_authorized") };
    }
    if asked.header("content-type") != Some("application/x-www-form-urlencoded") {
        return Err("invalid_request");
    }
    let text = asked.text();
    let form = |name: &str| {
        let found = text.split('&').filter_map(|it| it.split_once('=')).find(|it| it.0 == name);
        found.map(|it| it.1.replace("%3A", ":").replace("%2F", "/").replace("%2B", "+"))
    };
    match form("grant_type").as_deref() {
        Some("urn:ietf:params:oauth:grant-type:jwt-bearer") => {
            let assertion = form("assertion").unwrap_or_default();
            let claims = issuer.verified(&assertion).ok_or("invalid_grant")?;
            if claims["iss"] != "me@p.iam.gserviceaccount.com" || claims["exp"].as_u64() < claims["iat"].as_u64() {
                return Err("invalid_grant");
            }
            match (claims["scope"].as_str(), claims["target_audience"].as_str()) {
                (Some("https://www.googleapis.com/auth/cloud-platform"), None) => {
                    Ok(given(format!("ya29.account-{n}")))
                }
                (None, Some(audience)) => Ok(json!({"id_token": id_token(audience, n, life)})),
                _ => Err("invalid_scope"),
            }
        }
        Some("refresh_token") => match (form("client_secret").as_deref(), form("refresh_token").as_deref()) {
            (Some("canary-secret"), Some("1//canary")) => Ok(given(format!("ya29.user-{n}"))),
            _ => Err("invalid_grant"),
        },
        Some("urn:ietf:params:oauth:grant-type:token-exchange") => match form("subject_token").as_deref() {
            Some("canary-elsewhere") => Ok(given(format!("ya29.d.{n}"))),
            _ => Err("invalid_grant"),
        },
        _ => Err("unsupported_grant_type"),
    }
}

fn id_token(audience: &str, n: u64, life: u64) -> String {
    let part = |it: Value| URL_SAFE_NO_PAD.encode(it.to_string());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs();
    format!("{}.{}.c2ln", part(json!({"alg": "RS256"})), part(json!({"aud": audience, "exp": now + life, "n": n})))
}

fn account(issuer: &Issuer, server: &Backend) -> String {
    json!({"type": "service_account", "private_key_id": "canary-id", "private_key": issuer.pem(),
        "client_email": "me@p.iam.gserviceaccount.com", "token_uri": format!("http://{}/token", server.addr())})
    .to_string()
}

fn user(server: &Backend, secret: &str) -> String {
    json!({"type": "authorized_user", "client_id": "c", "client_secret": secret, "refresh_token": "1//canary",
        "token_uri": format!("http://{}/token", server.addr())})
    .to_string()
}

fn sent(backend: &Backend) -> String {
    let asked = backend.stats().last();
    let values: Vec<_> = asked.headers.get_all("authorization").iter().map(|it| it.to_str().expect("a text")).collect();
    values.join(", ")
}

fn quoted(document: &str) -> String {
    format!("'{}'", document.replace('\'', "''"))
}

#[tokio::test]
async fn each_kind_of_credential_has_its_tokens_from_a_file_and_from_a_control_plane() {
    let issuer = Arc::new(Issuer::rsa("canary-id"));
    let (server, backend) = (tokens(&issuer, LONG), Backend::echo());
    for (credential, want) in [(account(&issuer, &server), "account"), (user(&server, "canary-secret"), "user")] {
        let document = config::backend(&backend, &policy(&format!("credential: {}", quoted(&credential))));
        let plane = Plane::start(&document, &[]).await;
        let remote =
            format!("config:\n  xdsAddress: 'http://{}'\n  namespace: default\n  gateway: default\n", plane.addr());
        for document in [document, remote] {
            let asked = server.stats().requests();
            let gateway = Gateway::start(&document).await;
            let addr = gateway.listens("bind/127.0.0.1#0").await;
            let client = tests::Client::h1(addr);
            let calls: Vec<_> = (0..20)
                .map(|_| tokio::spawn(client.get("/").header("authorization", "Bearer mine").try_send()))
                .collect();
            for call in calls {
                call.await.expect("the client").expect("an answer").expect_status(200);
            }
            assert!(sent(&backend).starts_with(&format!("Bearer ya29.{want}-")), "{}", sent(&backend));
            assert_eq!(server.stats().requests(), asked + 1, "all of them have one token");
            for path in ["/config_dump", "/config/status", "/backends"] {
                let text = gateway.admin("GET", path).await.text();
                assert!(!text.contains("canary-secret") && !text.contains("PRIVATE KEY"), "{path}");
            }
            assert!(!gateway.log().text().contains("ya29") && !gateway.log().text().contains("canary-secret"));
            gateway.stop().await;
        }
        plane.stop().await;
    }
}

#[tokio::test]
async fn id_tokens_are_for_the_audience_that_is_written_or_the_host_that_is_sent() {
    let issuer = Arc::new(Issuer::rsa("canary-id"));
    let (server, backend) = (tokens(&issuer, LONG), Backend::echo());
    for (audience, want) in [(", audience: 'https://run.test/x'", "https://run.test/x"), ("", "https://asked.test")] {
        let credential = quoted(&account(&issuer, &server));
        let yaml = config::backend(&backend, &policy(&format!("type: idToken{audience}, credential: {credential}")));
        let gateway = Gateway::start(&yaml).await;
        gateway.client().host("asked.test").get("/").await.expect_status(200);
        let sent = sent(&backend);
        let claims = sent.strip_prefix("Bearer ").and_then(|it| it.split('.').nth(1)).expect("a token");
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).expect("base64")).expect("JSON");
        assert_eq!(claims["aud"], want);
        gateway.stop().await;
    }
}

#[tokio::test]
async fn the_machine_and_who_is_known_elsewhere_have_tokens_without_a_secret_in_the_document() {
    let issuer = Arc::new(Issuer::rsa("unused"));
    let (server, backend) = (tokens(&issuer, LONG), Backend::echo());
    let yaml = config::backend(&backend, &policy(""));
    let gateway = Gateway::setup(&yaml).env("GCE_METADATA_HOST", &server.addr().to_string()).start().await;
    gateway.client().get("/").await.expect_status(200);
    assert!(sent(&backend).starts_with("Bearer ya29.machine-"), "{}", sent(&backend));
    gateway.stop().await;

    let setup = Gateway::setup(&yaml);
    let (file, token) = (setup.dir().join("adc.json"), setup.dir().join("token"));
    let at = |path: &str| format!("http://{}{path}", server.addr());
    let mut external = json!({"type": "external_account", "audience": "//iam.googleapis.com/pool",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": at("/v1/token"),
        "credential_source": {"file": token}});
    for (impersonates, want) in [(false, "Bearer ya29.d."), (true, "Bearer ya29.as-")] {
        if impersonates {
            external["service_account_impersonation_url"] =
                at("/v1/projects/-/serviceAccounts/me:generateAccessToken").into();
        }
        let setup = Gateway::setup(&yaml).env("GOOGLE_APPLICATION_CREDENTIALS", file.to_str().expect("a path"));
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(&file, external.to_string()).expect("written");
        std::fs::write(&token, "canary-elsewhere\n").expect("written");
        let gateway = setup.start().await;
        gateway.client().get("/").await.expect_status(200);
        assert!(sent(&backend).starts_with(want), "{}", sent(&backend));
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_token_is_renewed_in_the_background_and_serves_while_that_fails() {
    let issuer = Arc::new(Issuer::rsa("canary-id"));
    let (server, backend) = (tokens(&issuer, 8), Backend::echo());
    let yaml = config::backend(&backend, &policy(&format!("credential: {}", quoted(&user(&server, "canary-secret")))));
    let gateway = Gateway::start(&yaml).await;
    gateway.client().get("/").await.expect_status(200);
    assert_eq!(sent(&backend), "Bearer ya29.user-1");
    server.stats().fail_next(1, 503);
    // At half of its life: the first try fails, the second one does not.
    eventually(PATIENCE, async || {
        gateway.client().get("/").await.expect_status(200);
        let second = sent(&backend);
        assert!(second.starts_with("Bearer ya29.user-"), "{second}");
        second != "Bearer ya29.user-1"
    })
    .await;
    gateway.wait_log(|it| it.contains("there is no credential") && it.contains("google") && it.contains("503")).await;
    gateway.stop().await;
}

#[tokio::test]
async fn what_has_no_token_does_not_leave_and_no_url_leads_to_a_metadata_server() {
    let issuer = Arc::new(Issuer::rsa("canary-id"));
    let (server, backend) = (tokens(&issuer, LONG), Backend::echo());
    let metadata = user(&server, "canary-secret").replace(&server.addr().to_string(), "169.254.169.254");
    for (credential, why) in
        [(user(&server, "canary-wrong"), "invalid_grant"), (metadata, "the address 169.254.169.254 is refused")]
    {
        let yaml = config::backend(&backend, &policy(&format!("credential: {}", quoted(&credential))));
        let gateway = Gateway::start(&yaml).await;
        let reply = gateway.client().get("/").header("authorization", "Bearer mine").await.expect_status(500);
        assert!(!reply.text().contains("Google"), "{}", reply.text());
        let line = gateway.wait_access(1).await.remove(0);
        assert!(line["error"].as_str().is_some_and(|it| it.contains(why)), "{line}");
        let status = gateway.admin("GET", "/config/status").await.text();
        assert!(status.contains("access token") && status.contains(why), "{status}");
        let log = gateway.log().text();
        assert!(!log.contains("canary-wrong") && !log.contains("canary-description"), "{log}");
        assert_eq!(backend.stats().requests(), 0);
        gateway.stop().await;
    }
    for (written, said) in [
        ("credential: '{}'", "backendAuth.gcp.credential: there is no `type`"),
        ("audience: 'https://x'", "backendAuth.gcp.audience: access tokens have none"),
        ("type: id", "type"),
    ] {
        let yaml = config::backend(&backend, &policy(written));
        let output = Gateway::run_cli(&["validate", "-c", &yaml], "").await;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(said), "{written}: {text}");
    }
}
