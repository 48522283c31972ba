use aws_lc_rs::hmac;
use serde_json::{Value, json};

use super::{Config, Policy};
use crate::jwt::testing::{EC, ED, ISSUER, OTHER_RSA, RSA, b64, claims, jwks, token};
use crate::testing::{NOW, exchange, lower, refuses, request};
use crate::{Keep, Reason, Verdict};

fn policy(changed: Value) -> Policy {
    let mut config = json!({"issuer": ISSUER, "jwks": jwks()});
    config.as_object_mut().unwrap().extend(changed.as_object().unwrap().clone());
    lower(config, Config::lower)
}

/// The verdict on a request: the user that is let in, `-` for nobody in particular, or status and challenge.
fn run(policy: &Policy, headers: &[(&'static str, &str)]) -> (Result<String, (u16, String)>, http::HeaderMap) {
    let (mut head, mut facts) = request("GET", "/");
    for (name, value) in headers {
        head.append_header(*name, *value).unwrap();
    }
    let verdict = policy.on_request(&mut exchange(&mut head, &mut facts));
    let outcome = match verdict {
        Verdict::Continue => {
            let user = facts.identity.jwt.as_ref().map(|it| it.text("sub").unwrap_or("?").to_owned());
            Ok(user.unwrap_or_else(|| "-".to_owned()))
        }
        Verdict::Reply(reply) => {
            assert_eq!(reply.reason, Reason::JwtAuth);
            let challenge = reply.headers.iter().find(|(name, _)| *name == "www-authenticate");
            Err((reply.status, challenge.map(|it| it.1.to_str().unwrap().to_owned()).unwrap_or_default()))
        }
    };
    (outcome, head.headers.clone())
}

fn bearer(policy: &Policy, token: &str) -> Result<String, (u16, String)> {
    run(policy, &[("authorization", &format!("Bearer {token}"))]).0
}

/// Refused with 401, for this reason.
fn refused(policy: &Policy, token: &str, why: &str) {
    let (status, challenge) = bearer(policy, token).expect_err(&format!("let in, although: {why}"));
    assert_eq!(status, 401, "{why}");
    assert!(challenge.starts_with("Bearer realm=\"gateway\", error=\"invalid_token\""), "{challenge}");
    assert!(challenge.contains(why), "{challenge} lacks {why:?}");
}

#[test]
fn a_token_is_accepted_by_any_key_of_the_set_and_taken_out() {
    let policy = policy(json!({}));
    for (signer, id, algorithm) in [
        (&RSA, "rsa", "RS256"),
        (&RSA, "rsa", "RS512"),
        (&RSA, "rsa", "PS256"),
        (&EC, "ec", "ES256"),
        (&ED, "ed", "EdDSA"),
    ] {
        for header in [json!({"alg": algorithm, "kid": id, "typ": "JWT"}), json!({"alg": algorithm})] {
            let token = signer.sign(&header, &claims(json!({})));
            let (outcome, left) = run(&policy, &[("authorization", &format!("Bearer {token}"))]);
            assert_eq!(outcome, Ok("alice".to_owned()), "{header}");
            assert!(!left.contains_key("authorization"), "{header}");
        }
    }
    let forwarding = self::policy(json!({"forward": true}));
    let (_, left) = run(&forwarding, &[("authorization", &format!("Bearer {}", token(json!({}))))]);
    assert!(left.contains_key("authorization"));
}

#[test]
fn modes_differ_in_what_they_do_without_a_valid_token() {
    let good = format!("Bearer {}", token(json!({})));
    let bad = format!("Bearer {}", token(json!({"exp": 1})));
    for (mode, missing, wrong) in [("strict", false, false), ("optional", true, false), ("permissive", true, true)] {
        let policy = policy(json!({"mode": mode}));
        assert_eq!(run(&policy, &[("authorization", &good)]).0, Ok("alice".to_owned()), "{mode}");
        assert_eq!(run(&policy, &[]).0.is_ok(), missing, "{mode}, missing");
        assert_eq!(run(&policy, &[("authorization", "Basic eDp5")]).0.is_ok(), missing, "{mode}, another scheme");
        let (outcome, left) = run(&policy, &[("authorization", &bad)]);
        assert_eq!(outcome.is_ok(), wrong, "{mode}, wrong");
        assert!(outcome.is_err() || (outcome == Ok("-".to_owned()) && left.contains_key("authorization")));
        let twice = run(&policy, &[("authorization", &good), ("authorization", &good)]).0;
        assert_eq!(twice, if wrong { Ok("-".to_owned()) } else { twice.clone() }, "{mode}, twice");
        assert_eq!(twice.is_ok(), wrong, "{mode}, twice");
    }
    let (status, challenge) = run(&policy(json!({})), &[]).0.unwrap_err();
    assert_eq!((status, challenge.as_str()), (401, "Bearer realm=\"gateway\""), "strict is the default; no error code");
}

#[test]
fn rfc_7519_claims_are_held_against_clock_audience_and_issuer() {
    let policy = policy(json!({"audiences": ["api", "web"]}));
    let now = NOW.as_secs();
    let aud = |changed: Value| {
        let mut claims = json!({"aud": "api"});
        claims.as_object_mut().unwrap().extend(changed.as_object().unwrap().clone());
        token(claims)
    };
    for changed in [
        json!({}),
        json!({"aud": ["x", "web"]}),
        json!({"exp": now - 59}),
        json!({"exp": now as f64 + 0.5}),
        json!({"nbf": now + 60}),
        json!({"nbf": 0}),
    ] {
        assert_eq!(bearer(&policy, &aud(changed.clone())), Ok("alice".to_owned()), "{changed}");
    }
    for (changed, why) in [
        (json!({"exp": now - 60}), "expired"),
        (json!({"exp": -1}), "expired"),
        (json!({"nbf": now + 61}), "not valid yet"),
        (json!({"aud": "other"}), "another audience"),
        (json!({"aud": []}), "another audience"),
        (json!({"aud": null}), "another audience"),
        (json!({"aud": {"api": 1}}), "another audience"),
        (json!({"iss": "https://evil.example"}), "issuer"),
        (json!({"iss": null}), "issuer"),
        (json!({"iss": [ISSUER]}), "issuer"),
        (json!({"exp": null}), "lacks a claim"),
        (json!({"exp": "tomorrow"}), "lacks a claim"),
        (json!({"nbf": [1]}), "lacks a claim"),
    ] {
        refused(&policy, &aud(changed), why);
    }
    let wanting = self::policy(json!({"jwtValidationOptions": {"requiredClaims": ["tenant"]}}));
    refused(&wanting, &token(json!({})), "lacks a claim");
    assert!(bearer(&wanting, &token(json!({"tenant": "t", "exp": null}))).is_ok());
}

#[test]
fn rfc_8725_algorithms_cannot_be_confused() {
    let policy = policy(json!({}));
    let claims = claims(json!({}));
    // No signature at all.
    for none in ["none", "None", "NONE", ""] {
        let unsigned = format!("{}.{}.", b64(json!({"alg": none}).to_string()), b64(&claims));
        refused(&policy, &unsigned, "algorithm");
    }
    // The public key as a shared secret, in every form it is published in.
    let jwk = RSA.jwk("rsa");
    for secret in [jwk.to_string(), jwk["n"].as_str().unwrap().to_owned(), jwks()] {
        let signed = format!("{}.{}", b64(json!({"alg": "HS256", "kid": "rsa"}).to_string()), b64(&claims));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), signed.as_bytes());
        refused(&policy, &format!("{signed}.{}", b64(tag)), "algorithm");
    }
    // A header that names a key of another kind.
    refused(&policy, &EC.sign(&json!({"alg": "ES256", "kid": "rsa"}), &claims), "algorithm");
    refused(&policy, &RSA.sign(&json!({"alg": "RS256", "kid": "ec"}), &claims), "algorithm");
    // A key that says what it is for, and a policy that takes less.
    let mut bound = RSA.jwk("rsa");
    bound["alg"] = json!("RS256");
    let one = self::policy(json!({"jwks": json!({"keys": [bound]}).to_string()}));
    refused(&one, &RSA.sign(&json!({"alg": "PS256", "kid": "rsa"}), &claims), "algorithm");
    let few = self::policy(json!({"jwtValidationOptions": {"algorithms": ["ES256"]}}));
    refused(&few, &token(json!({})), "algorithm");
    assert!(bearer(&few, &EC.sign(&json!({"alg": "ES256", "kid": "ec"}), &claims)).is_ok());
}

