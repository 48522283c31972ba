//! One process takes over from another again and again, under traffic of every kind: nothing is lost.
//!
//! `UPGRADES` sets how often. `cargo e2e --test upgrade -- --nocapture` shows the tables.

#[path = "upgrade/drain.rs"]
mod drain;

use std::time::Duration;

use tests::gateway::{Lineage, allow_descriptors};
use tests::load::{LIFE, Site, Sizes, table};
use tests::{Client, Gateway};

/// Longer than any stream here lives: whatever is cut, is cut by mistake.
const UNCUT: &str = "config:\n  handoffSocket: '{{dir}}/handoff.sock'\n  connectionTerminationDeadline: 600s\n  workerThreads: 1\nfrontendPolicies: { accessLog: { filter: 'response.code >= 400' } }\n";

fn upgrades(otherwise: u64) -> u64 {
    std::env::var("UPGRADES").ok().and_then(|it| it.parse().ok()).unwrap_or(otherwise)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_upgrades_under_mixed_load_fail_nothing() {
    let site = Site::start();
    let gateway = Gateway::start(&format!("{UNCUT}{}", site.binds())).await;
    let load = site.load(site.doors(&gateway), Sizes::FULL);
    let mut lineage = Lineage::new(gateway);
    load.goes_on(2).await;
    let (mut most, count) = (0, upgrades(20));
    println!("upgrade   ready ms   old peak MiB   new peak MiB   draining   all MiB");
    for number in 1..=count {
        let handover = lineage.upgrade().await;
        site.advance();
        load.goes_on(3).await;
        let draining = lineage.draining();
        most = most.max(draining.len());
        let all: u64 = draining.iter().chain([&handover.to]).map(|it| lineage.rss_kib(*it)).sum();
        println!(
            "{number:>7}{:>11}{:>15}{:>15}{:>11}{:>10}",
            handover.ready.as_millis(),
            handover.from_peak_kib / 1024,
            lineage.peak_kib(handover.to) / 1024,
            draining.len(),
            all / 1024,
        );
    }
    let tallies = load.finish().await;
    let books = table(&tallies);
    println!("\n{books}");
    assert!(tallies.iter().all(|it| it.wrong() == 0), "not everything went well:\n{books}");
    let asked: u64 = tallies.iter().filter(|it| it.ended() == 0).map(|it| it.answers()).sum();
    assert_eq!(site.requests(), asked, "each request reached its backend once");
    assert!(count < LIFE || most >= 3, "streams of {LIFE} eras overlap, and yet no more than {most} processes drained");
    lineage.drained(Duration::from_secs(60)).await;
    let log = lineage.gateway().log().text();
    assert!(!log.contains("drain limit reached"), "nothing was cut");
    assert!(!log.contains("\"level\":\"error\""), "{log}");
    lineage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_ports_are_handed_over_under_load() {
    const PORTS: usize = 1_000;
    // Twice: while they are handed over, each socket has a second descriptor.
    allow_descriptors(3 * PORTS);
    let site = Site::start();
    let port = "- port: 0\n  address: 127.0.0.1\n  listeners:\n  - routes:\n    - policies: { directResponse: { status: 200, body: '{\"path\":\"/load\"}' } }\n";
    let gateway = Gateway::start(&format!("{UNCUT}{}{}", site.binds(), port.repeat(PORTS - 3))).await;
    let doors = site.doors(&gateway);
    let binds = gateway.status().await.binds;
    assert_eq!(binds.len(), PORTS);
    let web: Vec<_> = binds.iter().map(|it| it.addr()).filter(|it| *it != doors.tls && *it != doors.tcp).collect();
    let mut load = site.load(doors, Sizes::SMALL);
    load.visit("sampled ports", 4, &web.iter().copied().step_by(20).collect::<Vec<_>>());
    let mut lineage = Lineage::new(gateway);
    load.goes_on(5).await;
    println!("upgrade   ready ms   old peak MiB   new peak MiB   of {PORTS} ports");
    for number in 1..=upgrades(5).min(5) {
        let handover = lineage.upgrade().await;
        site.advance();
        load.goes_on(5).await;
        let (old, new) = (handover.from_peak_kib / 1024, lineage.peak_kib(handover.to) / 1024);
        println!("{number:>7}{:>11}{old:>15}{new:>15}", handover.ready.as_millis());
    }
    let tallies = load.finish().await;
    let books = table(&tallies);
    println!("\n{books}");
    assert!(tallies.iter().all(|it| it.wrong() == 0), "not everything went well:\n{books}");
    let now = lineage.gateway().status().await.binds;
    assert_eq!(
        now.iter().map(|it| &it.address).collect::<Vec<_>>(),
        binds.iter().map(|it| &it.address).collect::<Vec<_>>()
    );
    for addr in &web {
        assert_eq!(Client::h1(*addr).get("/load").await.status, 200, "{addr}");
    }
    lineage.drained(Duration::from_secs(60)).await;
    lineage.stop().await;
}
