//! What the control plane's word costs: bytes, CPU and memory of a change, by how much there is.
//!
//!     AGENTGATEWAY_BIN=target/dist/agentgateway cargo run --profile dist -p bench-xds [PIECE…]
//!
//! Pieces: `change`, `policy`, `load`, `churn`. A control plane runs in this process, the gateway is a process of its
//! own; CPU is that of the gateway, from its threads' own clocks. One JSON object for each figure.

mod process;

use std::time::{Duration, Instant};

use filters::{Change, Policy, frontend_tls};
use ir::Target;
use serde_json::json;
use tests::control::objects::{
    backend, bind, gateway as edge, listener, listener_of, policy, route, says, service, workload,
};
use tests::{Authority, Backend, Client, Control, Gateway};

/// Changes of which one figure is the mean, and sends of which one is the median.
const CHANGES: usize = 200;
const SENDS: usize = 51;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |piece: &str| asked.is_empty() || asked.iter().any(|it| it == piece);
    if wanted("change") {
        changes().await;
    }
    if wanted("policy") {
        policies().await;
    }
    if wanted("load") {
        load().await;
    }
    if wanted("churn") {
        churn().await;
    }
}

/// A control plane with so many routes on one listener, and a gateway that has them.
async fn loaded(routes: usize) -> (Control, Gateway, Client) {
    let control = Control::start().await;
    let gateway = Gateway::start(&control.config(&["stateDirectory: 'off'"])).await;
    let some =
        [bind("b"), listener("b"), backend("x", "127.0.0.1:9"), route("probe", "/probe", "x"), says("probe", "0")];
    let more = (0..routes).map(|it| route(&format!("route-{it:06}"), &format!("/p/{it}"), "x"));
    control.apply(some.into_iter().chain(more));
    tests::eventually(Duration::from_secs(120), || async { control.clients().iter().any(|it| it.acknowledged >= 2) })
        .await;
    let client = Client::h1(gateway.listens("b").await);
    (control, gateway, client)
}

async fn bytes(gateway: &Gateway) -> f64 {
    gateway.metric_sum("agentgateway_xds_message_bytes_total", &[]).await
}

/// The mean of a change: microseconds of CPU, and bytes on the wire.
async fn cost(control: &Control, gateway: &Gateway, change: impl Fn(usize) -> Change) -> (f64, f64) {
    for number in 0..20 {
        control.applied([change(number)]).await;
    }
    let (cpu, before) = (process::cpu(gateway.pid()), bytes(gateway).await);
    for number in 0..CHANGES {
        control.applied([change(number + 20)]).await;
    }
    let spent = process::cpu(gateway.pid()).saturating_sub(cpu);
    let count = CHANGES as f64;
    (spent.as_secs_f64() * 1e6 / count, (bytes(gateway).await - before) / count)
}

/// One route changed among many; how soon traffic sees a change; and all routes sent again.
async fn changes() {
    let mut among_100 = 0.0;
    for routes in [100, 10_000, 100_000] {
        let (control, gateway, client) = loaded(routes).await;
        let changed = |it: usize| route("route-000042", &format!("/p/42/{it}"), "x");
        let (cpu, wire) = cost(&control, &gateway, changed).await;
        if routes == 100 {
            among_100 = cpu;
        }
        let mut seen = Vec::new();
        for number in 1..=SENDS {
            let text = number.to_string();
            let start = Instant::now();
            control.apply([says("probe", &text)]);
            while client.get("/probe").await.text() != text {}
            seen.push(start.elapsed());
        }
        seen.sort();
        // Everything again, as a control plane without deltas would send it.
        let (before, sent) = (process::cpu(gateway.pid()), bytes(&gateway).await);
        control.applied((0..routes).map(|it| route(&format!("route-{it:06}"), &format!("/q/{it}"), "x"))).await;
        let full = process::cpu(gateway.pid()).saturating_sub(before).as_secs_f64() * 1e6;
        let full_bytes = bytes(&gateway).await - sent;
        println!(
            "{}",
            json!({
                "piece": "change", "routes": routes, "cpu_us": round(cpu), "cpu_ratio_to_100": round(cpu / among_100),
                "wire_bytes": round(wire), "visible_ms_median": round(seen[SENDS / 2].as_secs_f64() * 1e3),
                "visible_ms_max": round(seen[SENDS - 1].as_secs_f64() * 1e3),
                "full_push_cpu_ratio": round(full / cpu), "full_push_bytes_ratio": round(full_bytes / wire),
            })
        );
        gateway.stop().await;
    }
}

