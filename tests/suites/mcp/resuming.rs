//! Streams that break off, and processes that give way to others: clients go on exactly where they were.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tests::client::{Event, Events};
use tests::gateway::Lineage;
use tests::wait::PATIENCE;
use tests::{Gateway, McpClient, McpServer, eventually, within};

use super::federation_of;

fn yaml(servers: &[(&str, &McpServer)]) -> String {
    format!("config:\n  connectionTerminationDeadline: 30s\n{}", federation_of(servers, ""))
}

async fn next(events: &mut Events) -> Event {
    within(PATIENCE, events.next()).await.expect("a stream").expect("an event")
}

fn say(server: &McpServer, number: u64) {
    server.say("notifications/message", json!({"level": "info", "data": number}));
}

fn number(event: &Event) -> u64 {
    event.json()["params"]["data"].as_u64().unwrap_or_else(|| panic!("no number: {}", event.data))
}

#[tokio::test]
async fn a_stream_that_broke_goes_on_where_it_was_whether_the_server_numbers_events_or_not() {
    for anonymous in [false, true] {
        let (one, two) = (McpServer::start("one"), McpServer::start("two"));
        if anonymous {
            one.anonymous();
        }
        for servers in [vec![("a", &one)], vec![("a", &one), ("b", &two)]] {
            let gateway = Gateway::start(&yaml(&servers)).await;
            let client = McpClient::open(gateway.addr(0), "/mcp").await;
            let mut listening = client.listen(None).await;
            eventually(PATIENCE, || async { one.listeners() == 1 }).await;
            (1..=3).for_each(|it| say(&one, it));
            let first = next(&mut listening).await;
            assert_eq!(number(&first), 1);
            let id = first.id.expect("an id to go on from");
            assert_eq!(number(&next(&mut listening).await), 2);
            drop(listening);
            (4..=5).for_each(|it| say(&one, it));
            let mut again = client.listen(Some(&id)).await;
            for expected in 2..=5 {
                assert_eq!(number(&next(&mut again).await), expected, "anonymous: {anonymous}");
            }
            say(&one, 6);
            assert_eq!(number(&next(&mut again).await), 6);
            assert_eq!(one.listeners(), 1, "it is the same stream of the server's");
            // Somebody else's place is nobody's.
            let other = McpClient::open(gateway.addr(0), "/mcp").await;
            let mut foreign = other.listen(Some(&id)).await;
            eventually(PATIENCE, || async { one.listeners() == 2 }).await;
            say(&one, 7);
            assert_eq!((number(&next(&mut foreign).await), number(&next(&mut again).await)), (7, 7));
            client.end().await.expect_status(200);
            other.end().await.expect_status(200);
            drop((again, foreign));
            eventually(PATIENCE, || async { one.listeners() == 0 }).await;
            gateway.stop().await;
        }
    }
}

#[tokio::test]
async fn a_call_goes_on_without_its_client_and_its_answer_is_there_when_it_is_back() {
    let one = McpServer::start("one");
    let gateway = Gateway::start(&yaml(&[("a", &one)])).await;
    let client = McpClient::open(gateway.addr(0), "/mcp").await;
    let params = json!({"name": "paced", "arguments": {}, "_meta": {"progressToken": "t"}});
    let mut calling = client.stream("tools/call", params).await;
    eventually(PATIENCE, || async { one.paced() == 1 }).await;
    one.pace();
    let first = next(&mut calling).await;
    assert_eq!(first.json()["params"]["progress"], 1);
    let id = first.id.expect("an id to go on from");
    drop(calling);
    one.pace();
    let mut again = client.listen(Some(&id)).await;
    assert_eq!(next(&mut again).await.json()["params"]["progress"], 2);
    drop(again);
    one.pace();
    eventually(PATIENCE, || async { one.paced() == 0 }).await;
    for _ in 0..2 {
        let mut again = client.listen(Some(&id)).await;
        assert_eq!(next(&mut again).await.json()["params"]["progress"], 2, "whatever was lost on the way");
        assert_eq!(next(&mut again).await.json()["result"]["content"][0]["text"], "one: done");
        assert!(within(PATIENCE, again.next()).await.expect("a stream").is_none(), "nothing comes after an answer");
    }
    gateway.stop().await;
}

