//! Requests, answers and streams of language models in every dialect become another one's, and JSON stays JSON.

#![no_main]

use protocols::json;
use protocols::llm::translate::{Stream, Wanted, Wire, answer, error, request};

const ALL: [Wire; 5] = [Wire::Completions, Wire::Responses, Wire::Messages, Wire::GenerateContent, Wire::Converse];

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let (client, provider) = (ALL[usize::from(*choice) % 5], ALL[usize::from(*choice) / 5 % 5]);
    let stream = *choice >= 128;
    let wanted = Wanted { client, provider, model: "m", stream, now: 0, random: 0 };
    if let Ok(translated) = request(bytes, &wanted) {
        json::parse(&translated.body).expect("a request is JSON");
    }
    let least: &[u8] = match client {
        Wire::Responses => b"{\"input\":\"x\"}",
        Wire::GenerateContent => b"{\"contents\":[]}",
        _ => b"{\"messages\":[]}",
    };
    let terms = request(least, &wanted).expect("the least there is").terms;
    let _ = error(&terms, 500, bytes);
    if let Ok(said) = answer(&terms, bytes)
        && !stream
    {
        json::parse(&said).expect("an answer is JSON");
    }
    let read = |piece: usize| {
        let (mut stream, mut out) = (Stream::new(terms.clone()), Vec::new());
        bytes.chunks(piece).for_each(|it| stream.push(it, &mut out));
        stream.finish(&mut out);
        out
    };
    assert_eq!(read(bytes.len().max(1)), read(1));
});
