//! What the gateway says of a configuration that is wrong: every problem, where it is, and the cure.
//!
//! Each case is a document and the lines `agentgateway validate` must print for it, without the name of the file. What
//! a running gateway does with a bad edit is in `reload.rs`.

use std::process::Output;

use tests::{Authority, Gateway, certs};

/// A gateway to hang routes on; its port is on line 1.
const GATEWAY: &str = "gateways: {default: {port: 0}}\n";

async fn validate(text: &str) -> Output {
    Gateway::run_cli(&["validate", "-f", "-"], text).await
}

/// The problems of a document that must be refused, without the source's name.
async fn problems(text: &str) -> Vec<String> {
    let output = validate(text).await;
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "the document must be refused:\n{text}\n{said}");
    assert!(output.stdout.is_empty(), "a refusal is said on stderr alone");
    said.lines().map(|line| line.strip_prefix("stdin:").unwrap_or(line).to_owned()).collect()
}

/// Documents below [`GATEWAY`], so that their first line is 2.
async fn check(cases: &[(&str, &[&str])]) {
    for (text, expected) in cases {
        assert_eq!(problems(&format!("{GATEWAY}{text}")).await, *expected, "for:\n{text}");
    }
}

async fn check_alone(cases: &[(&str, &[&str])]) {
    for (text, expected) in cases {
        assert_eq!(problems(text).await, *expected, "for:\n{text}");
    }
}

#[tokio::test]
async fn text_that_is_not_a_document() {
    check_alone(&[
        ("hello", &["1:1: the document is not a map of keys to values"]),
        ("[]", &["1:1: the document is not a map of keys to values"]),
        ("binds: []\nbinds: []\n", &["2:1: binds: the key `binds` is here twice (first at line 1, column 1)"]),
        (
            "binds:\n\t- port: 3000\n",
            &["2:2: the text is not YAML: tabs disallowed within this context (block indentation) (indent with spaces)"],
        ),
        (
            r#"{"binds": [,]}"#,
            &["1:12: the text is not YAML: while parsing a node, did not find expected node content"],
        ),
    ])
    .await;
    let unclosed = problems("binds:\n- port: 0\n  listeners: [\n").await;
    assert!(unclosed[0].starts_with("4:1: the text is not YAML: "), "{unclosed:?}");
    let deep = problems(&"[".repeat(100_000)).await;
    assert!(deep[0].contains("the text is not YAML"), "{deep:?}");
}

