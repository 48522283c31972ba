use serde_json::{Value, json};

use super::*;

fn wanted(client: Wire, provider: Wire) -> Wanted<'static> {
    Wanted { client, provider, model: "m", stream: false, now: 7, random: 1 }
}

/// A request in the other dialect, and what was dropped.
#[track_caller]
fn translated(wanted: Wanted<'_>, body: &Value) -> (Value, Vec<String>) {
    let got = request(body.to_string().as_bytes(), &wanted).unwrap();
    let text = String::from_utf8(got.body).unwrap();
    let body = serde_json::from_str(&text).unwrap_or_else(|fault| panic!("{fault}: {text}"));
    (body, got.dropped.names().map(str::to_owned).collect())
}

fn terms(client: Wire, provider: Wire, stream: bool) -> Terms {
    let (now, random, model) = (7, 1, "m".to_owned());
    Terms { client, provider, model, stream, include_usage: true, now, random, names: bedrock::Names::default() }
}

#[track_caller]
fn answered(client: Wire, provider: Wire, body: &Value) -> Value {
    let got = answer(&terms(client, provider, false), body.to_string().as_bytes()).unwrap();
    serde_json::from_slice(&got).unwrap_or_else(|fault| panic!("{fault}: {}", String::from_utf8_lossy(&got)))
}

/// The data of the events that a client gets, whatever the cuts.
#[track_caller]
fn streamed(client: Wire, provider: Wire, sent: &[u8]) -> Vec<Value> {
    let read = |cut: usize| {
        let mut stream = Stream::new(terms(client, provider, true));
        let mut out = Vec::new();
        sent.chunks(cut).for_each(|it| stream.push(it, &mut out));
        stream.finish(&mut out);
        String::from_utf8(out).unwrap()
    };
    let whole = read(sent.len().max(1));
    for cut in 1..sent.len().min(40) {
        assert_eq!(read(cut), whole, "cut by {cut}");
    }
    let mut events = Vec::new();
    let mut reader = crate::sse::Reader::new(1 << 20);
    let take = |event: crate::sse::Event| {
        let data = std::str::from_utf8(&event.data).unwrap();
        if data == "[DONE]" {
            return events.push(json!("[DONE]"));
        }
        let data: Value = serde_json::from_str(data).unwrap_or_else(|fault| panic!("{fault}: {data}"));
        if let Some(name) = event.event {
            assert_eq!(data["type"], name.as_str());
        }
        events.push(data);
    };
    reader.push(whole.as_bytes(), &mut { take }).unwrap();
    events
}

fn sse(events: &[Value]) -> Vec<u8> {
    events.iter().flat_map(|it| format!("data: {it}\n\n").into_bytes()).collect()
}

mod anthropic_and_openai;
mod every_pair;
