//! What it costs to seal the session of an MCP client into its id, and to open it again, with one server and with ten.
//!
//! Goal: 3 µs each.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use protocols::mcp::Version;
use protocols::mcp::session::{Opened, Ring, Servers, Session};
use units as _;

fn opened(servers: usize) -> Vec<Opened> {
    let opened = |at: usize| Opened {
        target: format!("server-{at}"),
        id: Some(format!("5d2b7a90-1111-4222-8333-4445556{at:05}")),
        version: Version::V2025_06_18,
    };
    (0..servers).map(opened).collect()
}

fn session(servers: &[Opened]) -> Session {
    let client = r#"{"protocolVersion":"2025-06-18","capabilities":{"elicitation":{},"sampling":{}},"clientInfo":{"name":"agent","version":"1.4.2"}}"#;
    Session {
        began: 1_700_000_000,
        owner: 0,
        version: Version::V2025_06_18,
        client: client.to_owned(),
        servers: Servers::new(servers).expect("few"),
    }
}

fn sessions(bench: &mut Criterion) {
    let ring = Ring::new(&[[1; 32], [2; 32]]);
    let scope = [7; 32];
    let mut group = bench.benchmark_group("session");
    for servers in [1, 10] {
        let opened = opened(servers);
        let mut name = [0; 12];
        group.bench_function(format!("seal/{servers}"), |it| {
            it.iter(|| {
                // A nonce is used once.
                name[0] = u8::wrapping_add(name[0], 1);
                ring.seal(&session(black_box(&opened)), name, &scope).expect("a session")
            });
        });
        let id = ring.seal(&session(&opened), name, &scope).expect("a session");
        group.bench_function(format!("open/{servers}"), |it| {
            it.iter(|| ring.open(black_box(&id), &scope).expect("an id").1);
        });
    }
    group.finish();
}

criterion_group!(benches, sessions);
criterion_main!(benches);
