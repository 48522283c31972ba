//! `requestHeaderModifier` and `responseHeaderModifier`.

use filters::Scope;
use filters::head::Header;
use filters::header_modifier::{Change, Config, Policy};

use crate::codec::read;
use crate::pb;

pub(super) fn encode(it: &Policy) -> pb::HeaderModifier {
    let Policy { add, set, remove } = it;
    pb::HeaderModifier {
        add: add.iter().map(header).collect(),
        set: set.iter().map(change).collect(),
        remove: remove.iter().map(|it| it.as_str().to_owned()).collect(),
    }
}

/// As written; lowering differs between requests and responses.
pub(super) fn decode(it: pb::HeaderModifier, scope: &mut Scope<'_>) -> Config {
    let pb::HeaderModifier { add, set, remove } = it;
    Config { add: read::headers(scope, "add", add), set: read::headers(scope, "set", set), remove }
}

fn header(it: &Header) -> pb::Header {
    pb::Header { name: it.name.as_str().to_owned(), value: text(it.value.as_bytes()) }
}

fn change(it: &Change) -> pb::Header {
    let (name, value) = match it {
        Change::Header(it) => return header(it),
        Change::Authority(value) => (":authority", text(value.as_bytes())),
        Change::Method(method) => (":method", method.to_string()),
        Change::Path(path) => (":path", path.to_string()),
    };
    pb::Header { name: name.to_owned(), value }
}

/// A value comes from a text, here as in local files.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
