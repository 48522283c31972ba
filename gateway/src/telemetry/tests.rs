//! Telemetry as the rest of the process uses it: events in, log lines and exposition out.

use std::time::{Duration, Instant};

use filters::Reason;
use filters::access_log::Policy;
use filters::expr::{Expression, Inputs, Request, Response, Site, Vocabulary};
use http::{HeaderMap, HeaderValue, Uri, Version};

use super::sink::tests::Kept;
use super::*;
use crate::statics::LogFormat;

const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn statics() -> Statics {
    Statics { sensitive_headers: vec!["X-Session".to_owned()], ..Statics::of_tests() }
}

/// What expressions see of the request below.
fn inputs<'a>(uri: &'a Uri, headers: &'a HeaderMap, answer: &'a HeaderMap) -> Inputs<'a> {
    Inputs {
        request: Some(Request {
            method: "GET",
            uri,
            target: None,
            host: "example.com",
            scheme: "http",
            version: Version::HTTP_11,
            headers,
        }),
        response: Some(Response { code: 200, grpc_status: None, headers: Some(answer) }),
        ..Inputs::default()
    }
}

fn field(text: &str) -> Expression {
    Expression::parse(text, &Vocabulary::of(Site::Log)).unwrap()
}

fn request<'a>() -> RequestEvent<'a> {
    RequestEvent {
        connection_id: 7,
        bind: "bind/3000",
        gateway: "default/gw",
        listener: "bind/3000/listener0",
        route: "default/route0",
        route_rule: "",
        backend: "host/a:80",
        endpoint: "10.0.0.1:80",
        src: "192.0.2.7:5000".parse().ok(),
        method: "GET",
        host: "example.com",
        path: "/a?token=secret",
        version: "HTTP/1.1",
        status: 200,
        grpc_status: None,
        protocol: "http",
        sni: "",
        identity: None,
        llm: None,
        reason: Reason::Upstream,
        error: None,
        decisions: &[],
        mcp: None,
        a2a: None,
        retry_attempt: 0,
        bytes_received: 0,
        bytes_sent: 12,
        duration: Duration::from_micros(12_345),
        request_processing: Some(Duration::from_micros(80)),
        upstream: Some(Duration::from_millis(12)),
        inputs: None,
        access_log: None,
    }
}

fn logged(format: LogFormat, event: &RequestEvent<'_>) -> String {
    let kept = Kept::default();
    let telemetry = Telemetry::with_output(&Statics { log_format: format, ..statics() }, Box::new(kept.clone()));
    telemetry.request_ended(event);
    assert!(telemetry.flush(PATIENCE));
    String::from_utf8(kept.0.lock().clone()).unwrap()
}

#[test]
fn a_request_is_one_line_of_text_in_the_documented_order() {
    let line = logged(LogFormat::Text, &request());
    let (time, rest) = line.split_once(' ').unwrap();
    assert!(time.ends_with('Z') && time.len() == 27, "{time}");
    assert_eq!(
        rest,
        "info request gateway=default/gw listener=bind/3000/listener0 route=default/route0 endpoint=10.0.0.1:80 \
         src.addr=192.0.2.7:5000 http.method=GET http.host=example.com http.path=/a http.version=HTTP/1.1 \
         http.status=200 protocol=http duration=12ms\n"
    );
}

#[test]
fn a_request_is_one_json_object() {
    let event = RequestEvent {
        status: 503,
        reason: Reason::NoHealthyBackend,
        error: Some("no endpoint of `a` is \"healthy\""),
        retry_attempt: 2,
        grpc_status: Some(14),
        sni: "example.com",
        path: "/\u{1b}[2J\"x",
        ..request()
    };
    let line = logged(LogFormat::Json, &event);
    let json: serde_json::Value = serde_json::from_str(&line).unwrap();
    for (name, expected) in [
        ("level", "info".into()),
        ("scope", "request".into()),
        ("http.path", "/\u{1b}[2J\"x".into()),
        ("http.status", 503.into()),
        ("grpc.status", 14.into()),
        ("tls.sni", "example.com".into()),
        ("retry.attempt", 2.into()),
        ("error", "no endpoint of `a` is \"healthy\"".into()),
        ("reason", "NoHealthyBackend".into()),
        ("duration", "12ms".into()),
    ] {
        assert_eq!(json.get(name), Some::<&serde_json::Value>(&expected), "{name} in {line}");
    }
    assert!(!line.contains('\u{1b}'));
}

