//! Detached policies: where they attach, and which one wins.

use tests::{Backend, Gateway, config};

fn policy(name: &str, target: &str, value: &str, inheritance: &str) -> String {
    format!(
        "- name: {{ name: {name} }}\n  target: {target}\n  inheritance: {inheritance}\n  policy: {{ responseHeaderModifier: {{ set: {{ x-level: {value} }} }} }}\n"
    )
}

const GATEWAY: &str = "{ gateway: { gatewayName: default } }";
const ROUTE: &str = "{ route: { name: mine } }";

async fn level(inline: bool, policies: &[(&str, &str, &str)]) -> String {
    let backend = Backend::echo();
    let own = if inline { "responseHeaderModifier: { set: { x-level: inline } }" } else { "" };
    let list: String = policies
        .iter()
        .enumerate()
        .map(|(n, (target, value, inheritance))| policy(&format!("p{n}"), target, value, inheritance))
        .collect();
    let list = if list.is_empty() { String::new() } else { format!("policies:\n{list}") };
    let yaml = config::routes(&format!(
        "- name: mine\n  policies: {{ {own} }}\n  backends: [{{ host: '{}' }}]\n",
        backend.addr()
    ));
    let gateway = Gateway::start(&(yaml + &list)).await;
    let reply = gateway.client().get("/").await.expect_status(200);
    let level = reply.header("x-level").unwrap_or_default().to_owned();
    gateway.stop().await;
    level
}

#[tokio::test]
async fn the_more_specific_level_wins_unless_one_above_overrides() {
    let (gateway, route) = ((GATEWAY, "gateway", "default"), (ROUTE, "route", "default"));
    assert_eq!(level(false, &[gateway]).await, "gateway");
    assert_eq!(level(false, &[gateway, route]).await, "route");
    assert_eq!(level(false, &[route, gateway]).await, "route", "the order of the list does not count");
    assert_eq!(level(true, &[gateway, route]).await, "inline");
    assert_eq!(level(true, &[(GATEWAY, "gateway", "override"), route]).await, "gateway");
    assert_eq!(level(true, &[gateway, (ROUTE, "route", "override")]).await, "route");
}

#[tokio::test]
async fn a_policy_of_a_named_backend_holds_wherever_it_is_used() {
    let backend = Backend::echo();
    let yaml = config::routes("- backends: [{ backend: mine }]\n")
        + &format!(
            "backends: [{{ name: mine, host: '{}' }}]
policies:
- name: {{ name: p }}
  target: {{ backend: {{ backend: {{ name: mine }} }} }}
  policy: {{ requestHeaderModifier: {{ set: {{ x-from: attached }} }} }}
",
            backend.addr()
        );
    let gateway = Gateway::start(&yaml).await;
    gateway.client().get("/").await.expect_status(200);
    assert_eq!(backend.stats().last().header("x-from"), Some("attached"));
    gateway.stop().await;
}

#[tokio::test]
async fn the_access_log_policy_filters_and_adds_for_found_and_unfound_routes() {
    let backend = Backend::echo();
    let yaml = "frontendPolicies:
  accessLog:
    filter: response.code >= 400
    add: { user: 'request.headers[\"x-user\"]', kind: 'response.headers[\"content-type\"]' }
"
    .to_owned()
        + &config::routes(&format!(
            "- matches: [{{ path: {{ pathPrefix: /status }} }}]\n  backends: [{{ host: '{}' }}]\n",
            backend.addr()
        ));
    let gateway = Gateway::start(&yaml).await;
    let client = gateway.client();
    client.get("/status/200").header("x-user", "eve").await.expect_status(200);
    client.get("/status/418").header("x-user", "bob").await.expect_status(418);
    client.get("/nowhere").header("x-user", "eve").await.expect_status(404);
    let lines = gateway.wait_access(2).await;
    let seen: Vec<_> = lines.iter().map(|it| (it["http.status"].clone(), it["user"].clone())).collect();
    assert_eq!(seen, [(418.into(), "bob".into()), (404.into(), "eve".into())], "{lines:?}");
    assert!(lines[0]["kind"].is_string(), "{}", lines[0]);
    gateway.stop().await;
}
