//! Every policy about who may do what, how much, and what is changed: driven by a client against a backend, once from a
//! file and once through a control plane. What is seen must be the same.

use serde_json::{Value, json};
use tests::control::Plane;
use tests::issuer::Issuer;
use tests::wait::{PATIENCE, eventually};
use tests::{Backend, Client, Gateway};

/// A request to a case's route and what must come of it.
struct Ask {
    /// Method and path below that of the case.
    what: (&'static str, &'static str),
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
    status: u16,
    /// Headers of the answer.
    answered: &'static [(&'static str, &'static str)],
    /// Headers that the backend got; an empty value for one that it did not.
    got: &'static [(&'static str, &'static str)],
}

const fn ask(path: &'static str, status: u16) -> Ask {
    Ask { what: ("GET", path), headers: &[], body: "", status, answered: &[], got: &[] }
}

const fn with(path: &'static str, headers: &'static [(&'static str, &'static str)], status: u16) -> Ask {
    Ask { headers, ..ask(path, status) }
}

const fn answered(it: Ask, answered: &'static [(&'static str, &'static str)]) -> Ask {
    Ask { answered, ..it }
}

const fn got(it: Ask, got: &'static [(&'static str, &'static str)]) -> Ask {
    Ask { got, ..it }
}

const fn post(it: Ask, body: &'static str) -> Ask {
    Ask { what: ("POST", it.what.1), body, ..it }
}

/// Policies of a route, and what they do.
struct Case {
    policies: &'static str,
    asks: &'static [Ask],
}