#[test]
fn keys_that_a_token_brings_or_invents_are_not_used() {
    let policy = policy(json!({}));
    let claims = claims(json!({}));
    for (header, why) in [
        (json!({"alg": "RS256", "jwk": OTHER_RSA.jwk("rsa")}), "signature"),
        (json!({"alg": "RS256", "kid": "rsa", "jku": "https://evil.example/keys"}), "signature"),
        (json!({"alg": "RS256", "kid": "other"}), "key that is not known"),
        (json!({"alg": "RS256", "kid": "../../dev/null"}), "key that is not known"),
        (json!({"alg": "RS256", "kid": "' OR 1=1 --"}), "key that is not known"),
        (json!({"alg": "RS256", "kid": ["rsa"]}), "malformed"),
        (json!({"alg": "RS256", "kid": 1}), "malformed"),
        (json!({"alg": "RS256", "kid": "rsa", "crit": ["exp"]}), "malformed"),
        (json!({"alg": ["RS256"]}), "malformed"),
        (json!({"typ": "JWT"}), "malformed"),
        (json!({"alg": "RS256", "kid": "x".repeat(4000)}), "too large"),
    ] {
        refused(&policy, &OTHER_RSA.sign(&header, &claims), why);
    }
}

#[test]
fn a_provider_vouches_only_for_its_own_tokens() {
    let other = json!({"keys": [OTHER_RSA.jwk("rsa")]}).to_string();
    let providers = json!([{"issuer": ISSUER, "jwks": jwks()}, {"issuer": "https://b.example", "jwks": other}]);
    let policy: Policy = lower(json!({"providers": providers}), Config::lower);
    let header = json!({"alg": "RS256", "kid": "rsa"});
    assert!(bearer(&policy, &token(json!({}))).is_ok());
    assert!(bearer(&policy, &OTHER_RSA.sign(&header, &claims(json!({"iss": "https://b.example"})))).is_ok());
    refused(&policy, &OTHER_RSA.sign(&header, &claims(json!({}))), "signature");
    refused(&policy, &token(json!({"iss": "https://b.example"})), "signature");
}

