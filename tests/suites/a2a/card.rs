//! Cards: rewritten, judged, signed, kept.

use serde_json::json;
use tests::issuer::Issuer;
use tests::{Client, Gateway};

use super::agents;
use crate::agent::{Agent, card_of};

const PATH: &str = "/.well-known/agent-card.json";

#[tokio::test]
async fn every_interface_of_a_card_comes_to_name_the_gateway() {
    let one = Agent::start("one");
    let yaml = agents(&[&one], "urlRewrite: { path: { prefix: / } }").replace(
        "    - name: agents\n",
        "    - name: agents\n      matches: [{ path: { pathPrefix: /agents/one } }]\n",
    );
    let gateway = Gateway::start(&yaml).await;
    let client = Client::h1(gateway.addr(0)).host("agents.example");
    for path in [PATH, "/.well-known/agent.json"] {
        let reply = client.get(&format!("/agents/one{path}")).await.expect_status(200);
        assert_eq!(reply.header("content-type"), Some("application/json"));
        let card = reply.json();
        assert_eq!(card["url"], "http://agents.example/agents/one/rpc");
        let urls: Vec<_> =
            (0..3).map(|at| card["supportedInterfaces"][at]["url"].as_str().unwrap_or_default()).collect();
        assert_eq!(
            urls,
            ["http://agents.example/agents/one/rpc", "http://agents.example/agents/one/rest", "agents.example:80"]
        );
        assert_eq!(card["provider"]["url"], "https://maker.example", "what is no interface stays");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_card_is_kept_for_each_client_that_the_agent_could_tell_apart() {
    let one = Agent::start("one");
    let gateway = Gateway::start(&agents(&[&one], "")).await;
    let client = Client::h1(gateway.addr(0));
    for (headers, asked) in [("", 1), ("", 1), ("Bearer a", 2), ("Bearer b", 3), ("Bearer a", 3), ("", 3)] {
        let call = client.get(PATH);
        let call = if headers.is_empty() { call } else { call.header("authorization", headers) };
        call.await.expect_status(200);
        assert_eq!(one.asked(PATH), asked, "{headers}");
    }
    client.clone().host("other.example").get(PATH).await.expect_status(200);
    assert_eq!(one.asked(PATH), 4, "another name is another card");
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_no_card_is_an_agent_that_is_not_there() {
    let one = Agent::start("one");
    let gateway = Gateway::start(&agents(&[&one], "")).await;
    let client = Client::h1(gateway.addr(0));
    for (card, status) in [("<html>", 503), ("[]", 503), ("{}", 503), (r#"{"url":7}"#, 503), (&*card_of("x"), 200)] {
        one.set_card(card);
        let reply = client.get(PATH).await.expect_status(status);
        assert!(!reply.text().contains("10.0.0.7"), "{}", reply.text());
    }
    gateway.stop().await;
}

#[tokio::test]
async fn signatures_are_judged_taken_out_and_made_anew() {
    let one = Agent::start("one");
    let (agent, stranger) = (Issuer::new("agent"), Issuer::new("stranger"));
    let jwks = agent.jwks();
    let card = json!({"name": "one", "url": "http://10.0.0.7/"});
    let signed = |issuer: &Issuer, id: &str| {
        let token = issuer.sign(&json!({"alg": "ES256", "kid": id}), &card);
        let parts: Vec<&str> = token.split('.').collect();
        let mut card = card.clone();
        card["signatures"] = json!([{"protected": parts[0], "signature": parts[2]}]);
        card.to_string()
    };
    let verify = format!("a2a: {{ card: {{ ttl: 0s, require: true, verify: {{ jwks: '{jwks}' }} }} }}");
    let yaml = agents(&[&one], "").replace("a2a: {}", &verify);
    let gateway = Gateway::start(&yaml).await;
    let client = Client::h1(gateway.addr(0)).host("gw");
    for (text, status) in [
        (signed(&agent, "agent"), 200),
        (signed(&stranger, "agent"), 503),
        (signed(&stranger, "stranger"), 503),
        (card.to_string(), 503),
    ] {
        one.set_card(&*text);
        let reply = client.get(PATH).await.expect_status(status);
        if status == 200 {
            assert_eq!(
                reply.json(),
                json!({"name": "one", "url": "http://gw/", "signatures": []}),
                "it would be false"
            );
        }
    }
    gateway.stop().await;
}