const CASES: &[Case] = &[
    Case {
        policies: "apiKey: { keys: [{ key: k, metadata: { owner: eve } }] }, \
                   requestHeaderModifier: { set: { x-seen: '1' } }",
        asks: &[
            ask("/", 401),
            with("/", &[("authorization", "Bearer other")], 401),
            got(with("/", &[("authorization", "Bearer k")], 200), &[("authorization", ""), ("x-seen", "1")]),
        ],
    },
    Case {
        policies: "basicAuth: { htpasswd: 'bob:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=' }",
        asks: &[
            answered(ask("/", 401), &[("www-authenticate", "Basic realm=\"Restricted\", charset=\"UTF-8\"")]),
            with("/", &[("authorization", "Basic Ym9iOnBhc3N3b3Jk")], 200),
            with("/", &[("authorization", "Basic Ym9iOnBhc3N3b3Jl")], 401),
        ],
    },
    Case {
        policies: "authorization: { rules: [{ deny: 'json(request.body).amount > 100' }, { require: 'request.method == \"POST\"' }] }",
        asks: &[post(ask("/", 200), "{\"amount\": 100}"), post(ask("/", 403), "{\"amount\": 101}"), ask("/", 403)],
    },
    Case { policies: "authorization: { mode: shadow, rules: [{ deny: 'true' }] }", asks: &[ask("/", 200)] },
    Case {
        policies: "csrf: { additionalOrigins: ['https://app.example'] }",
        asks: &[
            post(with("/", &[("origin", "https://evil.example")], 403), "x"),
            post(with("/", &[("origin", "https://app.example")], 200), "x"),
        ],
    },
    Case {
        policies: "localRateLimit: [{ maxTokens: 1, tokensPerFill: 1, fillInterval: 1h, key: 'request.headers[\"x-user\"]' }]",
        asks: &[
            answered(with("/", &[("x-user", "a")], 200), &[("ratelimit", "\"requests\";r=0;t=3600")]),
            answered(with("/", &[("x-user", "a")], 429), &[("x-ratelimit-remaining", "0")]),
            with("/", &[("x-user", "b")], 200),
        ],
    },
    Case {
        policies: "localRateLimit: [{ maxTokens: 1, tokensPerFill: 1, fillInterval: 1h, mode: shadow }]",
        asks: &[ask("/", 200), ask("/", 200)],
    },
    Case {
        policies: "localRateLimit: { conditional: [\
                   { condition: 'request.path.endsWith(\"/a\")', maxTokens: 1, tokensPerFill: 1, fillInterval: 1h }] }",
        asks: &[ask("/a", 200), ask("/a", 429), ask("/b", 200), ask("/b", 200)],
    },
    Case {
        policies: "transformations: { request: { set: { x-m: 'request.method + \"!\"' }, remove: [x-gone] }, \
                   response: { add: { x-code: 'string(response.code)' } } }",
        asks: &[got(
            answered(with("/", &[("x-gone", "1")], 200), &[("x-code", "200")]),
            &[("x-m", "GET!"), ("x-gone", "")],
        )],
    },
    Case {
        policies: "transformations: { conditional: [\
                   { condition: 'request.headers[\"x-a\"] == \"1\"', response: { set: { x-by: '\"a\"' } } }, \
                   { response: { set: { x-by: '\"others\"' } } }] }",
        asks: &[
            answered(with("/", &[("x-a", "1")], 200), &[("x-by", "a")]),
            answered(ask("/", 200), &[("x-by", "others")]),
        ],
    },
    Case {
        policies: "directResponse: { status: 202, bodyExpression: '{\"m\": request.method}', headers: { x-n: 'string(1 + 1)' } }",
        asks: &[answered(ask("/", 202), &[("x-n", "2"), ("content-type", "application/json")])],
    },
    Case {
        policies: "directResponse: { conditional: [{ condition: 'request.path.endsWith(\"/a\")', status: 204 }] }",
        asks: &[ask("/a", 204), ask("/b", 200)],
    },
    Case {
        policies: "delay: { duration: 'duration(request.headers[\"x-wait\"])' }, timeout: { requestTimeout: 3s }",
        asks: &[ask("/", 200), with("/", &[("x-wait", "1h")], 504)],
    },
    Case { policies: "fault: { abort: { status: 418 } }", asks: &[ask("/", 418)] },
    Case { policies: "ipAccess: { deny: [127.0.0.1] }", asks: &[ask("/", 403)] },
    Case {
        policies: "backendAuth: { aws: { accessKeyId: a, secretAccessKey: b, sessionToken: c, region: d, serviceName: s3 } }",
        asks: &[got(with("/", &[("x-amz-security-token", "mine")], 200), &[("x-amz-security-token", "c")])],
    },
    Case {
        policies: "backendAuth: { key: secret, credentials: [{ location: { header: { name: x-key } }, key: other }] }",
        asks: &[got(
            with("/", &[("authorization", "Bearer mine")], 200),
            &[("authorization", "Bearer secret"), ("x-key", "other")],
        )],
    },
    // What is attached to it from outside, see below.
    Case { policies: "authorization: { rules: ['false'] }", asks: &[ask("/granted", 200), ask("/x", 403)] },
    Case {
        policies: "responseHeaderModifier: { set: { x-by: route } }",
        asks: &[answered(ask("/", 200), &[("x-by", "locked")])],
    },
    Case { policies: "", asks: &[ask("/before-routing", 403), ask("/", 200)] },
];

/// Policies of their own. By the time they were written the routes above were the last three.
const DETACHED: &str = "policies:
- name: { name: grants }
  target: { route: { name: caseGRANTS } }
  policy: { authorization: { rules: ['request.path.endsWith(\"/granted\")'] } }
- name: { name: locks }
  target: { route: { name: caseLOCKS } }
  inheritance: override
  policy: { responseHeaderModifier: { set: { x-by: locked } } }
- name: { name: early }
  target: { gateway: { gatewayName: default } }
  phase: gateway
  policy: { authorization: { rules: [{ deny: 'request.path.endsWith(\"/before-routing\")' }] } }
";