#[test]
fn what_is_no_token_is_refused_without_ado() {
    let policy = policy(json!({}));
    let good = token(json!({}));
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = signed.split_once('.').unwrap();
    let twice = RSA.sign(
        &json!({"alg": "RS256"}),
        &format!("{{\"iss\":\"{ISSUER}\",\"sub\":\"a\",\"sub\":\"root\",\"exp\":9999999999}}"),
    );
    for (text, why) in [
        ("x".to_owned(), "malformed"),
        ("..".to_owned(), "malformed"),
        (signed.to_owned(), "malformed"),
        (format!("{good}.{signature}"), "malformed"),
        (format!("{good}="), "malformed"),
        (format!("{signed}.!!!"), "malformed"),
        (format!("{header}.{}.{signature}", b64("[]")), "malformed"),
        (format!("{header}.{}.{signature}", b64("{\"a\":")), "malformed"),
        (format!("{header}.{}.{signature}", b64([0xff, 0xfe])), "malformed"),
        (twice, "malformed"),
        (format!("{signed}."), "signature"),
        (format!("{header}.{}.{signature}", b64(claims(json!({"sub": "root"})))), "signature"),
        (format!("{header}.{payload}A.{signature}"), "malformed"),
        (format!("{header}.{}.{signature}", "A".repeat(17 * 1024)), "too large"),
        (token(json!({"pad": "x".repeat(16 * 1024)})), "too large"),
    ] {
        refused(&policy, &text, why);
    }
}

