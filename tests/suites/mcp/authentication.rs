//! `mcpAuthentication`: an endpoint that says where its tokens are from, and whom it lets in.

use http::Method;
use serde_json::{Value, json};
use tests::backend::answer;
use tests::issuer::Issuer;
use tests::wait::{PATIENCE, eventually};
use tests::{Backend, Gateway, McpClient, McpServer};

use super::federation_of;

const METADATA: &str = "/.well-known/oauth-authorization-server";

/// An authorization server that has keys and a document, and registers clients.
fn authority(keys: &Issuer) -> Backend {
    let jwks: Value = serde_json::from_str(&keys.jwks()).expect("JSON");
    Backend::http(move |asked| {
        let jwks = jwks.clone();
        async move {
            let here = format!("http://{}", asked.header("host").unwrap_or_default());
            match (asked.method.clone(), asked.uri.path()) {
                (_, "/.well-known/jwks.json" | "/protocol/openid-connect/certs") => answer::json(&jwks),
                (_, METADATA | "/.well-known/openid-configuration") => answer::json(&json!({
                    "issuer": here, "authorization_endpoint": format!("{here}/authorize"),
                    "token_endpoint": format!("{here}/token"), "code_challenge_methods_supported": ["S256"]})),
                (Method::POST, "/clients-registrations/openid-connect") => answer::with_type(
                    201,
                    "application/json",
                    json!({"client_id": "c1", "seen": asked.json()}).to_string(),
                ),
                _ => answer::text(404, "nothing here"),
            }
        }
    })
}

fn with_policy(yaml: &str, policy: &str) -> String {
    let policies = format!("    - name: tools\n      policies: {{ mcpAuthentication: {{ {policy} }} }}\n");
    yaml.replace("    - name: tools\n", &policies)
}

async fn ready(gateway: &Gateway, headers: &[(&str, &str)]) {
    // Keys are fetched in the background.
    eventually(PATIENCE, || async {
        let mut call = gateway.client().get("/mcp");
        for (name, value) in headers {
            call = call.header(name, *value);
        }
        call.await.status != 503
    })
    .await;
}

#[tokio::test]
async fn clients_find_the_authorization_server_and_come_back_with_a_token() {
    let (server, keys) = (McpServer::start("one"), Issuer::new("k"));
    let authority = authority(&keys);
    let issuer = format!("http://{}", authority.addr());
    let policy = format!("issuer: '{issuer}', audiences: [tools], requiredScopes: [use]");
    let gateway = Gateway::start(&with_policy(&federation_of(&[("a", &server)], ""), &policy)).await;
    let client = gateway.client();
    let here = format!("http://{}", gateway.addr(0));
    let refused = client.call(Method::POST, "/mcp").json(&tests::mcp::opening("2025-06-18")).await.expect_status(401);
    assert_eq!(
        refused.header("www-authenticate"),
        Some(&*format!(r#"Bearer scope="use", resource_metadata="{here}/.well-known/oauth-protected-resource/mcp""#))
    );
    let resource = client.get("/.well-known/oauth-protected-resource/mcp").await.expect_status(200).json();
    assert_eq!(
        (&resource["resource"], &resource["authorization_servers"]),
        (&json!(format!("{here}/mcp")), &json!([issuer]))
    );
    assert_eq!(resource["scopes_supported"], json!(["use"]));
    let document = client.get(&format!("{METADATA}/mcp")).await.expect_status(200).json();
    assert_eq!((&document["issuer"], &document["token_endpoint"]), (&json!(issuer), &json!(format!("{issuer}/token"))));

    let token = |claims: Value| format!("Bearer {}", keys.token(&claims));
    let good = token(json!({"iss": issuer, "aud": "tools", "scope": "use"}));
    ready(&gateway, &[("authorization", &good)]).await;
    let alice = McpClient::open_with(gateway.addr(0), "/mcp", &[("authorization", &good)]).await;
    assert_eq!(alice.text("echo", json!({"x": 1})).await, r#"one: {"x":1}"#);
    assert_eq!(server.backend.stats().last().header("authorization"), None, "the token goes no further");
    for (claims, status) in [
        (json!({"iss": issuer, "aud": "others", "scope": "use"}), 401),
        (json!({"iss": "https://evil.test", "aud": "tools", "scope": "use"}), 401),
        (json!({"iss": issuer, "aud": "tools", "scope": "look"}), 403),
    ] {
        let call = client.call(Method::POST, "/mcp").header("authorization", token(claims));
        call.json(&tests::mcp::opening("2025-06-18")).await.expect_status(status);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_session_is_of_whom_the_token_is_of() {
    let (server, keys) = (McpServer::start("one"), Issuer::new("k"));
    let policy = format!("issuer: 'https://issuer.test', audiences: [tools], jwks: '{}'", keys.jwks());
    let gateway = Gateway::start(&with_policy(&federation_of(&[("a", &server)], ""), &policy)).await;
    let mut users = Vec::new();
    for number in 0..40 {
        let token = format!("Bearer {}", keys.token(&json!({"aud": "tools", "sub": format!("user-{number}")})));
        let client = McpClient::open_with(gateway.addr(0), "/mcp", &[("authorization", &token)]).await;
        users.push((token, client));
    }
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {}}});
    let calls = users.iter().enumerate().flat_map(|(one, (token, _))| {
        let (users, gateway, call) = (&users, &gateway, &call);
        users.iter().enumerate().map(move |(other, (_, client))| async move {
            let session = client.session.clone().expect("a session");
            let asked = gateway.client().call(Method::POST, "/mcp").header("authorization", token);
            let asked = asked.header("accept", "application/json, text/event-stream").header("mcp-session-id", session);
            (one == other, asked.json(call).await.status.as_u16())
        })
    });
    let outcomes = futures::future::join_all(calls).await;
    let wrong = outcomes.iter().filter(|(own, status)| *status != if *own { 200 } else { 404 }).count();
    assert_eq!((outcomes.len(), wrong), (1600, 0), "everybody has their own session and nobody another's");
    gateway.stop().await;
}

#[tokio::test]
async fn some_calls_need_more_of_the_token() {
    let (server, keys) = (McpServer::start("one"), Issuer::new("k"));
    let policy = format!(
        "issuer: 'https://issuer.test', audiences: [tools], jwks: '{}', requiredScopes: [use], stepUp: \
         [{{ when: 'has(mcp.tool) && mcp.tool.name == \"fail\"', scopes: [admin] }}]",
        keys.jwks()
    );
    let gateway = Gateway::start(&with_policy(&federation_of(&[("a", &server)], ""), &policy)).await;
    let bearer = |scope: &str| format!("Bearer {}", keys.token(&json!({"aud": "tools", "scope": scope})));
    let plain = bearer("use");
    let client = McpClient::open_with(gateway.addr(0), "/mcp", &[("authorization", &plain)]).await;
    assert_eq!(client.text("echo", json!({})).await, "one: {}");
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "fail", "arguments": {}}});
    let before = server.asked("tools/call");
    let refused = client.post(&call).await.expect_status(403);
    let challenge = refused.header("www-authenticate").unwrap_or_default().to_owned();
    assert!(
        challenge.starts_with("Bearer error=\"insufficient_scope\"") && challenge.contains("scope=\"admin use\""),
        "{challenge}"
    );
    assert!(challenge.contains("/.well-known/oauth-protected-resource/mcp\""), "{challenge}");
    assert_eq!(server.asked("tools/call"), before, "the server was not asked");
    let more = bearer("admin use");
    // The same user, with a token that has more: the session goes on.
    let session = client.session.clone().expect("a session");
    let again = gateway.client().call(Method::POST, "/mcp").header("authorization", more);
    let again = again.header("accept", "application/json, text/event-stream").header("mcp-session-id", session);
    again.json(&call).await.expect_status(200);
    gateway.stop().await;
}