/// One policy of the whole gateway changed under many routes.
async fn policies() {
    let mut among_100 = (0.0, 0.0);
    for routes in [100, 10_000, 100_000] {
        let (control, gateway, _) = loaded(routes).await;
        // The same routes behind TLS: what cipher suites are for.
        let authority = Authority::new("edge");
        let identity = authority.server(&["edge.test"]);
        control.applied([bind("tls"), listener_of("tls", "sealed", "*", Some(&identity))]).await;
        let sealed =
            Client::tls(gateway.listens("tls").await, "edge.test", authority.client_config(None, &["http/1.1"]));
        let on_gateway = || Target::Gateway { gateway: edge(), port: None };
        let timeout = |it: usize| {
            let request = Some(Duration::from_secs(1 + it as u64));
            policy(
                "timeout",
                on_gateway(),
                Policy::Timeout(filters::timeout::Policy { request, backend_request: None }),
            )
        };
        let before = control.clients()[0].resources;
        let (cpu, wire) = cost(&control, &gateway, timeout).await;
        let sent = control.clients()[0].resources - before;
        let ciphers = |it: usize| {
            let suites = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"];
            let suite = Some(vec![suites[it % 2].into()]);
            policy(
                "ciphers",
                on_gateway(),
                Policy::FrontendTls(frontend_tls::Policy { cipher_suites: suite, ..Default::default() }),
            )
        };
        let (tls_cpu, tls_wire) = cost(&control, &gateway, ciphers).await;
        sealed.get("/probe").await.expect_status(200);
        if routes == 100 {
            among_100 = (cpu, tls_cpu);
        }
        println!(
            "{}",
            json!({
                "piece": "policy", "routes": routes, "resources_per_change": round(sent as f64 / (CHANGES + 20) as f64),
                "cpu_us": round(cpu), "cpu_ratio_to_100": round(cpu / among_100.0), "wire_bytes": round(wire),
                "ciphers_cpu_us": round(tls_cpu), "ciphers_cpu_ratio_to_100": round(tls_cpu / among_100.1),
                "ciphers_wire_bytes": round(tls_wire),
            })
        );
        gateway.stop().await;
    }
}

/// 100,000 routes and 10,000 workloads from nothing.
async fn load() {
    const ROUTES: usize = 100_000;
    let control = Control::start().await;
    let gateway = Gateway::start(&control.config(&["stateDirectory: 'off'"])).await;
    let (before, cpu, start) = (gateway.rss_kib(), process::cpu(gateway.pid()), Instant::now());
    let loopback = |it: usize| ([127, 0, 0, 1], 10_000 + (it % 50_000) as u16).into();
    let routes = (0..ROUTES).map(|it| route(&format!("route-{it:06}"), &format!("/p/{it}"), "x"));
    control.apply([bind("b"), listener("b"), backend("x", "127.0.0.1:9")].into_iter().chain(routes));
    tests::eventually(Duration::from_secs(120), || async { control.clients().iter().any(|it| it.acknowledged >= 2) })
        .await;
    let (in_force, with_routes) = (start.elapsed(), gateway.rss_kib());
    let services = (0..1_000).map(|it| service(&format!("default/s{it}"), 80));
    let workloads =
        (0..10_000).map(|it| workload(&format!("w{it}"), &format!("default/s{}", it % 1_000), 80, loopback(it)));
    control.apply(services.chain(workloads));
    tests::eventually(Duration::from_secs(120), || async { control.clients().iter().any(|it| it.acknowledged >= 3) })
        .await;
    let spent = process::cpu(gateway.pid()).saturating_sub(cpu);
    println!(
        "{}",
        json!({
            "piece": "load", "routes": ROUTES, "workloads": 10_000, "routes_seconds": round(in_force.as_secs_f64()),
            "all_seconds": round(start.elapsed().as_secs_f64()), "cpu_seconds": round(spent.as_secs_f64()),
            "bytes_per_route": round((with_routes - before) as f64 * 1024.0 / ROUTES as f64),
            "mib": (gateway.rss_kib() - before) / 1024,
        })
    );
    gateway.stop().await;
}

