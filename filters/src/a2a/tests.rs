use serde_json::json;

use super::*;
use crate::jwt::testing::{EC, OTHER_RSA, RSA, b64};
use crate::testing::{NOW, lower, refuses};

fn pem(signer: &crate::jwt::testing::Signer) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(signer.private_keys().0);
    format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")
}

fn card(text: &str) -> protocols::json::Raw<'_> {
    protocols::json::parse(text.as_bytes()).unwrap()
}

/// A signature over the canonical form of a card.
fn signed(signer: &crate::jwt::testing::Signer, header: serde_json::Value, canonical: &str) -> serde_json::Value {
    let token = signer.sign(&header, canonical);
    let mut parts = token.split('.');
    let (protected, signature) = (parts.next().unwrap(), parts.nth(1).unwrap());
    json!({"protected": protected, "signature": signature})
}

#[test]
fn the_usual_terms_are_those_of_nothing_written() {
    let policy = lower(json!({}), Config::lower);
    assert_eq!((policy.ids, policy.push, policy.ttl.as_secs()), (Ids::Sealed, Push::Checked, 30));
    assert_eq!(policy.verify(card("{}"), NOW), Verified::Yes);
}

#[test]
fn where_agents_reach_the_gateway_is_an_origin() {
    let policy = lower(json!({"pushNotifications": "relayed", "relayUrl": "https://gw.example:8443/"}), Config::lower);
    assert_eq!((policy.push, policy.relay_url.as_deref()), (Push::Relayed, Some("https://gw.example:8443")));
}

#[test]
fn terms_that_contradict_are_refused() {
    refuses(
        [
            (json!({"card": {"require": true}}), "policy.card.require: by which keys?"),
            (json!({"card": {"ttl": "2h"}}), "policy.card.ttl: at most 1h"),
            (json!({"pushNotifications": "relayed"}), "policy.relayUrl: needed with `pushNotifications: relayed`"),
            (
                json!({"relayUrl": "https://gw"}),
                "policy.relayUrl: means something with `pushNotifications: relayed` only",
            ),
            (
                json!({"pushNotifications": "relayed", "relayUrl": "https://gw/path"}),
                "policy.relayUrl: `https://gw/path` is more than an origin",
            ),
            (json!({"pushNotifications": "relayed", "relayUrl": "gw:80"}), "policy.relayUrl: `gw:80` is more than an"),
            (
                json!({"pushNotifications": "relayed", "relayUrl": "ftp://gw"}),
                "policy.relayUrl: `ftp://gw` is not a URL",
            ),
            (
                json!({"pushNotifications": "relayed", "relayUrl": "https://a:b@gw"}),
                "policy.relayUrl: `https://a:b@gw` is more than an origin",
            ),
            (json!({"card": {"sign": {"signingKey": "junk"}}}), "policy.card.sign.signingKey: there is no PEM block"),
            (json!({"card": {"verify": {"jwks": "{}"}}}), "policy.card.verify.jwks: not a usable key set"),
        ],
        Config::lower,
    );
}

#[test]
fn signatures_are_judged_by_the_keys_that_are_written() {
    let policy = lower(json!({"card": {"verify": {"jwks": {"file": "jwks"}}}}), Config::lower);
    let strict = lower(json!({"card": {"verify": {"jwks": {"file": "jwks"}}, "require": true}}), Config::lower);
    let canonical = r#"{"name":"A","url":"http://a"}"#;
    let good = signed(&EC, json!({"alg": "ES256", "kid": "ec"}), canonical);
    let other = signed(&OTHER_RSA, json!({"alg": "RS256", "kid": "rsa"}), canonical);
    let none = json!({"protected": b64(r#"{"alg":"none"}"#), "signature": ""});
    let confused = signed(&EC, json!({"alg": "HS256", "kid": "ec"}), canonical);
    for (signatures, verified, when_required) in [
        (json!([good]), Verified::Yes, Verified::Yes),
        (json!([other, good]), Verified::Yes, Verified::Yes),
        (json!([other]), Verified::Wrong, Verified::Wrong),
        (json!([none]), Verified::Wrong, Verified::Wrong),
        (json!([confused]), Verified::Wrong, Verified::Wrong),
        (json!([7]), Verified::Wrong, Verified::Wrong),
        (json!([]), Verified::Unsigned, Verified::Missing),
    ] {
        // Written in another order, with space, and with what says nothing.
        let text = format!(r#"{{ "url" : "http://a", "name":"A", "description":"", "signatures": {signatures} }}"#);
        assert_eq!(policy.verify(card(&text), NOW), verified, "{text}");
        assert_eq!(strict.verify(card(&text), NOW), when_required, "{text}");
    }
    let changed = json!({"name": "B", "url": "http://a", "signatures": [good]}).to_string();
    assert_eq!(policy.verify(card(&changed), NOW), Verified::Wrong, "the signature is of another card");
}

#[test]
fn what_is_signed_here_is_right_there() {
    for (signer, algorithm, id) in [(&*EC, "ES256", "ec"), (&*RSA, "RS256", "rsa")] {
        let config = json!({"card": {
            "verify": {"jwks": {"file": "jwks"}},
            "sign": {"signingKey": pem(signer), "alg": algorithm, "kid": id},
        }});
        let policy = lower(config, Config::lower);
        let text = r#"{"name":"\u00e4","skills":[{"id":"s","tags":[]}],"x":1.50}"#;
        let signatures = policy.sign.as_ref().unwrap().card(card(text)).unwrap();
        let whole = protocols::a2a::card::with_signatures(card(text), &signatures);
        assert_eq!(policy.verify(card(&whole), NOW), Verified::Yes);
        assert!(!format!("{policy:?}").contains("PRIVATE"), "keys print as stars");
    }
}
