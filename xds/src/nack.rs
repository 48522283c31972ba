//! How a refusal is written: a JSON array, `[{"key": "route/a", "error": "…"}]`, bounded.

use serde::{Deserialize, Serialize};

use crate::pb::google::rpc::Status;

/// Most resources named in one refusal; the rest is counted.
const NAMED_MAX: usize = 100;
/// Longest reason sent.
const REASON_BYTES_MAX: usize = 1024;
/// `INVALID_ARGUMENT` of gRPC.
const CODE: i32 = 3;

/// A resource that was not taken, and why. The reason holds no secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Name of the resource; empty where the response itself is no good.
    #[serde(rename = "key")]
    pub name: String,
    #[serde(rename = "error")]
    pub reason: String,
}

impl Refusal {
    pub fn new(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { name: name.into(), reason: reason.into() }
    }
}

/// `None` where nothing was refused.
pub(crate) fn encode(refusals: &[Refusal]) -> Option<Status> {
    if refusals.is_empty() {
        return None;
    }
    let short = |it: &Refusal| Refusal::new(cut(&it.name), cut(&it.reason));
    let mut named: Vec<_> = refusals.iter().take(NAMED_MAX).map(short).collect();
    let rest = refusals.len() - named.len();
    if rest > 0 {
        named.push(Refusal::new("", format!("and {rest} more")));
    }
    let message = serde_json::to_string(&named).expect("two texts are JSON");
    Some(Status { code: CODE, message })
}

/// What a client refused; one of another make may write plain text.
pub(crate) fn decode(it: &Status) -> Vec<Refusal> {
    let mut refusals: Vec<Refusal> =
        serde_json::from_str(&it.message).unwrap_or_else(|_| vec![Refusal::new("", it.message.as_str())]);
    refusals.truncate(NAMED_MAX + 1);
    for it in &mut refusals {
        it.name = cut(&it.name).to_owned();
        it.reason = cut(&it.reason).to_owned();
    }
    refusals
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(REASON_BYTES_MAX)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_read_as_they_are_written_and_bounded() {
        let some = vec![Refusal::new("route/a", "é \"x\""), Refusal::new("bind/b", "y")];
        assert_eq!(decode(&encode(&some).unwrap()), some);
        assert_eq!(encode(&[]), None);
        let many = vec![Refusal::new("route/a", "é".repeat(9999)); 9999];
        let status = encode(&many).unwrap();
        assert!(status.message.len() < NAMED_MAX * (REASON_BYTES_MAX + 100), "{}", status.message.len());
        assert_eq!(decode(&status).last().unwrap().reason, "and 9899 more");
        let plain = Status { code: CODE, message: "no".to_owned() };
        assert_eq!(decode(&plain), [Refusal::new("", "no")]);
    }
}
