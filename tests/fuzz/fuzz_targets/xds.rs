//! Any bytes are a resource or a reason: no panic, and what is taken comes back as it was.

#![no_main]

use libfuzzer_sys::fuzz_target;
use xds::codec::{Kind, Name, decode, encode, substitute};

const TYPE: &str = "type.googleapis.com/agentgateway.v1.Resource";

fuzz_target!(|bytes: &[u8]| {
    for kind in Kind::ALL {
        let name = Name { kind, key: "k".into() }.to_string();
        match decode(&name, TYPE, bytes) {
            Ok(change) => {
                let sent = encode(&change).expect("it has a value");
                assert_eq!(decode(&name, TYPE, &sent).expect("it was taken before"), change);
            }
            Err(fault) => {
                let _ = (fault.to_string(), substitute(&name, TYPE, bytes));
            }
        }
    }
});
