//! Nothing secret in any output: canaries are planted wherever a secret can stand, and every output is searched.
//!
//! To cover another place where a secret can be written, add a row to [`PLANTED`]; to cover another output, add it to
//! [`outputs`]. A canary is a text that nobody would write by chance; what is *meant* to be readable (users' names,
//! owners of keys) is not one.

use serde_json::json;
use tests::issuer::Issuer;
use tests::wait::PATIENCE;
use tests::{Authority, Backend, Client, Gateway, eventually};

/// A place where a secret can stand, and the policies of a route with one in it.
struct Planted {
    place: &'static str,
    policies: &'static str,
    /// What must never be seen.
    canaries: &'static [&'static str],
}

/// One route for each row, under `/<position>`.
const PLANTED: &[Planted] = &[
    Planted {
        place: "a key written out",
        policies: "apiKey: { keys: [{ key: canary-plain-key, metadata: { owner: alice } }] }",
        canaries: &["canary-plain-key"],
    },
    Planted {
        place: "a file of keys",
        policies: "apiKey: { file: keys, location: { header: { name: x-canary } } }",
        canaries: &["canary-file-key", "5aff2262"],
    },
    Planted {
        place: "hashes of passwords",
        policies: "basicAuth: { htpasswd: 'bob:$apr1$canarysa$Q17bmANhIA7pctgRGqF/S0' }",
        canaries: &["canarysa", "Q17bmANhIA7pctgRGqF"],
    },
    Planted {
        place: "the query of a URL that is fetched",
        policies: "jwtAuth: { issuer: a, jwks: { url: 'http://127.0.0.1:1/keys?token=canary-url' } }",
        canaries: &["canary-url"],
    },
    Planted {
        place: "keys of AWS",
        policies: "backendAuth: { aws: { accessKeyId: canary-aws-id, secretAccessKey: canary-aws-secret, \
                   sessionToken: canary-aws-token, region: us-east-1, serviceName: s3 } }",
        canaries: &["canary-aws-id", "canary-aws-secret", "canary-aws-token"],
    },
    Planted {
        place: "a header that a policy writes",
        policies: "requestHeaderModifier: { set: { authorization: Bearer canary-upstream } }",
        canaries: &["canary-upstream"],
    },
];

/// Headers of requests that carry credentials, right and wrong.
const SENT: &[(&str, &str)] = &[
    ("authorization", "Bearer canary-plain-key"),
    ("authorization", "Bearer canary-wrong-key"),
    ("authorization", "Basic Y2FuYXJ5LXVzZXI6Y2FuYXJ5LXBhc3N3b3Jk"),
    ("authorization", "Bearer eyJhbGciOiJub25lIn0.eyJjYW5hcnkiOiJjYW5hcnktY2xhaW0ifQ.canary-signature"),
    ("proxy-authorization", "Basic canary-proxy"),
    ("cookie", "session=canary-cookie"),
    ("x-api-key", "canary-api-key"),
    ("x-canary", "canary-file-key"),
];

/// What requests must not leave behind.
const SENT_CANARIES: &[&str] = &[
    "canary-wrong-key",
    "Y2FuYXJ5LXVzZXI6",
    "canary-password",
    "canary-signature",
    "eyJjYW5hcnkiOiJ",
    "canary-proxy",
    "canary-cookie",
    "canary-api-key",
    "canary-query",
];

fn document(backend: &Backend, server: &tests::certs::Identity) -> String {
    let mut yaml = format!(
        "config:\n  adminToken: canary-admin-token\n  logging: {{ level: debug, format: json }}\n\
         frontendPolicies:\n  accessLog: {{ add: {{ auth: 'request.headers[\"authorization\"]', key: 'request.headers[\"x-api-key\"]' }} }}\n\
         binds:\n- port: 0\n  address: 127.0.0.1\n  listeners:\n\
         \x20 - protocol: HTTPS\n    hostname: a.test\n    tls: {{ cert: '{}', key: '{}' }}\n\
         - port: 0\n  address: 127.0.0.1\n  listeners:\n  - routes:\n",
        server.cert_path.display(),
        server.key_path.display(),
    );
    for (position, Planted { policies, .. }) in PLANTED.iter().enumerate() {
        yaml += &format!(
            "    - name: r{position}\n      matches: [{{ path: {{ pathPrefix: /{position} }} }}]\n      policies: {{ {policies} }}\n      backends: [{{ host: '{}' }}]\n",
            backend.addr()
        );
    }
    yaml
}