fn document(backend: &Backend, issuer: &Issuer) -> String {
    let asked = format!("host: '{}', protocol: {{ http: {{ path: '\"/connect\"' }} }}", backend.addr());
    let mut yaml = format!(
        "frontendPolicies:
  networkAuthorization: {{ rules: ['source.address == \"127.0.0.1\"'] }}
  networkExtAuthz: {{ {asked} }}
binds:
- port: 0
  address: 127.0.0.1
  listeners:
  - routes:
"
    );
    let tokens = format!(
        "jwtAuth: {{ issuer: '{}', jwks: '{}' }}, authorization: {{ rules: ['jwt.sub == \"eve\"'] }}",
        issuer.name(),
        issuer.jwks()
    );
    let policies = CASES.iter().map(|it| it.policies).chain([&*tokens]);
    for (n, policies) in policies.enumerate() {
        yaml += &format!(
            "    - name: case{n}\n      matches: [{{ path: {{ pathPrefix: /{n} }} }}]\n      policies: {{ {policies} }}\n      backends: [{{ host: '{}' }}]\n",
            backend.addr()
        );
    }
    let [grants, locks] = [3, 2].map(|from_end| (CASES.len() - from_end).to_string());
    yaml + &DETACHED.replace("GRANTS", &grants).replace("LOCKS", &locks)
}

/// Asks everything of one gateway.
async fn drive(gateway: &Gateway, backend: &Backend, issuer: &Issuer, source: &str) {
    let client = Client::h1(gateway.listens("bind/127.0.0.1#0").await);
    for (n, case) in CASES.iter().enumerate() {
        for (at, it) in case.asks.iter().enumerate() {
            let place = format!("{source}, `{}`, request {at}", case.policies);
            let path = format!("/{n}{}", it.what.1);
            let mut call = if it.what.0 == "POST" { client.post(&path).body(it.body) } else { client.get(&path) };
            for (name, value) in it.headers {
                call = call.header(name, value);
            }
            let reply = call.await;
            assert_eq!(reply.status.as_u16(), it.status, "{place}: {}", reply.text());
            for (name, value) in it.answered {
                assert_eq!(reply.header(name), Some(*value), "{place}: {name}");
            }
            for (name, value) in it.got {
                let value = Some(*value).filter(|it| !it.is_empty());
                assert_eq!(backend.stats().last().header(name), value, "{place}: {name} at the backend");
            }
        }
    }
    let connected = backend.stats().seen().iter().filter(|it| it.uri.path() == "/connect").count();
    assert!(connected >= 1, "{source}: a connection is asked about");
    let path = format!("/{}/", CASES.len());
    for (subject, status) in [("eve", 200), ("bob", 403)] {
        let token = format!("Bearer {}", issuer.token(&json!({ "sub": subject })));
        client.get(&path).header("authorization", token).await.expect_status(status);
    }
    client.get(&path).await.expect_status(401);
    eventually(PATIENCE, || async {
        let lines = gateway.access_lines();
        let shadow = lines.iter().filter(|it| it["policy.wouldDeny"].is_string());
        shadow.map(|it| it["http.status"].clone()).collect::<Vec<Value>>() == [200, 200]
    })
    .await;
    for (policy, count) in [("authorization", 1.0), ("localRateLimit", 1.0)] {
        let labels = [("policy", policy), ("mode", "shadow")];
        assert_eq!(gateway.metric_sum("agentgateway_policy_denials_total", &labels).await, count, "{source} {policy}");
    }
}

#[tokio::test]
async fn a_file_and_a_control_plane_bring_the_same_about() {
    let (backend, issuer) = (Backend::echo(), Issuer::new("one"));
    let document = document(&backend, &issuer);
    let gateway = Gateway::start(&document).await;
    drive(&gateway, &backend, &issuer, "file").await;
    gateway.stop().await;
    let plane = Plane::start(&document, &[]).await;
    let gateway = Gateway::start(&format!(
        "config:\n  xdsAddress: 'http://{}'\n  namespace: default\n  gateway: default\n",
        plane.addr()
    ))
    .await;
    drive(&gateway, &backend, &issuer, "xDS").await;
    gateway.stop().await;
    plane.stop().await;
}
