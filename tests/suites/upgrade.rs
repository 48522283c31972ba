//! One process takes over from another again and again, under traffic of every kind: nothing is lost.
//!
//! `UPGRADES` sets how often. `cargo e2e --test upgrade -- --nocapture` shows the tables.

use std::time::Duration;

use tests::Gateway;
use tests::gateway::Lineage;
use tests::load::{LIFE, Site, Sizes, table};

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
        load.advance();
        load.goes_on(2).await;
        let draining = lineage.draining();
        most = most.max(draining.len());
        let all: u64 = draining.iter().chain([&handover.to]).map(|it| lineage.rss_kib(*it)).sum();
        println!(
            "{number:>7}{:>11}{:>15}{:>15}{:>11}{:>10}",
            handover.ready.as_millis(),
            lineage.peak_kib(handover.from) / 1024,
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
