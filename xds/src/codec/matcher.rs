//! What a request must look like.

use filters::Scope;
use ir::matcher::{HeaderTerm, MATCHES_MAX, PREFIX_DEPTH_MAX};
use ir::{HeaderMatch, Match, PathMatch, QueryMatch, Regex, ValueMatch};
use protocols::http::path;

use super::read;
use crate::pb;

pub(super) fn encode(it: &Match) -> pb::Match {
    let Match { path, method, headers, query } = it;
    pb::Match {
        path: Some(encode_path(path)),
        method: method.as_ref().map(ToString::to_string),
        headers: headers.iter().map(encode_header).collect(),
        query: query
            .iter()
            .map(|QueryMatch { name, value }| pb::QueryMatch {
                name: name.to_string(),
                value: Some(encode_value(value)),
            })
            .collect(),
    }
}

/// All alternatives; none written means everything.
pub(super) fn decode_all(list: Vec<pb::Match>, scope: &mut Scope<'_>) -> Vec<Match> {
    if list.is_empty() {
        return vec![Match::default()];
    }
    if list.len() > MATCHES_MAX {
        scope.problem_at("matches", format!("a rule has at most {MATCHES_MAX} matches"));
    }
    let mut matches = Vec::with_capacity(list.len().min(MATCHES_MAX));
    for (position, it) in list.into_iter().take(MATCHES_MAX).enumerate() {
        matches.extend(scope.at("matches", |scope| scope.at(format!("[{position}]"), |scope| decode(it, scope))));
    }
    matches
}

/// One alternative, or nothing where any part of it is no good: it must not match more than it says.
fn decode(it: pb::Match, scope: &mut Scope<'_>) -> Option<Match> {
    let pb::Match { path, method, headers, query } = it;
    let before = scope.problems.len();
    let path = match path {
        None => Some(PathMatch::prefix("/")),
        Some(it) => scope.at("path", |scope| decode_path(it, scope)),
    };
    let method = method.and_then(|text| {
        let parsed = http::Method::from_bytes(text.to_ascii_uppercase().as_bytes());
        scope.check("method", parsed.map_err(|_| format!("`{}` is not a method", text.escape_debug())))
    });
    let mut header_matches = Vec::with_capacity(headers.len());
    for (position, pb::HeaderMatch { name, value }) in headers.into_iter().enumerate() {
        header_matches.extend(scope.at(format!("headers[{position}]"), |scope| {
            let name = scope.check("name", term(&name));
            let value = scope.at("value", |scope| decode_value(value, scope));
            name.zip(value).map(|(name, value)| HeaderMatch { name, value })
        }));
    }
    let mut query_matches = Vec::with_capacity(query.len());
    for (position, pb::QueryMatch { name, value }) in query.into_iter().enumerate() {
        query_matches.extend(scope.at(format!("query[{position}]"), |scope| {
            let name = read::text(scope, "name", &name);
            scope.at("value", |scope| decode_value(value, scope)).map(|value| QueryMatch { name, value })
        }));
    }
    let good = scope.problems.len() == before;
    path.filter(|_| good).map(|path| Match { path, method, headers: header_matches, query: query_matches })
}

fn encode_path(it: &PathMatch) -> pb::PathMatch {
    use pb::path_match::Kind;
    let kind = match it {
        PathMatch::Exact(text) => Kind::Exact(text.to_string()),
        PathMatch::PathPrefix(text) if text.is_empty() => Kind::PathPrefix("/".to_owned()),
        PathMatch::PathPrefix(text) => Kind::PathPrefix(text.to_string()),
        PathMatch::Regex(regex) => Kind::Regex(regex.source().to_owned()),
        PathMatch::Invalid => Kind::Never(pb::Unit {}),
    };
    pb::PathMatch { kind: Some(kind) }
}

fn decode_path(it: pb::PathMatch, scope: &mut Scope<'_>) -> Option<PathMatch> {
    use pb::path_match::Kind;
    match it.kind {
        None => {
            scope.problem("no kind: exactly one of `exact`, `pathPrefix`, `regex` and `never`");
            None
        }
        Some(Kind::Exact(text)) => scope.check("exact", normal(&text)).map(|it| PathMatch::Exact(it.into())),
        Some(Kind::PathPrefix(text)) => {
            let text = scope.check("pathPrefix", normal(&text))?;
            if text.bytes().filter(|byte| *byte == b'/').count() > PREFIX_DEPTH_MAX {
                scope.problem_at("pathPrefix", format!("a prefix has at most {PREFIX_DEPTH_MAX} segments"));
            }
            Some(PathMatch::prefix(&text))
        }
        Some(Kind::Regex(text)) => scope.check("regex", Regex::new(&text)).map(PathMatch::Regex),
        Some(Kind::Never(pb::Unit {})) => Some(PathMatch::Invalid),
    }
}

/// The one spelling that requests are compared in.
fn normal(text: &str) -> Result<String, String> {
    let shown = text.escape_debug();
    if !text.starts_with('/') {
        return Err(format!("`{shown}` does not begin with `/`"));
    }
    path::normalise(text).map(|it| it.into_owned()).map_err(|fault| format!("`{shown}`: {fault}"))
}

fn encode_value(it: &ValueMatch) -> pb::ValueMatch {
    use pb::value_match::Kind;
    let kind = match it {
        ValueMatch::Exact(text) => Kind::Exact(text.to_string()),
        ValueMatch::Regex(regex) => Kind::Regex(regex.source().to_owned()),
        ValueMatch::Invalid => Kind::Never(pb::Unit {}),
    };
    pb::ValueMatch { kind: Some(kind) }
}

fn decode_value(it: Option<pb::ValueMatch>, scope: &mut Scope<'_>) -> Option<ValueMatch> {
    use pb::value_match::Kind;
    match it.and_then(|it| it.kind) {
        None => {
            scope.problem("no kind: exactly one of `exact`, `regex` and `never`");
            None
        }
        Some(Kind::Exact(text)) => Some(ValueMatch::Exact(text.into())),
        Some(Kind::Regex(text)) => scope.check("regex", Regex::new(&text)).map(ValueMatch::Regex),
        Some(Kind::Never(pb::Unit {})) => Some(ValueMatch::Invalid),
    }
}

fn encode_header(it: &HeaderMatch) -> pb::HeaderMatch {
    let HeaderMatch { name, value } = it;
    let name = match name {
        HeaderTerm::Header(name) => name.as_str(),
        HeaderTerm::Method => ":method",
        HeaderTerm::Path => ":path",
        HeaderTerm::Authority => ":authority",
        HeaderTerm::Scheme => ":scheme",
    };
    pb::HeaderMatch { name: name.to_owned(), value: Some(encode_value(value)) }
}

fn term(name: &str) -> Result<HeaderTerm, String> {
    Ok(match name {
        ":method" => HeaderTerm::Method,
        ":path" => HeaderTerm::Path,
        ":authority" => HeaderTerm::Authority,
        ":scheme" => HeaderTerm::Scheme,
        name => {
            HeaderTerm::Header(name.parse().map_err(|_| format!("`{}` is not a header name", name.escape_debug()))?)
        }
    })
}
