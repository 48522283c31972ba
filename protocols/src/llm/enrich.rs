//! Messages that a gateway adds to those of a request, in the shape that each dialect has for them: spliced in, so that
//! all else stays the client's bytes.
//!
//! What is for the system goes where the dialect has it: into the list of messages (OpenAI), or into a member of its
//! own. A text of the client's stays a text and gets more of it where that is possible.

use super::edit::Edits;
use super::request::Request;
use super::route::Operation;
use crate::json::{Kind, Raw, quoted};

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    System,
    Developer,
    User,
    Assistant,
}

/// A message that is added.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub role: Role,
    pub text: &'a str,
}

/// Between a text of the client's and one that is added.
const GAP: &str = "\\n\\n";

/// Adds messages before and behind those of a request. Requests that are no conversation get none.
pub fn enrich(
    operation: Operation,
    request: &Request<'_>,
    before: &[Message<'_>],
    behind: &[Message<'_>],
    edits: &mut Edits,
) {
    let enriching = Enriching { request, before, behind };
    match operation {
        Operation::Completions => enriching.list(edits, "messages", false, &plain),
        Operation::Responses => enriching.input(edits),
        Operation::Messages | Operation::CountTokens => {
            enriching.list(edits, "messages", true, &plain);
            enriching.system(edits, "system", &|text| format!(r#"{{"type":"text","text":{}}}"#, quoted(text)));
        }
        Operation::Converse => {
            enriching.list(edits, "messages", true, &parts("content"));
            enriching.system(edits, "system", &|text| format!(r#"{{"text":{}}}"#, quoted(text)));
        }
        Operation::GenerateContent => {
            enriching.list(edits, "contents", true, &gemini);
            enriching.instruction(edits);
        }
        _ => {}
    }
}

struct Enriching<'a> {
    request: &'a Request<'a>,
    before: &'a [Message<'a>],
    behind: &'a [Message<'a>],
}

type Written<'w> = dyn Fn(&Message<'_>) -> String + 'w;

fn plain(it: &Message<'_>) -> String {
    let role = match it.role {
        Role::System => "system",
        Role::Developer => "developer",
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    format!(r#"{{"role":"{role}","content":{}}}"#, quoted(it.text))
}

fn parts(member: &'static str) -> impl Fn(&Message<'_>) -> String {
    move |it| {
        let role = if it.role == Role::Assistant { "assistant" } else { "user" };
        format!(r#"{{"role":"{role}","{member}":[{{"text":{}}}]}}"#, quoted(it.text))
    }
}

fn gemini(it: &Message<'_>) -> String {
    let role = if it.role == Role::Assistant { "model" } else { "user" };
    format!(r#"{{"role":"{role}","parts":[{{"text":{}}}]}}"#, quoted(it.text))
}

impl Role {
    fn is_system(self) -> bool {
        matches!(self, Self::System | Self::Developer)
    }
}

impl Enriching<'_> {
    /// Adds to a list of messages; without those for the system where they stand elsewhere.
    fn list(&self, edits: &mut Edits, key: &str, system_apart: bool, written: &Written<'_>) {
        let of = |list: &[Message<'_>]| {
            let said = list.iter().filter(|it| !(system_apart && it.role.is_system()));
            said.map(written).collect::<Vec<_>>().join(",")
        };
        let (before, behind) = (of(self.before), of(self.behind));
        match self.request.given(key) {
            Some(list) if list.kind() == Kind::Array => around(edits, list, &before, &behind),
            // What else it is, the provider shall judge.
            Some(_) => {}
            None => self.missing(edits, key, &before, &behind),
        }
    }

    fn missing(&self, edits: &mut Edits, key: &str, before: &str, behind: &str) {
        if let Some(all) = joined(before, behind) {
            self.request.set(edits, key, format!("[{all}]"));
        }
    }

    /// `input` of responses may be a text, which is then the message of a user.
    fn input(&self, edits: &mut Edits) {
        let Some(text) = self.request.given("input").filter(|it| it.kind() == Kind::String) else {
            return self.list(edits, "input", false, &plain);
        };
        let of = |list: &[Message<'_>]| list.iter().map(plain).collect::<Vec<_>>().join(",");
        let (before, behind) = (of(self.before), of(self.behind));
        let comma = |it: &str| if it.is_empty() { "" } else { "," };
        let head = format!(r#"[{before}{}{{"role":"user","content":"#, comma(&before));
        edits.insert(text.range().start, head);
        edits.insert(text.range().end, format!("}}{}{behind}]", comma(&behind)));
    }

    /// A member for the system: a text, or a list of blocks.
    fn system(&self, edits: &mut Edits, key: &str, block: &dyn Fn(&str) -> String) {
        let blocks = |list: &[Message<'_>]| said(list).map(block).collect::<Vec<_>>().join(",");
        match self.request.given(key) {
            Some(text) if text.kind() == Kind::String => {
                let of = |list: &[Message<'_>]| said(list).map(inside).collect::<Vec<_>>().join(GAP);
                let (before, behind) = (of(self.before), of(self.behind));
                if !before.is_empty() {
                    edits.insert(text.range().start + 1, format!("{before}{GAP}"));
                }
                if !behind.is_empty() {
                    edits.insert(text.range().end - 1, format!("{GAP}{behind}"));
                }
            }
            Some(list) if list.kind() == Kind::Array => around(edits, list, &blocks(self.before), &blocks(self.behind)),
            Some(_) => {}
            None => self.missing(edits, key, &blocks(self.before), &blocks(self.behind)),
        }
    }

    /// Gemini's, in either of its spellings.
    fn instruction(&self, edits: &mut Edits) {
        let part = |text: &str| format!(r#"{{"text":{}}}"#, quoted(text));
        let of = |list: &[Message<'_>]| said(list).map(part).collect::<Vec<_>>().join(",");
        let (before, behind) = (of(self.before), of(self.behind));
        let held = ["systemInstruction", "system_instruction"].into_iter().find_map(|it| self.request.given(it));
        match held {
            Some(held) => {
                if let Some(list) = held.get("parts").filter(|it| it.kind() == Kind::Array) {
                    around(edits, list, &before, &behind);
                }
            }
            None => {
                if let Some(all) = joined(&before, &behind) {
                    self.request.set(edits, "systemInstruction", format!(r#"{{"parts":[{all}]}}"#));
                }
            }
        }
    }
}

/// Texts for the system.
fn said<'a>(list: &'a [Message<'a>]) -> impl Iterator<Item = &'a str> {
    list.iter().filter(|it| it.role.is_system()).map(|it| it.text)
}

/// A text as it stands between quotes.
fn inside(text: &str) -> String {
    let quoted = quoted(text);
    quoted.get(1..quoted.len() - 1).unwrap_or_default().to_owned()
}

/// Items in one list; nothing where there are none.
fn joined(before: &str, behind: &str) -> Option<String> {
    let all: Vec<_> = [before, behind].into_iter().filter(|it| !it.is_empty()).collect();
    (!all.is_empty()).then(|| all.join(","))
}

/// Items before and behind those of a list.
fn around(edits: &mut Edits, list: Raw<'_>, before: &str, behind: &str) {
    let (start, end) = (list.range().start + 1, list.range().end - 1);
    if list.elements().next().is_none() {
        if let Some(all) = joined(before, behind) {
            edits.insert(start, all);
        }
        return;
    }
    if !before.is_empty() {
        edits.insert(start, format!("{before},"));
    }
    if !behind.is_empty() {
        edits.insert(end, format!(",{behind}"));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::llm::scan;

    #[track_caller]
    fn check(operation: Operation, body: &str, want: &str) {
        let message = |role, text| Message { role, text };
        let before = [message(Role::System, "be \"brief\""), message(Role::User, "u")];
        let behind = [message(Role::Assistant, "a"), message(Role::Developer, "d")];
        let mut edits = Edits::default();
        enrich(operation, &scan(operation, body.as_bytes()).unwrap(), &before, &behind, &mut edits);
        let got = edits.apply(&Bytes::copy_from_slice(body.as_bytes())).concat();
        let got = String::from_utf8(got).unwrap();
        serde_json::from_str::<serde_json::Value>(&got).unwrap();
        assert_eq!(got, want);
    }

    const SYSTEM: &str = r#"{"role":"system","content":"be \"brief\""}"#;
    const USER: &str = r#"{"role":"user","content":"u"}"#;
    const ASSISTANT: &str = r#"{"role":"assistant","content":"a"}"#;
    const DEVELOPER: &str = r#"{"role":"developer","content":"d"}"#;

    #[test]
    fn openai_has_all_in_one_list() {
        let (before, behind) = (format!("{SYSTEM},{USER}"), format!("{ASSISTANT},{DEVELOPER}"));
        for (body, want) in [
            (r#"{"x":1.0, "messages" : [ {"y":2}, 3 ] }"#, r#"{"x":1.0, "messages" : [BEFORE, {"y":2}, 3 ,BEHIND] }"#),
            (r#"{"messages":[ ]}"#, r#"{"messages":[BEFORE,BEHIND ]}"#),
            (r#"{}"#, r#"{"messages":[BEFORE,BEHIND]}"#),
            (r#"{"messages":"odd"}"#, r#"{"messages":"odd"}"#),
        ] {
            let want = want.replace("BEFORE", &before).replace("BEHIND", &behind);
            check(Operation::Completions, body, &want);
        }
        for (body, want) in [
            (r#"{"input":"h\u0069"}"#, r#"{"input":[BEFORE,{"role":"user","content":"h\u0069"},BEHIND]}"#),
            (r#"{"input":[{"z":1}]}"#, r#"{"input":[BEFORE,{"z":1},BEHIND]}"#),
        ] {
            let want = want.replace("BEFORE", &before).replace("BEHIND", &behind);
            check(Operation::Responses, body, &want);
        }
    }

    #[test]
    fn others_have_a_place_for_the_system() {
        let messages = format!(r#""messages":[{USER},1,{ASSISTANT}]"#);
        for (held, want) in [
            (r#""system": "so""#, r#""system": "be \"brief\"\n\nso\n\nd""#),
            (
                r#""system":[{"k":1}]"#,
                r#""system":[{"type":"text","text":"be \"brief\""},{"k":1},{"type":"text","text":"d"}]"#,
            ),
        ] {
            let (body, want) = (format!(r#"{{{held},"messages":[1]}}"#), format!("{{{want},{messages}}}"));
            check(Operation::Messages, &body, &want);
            check(Operation::CountTokens, &body, &want);
        }
        let blocks = r#""system":[{"type":"text","text":"be \"brief\""},{"type":"text","text":"d"}]"#;
        check(Operation::Messages, r#"{"messages":[1]}"#, &format!("{{{messages},{blocks}}}"));
        check(
            Operation::Converse,
            r#"{"system":[{"text":"s"}],"messages":[1]}"#,
            r#"{"system":[{"text":"be \"brief\""},{"text":"s"},{"text":"d"}],"messages":[{"role":"user","content":[{"text":"u"}]},1,{"role":"assistant","content":[{"text":"a"}]}]}"#,
        );
        let contents =
            r#""contents":[{"role":"user","parts":[{"text":"u"}]},1,{"role":"model","parts":[{"text":"a"}]}]"#;
        check(
            Operation::GenerateContent,
            r#"{"system_instruction":{"parts":[]},"contents":[1]}"#,
            &format!(r#"{{"system_instruction":{{"parts":[{{"text":"be \"brief\""}},{{"text":"d"}}]}},{contents}}}"#),
        );
        check(
            Operation::GenerateContent,
            r#"{"contents":[1]}"#,
            &format!(r#"{{{contents},"systemInstruction":{{"parts":[{{"text":"be \"brief\""}},{{"text":"d"}}]}}}}"#),
        );
        check(Operation::Embeddings, r#"{"input":"x"}"#, r#"{"input":"x"}"#);
    }
}
