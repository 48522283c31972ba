//! What a server wants changed, carried out on a request and on what the client will be answered.
//!
//! A server is trusted with the content of a request and with nothing else: what it writes is parsed
//! before anything is changed, names that frame a message are passed over ([`super::is_ours`]), and
//! an answer of which a part cannot be carried out is no answer. Leaving a bad header away would let
//! the client's own of that name through.

use http::header::HOST;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderName, HeaderValue, Method};
use pingora_http::RequestHeader;

use super::{Fault, HeaderChange, How, is_ours};
use crate::destination::set_target;
use crate::{Exchange, Facts};

/// Headers, or parameters of the query, that one answer may change.
const CHANGES_MAX: usize = 128;
/// Bytes of names and values in one answer.
const CHANGES_BYTES_MAX: usize = 64 * 1024;

/// A change that can be carried out.
enum Change {
    Header(HeaderName, HeaderValue),
    Authority(HeaderValue),
    Path(PathAndQuery),
    Method(Method),
    /// Not the server's to write.
    Nothing,
}

/// Changes of a request, parsed.
#[derive(Default)]
pub struct Changes {
    remove: Vec<HeaderName>,
    set: Vec<(Change, How)>,
}

/// A header for the client's answer.
pub type Owed = (HeaderName, HeaderValue, How);

impl Changes {
    pub fn parse(set: &[HeaderChange], remove: &[String]) -> Result<Self, Fault> {
        bounded(set)?;
        if remove.len() > CHANGES_MAX {
            return Err(Fault::Garbage("it takes away too many headers".to_owned()));
        }
        let set = set.iter().map(|it| Ok((parse(it)?, it.how))).collect::<Result<_, Fault>>()?;
        // What cannot be a name is not there.
        let names = remove.iter().filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok());
        Ok(Self { set, remove: names.filter(|name| *name != HOST && !is_ours(name)).collect() })
    }

    /// Takes away first, so that what the server sets stands.
    pub fn apply(self, exchange: &mut Exchange<'_>) {
        let Exchange { request, facts, .. } = exchange;
        for name in &self.remove {
            request.remove_header(name);
        }
        for (change, how) in self.set {
            write(request, facts, change, how);
        }
    }
}

/// Headers for the client, parsed.
pub fn owed(changes: &[HeaderChange]) -> Result<Vec<Owed>, Fault> {
    bounded(changes)?;
    let mut owed = Vec::with_capacity(changes.len());
    for it in changes {
        if it.name.starts_with(':') {
            continue;
        }
        if let Change::Header(name, value) = parse(it)? {
            owed.push((name, value, it.how));
        }
    }
    Ok(owed)
}

/// As [`owed`], but what cannot be written is left away: for answers that refuse, which stand
/// whatever is wrong with their headers.
pub fn owed_or_less(changes: &[HeaderChange]) -> Vec<(HeaderName, HeaderValue)> {
    let header = |it: &HeaderChange| match parse(it) {
        Ok(Change::Header(name, value)) => Some((name, value)),
        _ => None,
    };
    changes.iter().take(CHANGES_MAX).filter_map(header).collect()
}

fn bounded(changes: &[HeaderChange]) -> Result<(), Fault> {
    let bytes: usize = changes.iter().map(|it| it.name.len() + it.value.len()).sum();
    if changes.len() > CHANGES_MAX || bytes > CHANGES_BYTES_MAX {
        return Err(Fault::Garbage("it changes too many headers".to_owned()));
    }
    Ok(())
}

fn parse(it: &HeaderChange) -> Result<Change, Fault> {
    // Neither names nor values are told: they may be secrets.
    let bad = |what: &str| Fault::Garbage(format!("it sets {what} to what cannot stand there"));
    let text = || std::str::from_utf8(&it.value).map_err(|_| bad("a pseudo header"));
    match it.name.as_str() {
        ":path" => {
            let (path, query) = text()?.split_once('?').map_or((text()?, None), |(path, query)| (path, Some(query)));
            let path = protocols::http::path::normalise(path).map_err(|_| bad(":path"))?;
            let target = query.map_or_else(|| path.to_string(), |query| format!("{path}?{query}"));
            Ok(Change::Path(target.parse().map_err(|_| bad(":path"))?))
        }
        ":method" => match Method::from_bytes(&it.value) {
            Ok(method) if method != Method::CONNECT => Ok(Change::Method(method)),
            _ => Err(bad(":method")),
        },
        ":scheme" | ":status" => Ok(Change::Nothing),
        name => {
            let authority = name == ":authority" || name.eq_ignore_ascii_case("host");
            let value = HeaderValue::from_bytes(&it.value).map_err(|_| bad("a header"))?;
            if authority {
                Authority::try_from(&*it.value).map_err(|_| bad(":authority"))?;
                return Ok(Change::Authority(value));
            }
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad("a header of no valid name"))?;
            Ok(if is_ours(&name) { Change::Nothing } else { Change::Header(name, value) })
        }
    }
}

fn write(request: &mut RequestHeader, facts: &mut Facts, change: Change, how: How) {
    match change {
        Change::Header(name, value) => {
            // Writing fails only where the map is full, which the bound on changes rules out.
            let held = request.headers.contains_key(&name);
            match how {
                How::Append => {
                    let _ = request.append_header(name, value);
                }
                How::AddIfAbsent if held => {}
                How::OverwriteIfExists if !held => {}
                _ => {
                    let _ = request.insert_header(name, value);
                }
            }
        }
        Change::Authority(value) => {
            let _ = request.insert_header(HOST, value.clone());
            facts.upstream_host = Some(value);
        }
        Change::Path(target) => set_target(request, target),
        Change::Method(method) => request.set_method(method),
        Change::Nothing => {}
    }
}