#[tokio::test]
async fn the_gateway_stands_in_front_of_what_needs_help() {
    let (server, keys) = (McpServer::start("one"), Issuer::new("k"));
    let authority = authority(&keys);
    let issuer = format!("http://{}", authority.addr());
    let start = async |more: &str| {
        let policy = format!("issuer: '{issuer}', audiences: [tools], {more}");
        Gateway::start(&with_policy(&federation_of(&[("a", &server)], ""), &policy)).await
    };
    let keycloak = start("provider: { keycloak: {} }").await;
    let client = keycloak.client();
    let front = format!("http://{}{METADATA}/mcp", keycloak.addr(0));
    let document =
        client.get(&format!("{METADATA}/mcp")).header("x-forwarded-proto", "http").await.expect_status(200).json();
    assert_eq!(document["issuer"], format!("http://{}/mcp", keycloak.addr(0)));
    assert_eq!(document["registration_endpoint"], format!("{front}/client-registration"));
    let wish = json!({"redirect_uris": ["http://localhost/cb"]});
    let register = format!("{METADATA}/mcp/client-registration");
    let call = client.call(Method::POST, &register).header("cookie", "a=b").header("authorization", "Bearer x");
    let answered = call.json(&wish).await.expect_status(201);
    assert_eq!(answered.json(), json!({"client_id": "c1", "seen": wish}));
    let seen = authority.stats().last();
    assert_eq!(
        (seen.header("cookie"), seen.header("authorization")),
        (None, None),
        "nothing of the client but its wish"
    );
    let large = json!({"redirect_uris": ["x".repeat(70_000)]});
    client.call(Method::POST, &register).json(&large).await.expect_status(413);
    keycloak.stop().await;

    let fixed = start("clientId: agents").await;
    let answered = fixed.client().call(Method::POST, &register).json(&wish).await.expect_status(201).json();
    assert_eq!((&answered["client_id"], &answered["token_endpoint_auth_method"]), (&json!("agents"), &json!("none")));
    fixed.stop().await;
}

#[tokio::test]
async fn no_document_leads_the_gateway_to_where_it_does_not_go() {
    let server = McpServer::start("one");
    // A redirect to the metadata service of a cloud, a document without end, and one that says it is somebody else's.
    let endless = "x".repeat(300 * 1024);
    let hostile = Backend::http(move |asked| {
        let endless = endless.clone();
        async move {
            match asked.uri.path() {
                "/.well-known/oauth-authorization-server/redirect" => {
                    let mut redirect = answer::text(302, "");
                    let headers = redirect.headers_mut();
                    headers.insert("location", "http://169.254.169.254/latest/meta-data".parse().expect("a value"));
                    redirect
                }
                "/.well-known/oauth-authorization-server/large" => answer::text(200, endless),
                "/.well-known/oauth-authorization-server/foreign" => answer::json(
                    &json!({"issuer": "https://issuer.test", "authorization_endpoint": "https://a/", "token_endpoint": "https://a/"}),
                ),
                _ => answer::text(404, ""),
            }
        }
    });
    for place in ["redirect", "large", "foreign"] {
        let policy = format!(
            "issuer: 'http://{}/{place}', audiences: [tools], jwks: '{}'",
            hostile.addr(),
            Issuer::new("k").jwks()
        );
        let gateway = Gateway::start(&with_policy(&federation_of(&[("a", &server)], ""), &policy)).await;
        let reply = gateway.client().get(&format!("{METADATA}/mcp")).await.expect_status(503);
        assert!(
            !reply.text().contains("169.254") && reply.text().contains("temporarily_unavailable"),
            "{}",
            reply.text()
        );
        gateway.stop().await;
    }
}