#[test]
fn claims_become_headers_that_no_client_can_write() {
    let policy = policy(json!({"mode": "optional", "claimsToHeaders": {
        "x-user": "sub", "x-roles": "realm.roles", "x-admin": "admin", "x-url": "https://example.com/tenant", "x-none": "missing",
    }}));
    let forged = [
        ("x-user", "root"),
        ("X_User", "root"),
        ("x-roles", "root"),
        ("x-none", "root"),
        ("x_none", "root"),
        ("x-other", "kept"),
    ];
    let (_, left) = run(&policy, &forged);
    let names: Vec<_> = left.keys().map(|it| it.as_str()).filter(|it| it.starts_with('x')).collect();
    assert_eq!(names, ["x-other"], "without a token, too");
    let token = token(json!({"realm": {"roles": ["a", "b", 3]}, "admin": true, "https://example.com/tenant": "t1"}));
    let mut sent = forged.to_vec();
    let value = format!("Bearer {token}");
    sent.push(("authorization", &value));
    let (_, left) = run(&policy, &sent);
    let value = |name: &str| left.get(name).map(|it| it.to_str().unwrap().to_owned());
    for (name, want) in [("x-user", "alice"), ("x-roles", "a,b,3"), ("x-admin", "true"), ("x-url", "t1")] {
        assert_eq!(value(name).as_deref(), Some(want), "{name}");
        assert_eq!(left.get_all(name).iter().count(), 1, "{name}");
    }
    assert_eq!(value("x-none"), None);
}

#[test]
fn claims_cannot_inject_headers() {
    let policy = policy(json!({"claimsToHeaders": {"x-claim": "claim"}}));
    for claim in [
        json!("a\r\nx-admin: true"),
        json!("a\nb"),
        json!("a\u{0}b"),
        json!("a\tb"),
        json!(" a"),
        json!("a "),
        json!(["a,admin"]),
        json!([["a"]]),
        json!({"a": 1}),
        json!("x".repeat(5000)),
    ] {
        let (outcome, left) = run(&policy, &[("authorization", &format!("Bearer {}", token(json!({"claim": claim}))))]);
        assert_eq!(outcome, Ok("alice".to_owned()));
        assert_eq!(left.get("x-claim"), None, "{claim}");
    }
}

#[test]
fn configurations_that_cannot_be_meant_are_refused() {
    refuses(
        [
            (json!({}), "whose tokens are accepted?"),
            (json!({"issuer": "a"}), "whose tokens are accepted?"),
            (
                json!({"issuer": "a", "jwks": jwks(), "providers": [{"issuer": "b", "jwks": jwks()}]}),
                "either `providers`",
            ),
            (json!({"issuer": "a", "jwks": "{}"}), "policy.jwks: not a usable key set: there is no list `keys`"),
            (json!({"issuer": "a", "jwks": "{\"keys\":[]}"}), "there is no key in it"),
            (json!({"issuer": "a", "jwks": "{\"keys\":[{\"kty\":\"oct\",\"k\":\"hunter2\"}]}"}), "shared secret"),
            (json!({"issuer": "", "jwks": jwks()}), "policy.issuer: an issuer has a name"),
            (json!({"issuer": "a", "jwks": {"url": "ftp://x/"}}), "policy.jwks.url: `ftp://x/` is not a URL to fetch"),
            (json!({"issuer": "a", "jwks": {"url": "https://u:p@x/"}}), "no user and password"),
            (json!({"issuer": "a", "jwks": {"file": "absent"}}), "cannot read `absent`"),
            (json!({"issuer": "a", "jwks": jwks(), "claimsToHeaders": {"host": "sub"}}), "a meaning of its own"),
            (
                json!({"issuer": "a", "jwks": jwks(), "claimsToHeaders": {"x-forwarded-for": "ip"}}),
                "a meaning of its own",
            ),
            (json!({"issuer": "a", "jwks": jwks(), "jwtValidationOptions": {"clockSkew": "11m"}}), "at most 10m"),
        ],
        Config::lower,
    );
}

