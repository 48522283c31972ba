//! Any text is a document or a list of problems: no panic, no hang, and the same whether read in
//! parts or in one.

#![no_main]

use std::sync::Arc;

use gateway::local::doc::{self, cache::Incremental, check::Checker};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let checker = Arc::new(Checker::new(&serde_json::json!({"type": "object", "properties": {}})));
    let in_parts = Incremental::new("fuzz", checker, Box::new(|_| Some(String::new()))).update(text);
    match (doc::parse("fuzz", text), in_parts) {
        (Ok(mut root), in_parts) => {
            let problems = doc::expand(&mut root, &|_| Some(String::new()));
            let _ = doc::read::<serde_json::Value>(&root);
            match in_parts {
                // Compared as text, because what is not a number does not equal itself.
                Ok(document) => assert_eq!(format!("{:?}", document.to_node()), format!("{root:?}")),
                Err(_) => assert!(!problems.is_empty()),
            }
        }
        (Err(problems), in_parts) => assert_eq!(in_parts.err(), Some(problems)),
    }
});