/// Sets and takes away parameters of the query; the others stay as they came.
pub fn query(request: &mut RequestHeader, set: &[(String, String)], remove: &[String]) -> Result<(), Fault> {
    if set.is_empty() && remove.is_empty() {
        return Ok(());
    }
    if set.len() + remove.len() > CHANGES_MAX {
        return Err(Fault::Garbage("it changes too many parameters".to_owned()));
    }
    let key = |pair: &str| pair.split_once('=').map_or(pair, |(key, _)| key).to_owned();
    let old = request.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let kept = old.filter(|pair| {
        let key = key(pair);
        !remove.contains(&key) && !set.iter().any(|(name, _)| *name == key)
    });
    let mut query = kept.collect::<Vec<_>>().join("&");
    for (name, value) in set {
        if !query.is_empty() {
            query.push('&');
        }
        escape(name, &mut query);
        query.push('=');
        escape(value, &mut query);
    }
    let path = request.uri.path();
    let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    let target = target.parse().map_err(|_| Fault::Garbage("its parameters make no query".to_owned()))?;
    set_target(request, target);
    Ok(())
}

/// Escapes what would end the parameter, or cannot stand in a query; what is escaped already stays.
fn escape(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~%!$'()*,;:@/?".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::testing::{exchange, request};

    fn change(name: &str, value: &str, how: How) -> HeaderChange {
        HeaderChange { name: name.to_owned(), value: Bytes::copy_from_slice(value.as_bytes()), how }
    }

    fn run(set: &[HeaderChange], remove: &[&str]) -> Result<(RequestHeader, Facts), Fault> {
        let (mut head, mut facts) = request("GET", "/a?b=1");
        head.insert_header("x-old", "1").unwrap();
        head.insert_header("content-length", "5").unwrap();
        let remove: Vec<String> = remove.iter().map(|it| (*it).to_owned()).collect();
        Changes::parse(set, &remove)?.apply(&mut exchange(&mut head, &mut facts));
        Ok((head, facts))
    }

    #[test]
    fn headers_are_changed_as_the_server_says() {
        let (head, _) = run(
            &[
                change("x-old", "2", How::Append),
                change("x-new", "3", How::OverwriteIfExists),
                change("x-user", "me", How::Overwrite),
                change("X-User", "you", How::AddIfAbsent),
            ],
            &[],
        )
        .unwrap();
        let values: Vec<_> = head.headers.get_all("x-old").iter().collect();
        assert_eq!(values, ["1", "2"]);
        assert_eq!(head.headers.get("x-user").unwrap(), "me");
        assert!(!head.headers.contains_key("x-new"));
        let (head, _) = run(&[change("x-old", "2", How::Overwrite)], &["X-Old", "x-absent", "not a name"]).unwrap();
        assert_eq!(head.headers.get("x-old").unwrap(), "2");
    }

    #[test]
    fn pseudo_headers_are_set_and_framing_is_not() {
        let (head, facts) = run(
            &[
                change(":path", "/b/../c?d", How::Overwrite),
                change(":method", "POST", How::Overwrite),
                change("Host", "inside:80", How::Overwrite),
                change("content-length", "0", How::Overwrite),
                change("transfer-encoding", "chunked", How::Overwrite),
                change("connection", "x-old", How::Append),
            ],
            &["host", ":path", "content-length"],
        )
        .unwrap();
        assert_eq!((head.uri.to_string().as_str(), head.method.as_str()), ("/c?d", "POST"));
        assert_eq!(facts.upstream_host.unwrap(), "inside:80");
        assert_eq!(head.headers.get("content-length").unwrap(), "5");
        assert!(!head.headers.contains_key("transfer-encoding") && !head.headers.contains_key("connection"));
    }

    #[test]
    fn an_answer_that_cannot_be_carried_out_is_none() {
        for (name, value) in [
            ("x-a", "1\r\nx-admin: yes"),
            ("x-a\r\nx-admin", "1"),
            ("", "1"),
            (":path", "a b"),
            (":path", "/%"),
            (":method", "CONNECT"),
            (":method", "A B"),
            ("host", "a/b"),
            (":other", "1"),
        ] {
            assert!(matches!(run(&[change(name, value, How::Overwrite)], &[]), Err(Fault::Garbage(_))), "{name:?}");
        }
        let many = vec![change("x-a", "1", How::Append); CHANGES_MAX + 1];
        assert!(run(&many, &[]).is_err() && owed(&many).is_err());
        assert!(run(&[change("x-a", &"1".repeat(CHANGES_BYTES_MAX), How::Append)], &[]).is_err());
    }

    #[test]
    fn a_refusal_keeps_the_headers_that_can_be_written() {
        let kept = owed_or_less(&[
            change("x-why", "no", How::Overwrite),
            change("x-bad", "a\nb", How::Overwrite),
            change("content-length", "9", How::Overwrite),
            change(":status", "200", How::Overwrite),
        ]);
        assert_eq!(kept.len(), 1);
    }

    #[test]
    fn parameters_are_replaced_and_cannot_break_out() {
        let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
        };
        let (mut head, _) = request("GET", "/p?a=1&b=2&a=3&c");
        query(&mut head, &pairs(&[("a", "x&admin=1#"), ("d", "e%20f g")]), &["c".to_owned()]).unwrap();
        assert_eq!(head.uri.to_string(), "/p?b=2&a=x%26admin%3D1%23&d=e%20f%20g");
        let (mut head, _) = request("GET", "/p?a=1");
        query(&mut head, &[], &["a".to_owned()]).unwrap();
        assert_eq!(head.uri.to_string(), "/p");
    }
}