#[test]
fn a_key_set_says_which_keys_it_passes_over() {
    let mut private = RSA.jwk("p");
    private["d"] = json!("hunter2");
    let mut small = RSA.jwk("s");
    small["n"] = json!(b64([1; 128]));
    let mut wrong = EC.jwk("w");
    wrong["x"] = json!(b64([1; 32]));
    for (key, why) in [
        (private, "a private key"),
        (small, "1024 bits"),
        (wrong, "not a key"),
        (json!({"kty": "RSA", "use": "enc", "n": "AQAB", "e": "AQAB"}), "not for signatures"),
        (json!({"kty": "RSA", "n": "AQAB"}), "`e` is missing"),
        (json!({"kty": "EC", "crv": "secp256k1"}), "not known"),
        (json!({"kty": "RSA", "alg": "ES256", "n": "AQAB", "e": "AQAB"}), "does not go with its kind"),
        (json!(7), "not an object"),
    ] {
        let alone = crate::jwt::KeySet::parse(json!({"keys": [key]}).to_string().as_bytes()).unwrap_err();
        assert!(alone.contains(why) && !alone.contains("hunter2"), "{alone}");
        let beside = crate::jwt::KeySet::parse(json!({"keys": [key, ED.jwk("ed")]}).to_string().as_bytes()).unwrap();
        assert_eq!((beside.len(), beside.skipped.len()), (1, 1), "{why}");
    }
    let many: Vec<_> = (0..65).map(|it| ED.jwk(&it.to_string())).collect();
    assert!(
        crate::jwt::KeySet::parse(json!({"keys": many}).to_string().as_bytes()).unwrap_err().contains("more than 64")
    );
}

#[test]
fn keys_of_a_url_come_later_rotate_and_are_shared() {
    let keep = Keep::default();
    let remote = |audience: &str| -> Policy {
        let url = json!({"url": "https://issuer.example/keys"});
        lower(json!({"issuer": ISSUER, "jwks": url, "audiences": [audience]}), Config::lower)
    };
    let (one, two) = (remote("a"), remote("b"));
    one.state.bind(&ir::PolicyKey::new("one"), &one, &keep);
    two.state.bind(&ir::PolicyKey::new("two"), &two, &keep);
    let sets = keep.all_shared::<crate::jwt::RemoteKeys>();
    assert_eq!(sets.len(), 1, "one URL, one set");
    let good = token(json!({"aud": ["a", "b"]}));
    assert_eq!(bearer(&one, &good).unwrap_err().0, 503, "pending is our fault, not the token's");
    sets[0].accept(jwks().as_bytes(), NOW).unwrap();
    assert!(bearer(&one, &good).is_ok() && bearer(&two, &good).is_ok());
    assert!(!sets[0].take_asked(), "nobody needed newer keys");
    // The key goes: remembered tokens of it go, too.
    let next = json!({"keys": [OTHER_RSA.jwk("next")]}).to_string();
    sets[0].accept(next.as_bytes(), NOW).unwrap();
    refused(&one, &good, "key that is not known");
    assert!(sets[0].take_asked(), "an unknown key asks for new ones");
    refused(&two, &good, "key that is not known");
    assert!(!sets[0].take_asked(), "not more often than every 30 s");
    // A set that cannot be read leaves the last one in force.
    assert!(sets[0].accept(b"{}", NOW).is_err());
    let fresh = OTHER_RSA.sign(&json!({"alg": "RS256", "kid": "next"}), &claims(json!({"aud": "a"})));
    assert!(bearer(&one, &fresh).is_ok());
    // The same terms again keep everything; other terms keep the keys.
    let again = remote("a");
    again.state.bind(&ir::PolicyKey::new("one"), &again, &keep);
    assert!(std::sync::Arc::ptr_eq(again.state.get(&again), one.state.get(&one)));
    let changed = remote("c");
    changed.state.bind(&ir::PolicyKey::new("one"), &changed, &keep);
    refused(&changed, &fresh, "another audience");
}

#[test]
fn a_token_that_an_earlier_phase_took_out_is_judged_by_the_terms_of_the_later_one() {
    let (mut head, mut facts) = request("GET", "/");
    head.append_header("authorization", format!("Bearer {}", token(json!({"aud": "api"})))).unwrap();
    let first = policy(json!({}));
    assert!(matches!(first.on_request(&mut exchange(&mut head, &mut facts)), Verdict::Continue));
    let (same, other) = (policy(json!({"audiences": ["api"]})), policy(json!({"audiences": ["web"]})));
    assert!(matches!(same.on_request(&mut exchange(&mut head, &mut facts)), Verdict::Continue));
    let Verdict::Reply(reply) = other.on_request(&mut exchange(&mut head, &mut facts)) else { panic!("let in") };
    assert_eq!(reply.status, 401);
}
