//! Tokens of users at servers: a server with an authorization of its own, and tokens that are passed on.

use http::Method;
use serde_json::json;
use tests::backend::answer;
use tests::issuer::Issuer;
use tests::{Backend, Gateway, McpClient, McpServer};

use super::federation_of;

#[tokio::test]
async fn a_server_challenges_clients_itself_and_says_where_tokens_are_from() {
    let server = Backend::http(|asked| async move {
        match asked.uri.path() {
            "/.well-known/oauth-protected-resource/mcp" => answer::json(&json!({"resource": "http://server/mcp"})),
            _ => {
                let mut refused = answer::text(401, "token please");
                let challenge = r#"Bearer resource_metadata="http://server/.well-known/oauth-protected-resource/mcp""#;
                refused.headers_mut().insert("www-authenticate", challenge.parse().expect("a value"));
                refused
            }
        }
    });
    let target = format!("          - name: a\n            mcp: {{ host: 'http://{}/mcp' }}\n", server.addr());
    let yaml = federation_of(&[], "") + &target;
    let gateway = Gateway::start(&yaml).await;
    let client = gateway.client();
    let accept = "application/json, text/event-stream";
    let opening = client.call(Method::POST, "/mcp").header("accept", accept).json(&tests::mcp::opening("2025-06-18"));
    let refused = opening.await.expect_status(401);
    assert!(refused.header("www-authenticate").is_some_and(|it| it.contains("http://server/.well-known")));
    assert_eq!(refused.json()["error"]["code"], -32000);
    let document = client.get("/.well-known/oauth-protected-resource/mcp").await.expect_status(200);
    assert_eq!(document.json(), json!({"resource": "http://server/mcp"}));
    client.get("/.well-known/other").await.expect_status(406);
    gateway.stop().await;
}

#[tokio::test]
async fn each_users_token_reaches_the_servers_that_are_to_have_it_and_no_other() {
    let (one, two, keys) = (McpServer::start("one"), McpServer::start("two"), Issuer::new("k"));
    let policy =
        format!("mcpAuthentication: {{ issuer: 'https://issuer.test', audiences: [tools], jwks: '{}' }}", keys.jwks());
    let yaml = federation_of(&[("a", &one), ("b", &two)], "");
    let passing = format!("            mcp: {{ host: 'http://{}/mcp' }}\n", one.backend.addr());
    let yaml =
        yaml.replace(&passing, &format!("{passing}            policies: {{ backendAuth: {{ passthrough: {{}} }} }}\n"));
    let yaml = yaml.replace("    - name: tools\n", &format!("    - name: tools\n      policies: {{ {policy} }}\n"));
    let gateway = Gateway::start(&yaml).await;
    let calls = (0..25).map(|user| {
        let token = format!("Bearer {}", keys.token(&json!({"aud": "tools", "sub": format!("u{user}")})));
        let gateway = &gateway;
        async move {
            let client = McpClient::open_with(gateway.addr(0), "/mcp", &[("authorization", &token)]).await;
            for _ in 0..4 {
                client.text("a_echo", json!({"user": user, "token": token})).await;
                client.text("b_echo", json!({})).await;
            }
        }
    });
    futures::future::join_all(calls).await;
    let seen = one.backend.stats().seen();
    let mut checked = 0;
    for asked in seen.iter().filter(|it| it.method == Method::POST) {
        let token = asked.header("authorization").unwrap_or_default().to_owned();
        assert!(token.starts_with("Bearer "), "no token in {asked:?}");
        let message = asked.json();
        if message["method"] == "tools/call" {
            assert_eq!(message["params"]["arguments"]["token"], token, "another user's token");
            checked += 1;
        }
    }
    assert!(checked > 20, "{checked}");
    assert!(two.backend.stats().seen().iter().all(|it| it.header("authorization").is_none()), "not for this one");
    gateway.stop().await;
}