/// A client that listens, and asks for its stream again whenever that ends.
struct Listener {
    client: McpClient,
    events: Events,
    last: Option<String>,
    heard: Vec<u64>,
    resumed: usize,
}

impl Listener {
    async fn open(addr: SocketAddr) -> Listener {
        let client = McpClient::open(addr, "/mcp").await;
        let events = client.listen(None).await;
        Listener { client, events, last: None, heard: Vec::new(), resumed: 0 }
    }

    /// Until this number was heard.
    async fn until(&mut self, wanted: u64) {
        self.until_each(wanted, 1).await;
    }

    /// Until this number was heard of so many servers.
    async fn until_each(&mut self, wanted: u64, servers: usize) {
        while self.heard.iter().filter(|it| **it == wanted).count() < servers {
            self.hear().await;
        }
    }

    /// Reads until it has been led over for good. Nobody asks for another stream but who reads; and a client that comes
    /// back while the elder takes its last connections is led over once more.
    async fn led_over(&mut self, is_over: impl Fn() -> bool) {
        const LOOK: Duration = Duration::from_millis(20);
        let begun = std::time::Instant::now();
        while self.resumed == 0 || !is_over() {
            assert!(begun.elapsed() < PATIENCE, "led over {} times, and not for good", self.resumed);
            // What was read stays where it is when the look is over.
            if let Ok(next) = tokio::time::timeout(LOOK, self.events.next()).await {
                self.take(next.ok().flatten()).await;
            }
        }
    }

    async fn hear(&mut self) {
        let next = within(PATIENCE, self.events.next()).await;
        self.take(next.ok().flatten()).await;
    }

