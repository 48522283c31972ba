//! `directResponse`. In files, values of headers are expressions; here they are plain texts.

use filters::Scope;
use filters::direct_response::Policy;
use filters::head::Header;

use crate::codec::read;
use crate::pb;

pub(super) fn encode(it: &Policy) -> pb::DirectResponse {
    let Policy { status, body, headers } = it;
    let header = |it: &Header| pb::Header {
        name: it.name.as_str().to_owned(),
        value: String::from_utf8_lossy(it.value.as_bytes()).into_owned(),
    };
    pb::DirectResponse {
        status: (*status).into(),
        // A body comes from a text, here as in local files.
        body: String::from_utf8_lossy(body).into_owned(),
        headers: headers.iter().map(header).collect(),
    }
}

pub(super) fn decode(it: pb::DirectResponse, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::DirectResponse { status, body, headers } = it;
    let status = read::number(scope, "status", status);
    let headers = read::headers(scope, "headers", headers);
    let headers = scope.at("headers", |scope| {
        let header = |(name, value): (&String, &String)| scope.check(name, Header::parse(name, value));
        headers.iter().filter_map(header).collect()
    });
    Policy::lower(status, body, headers, scope)
}
