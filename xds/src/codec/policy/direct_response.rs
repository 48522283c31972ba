//! `directResponse`. In files, values of headers are expressions; here those that are constant are plain texts.

use filters::Scope;
use filters::direct_response::{Body, Policy, Value};
use filters::head::Header;

use crate::codec::read;
use crate::pb;

pub(super) fn encode(it: &Policy) -> pb::DirectResponse {
    let Policy { status, body, body_expression, headers, computed } = it;
    let header = |it: &Header| pb::Header {
        name: it.name.as_str().to_owned(),
        value: String::from_utf8_lossy(it.value.as_bytes()).into_owned(),
    };
    pb::DirectResponse {
        status: (*status).into(),
        // A body comes from a text, here as in local files.
        body: String::from_utf8_lossy(body).into_owned(),
        headers: headers.iter().map(header).collect(),
        body_expression: body_expression.as_ref().map(|it| it.text().to_owned()),
        computed_headers: computed
            .iter()
            .map(|(name, it)| pb::Header { name: name.as_str().to_owned(), value: it.text().to_owned() })
            .collect(),
    }
}

pub(super) fn decode(it: pb::DirectResponse, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::DirectResponse { status, body, headers, body_expression, computed_headers } = it;
    let before = scope.problems.len();
    let status = read::number(scope, "status", status);
    let headers = read::headers(scope, "headers", headers);
    let computed = read::headers(scope, "headers", computed_headers);
    if !body.is_empty() && body_expression.is_some() {
        scope.problem_at("bodyExpression", "there is one body: write `body` or `bodyExpression`");
    }
    let headers = scope.at("headers", |scope| {
        let fixed = headers.iter().map(|(name, value)| (name, Header::parse(name, value).map(Value::Fixed)));
        let computed = computed.iter().map(|(name, text)| (name, Value::parse(name, text)));
        let values: Vec<_> = fixed.chain(computed).collect();
        values.into_iter().filter_map(|(name, value)| scope.check(name, value)).collect()
    });
    let policy = Policy::lower(status, Body { text: body, expression: body_expression }, headers, scope);
    policy.filter(|_| scope.problems.len() == before)
}
