//! Clients that take their time.

use std::time::{Duration, Instant};

use super::{Rig, SOON, statuses};
use tests::eventually;
use tests::wait::PATIENCE;

#[tokio::test]
async fn a_slow_head_is_cut_with_408() {
    let rig = Rig::with("{ http: { requestHeaderTimeout: 500ms } }").await;
    let mut client = rig.raw().await.deadline(SOON);
    let start = Instant::now();
    client.write("GET / HTTP/1.1\r\nHost: a\r\n").await.expect("write");
    // A byte now and then does not move the deadline.
    let _ = client.dribble("X-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", Duration::from_millis(40)).await;
    let end = client.read_to_end().await.expect("it ends");
    assert_eq!(statuses(&end.bytes), [408]);
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    rig.still_good("a slow head").await;
    rig.done().await;
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed_at_its_idle_limit() {
    let rig = Rig::with("{ http: { http1IdleTimeout: 1500ms } }").await;
    let mut silent = rig.raw().await.deadline(SOON);
    assert!(silent.at_end().await.expect("a clean end"), "closed without a word");
    let mut served = rig.raw().await.deadline(SOON);
    served.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("write");
    assert_eq!(served.reply().await.expect("an answer").status, 200);
    assert!(served.at_end().await.expect("a clean end"), "closed after its idle limit");
    rig.done().await;
}

#[tokio::test]
async fn a_slow_body_is_cut_with_408_and_the_backend_is_let_go() {
    let rig = Rig::with("{ http: { requestBodyIdleTimeout: 500ms } }").await;
    let mut client = rig.raw().await.deadline(SOON);
    client.write("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc").await.expect("write");
    let end = client.read_to_end().await.expect("it ends");
    assert_eq!(statuses(&end.bytes), [408]);
    eventually(PATIENCE, || async { rig.backend.stats().in_flight() == 0 }).await;
    rig.still_good("a slow body").await;
    rig.done().await;
}

#[tokio::test]
async fn two_hundred_slow_heads_at_once_do_not_keep_others_waiting() {
    let rig = Rig::with("{ http: { requestHeaderTimeout: 2s } }").await;
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut client = rig.raw().await;
        client.write("GET / HTTP/1.1\r\nHost:").await.expect("write");
        slow.push(client);
    }
    let start = Instant::now();
    rig.still_good("slow heads under way").await;
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    for mut client in slow {
        assert_eq!(statuses(&client.read_to_end().await.expect("it ends").bytes), [408]);
    }
    eventually(PATIENCE, || async { rig.active().await <= 1.0 }).await;
    rig.done().await;
}

#[tokio::test]
async fn an_answer_nobody_reads_ends_when_the_client_goes() {
    let rig = Rig::new().await;
    let mut client = rig.raw().await;
    client.write("GET /bytes?n=50000000 HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("write");
    client.head().await.expect("a head");
    client.reset();
    drop(client);
    eventually(PATIENCE, || async { rig.backend.stats().in_flight() == 0 }).await;
    rig.still_good("an abandoned answer").await;
    rig.done().await;
}
