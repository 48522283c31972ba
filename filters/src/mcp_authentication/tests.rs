use std::sync::Mutex;

use serde_json::{Value, json};

use super::{Config, Policy};
use crate::callout::{Callout, Nobody};
use crate::exchange::HeldBody;
use crate::jwt::testing::{RSA, claims, jwks, token};
use crate::outside::{Fetch, Fetched, Later, Outside, Work};
use crate::testing::{NOW, lower, refuses, request};
use crate::{Exchange, RequestBody, Verdict, Wanted};

const ISSUER: &str = "https://issuer.example";

/// An authorization server that answers by URL, and remembers what it was asked.
struct World {
    answers: Vec<(&'static str, u16, String)>,
    asked: Mutex<Vec<String>>,
}

impl World {
    fn new(answers: &[(&'static str, u16, Value)]) -> Self {
        let answers = answers.iter().map(|(url, status, body)| (*url, *status, body.to_string())).collect();
        Self { answers, asked: Mutex::default() }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

impl Outside for World {
    fn now(&self) -> std::time::Duration {
        NOW
    }

    fn callout(&self) -> &dyn Callout {
        &Nobody
    }

    fn fetch<'a>(&'a self, fetch: Fetch<'a>) -> Later<'a, Result<Fetched, String>> {
        let sent = fetch.post.map(|(_, body)| format!(" {}", String::from_utf8_lossy(&body))).unwrap_or_default();
        self.asked.lock().unwrap().push(format!("{}{sent}", fetch.url));
        let found = self.answers.iter().find(|(url, ..)| *url == fetch.url);
        let found = found.map(|(_, status, body)| Fetched { status: *status, body: body.clone().into() });
        Box::pin(async move { found.ok_or_else(|| "no such host 10.0.0.9".to_owned()) })
    }

    fn work(&self, work: Work) -> Later<'_, Option<bool>> {
        Box::pin(async move { Some(work()) })
    }
}

fn policy(changed: Value) -> Policy {
    let mut config = json!({"issuer": ISSUER, "audiences": ["tools"], "jwks": jwks()});
    config.as_object_mut().unwrap().extend(changed.as_object().unwrap().clone());
    lower(config, Config::lower)
}

/// Status, headers as text, and body; `None` where the request goes on.
fn ask(
    policy: &Policy,
    world: &World,
    (method, path, body): (&str, &str, &str),
    headers: &[(&'static str, &str)],
) -> Option<(u16, String, String)> {
    let (mut head, mut facts) = request(method, path);
    for (name, value) in headers {
        head.insert_header(*name, *value).unwrap();
    }
    if policy.wanted(&head) != Wanted::Nothing {
        facts.body = RequestBody::Held(HeldBody { bytes: body.to_owned().into(), whole: true, ..HeldBody::default() });
    }
    let mut exchange = Exchange { request: &mut head, facts: &mut facts, outside: world };
    let verdict = match policy.on_request(&mut exchange) {
        Some(verdict) => verdict,
        None => {
            let waker = std::task::Waker::noop();
            let mut context = std::task::Context::from_waker(waker);
            match Box::pin(policy.in_time(&mut exchange)).as_mut().poll(&mut context) {
                std::task::Poll::Ready(verdict) => verdict,
                std::task::Poll::Pending => panic!("nothing here waits"),
            }
        }
    };
    let Verdict::Reply(reply) = verdict else { return None };
    let lines: Vec<_> =
        reply.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    Some((reply.status, lines.join("\n"), String::from_utf8(reply.body.to_vec()).unwrap()))
}

fn get(policy: &Policy, world: &World, path: &str) -> Value {
    let (status, _, body) = ask(policy, world, ("GET", path, ""), &[]).expect("an answer");
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

fn document() -> Value {
    json!({"issuer": ISSUER, "authorization_endpoint": "https://issuer.example/authorize",
        "token_endpoint": "https://issuer.example/token", "registration_endpoint": "https://issuer.example/register",
        "authorization_response_iss_parameter_supported": true})
}

const OAUTH: &str = "https://issuer.example/.well-known/oauth-authorization-server";
const OPENID: &str = "https://issuer.example/.well-known/openid-configuration";

#[test]
fn who_has_no_token_learns_where_the_endpoint_describes_itself() {
    let world = World::new(&[]);
    let plain = policy(json!({}));
    let bearer = |text: &str| format!("Bearer {text}");
    let (status, headers, body) = ask(&plain, &world, ("POST", "/mcp", ""), &[]).unwrap();
    assert_eq!(status, 401);
    assert!(headers.contains(
        r#"www-authenticate: Bearer resource_metadata="http://api.example.com:3000/.well-known/oauth-protected-resource/mcp""#
    ), "{headers}");
    assert_eq!(body, r#"{"error":"unauthorized","error_description":"no token"}"#);
    for (claims, why) in [
        (json!({"aud": "others"}), "another audience"),
        (json!({"aud": null}), "another audience"),
        (json!({"aud": "tools", "iss": "https://evil.example"}), "issuer of the token"),
        (json!({"aud": "tools", "exp": 5}), "has expired"),
    ] {
        let sent = [("authorization", &*bearer(&token(claims))), ("x-forwarded-proto", "https")];
        let (status, headers, _) = ask(&plain, &world, ("POST", "/", ""), &sent).unwrap();
        assert_eq!(status, 401, "{why}");
        assert!(headers.contains(r#"Bearer error="invalid_token""#) && headers.contains(why), "{headers}");
        assert!(
            headers.contains(r#""https://api.example.com:3000/.well-known/oauth-protected-resource""#),
            "{headers}"
        );
    }
    let good = bearer(&token(json!({"aud": "tools"})));
    assert_eq!(ask(&plain, &world, ("POST", "/mcp", ""), &[("authorization", &good)]), None);
    for (mode, wrong) in [("optional", Some(401)), ("permissive", None)] {
        let open = policy(json!({"mode": mode}));
        assert_eq!(ask(&open, &world, ("POST", "/mcp", ""), &[]), None, "{mode}");
        let refused = ask(&open, &world, ("POST", "/mcp", ""), &[("authorization", "Bearer x")]);
        assert_eq!(refused.map(|it| it.0), wrong, "{mode}");
    }
    assert_eq!(world.asked(), Vec::<String>::new());
}

#[test]
fn scopes_that_are_missing_are_named() {
    let world = World::new(&[]);
    let policy = policy(json!({"requiredScopes": ["a", "b:c"]}));
    let run = |claims: Value| {
        let token = RSA.sign(&json!({"alg": "RS256", "kid": "rsa"}), &self::claims(claims));
        ask(&policy, &world, ("POST", "/mcp", ""), &[("authorization", &format!("Bearer {token}"))])
    };
    for fine in [json!({"scope": "x a b:c"}), json!({"scp": ["b:c", "a"]}), json!({"scope": "a", "scp": "b:c"})] {
        let mut claims = json!({"aud": "tools"});
        claims.as_object_mut().unwrap().extend(fine.as_object().unwrap().clone());
        assert_eq!(run(claims), None, "{fine}");
    }
    for lacking in
        [json!({}), json!({"scope": "a"}), json!({"scope": "aa b:c"}), json!({"scope": ["a", "b:c"], "scp": 7})]
    {
        let mut claims = json!({"aud": "tools"});
        claims.as_object_mut().unwrap().extend(lacking.as_object().unwrap().clone());
        let outcome = run(claims);
        if lacking["scope"].is_array() {
            assert_eq!(outcome, None, "a list is as good");
            continue;
        }
        let (status, headers, _) = outcome.expect("refused");
        assert_eq!(status, 403, "{lacking}");
        assert!(headers.contains(r#"error="insufficient_scope""#) && headers.contains(r#"scope="a b:c""#), "{headers}");
    }
    let (_, headers, _) = ask(&policy, &world, ("POST", "/mcp", ""), &[]).unwrap();
    assert!(headers.contains(r#"Bearer scope="a b:c", resource_metadata="#), "{headers}");
}

#[test]
fn the_endpoint_describes_itself_under_every_form_of_the_path() {
    let world = World::new(&[(OAUTH, 200, document())]);
    let plain = policy(json!({"resourceMetadata": {"resource_name": "T", "bearer_methods_supported": ["body"]}}));
    for path in ["/.well-known/oauth-protected-resource/mcp", "/mcp/.well-known/oauth-protected-resource"] {
        assert_eq!(
            get(&plain, &world, path),
            json!({"resource": "http://api.example.com:3000/mcp", "authorization_servers": [ISSUER],
                "bearer_methods_supported": ["body"], "resource_name": "T"})
        );
    }
    let whole = get(&plain, &world, "/.well-known/oauth-protected-resource");
    assert_eq!(whole["resource"], "http://api.example.com:3000");
    for path in [
        "/.well-known/oauth-authorization-server/mcp",
        "/.well-known/openid-configuration",
        "/mcp/.well-known/openid-configuration",
    ] {
        assert_eq!(get(&plain, &world, path), document(), "as the issuer has it");
    }
    assert_eq!(world.asked(), [OAUTH], "once for all");
    for path in ["/.well-known/oauth-protected-resourcex", "/.well-known/other", "/mcp"] {
        let (status, ..) = ask(&plain, &world, ("GET", path, ""), &[]).unwrap();
        assert_eq!(status, 401, "{path} is the endpoint");
    }
    let preflight = ask(&plain, &world, ("OPTIONS", "/.well-known/oauth-protected-resource", ""), &[]).unwrap();
    assert!(preflight.0 == 204 && preflight.1.contains("access-control-allow-origin: *"), "{preflight:?}");
    assert_eq!(ask(&plain, &world, ("POST", "/.well-known/oauth-protected-resource", ""), &[]).unwrap().0, 405);
    assert_eq!(
        ask(&plain, &world, ("GET", "/.well-known/oauth-protected-resource", ""), &[("host", "a\"b")]).unwrap().0,
        400
    );
}

#[test]
fn a_document_of_another_issuer_is_none() {
    for (answers, detail) in [
        (vec![(OAUTH, 200, json!({"issuer": "https://evil.example"})), (OPENID, 404, json!({}))], "another issuer"),
        (vec![(OAUTH, 404, json!({})), (OPENID, 200, json!([]))], "not an object"),
        (
            vec![(
                OAUTH,
                200,
                json!({"issuer": ISSUER, "authorization_endpoint": "javascript:1", "token_endpoint": "https://x"}),
            )],
            "no URL",
        ),
        (vec![], "away"),
    ] {
        let world = World::new(&answers);
        let policy = policy(json!({}));
        let path = ("GET", "/.well-known/oauth-authorization-server/mcp", "");
        let (status, headers, body) = ask(&policy, &world, path, &[]).unwrap();
        assert_eq!(status, 503, "{detail}");
        assert!(headers.contains("retry-after: 5") && !body.contains("10.0.0.9") && !body.contains("evil"), "{body}");
        assert_eq!(world.asked().len(), 2, "{detail}: both places are tried");
        ask(&policy, &world, path, &[]);
        assert_eq!(world.asked().len(), 0, "{detail}: and not again at once");
    }
    let world = World::new(&[(OPENID, 200, document())]);
    assert_eq!(get(&policy(json!({})), &world, "/.well-known/oauth-authorization-server")["issuer"], ISSUER);
}

#[test]
fn providers_get_the_help_they_need() {
    let front = "http://api.example.com:3000/.well-known/oauth-authorization-server/mcp";
    let path = "/.well-known/oauth-authorization-server/mcp";
    let keycloak = policy(json!({"provider": {"keycloak": {}}}));
    let world = World::new(&[
        (OPENID, 200, document()),
        ("https://issuer.example/clients-registrations/openid-connect", 201, json!({"client_id": "new"})),
    ]);
    let seen = get(&keycloak, &world, path);
    assert_eq!(seen["issuer"], "http://api.example.com:3000/mcp");
    assert_eq!(seen["registration_endpoint"], format!("{front}/client-registration"));
    assert_eq!(seen.get("authorization_response_iss_parameter_supported"), None);
    assert_eq!(
        get(&keycloak, &world, "/.well-known/oauth-protected-resource/mcp")["authorization_servers"],
        json!(["http://api.example.com:3000/mcp"])
    );
    world.asked();
    let register = format!("{path}/client-registration");
    let body = r#"{"redirect_uris":["http://localhost:1/cb"]}"#;
    let (status, _, answer) =
        ask(&keycloak, &world, ("POST", &register, body), &[("authorization", "Bearer secret")]).unwrap();
    assert_eq!((status, &*answer), (201, r#"{"client_id":"new"}"#));
    assert_eq!(world.asked(), [format!("https://issuer.example/clients-registrations/openid-connect {body}")]);
    assert_eq!(ask(&keycloak, &world, ("POST", &register, "[]"), &[]).unwrap().0, 400);
    assert_eq!(ask(&keycloak, &world, ("POST", &format!("{path}/token"), ""), &[]).unwrap().0, 404, "not fronted");

    let auth0 = policy(json!({"provider": {"auth0": {}}, "audiences": ["https://api/?a=b"]}));
    let world = World::new(&[(OAUTH, 200, document())]);
    let seen = get(&auth0, &world, path);
    assert_eq!(
        seen["authorization_endpoint"],
        "https://issuer.example/authorize?audience=https%3A%2F%2Fapi%2F%3Fa%3Db"
    );
    assert_eq!(seen["registration_endpoint"], "https://issuer.example/register", "it registers clients itself");

    let fixed = policy(json!({"clientId": "agents"}));
    let seen = get(&fixed, &world, path);
    assert_eq!(seen["registration_endpoint"], format!("{front}/client-registration"));
    assert_eq!(seen["token_endpoint_auth_methods_supported"], json!(["none"]));
    world.asked();
    let (status, _, answer) =
        ask(&fixed, &world, ("POST", &register, r#"{"redirect_uris":["http://x/"],"client_name":"n"}"#), &[]).unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(status, 201);
    assert_eq!(
        (&answer["client_id"], &answer["redirect_uris"], &answer["client_name"]),
        (&json!("agents"), &json!(["http://x/"]), &json!("n"))
    );
    for bad in ["", "{}", r#"{"redirect_uris":[]}"#, r#"{"redirect_uris":[7]}"#, "[[[["] {
        assert_eq!(ask(&fixed, &world, ("POST", &register, bad), &[]).unwrap().0, 400, "{bad}");
    }
    assert_eq!(world.asked(), Vec::<String>::new(), "nobody is asked");
}

#[test]
fn entra_is_behind_the_gateways_own_doors() {
    const DOCUMENT: &str = "https://login.microsoftonline.com/t1/v2.0/.well-known/openid-configuration";
    const TOKEN: &str = "https://login.microsoftonline.com/t1/oauth2/v2.0/token";
    let config = json!({"issuer": "https://sts.windows.net/t1/", "provider": {"entra": {}}, "clientId": "agents",
        "clientSecret": "hunter&2"});
    let entra = policy(config.clone());
    let own = json!({"issuer": "https://login.microsoftonline.com/t1/v2.0", "token_endpoint": TOKEN,
        "authorization_endpoint": "https://login.microsoftonline.com/t1/oauth2/v2.0/authorize"});
    let world = World::new(&[(DOCUMENT, 200, own.clone()), (TOKEN, 400, json!({"error": "invalid_grant"}))]);
    let path = "/.well-known/oauth-authorization-server";
    let seen = get(&entra, &world, path);
    assert_eq!(seen["code_challenge_methods_supported"], json!(["S256"]));
    assert_eq!(seen["token_endpoint"], "http://api.example.com:3000/.well-known/oauth-authorization-server/token");
    let query = "response_type=code&resource=http%3A%2F%2Fx&code_challenge=abc&code_challenge_method=S256&state=1";
    let (status, headers, _) = ask(&entra, &world, ("GET", &format!("{path}/authorize?{query}"), ""), &[]).unwrap();
    assert_eq!(status, 302);
    assert!(headers.contains("location: https://login.microsoftonline.com/t1/oauth2/v2.0/authorize?response_type=code&code_challenge=abc&code_challenge_method=S256&state=1"), "{headers}");
    for bad in [
        "",
        "code_challenge=abc",
        "code_challenge=abc&code_challenge_method=plain",
        "code_challenge=&code_challenge_method=S256",
    ] {
        assert_eq!(ask(&entra, &world, ("GET", &format!("{path}/authorize?{bad}"), ""), &[]).unwrap().0, 400, "{bad}");
    }
    world.asked();
    let form = [("content-type", "application/x-www-form-urlencoded;charset=utf-8")];
    let run = |body: &str| ask(&entra, &world, ("POST", &format!("{path}/token"), body), &form).unwrap();
    assert_eq!(run("grant_type=authorization_code&resource=x&code=1&client_id=agents").0, 400, "as the server says");
    assert_eq!(
        world.asked(),
        [format!("{TOKEN} grant_type=authorization_code&code=1&client_id=agents&client_secret=hunter%262")]
    );
    for unhelped in [
        "grant_type=client_credentials&client_id=agents",
        "grant_type=authorization_code&client_id=other",
        "grant_type=authorization_code&client_id=agents&client_id=agents",
        "grant_type=refresh_token&client_id=agents&client_secret=mine",
    ] {
        run(unhelped);
        assert_eq!(world.asked(), [format!("{TOKEN} {unhelped}")], "no secret is added");
    }
    assert_eq!(ask(&entra, &world, ("POST", &format!("{path}/token"), "{}"), &[]).unwrap().0, 400, "no form");
    let mut foreign = own;
    foreign["token_endpoint"] = json!("https://evil.example/token");
    let world = World::new(&[(DOCUMENT, 200, foreign)]);
    let entra = policy(config);
    assert_eq!(
        ask(
            &entra,
            &world,
            ("POST", &format!("{path}/token"), "grant_type=authorization_code&client_id=agents"),
            &form
        )
        .unwrap()
        .0,
        503
    );
    assert_eq!(world.asked(), [DOCUMENT], "the secret goes nowhere else");
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let with = |changed: Value| {
        let mut config = json!({"issuer": ISSUER, "audiences": ["a"]});
        config.as_object_mut().unwrap().extend(changed.as_object().unwrap().clone());
        config
    };
    refuses(
        [
            (with(json!({"issuer": "login"})), "is not the URL of an issuer"),
            (with(json!({"issuer": "https://a/?b"})), "is not the URL of an issuer"),
            (with(json!({"audiences": []})), "whom are tokens meant for"),
            (with(json!({"provider": {"descope": {}}})), "cannot be told from this issuer"),
            (with(json!({"provider": {"entra": {}}})), "cannot be told from this issuer"),
            (with(json!({"clientSecret": "x"})), "with the provider `entra` only"),
            (with(json!({"requiredScopes": ["a b"]})), "is not one scope"),
            (with(json!({"stepUp": [{"when": "has(mcp.tool)", "scopes": []}]})), "at least one scope"),
            (with(json!({"stepUp": [{"when": "mpc.tool", "scopes": ["a"]}]})), "stepUp[0].when"),
        ],
        Config::lower,
    );
}