/// Everything an operator or a stranger can read, by name.
async fn outputs(gateway: &Gateway) -> Vec<(String, String)> {
    let mut all = vec![("the log".to_owned(), gateway.log().text()), ("/metrics".to_owned(), gateway.metrics().await)];
    for path in ["/config_dump", "/config/status", "/backends", "/generations", "/memory", "/logging", "/"] {
        all.push((path.to_owned(), gateway.admin("GET", path).await.text()));
    }
    let dump = gateway.admin("GET", "/config_dump").await.text();
    let keys = dump.split('"').filter(|it| it.starts_with("bind/") && it.contains("/default/r"));
    let keys: std::collections::BTreeSet<&str> = keys.collect();
    assert!(keys.len() >= PLANTED.len(), "routes are missing: {keys:?}");
    for key in keys {
        let path = format!("/config/effective?route={key}");
        all.push((path.clone(), gateway.admin("GET", &path).await.text()));
    }
    all
}

fn search(outputs: &[(String, String)], canaries: &[&str], place: &str, found: &mut Vec<String>) {
    for (name, text) in outputs {
        for canary in canaries.iter().filter(|it| text.contains(**it)) {
            let line = text.lines().find(|it| it.contains(*canary)).unwrap_or_default();
            let line: String = line.chars().take(300).collect();
            found.push(format!("{canary} ({place}) is in {name}: {line}"));
        }
    }
}

#[tokio::test]
async fn secrets_planted_anywhere_show_up_nowhere() {
    let (backend, authority, issuer) = (Backend::echo(), Authority::new("canary"), Issuer::new("one"));
    let server = authority.server(&["a.test"]);
    let setup = Gateway::setup(&document(&backend, &server)).file("keys", "canary-file-key\n");
    let gateway = setup.env("RUST_LOG", "debug").start().await;
    // The first bind speaks TLS, to have a private key.
    let client = Client::h1(gateway.addr(1));
    let token = format!("Bearer {}", issuer.token(&json!({ "iss": "a" })));
    let mut answers = String::new();
    for position in 0..PLANTED.len() {
        for (name, value) in SENT.iter().copied().chain([("authorization", &*token)]) {
            let reply = client.get(&format!("/{position}/x?key=canary-query")).header(name, value).await;
            // The echo tells its caller what it was asked; what the gateway itself says is searched.
            if reply.status != 200 {
                answers += &format!("{:?} {}\n", reply.headers, reply.text());
            }
        }
    }
    eventually(PATIENCE, || async { gateway.log().text().contains("key set not fetched") }).await;
    let mut outputs = outputs(&gateway).await;
    outputs.push(("refusals".to_owned(), answers));
    // A document that is refused, and one that is only checked, say what is wrong without saying it all.
    let broken = document(&backend, &server).replace("keys: [{ key:", "keys: [{ unknown: x, key:");
    assert!(gateway.reload(&broken).await.last_error.is_some());
    outputs.push(("a refusal".to_owned(), gateway.admin("GET", "/config/status").await.text() + &gateway.log().text()));
    let checked = Gateway::run_cli(&["validate", "-f", "-"], &broken).await;
    let said = [checked.stdout, checked.stderr].concat();
    outputs.push(("validate".to_owned(), String::from_utf8_lossy(&said).into_owned()));
    // A secret with a `$` that nobody escaped is taken for a variable, which is not there.
    for broken in ["canary-plain-key$canary_tail", "canary-plain-key${canary_tail", "$canary_tail", "${canary tail}"] {
        let broken = document(&backend, &server).replace("canary-plain-key", broken);
        assert!(gateway.reload(&broken).await.last_error.is_some());
        let status = gateway.admin("GET", "/config/status").await.text();
        outputs.push(("a refused variable".to_owned(), status + &gateway.log().text()));
        let checked = Gateway::run_cli(&["validate", "-f", "-"], &broken).await;
        let said = [checked.stdout, checked.stderr].concat();
        outputs.push(("validate of a variable".to_owned(), String::from_utf8_lossy(&said).into_owned()));
    }
    let mut found = Vec::new();
    search(&outputs, &["canary_tail", "canary tail"], "behind a `$`", &mut found);
    for Planted { place, canaries, .. } in PLANTED {
        search(&outputs, canaries, place, &mut found);
    }
    search(&outputs, SENT_CANARIES, "sent by a client", &mut found);
    search(&outputs, &["canary-admin-token"], "the admin token", &mut found);
    let key = server.key_pem.lines().nth(1).expect("a line of the key").to_owned();
    search(&outputs, &[&key], "a private key", &mut found);
    search(&outputs, &[token.rsplit('.').next().expect("a signature")], "a good token", &mut found);
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(outputs.iter().all(|(name, text)| !text.is_empty() || name.starts_with("validate")), "an output is empty");
    gateway.stop().await;
}
