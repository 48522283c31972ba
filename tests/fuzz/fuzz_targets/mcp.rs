//! A document that passes is the sum of its parts; messages, lists and ids survive whatever they hold.

#![no_main]

use protocols::json::{self, Raw};
use protocols::mcp::session::Ring;
use protocols::mcp::{Edits, List, Message, Naming, list, modern, name, param, task};

fn walk(raw: Raw<'_>) {
    for (_, value) in raw.members() {
        walk(value);
    }
    raw.elements().for_each(walk);
    assert!(json::parse(raw.text().as_bytes()).is_ok(), "a part of JSON is JSON");
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(document) = json::parse(bytes) else { return };
    walk(document);
    let text = std::str::from_utf8(bytes).expect("JSON is UTF-8");
    let naming = Naming { names: true, uris: true, ids: true };
    if let Ok(message) = Message::of(document) {
        let id = message.id.map_or("", Raw::text);
        if !id.is_empty() && !message.method().is_empty() {
            let joined = name::join_id("t", message.id.expect("there is one"));
            let joined = json::parse(joined.as_bytes()).expect("an id is JSON");
            assert!(name::split_id(&joined.as_str().expect("a string")).is_some(), "it finds back");
        }
    }
    if let Ok(message) = Message::of(document) {
        let mut edits = Edits::default();
        modern::add_meta(&message, r#""fuzz":1"#, &mut edits);
        let edited = edits.apply(text, document.range());
        let edited = Message::parse(edited.as_bytes()).expect("a message stays one");
        assert!(message.params.is_some_and(|it| it.get("_meta").is_some()) || edited.meta("fuzz").is_some());
        for (_, value) in modern::headers(&message) {
            assert!(modern::decode(&value).is_some(), "what is written is read");
        }
    }
    let mut edits = Edits::default();
    modern::complete(document, "tools/list", &mut edits);
    assert!(json::parse(edits.apply(text, document.range()).as_bytes()).is_ok(), "a result stays JSON");
    let mut edits = Edits::default();
    task::edit(naming, "t", ("tasks/list", document), &mut edits);
    assert!(json::parse(edits.apply(text, document.range()).as_bytes()).is_ok(), "a result stays JSON");
    let sent = param::headers(document, document.get("arguments")).into_iter().collect();
    let _ = param::check(document, document.get("arguments"), &sent);
    for it in List::ALL {
        for (_, item) in it.items(document) {
            let renamed = it.renamed(naming, "t", item, text);
            assert!(json::parse(renamed.as_bytes()).is_ok(), "an item stays JSON");
        }
    }
    let mut edits = Edits::default();
    list::edit_uris(naming, "t", document, &mut edits);
    let edited = edits.apply(text, document.range());
    assert!(json::parse(edited.as_bytes()).is_ok(), "a result stays JSON");
    assert!(Ring::new(&[[1; 32]]).open(text, b"").is_err(), "nobody guesses a seal");
});
