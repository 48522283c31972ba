//! What single parts of the gateway cost: routing, patching, checks of heads, lines of the access log.
//!
//! `cargo bench -p units`, or `tests/bench/units/run` for the ratios that the README of tests/bench is about.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use filters::Reason;
use filters::expr::{Expression, Sample, Site, Vocabulary};
use gateway::statics::{LogFormat, Statics};
use gateway::telemetry::{RequestEvent, Telemetry};
use http::{HeaderMap, HeaderValue, Method, Version, header};
use protocols::http::framing::{self, HeadLimits};
use protocols::http::path;
use units::By;

/// Requests asked in turn, so that what is measured is not one route in the cache of the processor.
const ASKED: usize = 1024;

fn routing(bench: &mut Criterion) {
    let headers = HeaderMap::new();
    let mut group = bench.benchmark_group("find");
    for (name, by) in [("path", By::Path), ("host", By::Host)] {
        for count in [1, 1_000, 10_000, 100_000] {
            let plan = units::plan(by, count);
            // Spread over all routes; the step shares no factor with the counts.
            let hits: Vec<_> = (0..ASKED).map(|n| units::request(by, n * 7919 % count)).collect();
            assert!(hits.iter().all(|(host, path)| units::finds(&plan, host, path, &headers)));
            let misses: Vec<_> = (0..ASKED).map(|n| units::request(by, count + n)).collect();
            assert!(!misses.iter().any(|(host, path)| units::finds(&plan, host, path, &headers)));
            for (what, asked) in [("hit", &hits), ("miss", &misses)] {
                let mut turn = 0;
                group.bench_function(format!("{name}_{what}/{count}"), |it| {
                    it.iter(|| {
                        turn = (turn + 1) % ASKED;
                        let (host, path) = &asked[turn];
                        units::finds(&plan, black_box(host), black_box(path), &headers)
                    });
                });
            }
        }
    }
    group.finish();
}

fn patching(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("plan");
    for count in [100, 10_000, 100_000] {
        let plan = units::plan(By::Path, count);
        let mut turn = 0;
        let patch = |turn: &mut usize| {
            *turn += 1;
            units::edit(By::Path, *turn * 7919 % count, 2)
        };
        group.bench_function(format!("one_route/{count}"), |it| {
            it.iter_batched(|| patch(&mut turn), |patch| plan.with(&patch), BatchSize::SmallInput);
        });
    }
    for count in [100, 100_000] {
        let plan = units::plan(By::Path, count);
        let patch = units::gateway_wide(7);
        group.bench_function(format!("gateway_policy/{count}"), |it| it.iter(|| plan.with(black_box(&patch))));
    }
    group.finish();
}

fn heads(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("head");
    for (name, text) in [("plain", "/api/v1/items/42"), ("escaped", "/api/%7Euser/./a/../items%2F42//x")] {
        group.bench_function(format!("path_{name}"), |it| it.iter(|| path::normalise(black_box(text)).is_ok()));
    }
    let raw = b"POST /api/v1/items?x=1 HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: curl/8.5\r\nAccept: */*\r\n\
        Content-Type: application/json\r\nContent-Length: 12\r\nAuthorization: Bearer abcdefghijkl\r\n\r\n";
    let limits = HeadLimits { bytes_max: 65_536, count_max: 100 };
    assert_eq!(framing::check_raw_head(raw, &limits), Ok(()));
    group.bench_function("raw_check", |it| it.iter(|| framing::check_raw_head(black_box(raw), &limits).is_ok()));
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (header::HOST, "api.example.com"),
        (header::USER_AGENT, "curl/8.5"),
        (header::ACCEPT, "*/*"),
        (header::CONTENT_TYPE, "application/json"),
        (header::CONTENT_LENGTH, "12"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let check = |headers: &HeaderMap| framing::check_headers(headers, Version::HTTP_11, &Method::POST);
    assert_eq!(check(&headers), Ok(()));
    group.bench_function("parsed_check", |it| it.iter(|| check(black_box(&headers)).is_ok()));
    group.finish();
}

fn lines(bench: &mut Criterion) {
    let event = RequestEvent {
        connection_id: 7,
        bind: "bind/3000",
        gateway: "default",
        listener: "listener0",
        route: "route0",
        route_rule: "",
        backend: "host/a:80",
        endpoint: "10.0.0.1:80",
        src: "192.0.2.7:5000".parse().ok(),
        method: "GET",
        host: "api.example.com",
        path: "/api/v1/items/42?token=x",
        version: "HTTP/1.1",
        status: 200,
        grpc_status: None,
        protocol: "http",
        sni: "",
        identity: None,
        reason: Reason::Upstream,
        error: None,
        decisions: &[],
        a2a: None,
        llm: None,
        mcp: None,
        retry_attempt: 0,
        bytes_received: 0,
        bytes_sent: 12,
        duration: Duration::from_micros(12_345),
        request_processing: Some(Duration::from_micros(80)),
        upstream: Some(Duration::from_millis(12)),
        inputs: None,
        access_log: None,
    };
    let mut group = bench.benchmark_group("event");
    for (name, log_format) in [("text", LogFormat::Text), ("json", LogFormat::Json)] {
        let statics = Statics { log_format, worker_threads: 1, ..units::statics() };
        // Counters and line together, as a request pays for them; lines that nobody has room for are dropped.
        let telemetry = Telemetry::with_output(&statics, Box::new(std::io::sink()));
        group.bench_function(name, |it| it.iter(|| telemetry.request_ended(black_box(&event))));
    }
    group.finish();
}

/// Rules as policies have them: one, and a hundred that are all looked at.
fn rules(bench: &mut Criterion) {
    let data = serde_json::json!({
        "request": {"method": "GET", "uri": "/x/items/42?page=2", "host": "api.example.com",
                    "headers": {"x-user": "alice", "user-agent": "curl/8.5", "accept": "*/*"}},
        "jwt": {"iss": "https://issuer.example.com", "sub": "u", "aud": "api", "groups": ["dev", "ops", "admin"]},
        "source": {"address": "10.1.2.3", "port": 4711},
    });
    let sample = Sample::read(data).expect("the data is valid");
    let inputs = sample.inputs();
    let compile = |text: &str| Expression::parse(text, &Vocabulary::rule(Site::Request)).expect("a valid rule");
    let mut group = bench.benchmark_group("rule");
    for (name, text) in [
        ("simple", r#"request.path.startsWith("/x") && jwt.sub == "u""#),
        ("header", r#"request.headers["x-user"] == "alice""#),
        ("groups", r#""admin" in jwt.groups"#),
        ("one_of", r#"request.method in ["PUT", "POST", "GET"]"#),
        ("regex", r#"request.path.matches("^/x/items/[0-9]+$")"#),
        ("missing", r#"jwt.none == "x""#),
        ("network", r#"cidr("10.0.0.0/8").containsIP(source.address)"#),
    ] {
        let rule = compile(text);
        group.bench_function(name, |it| it.iter(|| rule.holds(black_box(&inputs)).is_ok()));
    }
    let hundred: Vec<Expression> =
        (0..100).map(|n| compile(&format!(r#"request.path.startsWith("/x") && jwt.sub == "user{n}""#))).collect();
    group.bench_function("a_hundred", |it| {
        it.iter(|| hundred.iter().filter(|rule| rule.holds(black_box(&inputs)).unwrap_or(false)).count())
    });
    group.finish();
}

fn short() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(30)
        .without_plots()
}

criterion_group! { name = units; config = short(); targets = routing, patching, heads, lines, rules }
criterion_main!(units);
