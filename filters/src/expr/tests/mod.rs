//! Tests of the engine, beside the specification's own in `conformance`.

mod conformance;

use std::sync::Arc;

use http::{HeaderMap, Uri, Version};
use serde_json::json;

use super::*;
use crate::identity::{ApiKey, Identity, Jwt};

/// `GET /a/b?x=1&x=2%20` by a user with a token and a key.
struct Fixture {
    headers: HeaderMap,
    answer: HeaderMap,
    uri: Uri,
    identity: Identity,
    env: Env,
}

impl Fixture {
    fn new() -> Self {
        let claims = json!({"sub": "alice", "groups": ["dev", "ops"], "age": 42, "nested": {"a": {"b": 1}}});
        let serde_json::Value::Object(claims) = claims else { panic!("an object") };
        let jwt = Jwt { claims, token: ir::Secret::new(*b"e30.e30.sig"), issuer: "me".into() };
        let api_key = ApiKey::new(ir::Secret::new(*b"hunter2"), Some(r#"{"team": "blue"}"#.into()));
        let mut headers = HeaderMap::new();
        headers.append("x-user", "alice".parse().unwrap());
        headers.append("x-two", "a, b".parse().unwrap());
        headers.append("x-two", "c".parse().unwrap());
        headers.append("authorization", "Bearer secret".parse().unwrap());
        headers.append("cookie", "sid=1; theme=dark".parse().unwrap());
        let mut answer = HeaderMap::new();
        answer.append("etag", "7".parse().unwrap());
        Self {
            headers,
            answer,
            uri: "/a/b?x=1&x=2%20".parse().unwrap(),
            identity: Identity {
                jwt: Some(Arc::new(jwt)),
                api_key: Some(Arc::new(api_key)),
                basic: Some("bob".into()),
                peer: None,
            },
            env: Env { pod_name: "p".to_owned(), namespace: "ns".to_owned(), gateway: "gw".to_owned() },
        }
    }

    fn inputs(&self) -> Inputs<'_> {
        Inputs {
            request: Some(Request {
                method: "GET",
                uri: &self.uri,
                target: None,
                host: "example.com",
                scheme: "https",
                version: Version::HTTP_11,
                headers: &self.headers,
            }),
            request_body: Some(Body { bytes: br#"{"model": "m", "n": [1, 2]}"#, truncated: false }),
            response: Some(Response { code: 503, grpc_status: None, headers: Some(&self.answer) }),
            source: Some(Source {
                address: "10.1.2.3".parse().unwrap(),
                port: Some(4711),
                raw_address: "10.1.2.3".parse().unwrap(),
                raw_port: Some(4711),
                workload: None,
                connect_headers: None,
            }),
            identity: Some(&self.identity),
            names: Names { route: "api", listener: "web", ..Names::default() },
            backend: Some(Backend { name: "b", kind: "static", protocol: "http" }),
            env: Some(&self.env),
            ..Inputs::default()
        }
    }
}

fn evaluate(text: &str) -> Result<serde_json::Value, String> {
    let fixture = Fixture::new();
    let expression = Expression::parse(text, &Vocabulary::of(Site::Any))?;
    let inputs = fixture.inputs();
    let value = expression.evaluate(&inputs).map_err(|error| expression.explain(&error))?;
    value.into_json().map_err(|error| error.to_string())
}

#[test]
fn attributes_are_read_where_they_are() {
    for (text, want) in [
        ("request.method", json!("GET")),
        ("request.path", json!("/a/b")),
        ("request.pathAndQuery", json!("/a/b?x=1&x=2%20")),
        ("request.uri", json!("https://example.com/a/b?x=1&x=2%20")),
        ("request.uri.query('x')", json!(["1", "2 "])),
        ("request.pathAndQuery.setQuery('x', 'é').addQuery('y', 3)", json!("/a/b?x=%C3%A9&y=3")),
        ("request.host + ' ' + request.scheme + ' ' + request.version", json!("example.com https HTTP/1.1")),
        ("request.headers['X-User']", json!("alice")),
        ("request.headers.cookie", json!("sid=1; theme=dark")),
        ("request.headers['x-two']", json!(["a, b", "c"])),
        ("request.headers.join()['x-two']", json!("a, b,c")),
        ("request.headers.split()['x-two']", json!(["a", "b", "c"])),
        ("request.headers.raw()['x-user']", json!(["alice"])),
        ("request.headers.redacted().split()['authorization']", json!("<redacted>")),
        ("request.headers.cookie('theme')", json!("dark")),
        ("request.cookies['sid'] + request.query['x']", json!("11")),
        ("'x-user' in request.headers && !('x-none' in request.headers)", json!(true)),
        ("json(request.body).model", json!("m")),
        ("json(request.body).n[1]", json!(2)),
        ("response.code", json!(503)),
        ("response.headers.etag", json!("7")),
        ("jwt.sub", json!("alice")),
        ("jwt['sub'] + string(jwt.age)", json!("alice42")),
        ("jwt.nested.a.b", json!(1)),
        ("'ops' in jwt.groups", json!(true)),
        ("jwt.groups.exists(g, g.startsWith('d'))", json!(true)),
        ("jwt.rawToken", json!("<redacted>")),
        ("jwt.rawToken.unredacted()", json!("e30.e30.sig")),
        ("unvalidatedJwtPayload(jwt.rawToken)", json!({})),
        ("apiKey.team + apiKey.key.unredacted()", json!("bluehunter2")),
        ("string(apiKey.key)", json!("<redacted>")),
        ("apiKey", json!({"key": "<redacted>", "team": "blue"})),
        ("basicAuth.username", json!("bob")),
        ("source.address + ':' + string(source.port)", json!("10.1.2.3:4711")),
        ("cidr('10.0.0.0/8').containsIP(source.address)", json!(true)),
        ("route.name + listener.name + proxy.route.name + backend.type", json!("apiwebapistatic")),
        ("env", json!({"podName": "p", "namespace": "ns", "gateway": "gw"})),
        ("variables().env.gateway", json!("gw")),
        ("has(jwt.sub) && !has(jwt.none) && !has(llm.cost) && has(request.headers['x-user'])", json!(true)),
        ("default(jwt.none, 'nobody')", json!("nobody")),
        ("coalesce(jwt.none, null, jwt.sub)", json!("alice")),
        ("jwt.?none.orValue('x')", json!("x")),
        ("jwt.groups.with(g, g.size())", json!(2)),
        ("{'a': 1}.merge({'b': 2}).mapValues(v, v * 2).filterKeys(k, k != 'a')", json!({"b": 4})),
        ("form.encode({'b': ['1', '2'], 'a': 'x y', 'c': null})", json!("a=x+y&b=1&b=2")),
        ("form.decode('a=1&b=2&a=3')", json!({"a": ["1", "3"], "b": "2"})),
        ("sha256.encode('')", json!("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")),
        (
            "md5.encode('') + sha1.encode('')",
            json!("d41d8cd98f00b204e9800998ecf8427eda39a3ee5e6b4b0d3255bfef95601890afd80709"),
        ),
        ("string(base64.decode(base64.encode('hi')))", json!("hi")),
        ("'abc'.regexReplace('b(c)', '$1$1')", json!("acc")),
    ] {
        assert_eq!(evaluate(text), Ok(want), "{text}");
    }
}

#[test]
fn what_is_not_there_is_an_error_that_says_so() {
    for (text, want) in [
        ("jwt.none", "no such key (at 1:4)"),
        ("mcp.tool.name == 'x'", "`mcp` is not there"),
        ("1 / 0", "division by zero"),
        ("request.headers.cookie('x')", "no such key"),
        ("fail('no')", "failed: no"),
        ("[1][1]", "index out of range"),
        ("jwt.sub + 1", "no such overload"),
        ("random()", "`random` is not there"),
    ] {
        let error = evaluate(text).unwrap_err();
        assert!(error.contains(want), "{text}: {error}");
    }
}

#[test]
fn problems_name_place_and_cure() {
    let check = |site: Site, text: &str, want: &str| {
        let problems = Expression::compile(text, &Vocabulary::rule(site)).unwrap_err();
        assert!(summary(&problems).contains(want), "{text}: {}", summary(&problems));
    };
    for (text, want) in [
        ("request.mehtod == 'GET'", "`request` has no field `mehtod`; did you mean `method`? (at 1:8)"),
        ("true &&\n reqest.path == ''", "unknown variable `reqest`; did you mean `request`? (at 2:2)"),
        ("request.path.startWith('/')", "unknown function `startWith`; did you mean `startsWith`? (at 1:13)"),
        ("request.path.startsWith()", "`startsWith` takes 1 argument, not 0"),
        ("startsWith(request.path, '/')", "`startsWith` is called on a value"),
        ("response.code == 200", "`response.code` does not exist for a request (at 1:9)"),
        ("llmRequest.model == 'x'", "`llmRequest` does not exist for a request"),
        ("request.path == 5", "a text and a number cannot be compared"),
        ("request.path", "true or false is wanted, and this is a text"),
        ("request.path.matches('(')", "is not a regex"),
        ("request.path.matches('a{9999999}')", "regex is larger than"),
        ("request.headers['a b'] == ''", "is not a header name"),
        ("request.path.foo == ''", "`request.path` is a text and has no field `foo`"),
        ("a = b", "write `==` to compare (at 1:3)"),
        ("(true", "`)` expected, found the end (at 1:6)"),
        ("flatten(jwt) == {}", "for fields of logs and traces"),
        ("request.path == 'x' && request.nope == 1 && nope", "; unknown variable"),
        ("for == 1", "`for` is a reserved word"),
    ] {
        check(Site::Request, text, want);
    }
    check(Site::Connection, "request.path == '/'", "`request.path` does not exist for a connection");
    check(Site::Process, "jwt.sub == 'x'", "`jwt` does not exist when");
}

#[test]
fn what_is_read_is_known_beforehand() {
    let needs = |text: &str| Expression::parse(text, &Vocabulary::of(Site::Any)).unwrap().needs();
    for (text, wanted, unwanted) in [
        ("request.path == ''", Needs::REQUEST, Needs::REQUEST_BODY),
        ("request['body'] == b''", Needs::REQUEST_BODY, Needs::RESPONSE_BODY),
        ("request[request.path] == b''", Needs::REQUEST_BODY, Needs::RESPONSE_BODY),
        ("size(request) > 0", Needs::REQUEST_BODY, Needs::JWT),
        ("variables().size() > 0", Needs::EVERYTHING, Needs::NONE),
        ("has(request.bodyPrefix)", Needs::REQUEST_BODY_PREFIX, Needs::REQUEST_BODY),
        ("jwt.sub == llm.prompt[0].content", Needs::JWT.or(Needs::LLM_PROMPT), Needs::LLM_COMPLETION),
    ] {
        assert!(needs(text).contains(wanted), "{text}");
        assert!(unwanted.is_empty() || !needs(text).intersects(unwanted), "{text}");
    }
}

#[test]
fn cost_is_bounded_whatever_the_text() {
    let list = format!("[{}]", vec!["1"; 100].join(","));
    for text in [
        format!("{list}.map(a, {list}.map(b, {list}.map(c, a + b + c)))"),
        format!("{list}.all(a, {list}.all(b, {list}.all(c, {list}.all(d, true))))"),
        "'x'.replace('', 'yyyyyyyyyyyyyyyy').replace('', 'yyyyyyyyyyyyyyyy').replace('', 'yyyyyyyyyyyyyyyy')\
         .replace('', 'yyyyyyyyyyyyyyyy').replace('', 'yyyyyyyyyyyyyyyy').replace('', 'yyyyyyyyyyyyyyyy')"
            .to_owned(),
        format!(
            "{list}.map(a, 'xxxxxxxxxxxxxxxx'.regexReplace('x*?', 'yyyyyyyyyyyyyyyyyyyyyyyyy'))\
                 .map(a, {list}.map(b, a.regexReplace('y*?', 'zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz')))"
        ),
        format!(
            "{list}.map(a, request.path.matches(request.path + string(a))).map(x, {list}.map(y, request.path.matches('{{' + request.path)))"
        ),
    ] {
        let fixture = Fixture::new();
        let expression = Expression::parse(&text, &Vocabulary::of(Site::Any)).unwrap();
        let inputs = fixture.inputs();
        let error = expression.evaluate(&inputs).unwrap_err();
        assert!(error.is_limit() || matches!(error.cause, Cause::Invalid(_)), "{text}: {error}");
    }
}

#[test]
fn nesting_and_length_are_bounded() {
    let compile = |text: &str| Expression::parse(text, &Vocabulary::of(Site::Any));
    for (open, close) in
        [("(", ")"), ("[", "]"), ("!", ""), ("-", ""), ("{1:", "}"), ("size(", ")"), ("true ? 1 : ", "")]
    {
        let deep = format!("{}1{}", open.repeat(5000.min(14_000 / (open.len() + close.len()))), close.repeat(1000));
        assert!(compile(&deep).unwrap_err().contains("deeper than"), "{open}");
    }
    assert!(compile(&vec!["1"; 3000].join("+")).unwrap_err().contains("deeper than"));
    assert!(compile(&format!("'{}'", "x".repeat(TEXT_BYTES_MAX))).unwrap_err().contains("longer than"));
    assert!(compile(&vec!["true"; 2000].join("&&")).is_ok());
}

#[test]
fn user_functions_are_inlined_and_checked() {
    let text = "isAdmin(who) { who in ['root', adminName()] } adminName() { jwt.sub }\n\
                this.shout(times...) { this.upperAscii() + string(times.size()) }\n\
                body() { request.body }";
    let users = UserFunctions::parse(text).unwrap();
    let vocabulary = Vocabulary::of(Site::Any).with(users.clone());
    let fixture = Fixture::new();
    let inputs = fixture.inputs();
    for (text, want) in [
        ("isAdmin('alice') && isAdmin('root') && !isAdmin('x')", json!(true)),
        ("'a'.shout(1, 2, 3)", json!("A3")),
        ("[1, 2].map(who, 'a'.shout() + string(who) + string(isAdmin('x')))", json!(["A01false", "A02false"])),
    ] {
        let expression = Expression::parse(text, &vocabulary).unwrap();
        assert_eq!(expression.evaluate(&inputs).unwrap().into_json().unwrap(), want, "{text}");
    }
    assert!(Expression::parse("body()", &vocabulary).unwrap().needs().contains(Needs::REQUEST_BODY));
    let here = Vocabulary::of(Site::Connection).with(users);
    let error = Expression::parse("isAdmin('x')", &here).unwrap_err();
    assert!(error.contains("in function `adminName`: `jwt` does not exist for a connection (at 1:1)"), "{error}");
    for (text, want) in [
        ("a() { b() } b() { a() }", "`a` calls itself"),
        ("a() { 1 } a() { 2 }", "`a` is defined twice (at 1:11)"),
        ("size(x) { 1 }", "built-in"),
        ("a(x, x) { 1 }", "two parameters"),
        ("a(x {", "after a parameter"),
        ("a() { 1 +\n }", "(at 2:2)"),
        ("a() { nope }", "`a`: unknown variable `nope`"),
        ("a(r..., x) { 1 }", "only the last"),
    ] {
        let problems = UserFunctions::parse(text).unwrap_err();
        assert!(summary(&problems).contains(want), "{text}: {}", summary(&problems));
    }
}

#[test]
fn an_expression_is_its_text() {
    let one = Expression::parse("1 + 1", &Vocabulary::of(Site::Any)).unwrap();
    assert_eq!(one, Expression::parse("1 + 1", &Vocabulary::of(Site::Any)).unwrap());
    assert_ne!(one, Expression::parse("1 + 1", &Vocabulary::of(Site::Log)).unwrap());
    assert_eq!(serde_json::to_value(&one).unwrap(), json!("1 + 1"));
    assert_eq!(format!("{one} {one:?}"), "1 + 1 \"1 + 1\"");
    assert!(one.is_constant());
}