#[tokio::test]
async fn values_of_the_wrong_type() {
    check_alone(&[
        ("binds: 3", &["1:8: binds: expected a list, found a number"]),
        ("gateways: []", &["1:11: gateways: expected a map, found a list"]),
        ("gateways: {default: {port: abc}}", &["1:28: gateways.default.port: expected a number, found a string"]),
        (
            "gateways: {default: {port: '3000'}}",
            &["1:28: gateways.default.port: expected a number, found a string (remove the quotes to make it a number)"],
        ),
        (
            "gateways: {default: {port: 70000}}",
            &["1:28: gateways.default.port: expected a number from 0 to 65535, found 70000"],
        ),
        (
            "gateways: {default: {port: -1}}",
            &["1:28: gateways.default.port: expected a number from 0 to 65535, found -1"],
        ),
        (r#"{"binds": [{"port": 0, "listeners": {}}]}"#, &["1:37: binds[0].listeners: expected a list, found a map"]),
    ])
    .await;
    check(&[
        ("routes: {}\n", &["2:9: routes: expected a list, found a map"]),
        (
            "routes: [{hostnames: a.b, backends: {host: 'a:1'}}]\n",
            &[
                "2:22: routes[0].hostnames: expected a list, found a string",
                "2:37: routes[0].backends: expected a list, found a map",
            ],
        ),
        (
            "routes: [{backends: [{host: 'a:1', weight: -1}]}]\n",
            &["2:44: routes[0].backends[0].weight: expected a number of at least 0, found -1"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn keys_that_are_unknown_misplaced_or_of_a_later_version() {
    check(&[
        ("routez: []\n", &["2:1: routez: unknown key `routez` (did you mean `routes`?)"]),
        ("routes: [{backend: []}]\n", &["2:11: routes[0].backend: unknown key `backend` (`backend` belongs under `backends`)"]),
        ("routes: [{hostname: a.b}]\n", &["2:11: routes[0].hostname: unknown key `hostname` (did you mean `hostnames`?)"]),
        ("routes: [{cors: {}}]\n", &["2:11: routes[0].cors: unknown key `cors` (`cors` belongs under `policies`)"]),
        (
            "routes:\n- policies: {extProc: {}, oidc: {}, timeout: {request: 1s}}\n",
            &[
                "3:14: routes[0].policies.extProc: `extProc` is not supported by this version yet",
                "3:27: routes[0].policies.oidc: `oidc` is not supported by this version yet",
                "3:47: routes[0].policies.timeout.request: unknown key `request` (did you mean `requestTimeout`?)",
            ],
        ),
        (
            "config: {listener: {}, logging: {filter: x, fields: {}}, trustDomain: x}\n",
            &[
                "2:10: config.listener: `listener` has moved (its settings are in `frontendPolicies`, at the top level)",
                "2:34: config.logging.filter: `filter` has moved (write `frontendPolicies.accessLog.filter`)",
                "2:45: config.logging.fields: `fields` has moved (`frontendPolicies.accessLog` has `add` and `remove`)",
                "2:58: config.trustDomain: `trustDomain` is not supported by this version yet",
            ],
        ),
        ("llm: {}\n", &["2:6: llm: the key `models` is missing"]),
        ("mcp: {}\n", &["2:6: mcp: the key `targets` is missing"]),
        (
            "routes: [{backends: [{ai: {}}]}]\n",
            &["2:23: routes[0].backends[0].ai: write either `provider` or `groups`"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn names_and_ports_that_are_taken() {
    check_alone(&[
        (
            "binds:\n- port: 3000\n  listeners: [{}]\n- port: 3000\n  listeners: [{}]\ngateways: {a: {port: 3000}}\n",
            &[
                "4:3: binds[1].port: port `3000` is already taken by `binds[0].port` (line 2)",
                "6:16: gateways.a.port: port `3000` is already taken by `binds[0].port` (line 2)",
            ],
        ),
        (
            "binds:\n- port: 3000\n  listeners: [{}]\n- {port: 3000, address: 127.0.0.1, listeners: [{}]}\n\
             gateways: {a: {port: 3000, address: '::1'}}\n",
            &[
                "4:4: binds[1].port: `127.0.0.1:3000` overlaps `*:3000` of `binds[0].port` (line 2): only one of them can \
                 listen",
                "5:16: gateways.a.port: `[::1]:3000` overlaps `*:3000` of `binds[0].port` (line 2): only one of them can \
                 listen",
            ],
        ),
        (
            "binds:\n- {port: 3000, address: 127.0.0.1, listeners: [{}]}\n- {port: 3000, address: '::1', listeners: [{}]}\n\
             - {port: 3000, address: 0.0.0.0, listeners: [{}]}\n- {port: 3000, address: '::', listeners: [{}]}\n",
            &[
                "4:4: binds[2].port: `0.0.0.0:3000` overlaps `127.0.0.1:3000` of `binds[0].port` (line 2): only one of \
                 them can listen",
                "5:4: binds[3].port: `[::]:3000` overlaps `127.0.0.1:3000` of `binds[0].port` (line 2): only one of them \
                 can listen",
            ],
        ),
        (
            "binds:\n- port: 0\n  listeners: [{name: a, hostname: a.b}, {name: a, hostname: A.b}]\n",
            &[
                "3:42: binds[0].listeners[1].name: listener `a` is already taken by `binds[0].listeners[0].name` (line 3)",
                "3:51: binds[0].listeners[1].hostname: `a.b` is already taken by `binds[0].listeners[0]` on this port",
            ],
        ),
        (
            "binds:\n- port: 0\n  listeners:\n  - routes: [{name: r}, {name: r}]\n",
            &["4:26: binds[0].listeners[0].routes[1].name: route `r` is already taken by \
               `binds[0].listeners[0].routes[0].name` (line 4)"],
        ),
    ])
    .await;
    check(&[
        (
            "routes:\n- name: r\n- name: r\n- {name: r, ruleName: x}\n",
            &["4:3: routes[1].name: route `r` is already taken by `routes[0].name` (line 3)"],
        ),
        (
            "backends: [{name: b, host: 'a:1'}, {name: /b, host: 'a:2'}]\n",
            &["2:37: backends[1].name: backend `b` is already taken by `backends[0].name` (line 2)"],
        ),
        (
            "routeGroups: [{name: g, routes: []}, {name: g, routes: []}]\n",
            &["2:39: routeGroups[1].name: route group `g` is already taken by `routeGroups[0].name` (line 2)"],
        ),
        (
            "policies:\n- &p {name: {name: p}, target: {gateway: {gatewayName: default}}, policy: {timeout: {requestTimeout: 1s}}}\n- *p\n",
            &["3:7: policies[1].name: policy `default/p` is already taken by `policies[0].name` (line 3)"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn values_that_cannot_be_read() {
    check(&[
        (
            "routes: [{matches: [{path: {regex: '(a'}}]}]\n",
            &["2:29: routes[0].matches[0].path.regex: regular expression `(a`: unclosed group"],
        ),
        (
            "routes: [{hostnames: ['*.*.x', 'a b', '']}]\n",
            &[
                "2:23: routes[0].hostnames[0]: `*.*.x` is not a host name: write `name.example.com`, `*.example.com` or `*`",
                "2:32: routes[0].hostnames[1]: `a b` is not a host name: write `name.example.com`, `*.example.com` or `*`",
            ],
        ),
        (
            "routes: [{policies: {ipAccess: {allow: [10.0.0.0/33, foo]}}}]\n",
            &[
                "2:41: routes[0].policies.ipAccess.allow[0]: `10.0.0.0/33` is not a network: write `10.0.0.0/8`, \
                 `2001:db8::/32` or an address",
                "2:54: routes[0].policies.ipAccess.allow[1]: `foo` is not a network: write `10.0.0.0/8`, \
                 `2001:db8::/32` or an address",
            ],
        ),
        (
            "routes: [{policies: {timeout: {requestTimeout: 5 parsecs, backendRequestTimeout: -1s}}}]\n",
            &[
                "2:48: routes[0].policies.timeout.requestTimeout: `5 parsecs` is not a duration: write `250ms`, `10s`, `1h30m`",
                "2:82: routes[0].policies.timeout.backendRequestTimeout: `-1s` is not a duration: write `250ms`, `10s`, `1h30m`",
            ],
        ),
        (
            "routes: [{backends: [{host: 'a:70000'}, {host: a}, {}]}]\n",
            &[
                "2:23: routes[0].backends[0].host: `a:70000` is not a host: write `name:port`, `ip:port` or `unix:/path`",
                "2:42: routes[0].backends[1].host: `a` is not a host: write `name:port`, `ip:port` or `unix:/path`",
                "2:52: routes[0].backends[2]: a backend is exactly one of `host`, `backend`, `service`, `routeGroup`, `mcp`, `ai`, `demo`",
            ],
        ),
    ])
    .await;
}

#[tokio::test]
async fn listeners_whose_protocol_does_not_fit() {
    check_alone(&[
        (
            "gateways: {a: {port: 1, protocol: https}, b: {port: 2, protocol: HTTP, tls: {cert: a, key: b}}}\n",
            &[
                "1:25: gateways.a.protocol: protocol HTTPS needs `tls` with `cert` and `key`",
                "1:56: gateways.b.protocol: protocol HTTP does not go with `tls`: write HTTPS",
            ],
        ),
        (
            "binds:\n- port: 1\n  listeners: [{protocol: http}, {protocol: tcp, hostname: x}]\n",
            &["3:34: binds[0].listeners[1].protocol: cannot share a port with `binds[0].listeners[0]`: plain HTTP, \
               TLS-based and raw TCP listeners each need a port of their own"],
        ),
        (
            "gateways: {a: {port: 1, protocol: quic}}\n",
            &["1:35: gateways.a.protocol: expected one of `HTTP`, `HTTPS`, `TLS`, `TCP`, `mcp`, `a2a`, found `quic`"],
        ),
        ("gateways: {a: {}}\n", &["1:12: gateways.a: `port` is missing"]),
        (
            "gateways: {a: {port: 1, tls: {}}}\n",
            &[
                "1:25: gateways.a.tls.cert: `cert` is missing: name a PEM file",
                "1:25: gateways.a.tls.key: `key` is missing: name a PEM file",
            ],
        ),
        (
            "gateways: {a: {port: 1, protocol: tcp}}\nroutes: [{gateways: a}, {gateways: nope}, {}]\n",
            &[
                "2:11: routes[0].gateways: `a` has no listener for HTTP routes",
                "2:26: routes[1].gateways: there is no gateway `nope`",
                "2:43: routes[2].gateways: the route names no gateway, and there is none called `default`",
            ],
        ),
    ])
    .await;
}

#[tokio::test]
async fn certificates_that_are_missing_or_do_not_fit() {
    let authority = Authority::new("bad config");
    let (one, other) = (authority.server(&["a.example"]), authority.server(&["b.example"]));
    let (cert, key) = certs::mismatched(&one, &other);
    let document = |cert: &str, key: &str| format!("gateways: {{a: {{port: 0, tls: {{cert: {cert}, key: {key}}}}}}}\n");
    assert_eq!(
        problems(&document("/nope/c.pem", "/nope/k.pem")).await,
        [
            "1:31: gateways.a.tls.cert: cannot read `/nope/c.pem`: no such file",
            "1:50: gateways.a.tls.key: cannot read `/nope/k.pem`: no such file",
        ]
    );
    let told = problems(&document(&cert.display().to_string(), &key.display().to_string())).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("1:25: gateways.a.tls: ") && told[0].contains("key"), "{told:?}");
    let garbage = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(garbage.path(), "hello").expect("written");
    let told = problems(&document(&garbage.path().display().to_string(), &key.display().to_string())).await;
    assert!(told[0].contains("certificate"), "{told:?}");
}

#[tokio::test]
async fn all_problems_of_all_stages_are_told_at_once_in_the_order_of_the_file() {
    let text = "\
config:
  adminAddr: nowhere
  workerThreads: 0
  logging: { level: loud }
gateways: {default: {port: 0}}
routes:
- name: a
  matches: [{path: {regex: '(a'}}]
- name: b
  timeout: 3
- name: a
backends:
- name: x
  host: nowhere
";
    assert_eq!(
        problems(text).await,
        [
            "2:3: config.adminAddr: `nowhere` is not an address: write `ip:port`, `localhost:port`, `unix:/path` or `off`",
            "3:3: config.workerThreads: `0` is not a number of threads: write `4` or `50%`",
            "4:14: config.logging.level: `loud` is not a level: write off, error, warn, info, debug or trace",
            "8:21: routes[0].matches[0].path.regex: regular expression `(a`: unclosed group",
            "10:3: routes[1].timeout: unknown key `timeout` (`timeout` belongs under `policies`)",
            "11:3: routes[2].name: route `a` is already taken by `routes[0].name` (line 7)",
            "14:3: backends[0].host: `nowhere` is not a host: write `name:port`, `ip:port` or `unix:/path`",
        ]
    );
}

#[tokio::test]
async fn a_gateway_that_is_wrong_is_not_also_missing() {
    check_alone(&[(
        "gateways: {default: {port: x}}\nroutes: [{}]\n",
        &["1:28: gateways.default.port: expected a number, found a string"],
    )])
    .await;
}

#[tokio::test]
async fn a_very_broken_document_is_told_within_bounds() {
    let text = format!("{GATEWAY}routes:\n{}", "- nonsense: 1\n".repeat(5_000));
    assert_eq!(problems(&text).await.len(), 1_000);
}