#[test]
fn the_policy_adds_replaces_removes_and_filters() {
    let headers = HeaderMap::from_iter([("user-agent".parse().unwrap(), HeaderValue::from_static("curl/8 x"))]);
    let policy = |filter: &str| Policy {
        filter: Some(field(filter)),
        add: [
            ("agent", r#"request.headers["user-agent"]"#),
            ("http.path", "request.pathAndQuery"),
            ("url", "request.uri"),
            ("up", "{'a': 1, 'b': [request.method]}"),
            ("team", "'a b'"),
            ("none", "request.headers.x"),
        ]
        .map(|(name, text)| (name.to_owned(), field(text)))
        .to_vec(),
        remove: vec!["http.host".to_owned()],
    };
    let (uri, answer) = ("/a?token=secret".parse().unwrap(), HeaderMap::new());
    let inputs = inputs(&uri, &headers, &answer);
    let event = RequestEvent { inputs: Some(&inputs), ..request() };
    let held = policy("response.code == 200 && request.method == 'GET'");
    let line = logged(LogFormat::Text, &RequestEvent { access_log: Some(&held), ..event });
    assert!(line.ends_with("duration=12ms agent=\"curl/8 x\" http.path=\"/a?token=secret\" url=\"http://example.com/a?token=secret\" up=\"{\\\"a\\\":1,\\\"b\\\":[\\\"GET\\\"]}\" team=\"a b\"\n"), "{line}");
    assert!(!line.contains("http.host") && line.matches("http.path").count() == 1, "{line}");

    let missed = policy("response.code >= 500");
    assert_eq!(logged(LogFormat::Text, &RequestEvent { access_log: Some(&missed), ..event }), "");
}

#[test]
fn secrets_are_stars_even_where_asked_for() {
    let names = ["authorization", "cookie", "proxy-authorization", "x-api-key", "x-session"];
    let header = |name: &&str| (name.parse().unwrap(), HeaderValue::from_static("k=hunter2"));
    let headers = HeaderMap::from_iter(names.iter().map(header));
    let answer = HeaderMap::from_iter([("set-cookie".parse().unwrap(), HeaderValue::from_static("hunter2"))]);
    let mut add: Vec<(String, Expression)> =
        names.iter().map(|name| (format!("x.{name}"), field(&format!("request.headers['{name}']")))).collect();
    add.push(("x.set".to_owned(), field("response.headers['set-cookie']")));
    add.push(("x.k".to_owned(), field("request.cookies['k']")));
    // Nothing gets out by a detour.
    for (name, text) in [
        ("y.1", "request.headers['x-api-key'] + ''"),
        ("y.2", "[request.headers['x-api-key'], request.headers.cookie('k')]"),
        ("y.3", "request.headers.join()"),
        ("y.4", "variables()"),
        ("y.5", "flattenRecursive(request)"),
        ("y.6", "'%s'.format([request.headers])"),
        ("y.7", "base64.encode(request.headers['cookie'])"),
        ("y.8", "request.headers.raw()['cookie']"),
        ("y.9", "string(request.headers['cookie'])"),
    ] {
        add.push((name.to_owned(), field(text)));
    }
    let policy = Policy { filter: None, add, remove: Vec::new() };
    let uri = "/".parse().unwrap();
    let inputs = inputs(&uri, &headers, &answer);
    let event = RequestEvent { access_log: Some(&policy), inputs: Some(&inputs), ..request() };
    for format in [LogFormat::Text, LogFormat::Json] {
        let line = logged(format, &event);
        assert!(!line.contains("hunter2"), "{line}");
        assert!(line.matches("***").count() >= 7, "{line}");
    }
}

#[test]
fn a_raw_connection_is_one_line() {
    let kept = Kept::default();
    let telemetry = Telemetry::with_output(&statics(), Box::new(kept.clone()));
    telemetry.tcp_ended(&TcpEvent {
        connection_id: 1,
        bind: "b",
        gateway: "g",
        listener: "l",
        route: "r",
        endpoint: "10.0.0.1:5432",
        src: None,
        sni: "db.example.com",
        received: 10,
        sent: 20,
        duration: Duration::from_secs(2),
        reason: Reason::Timeout,
        error: None,
    });
    assert!(telemetry.flush(PATIENCE));
    let line = String::from_utf8(kept.0.lock().clone()).unwrap();
    let expected = "info request gateway=g listener=l route=r endpoint=10.0.0.1:5432 tls.sni=db.example.com \
                    protocol=tls bytes.received=10 bytes.sent=20 reason=Timeout duration=2000ms\n";
    assert!(line.ends_with(expected), "{line}");
    let series = r#"requests_total{bind="b",gateway="g",listener="l",backend="unknown",protocol="tls",method="unknown",status="unknown",reason="Timeout"} 1"#;
    assert!(telemetry.encode(Exposition::Text).contains(series));
}

/// A telemetry that has seen one of everything.
fn busy(statics: &Statics) -> Arc<Telemetry> {
    let telemetry = Telemetry::with_output(statics, Box::new(std::io::sink()));
    let (bind, listener) = (BindKey::new("bind/3000"), ListenerKey::new("l\"0\\"));
    telemetry.listeners([(listener.clone(), "default/gw".into())]);
    telemetry.connection_opened(&bind, Some(&listener), "https");
    telemetry.connection_opened(&bind, None, "https");
    telemetry.connection_closed(&bind, Some(&listener), "https", 10, 20);
    telemetry.connection_refused(&bind, "limit");
    telemetry.tls_handshake(&bind, Some(&listener), 0.002, true);
    telemetry.tls_handshake(&bind, Some(&listener), 0.002, false);
    telemetry.upstream_connect(0.1, "plaintext");
    telemetry.upstream_call("Mirror", "Http", f64::NAN);
    telemetry.config_refused();
    let phases =
        Phases { parse: Spent { wall: Duration::from_secs(1), cpu: Duration::from_millis(5) }, ..Phases::default() };
    telemetry.config_applied(3, &phases);
    telemetry.request_ended(&request());
    telemetry.request_ended(&RequestEvent { retry_attempt: 2, status: 503, ..request() });
    telemetry
}

#[test]
fn each_event_is_counted_under_its_documented_name() {
    let text = busy(&statics()).encode(Exposition::Text);
    let scope = r#"bind="bind/3000",gateway="default/gw",listener="bind/3000/listener0",backend="host/a:80""#;
    let place = r#"bind="bind/3000",gateway="default/gw",listener="l\"0\\""#;
    for sample in [
        format!(r#"agentgateway_build_info{{tag="{}"}} 1"#, env!("CARGO_PKG_VERSION")),
        format!(
            r#"agentgateway_requests_total{{{scope},protocol="http",method="GET",status="200",reason="Upstream"}} 1"#
        ),
        format!(
            r#"agentgateway_request_duration_seconds_bucket{{{scope},protocol="http",method="GET",status="200",reason="Upstream",le="0.025"}} 1"#
        ),
        format!(
            r#"agentgateway_retries_total{{{scope},protocol="http",method="GET",status="503",reason="Upstream"}} 2"#
        ),
        format!(
            r#"agentgateway_response_bytes_total{{{scope},protocol="http",method="GET",status="503",reason="Upstream"}} 12"#
        ),
        format!("agentgateway_request_processing_seconds_count{{{scope}}} 2"),
        format!(r#"agentgateway_downstream_connections_total{{{place},protocol="https"}} 1"#),
        format!(r#"agentgateway_downstream_received_bytes_total{{{place},protocol="https"}} 10"#),
        format!(r#"agentgateway_downstream_sent_bytes_total{{{place},protocol="https"}} 20"#),
        format!(r#"agentgateway_tls_handshake_duration_seconds_count{{{place},protocol="tls"}} 1"#),
        format!(r#"agentgateway_tls_handshake_failures_total{{{place},protocol="tls"}} 1"#),
        r#"agentgateway_downstream_connections_active{bind="bind/3000"} 1"#.to_owned(),
        r#"agentgateway_connections_refused_total{bind="bind/3000",reason="limit"} 1"#.to_owned(),
        r#"agentgateway_upstream_connect_duration_seconds_bucket{transport="plaintext",le="0.1"} 1"#.to_owned(),
        r#"agentgateway_upstream_call_duration_seconds_count{kind="Primary",subtype="Http"} 2"#.to_owned(),
        r#"agentgateway_upstream_call_duration_seconds_count{kind="Mirror",subtype="Http"} 1"#.to_owned(),
        "agentgateway_config_synchronized 1".to_owned(),
        "agentgateway_config_generation 3".to_owned(),
        "agentgateway_config_refused_total 1".to_owned(),
        r#"agentgateway_config_phase_cpu_seconds{phase="parse"} 0.005"#.to_owned(),
        "agentgateway_access_log_dropped_total 0".to_owned(),
    ] {
        assert!(text.lines().any(|line| line == sample), "{sample} in\n{text}");
    }
}

#[test]
fn openmetrics_names_families_without_suffix_and_ends() {
    let text = busy(&statics()).encode(Exposition::OpenMetrics);
    assert!(text.contains("# TYPE agentgateway_requests counter\n"), "{text}");
    assert!(text.contains("# TYPE agentgateway_build info\n"), "{text}");
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn every_family_is_described_once() {
    let text = busy(&statics()).encode(Exposition::Text);
    let mut types: Vec<_> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
    let all = types.len();
    types.sort_unstable();
    types.dedup();
    assert_eq!(types.len(), all);
    let mut samples: Vec<_> =
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' ')).collect();
    let all = samples.len();
    samples.sort_unstable();
    samples.dedup_by_key(|(name, _)| *name);
    assert_eq!(samples.len(), all, "no sample may appear twice");
}

#[test]
fn removed_metrics_are_not_exported_whatever_their_spelling() {
    for name in ["requests", "requests_total", "agentgateway_requests_total"] {
        let text = busy(&Statics { metrics_removed: vec![name.to_owned()], ..statics() }).encode(Exposition::Text);
        assert!(!text.contains("agentgateway_requests"), "{name}");
        assert!(text.contains("agentgateway_request_duration_seconds"), "{name}");
    }
}

#[test]
fn the_number_of_series_does_not_follow_routes_or_backends() {
    let telemetry = Telemetry::with_output(&statics(), Box::new(std::io::sink()));
    for n in 0..20_000 {
        let (route, backend, method) = (format!("r{n}"), format!("b{n}"), format!("M{n}"));
        let (status, event) = (100 + (n % 500), request());
        telemetry.request_ended(&RequestEvent { route: &route, backend: &backend, method: &method, status, ..event });
    }
    let text = telemetry.encode(Exposition::Text);
    let series = text.lines().filter(|line| line.starts_with("agentgateway_requests_total")).count();
    assert!(series <= metrics::SERIES_MAX + 50, "{series} series");
    assert!(!text.contains("route=") && !text.contains("M19999"));
    assert!(text.contains(r#"backend="_other""#));
}

#[test]
fn routes_are_labels_where_asked_for() {
    let telemetry = busy(&Statics { metrics_per_route: true, ..statics() });
    let text = telemetry.encode(Exposition::Text);
    assert!(text.contains(r#"route="default/route0",route_rule="unknown",backend="host/a:80""#), "{text}");
}

/// What the data path pays. Printed, not asserted: machines differ. Run with `--release` and
/// `--nocapture` for figures that mean something.
#[test]
fn a_request_costs_little() {
    const ROUNDS: u32 = 100_000;
    let event = request();
    for (what, format, logs) in
        [("counters", LogFormat::Text, false), ("and text", LogFormat::Text, true), ("and json", LogFormat::Json, true)]
    {
        let statics = Statics { log_format: format, ..statics() };
        let telemetry = Telemetry::with_output(&statics, Box::new(std::io::sink()));
        let start = Instant::now();
        for _ in 0..ROUNDS {
            if logs {
                telemetry.request_ended(&event);
            } else {
                telemetry.metrics.request_ended(&event);
            }
        }
        let spent = start.elapsed() / ROUNDS;
        let dropped = telemetry.access_log.sink().map_or(0, Sink::dropped);
        println!("request_ended, {what}: {} ns, {dropped} lines dropped", spent.as_nanos());
    }
}