/// Endpoints come and go a thousand times a second beside traffic, in turns with peace.
async fn churn() {
    const TURN: Duration = Duration::from_secs(6);
    let control = Control::start().await;
    let gateway = Gateway::start(&control.config(&["stateDirectory: 'off'"])).await;
    let echo = Backend::echo();
    let elsewhere = |it: usize| ([127, 0, 0, 1], 20_000 + (it % 10_000) as u16).into();
    let services = (0..100).map(|it| service(&format!("default/s{it}"), 80));
    let workloads =
        (0..1_000).map(|it| workload(&format!("w{it}"), &format!("default/s{}", it % 100), 80, elsewhere(it)));
    let some = [bind("b"), listener("b"), backend("x", echo.addr()), route("r", "/", "x")];
    control.applied(some.into_iter().chain(services).chain(workloads)).await;
    let addr = gateway.listens("b").await;
    let mut turns = Vec::new();
    for turn in 0..6 {
        let churning = turn % 2 == 1;
        let (end, before, started) =
            (Instant::now() + TURN, process::traffic_cpu(gateway.pid()), control.clients()[0].resources);
        let asking = tokio::spawn(async move {
            let client = Client::h1(addr);
            let (mut asked, mut wrong) = (0_u64, 0_u64);
            while Instant::now() < end {
                wrong += u64::from(!client.get("/").try_send().await.is_ok_and(|it| it.status == 200));
                asked += 1;
            }
            (asked, wrong)
        });
        let (mut number, mut ticks) = (0, tokio::time::interval(Duration::from_millis(10)));
        while churning && Instant::now() < end {
            ticks.tick().await;
            for _ in 0..10 {
                number += 1;
                let at = elsewhere(number * 7);
                control.apply([workload(
                    &format!("w{}", number % 1_000),
                    &format!("default/s{}", number % 100),
                    80,
                    at,
                )]);
            }
        }
        let (asked, wrong) = asking.await.expect("a client");
        let spent = process::traffic_cpu(gateway.pid()).saturating_sub(before);
        let updates = control.clients()[0].resources - started;
        turns.push((
            churning,
            spent.as_secs_f64() * 1e6 / asked as f64,
            asked,
            wrong,
            updates as f64 / TURN.as_secs_f64(),
        ));
    }
    let median = |churning: bool| {
        let mut all: Vec<f64> = turns.iter().filter(|it| it.0 == churning).map(|it| it.1).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    println!(
        "{}",
        json!({
            "piece": "churn", "updates_per_second": turns.iter().map(|it| round(it.4)).collect::<Vec<_>>(),
            "traffic_cpu_us_per_request": round(median(false)), "with_churn": round(median(true)),
            "ratio": round(median(true) / median(false)), "requests": turns.iter().map(|it| it.2).sum::<u64>(),
            "wrong": turns.iter().map(|it| it.3).sum::<u64>(), "threads": process::threads(gateway.pid()).iter().map(|it| it.0.clone()).collect::<Vec<_>>(),
        })
    );
    gateway.stop().await;
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