    /// An event, or the end of the stream: then it asks for another one.
    async fn take(&mut self, event: Option<Event>) {
        match event {
            Some(event) => {
                self.heard.push(number(&event));
                self.last = event.id.or(self.last.take());
            }
            None => {
                self.events = self.client.listen(self.last.as_deref()).await;
                self.resumed += 1;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_under_fifty_sessions_loses_repeats_and_renews_nothing() {
    for anonymous in [false, true] {
        const SESSIONS: usize = 50;
        const LAST: u64 = 400;
        let (one, two) = (McpServer::start("one"), McpServer::start("two"));
        if anonymous {
            one.anonymous();
        }
        let gateway = Gateway::start(&yaml(&[("a", &one), ("b", &two)])).await;
        let addr = gateway.addr(0);
        let mut listeners = Vec::new();
        for _ in 0..SESSIONS {
            listeners.push(Listener::open(addr).await);
        }
        eventually(PATIENCE, || async { one.listeners() == SESSIONS }).await;
        let mut lineage = Lineage::new(gateway);
        say(&one, 1);
        // Half of them have heard something when the process gives way, and the others nothing at all.
        for listener in listeners.iter_mut().step_by(2) {
            listener.until(1).await;
        }
        let talking = listeners.into_iter().map(|mut listener| {
            tokio::spawn(async move {
                listener.until(LAST + 1).await;
                listener
            })
        });
        let talking: Vec<_> = talking.collect();
        let calling = McpClient::open(addr, "/mcp").await;
        let saying = async {
            for number in 2..=LAST {
                say(&one, number);
                assert_eq!(calling.text("b_echo", json!({})).await, "two: {}");
            }
        };
        tokio::join!(lineage.upgrade(), saying);
        // And at least one that only the successor can hear.
        lineage.drained(Duration::from_secs(60)).await;
        say(&one, LAST + 1);
        let mut resumed = 0;
        for talking in talking {
            let listener = talking.await.expect("a client");
            assert_eq!(listener.heard, (1..=LAST + 1).collect::<Vec<_>>(), "anonymous: {anonymous}");
            assert_eq!(listener.client.text("a_echo", json!({})).await, "one: {}");
            resumed += listener.resumed;
        }
        // One that comes back while the elder takes its last connections is led over once more.
        assert!((SESSIONS..=2 * SESSIONS).contains(&resumed), "each was led over: {resumed}");
        assert_eq!(one.asked("initialize"), SESSIONS + 1, "no session was opened anew");
        lineage.stop().await;
    }
}

#[tokio::test]
async fn a_server_with_one_stream_for_each_session_is_asked_anew_when_the_elder_has_closed_it() {
    let one = McpServer::start("one");
    one.anonymous();
    one.single();
    let gateway = Gateway::start(&yaml(&[("a", &one)])).await;
    let addr = gateway.addr(0);
    let mut listener = Listener::open(addr).await;
    eventually(PATIENCE, || async { one.listeners() == 1 }).await;
    say(&one, 1);
    listener.until(1).await;
    let mut lineage = Lineage::new(gateway);
    lineage.upgrade().await;
    // What is said while nobody can have a stream may be lost with such a server; before and after that nothing is.
    let talking = tokio::spawn(async move {
        listener.until(2).await;
        listener
    });
    lineage.drained(Duration::from_secs(60)).await;
    eventually(PATIENCE, || async { one.listeners() == 1 }).await;
    say(&one, 2);
    let listener = talking.await.expect("a client");
    assert_eq!(listener.heard, [1, 2]);
    assert_eq!(one.asked("initialize"), 1, "no session was opened anew");
    // A stream that is open would be waited for until the drain's limit.
    drop(listener);
    lineage.stop().await;
}

#[tokio::test]
async fn the_elder_listens_until_the_server_has_answered_the_successor_however_long_that_takes() {
    let one = McpServer::start("one");
    one.anonymous();
    for servers in [vec![("a", &one)], vec![("a", &one), ("b", &one)]] {
        let gateway = Gateway::start(&yaml(&servers)).await;
        let addr = gateway.addr(0);
        let mut listener = Listener::open(addr).await;
        eventually(PATIENCE, || async { one.listeners() == servers.len() }).await;
        let mut lineage = Lineage::new(gateway);
        one.hold_streams(true);
        lineage.upgrade().await;
        say(&one, 1);
        listener.until_each(1, servers.len()).await;
        listener.led_over(|| one.held_streams() == servers.len()).await;
        // Longer than any pause that the two processes make.
        let begun = std::time::Instant::now();
        let mut number = 1;
        while begun.elapsed() < Duration::from_secs(2) {
            number += 1;
            say(&one, number);
            listener.until_each(number, servers.len()).await;
        }
        assert_eq!((one.held_streams(), lineage.draining().len()), (servers.len(), 1));
        one.hold_streams(false);
        lineage.drained(PATIENCE).await;
        assert_eq!(one.listeners(), servers.len());
        say(&one, number + 1);
        listener.until_each(number + 1, servers.len()).await;
        let expected: Vec<u64> = (1..=number + 1).flat_map(|it| vec![it; servers.len()]).collect();
        assert_eq!(listener.heard, expected);
        // As above; what it listened to is kept for it, until the process ends.
        drop(listener);
        lineage.stop().await;
        eventually(PATIENCE, || async { one.listeners() == 0 }).await;
    }
}

#[tokio::test]
async fn a_call_under_way_is_asked_for_through_the_process_that_serves_now() {
    let one = McpServer::start("one");
    let gateway = Gateway::start(&yaml(&[("a", &one)])).await;
    let addr = gateway.addr(0);
    let client = McpClient::open(addr, "/mcp").await;
    let params = json!({"name": "paced", "arguments": {}, "_meta": {"progressToken": "t"}});
    let mut calling = client.stream("tools/call", params).await;
    eventually(PATIENCE, || async { one.paced() == 1 }).await;
    one.pace();
    let id = next(&mut calling).await.id.expect("an id to go on from");
    let mut lineage = Lineage::new(gateway);
    lineage.upgrade().await;
    drop(calling);
    let mut again = client.over(addr).listen(Some(&id)).await;
    one.pace();
    assert_eq!(next(&mut again).await.json()["params"]["progress"], 2);
    one.pace();
    assert_eq!(next(&mut again).await.json()["result"]["content"][0]["text"], "one: done");
    drop(again);
    lineage.stop().await;
}

#[tokio::test]
async fn each_process_hears_of_sessions_that_end_in_the_other() {
    let one = McpServer::start("one");
    let gateway = Gateway::start(&yaml(&[("a", &one)])).await;
    let addr = gateway.addr(0);
    let (first, second) = (McpClient::open(addr, "/mcp").await, McpClient::open(addr, "/mcp").await);
    // Both streams keep their connections to the process that gives way.
    let params = json!({"name": "hang", "arguments": {}});
    let _hanging = tokio::time::timeout(Duration::from_millis(1), first.call("hang", params)).await;
    let mut lineage = Lineage::new(gateway);
    lineage.upgrade().await;
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    // Over the connection that it has, to the elder.
    second.end().await.expect_status(200);
    eventually(PATIENCE, || async { second.over(addr).post(&ping).await.status == 404 }).await;
    first.over(addr).post(&ping).await.expect_status(200);
    lineage.stop().await;
}

#[tokio::test]
async fn many_clients_at_once_hear_and_get_what_is_theirs_alone() {
    const CLIENTS: usize = 24;
    let (one, two) = (McpServer::start("one"), McpServer::start("two"));
    let users: Vec<String> = (0..CLIENTS).map(|it| format!("user{it}")).collect();
    let lines: Vec<String> = users.iter().map(|it| format!("{it}:{{SHA}}qUqP5cyxm6YcTAhz05Hph5gvu9M=")).collect();
    let policy =
        format!("    - name: tools\n      policies: {{ basicAuth: {{ htpasswd: \"{}\" }} }}\n", lines.join("\\n"));
    let yaml = federation_of(&[("a", &one), ("b", &two)], "").replace("    - name: tools\n", &policy);
    let gateway = Gateway::start(&yaml).await;
    let addr = gateway.addr(0);
    let as_user = |user: &str| {
        use base64::Engine as _;
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:test")))
    };
    let mut clients = Vec::new();
    for user in &users {
        clients.push(McpClient::open_with(addr, "/mcp", &[("authorization", &as_user(user))]).await);
    }
    let ids: HashMap<&String, usize> =
        clients.iter().enumerate().filter_map(|(at, it)| Some((it.session.as_ref()?, at))).collect();
    assert_eq!(ids.len(), CLIENTS);
    let calls = clients.iter().enumerate().map(|(at, client)| async move {
        for round in 0..10 {
            let (tool, server) = if (at + round) % 2 == 0 { ("a_echo", "one") } else { ("b_echo", "two") };
            // All of them use the same id for their requests.
            let text = client.text(tool, json!({"of": at, "round": round})).await;
            assert_eq!(text, format!("{server}: {}", json!({"of": at, "round": round})));
        }
    });
    let asks = clients.iter().enumerate().map(|(at, client)| async move {
        let params = json!({"name": "a_ask", "arguments": {}});
        let mut asking = client.stream("tools/call", params).await;
        let asked = next(&mut asking).await.json();
        let told = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "accept", "content": {"of": at}}});
        client.over(addr).post(&told).await.expect_status(202);
        let answer = next(&mut asking).await.json();
        let heard: Value = json!({"action": "accept", "content": {"of": at}});
        assert_eq!(answer["result"]["content"][0]["text"], format!("one heard {heard}"));
    });
    tokio::join!(futures::future::join_all(calls), futures::future::join_all(asks));
    for (at, client) in clients.iter().enumerate() {
        let stranger = as_user(&users[(at + 1) % CLIENTS]);
        let call = gateway.client().post("/mcp").header("accept", "*/*").header("authorization", stranger);
        let call = call.header("mcp-session-id", client.session.clone().expect("a session"));
        call.json(&json!({"jsonrpc": "2.0", "id": 1, "method": "ping"})).await.expect_status(404);
    }
    gateway.stop().await;
}
