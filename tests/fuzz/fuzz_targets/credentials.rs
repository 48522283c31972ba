//! Tokens, key sets and files of users are read or refused, and a refusal never repeats what it read.

#![no_main]

use filters::basic_auth::Users;
use filters::jwt::KeySet;
use filters::jwt::token::{TOKEN_BYTES_MAX, Token};

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(token) = Token::parse(text) {
        assert!(text.len() <= TOKEN_BYTES_MAX);
        assert!(text.as_bytes().starts_with(token.signed));
    }
    if let Ok(set) = KeySet::parse(text.as_bytes()) {
        assert!(!set.is_empty());
    }
    if let Ok(users) = Users::parse(text.as_bytes()) {
        let again = Users::parse(users.text().as_bytes()).expect("what was read can be read again");
        assert!(again == users);
    }
});
