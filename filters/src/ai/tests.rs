use protocols::llm::guard::{Find, Part, Stream, judge};
use serde_json::json;

use super::*;
use crate::testing::{lower, refuses};

fn guards(rules: serde_json::Value) -> Guards {
    let config = json!({"promptGuard": {"response": [{"regex": {"rules": rules}}]}});
    lower(config, Config::lower).response
}

#[track_caller]
fn check(builtin: &str, text: &str, want: &str) {
    let body = json!({"choices": [{"message": {"role": "assistant", "content": text}}]}).to_string();
    let judged = judge(body.as_bytes(), false, &guards(json!([{"builtin": builtin}]))).unwrap();
    let got = judged.edits.apply(&body.into()).concat();
    let got: serde_json::Value = serde_json::from_slice(&got).unwrap();
    assert_eq!(got["choices"][0]["message"]["content"], want, "{builtin}");
}

#[test]
fn what_is_personal_is_known_and_what_resembles_it_is_not() {
    check("email", "write to a.b+c@mail.example.com, or a@b", "write to <EMAIL_ADDRESS>, or a@b");
    check("ssn", "123-45-6789 and 000-12-3456 and 123456789", "<SSN> and 000-12-3456 and 123456789");
    check("creditCard", "4111 1111 1111 1111 or 4111111111111112", "<CREDIT_CARD> or 4111111111111112");
    check("phoneNumber", "(555) 123-4567, +1 555-123-4567, 2026-11-26", "<PHONE_NUMBER>, <PHONE_NUMBER>, 2026-11-26");
    check("caSin", "046 454 286 and 046 454 287", "<CA_SIN> and 046 454 287");
}

#[test]
fn texts_are_settled_at_the_end_of_a_word_where_no_rule_goes_on_behind_it() {
    let builtin = guards(json!([{"builtin": "email"}, {"builtin": "phoneNumber"}]));
    for (text, settled) in [("hello wor", 6), ("call 555 ", 5), ("(555) ", 0), ("a\n", 2), ("x@y.", 0)] {
        assert_eq!(builtin.settled(text, 0), settled, "{text}");
    }
    let pattern = guards(json!([{"pattern": "secret"}]));
    assert_eq!(pattern.settled(&"x".repeat(300), 0), 44);
    assert!(builtin.find(Part::ToolInput, "a@b.example").len() == 1, "answers are looked at whole");
}

#[test]
fn texts_of_requests_are_told_apart_by_who_wrote_them() {
    let config = json!({"promptGuard": {"request": [
        {"regex": {"rules": [{"builtin": "email"}]}, "scope": ["toolInput", "toolOutput"]},
        {"regex": {"rules": [{"pattern": "secret"}], "action": "reject"}},
    ]}});
    let guards = lower(config, Config::lower).request;
    let body = json!({"model": "a@b.example", "messages": [
        {"role": "system", "content": "mail a@b.example"},
        {"role": "assistant", "tool_calls": [{"id": "secret", "function": {"name": "f", "arguments": "{\"to\":\"a\\u0040b.example\"}"}}]},
        {"role": "tool", "content": "from a@b.example"},
    ], "metadata": {"note": "secret"}});
    let judged = judge(body.to_string().as_bytes(), true, &guards).unwrap();
    assert_eq!((judged.found.as_slice(), judged.refused), (&[0, 0][..], None));
    let got = judged.edits.apply(&body.to_string().into()).concat();
    let got: serde_json::Value = serde_json::from_slice(&got).unwrap();
    assert_eq!(got["messages"][0], body["messages"][0]);
    let arguments = got["messages"][1]["tool_calls"][0]["function"]["arguments"].as_str().unwrap();
    assert_eq!(arguments, "{\"to\":\"<EMAIL_ADDRESS>\"}", "whatever its escapes");
    assert_eq!(got["messages"][2]["content"], "from <EMAIL_ADDRESS>");
    let refused =
        json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "a secret"}]}]}).to_string();
    assert_eq!(judge(refused.as_bytes(), true, &guards).unwrap().refused, Some(1));
}

#[test]
fn names_come_before_patterns_and_what_makes_no_sense_is_refused() {
    let policy = lower(json!({"modelAliases": {"*": "a", "gpt-*": "b", "gpt-5": "c"}}), Config::lower);
    let names: Vec<_> = policy.aliases.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["gpt-5", "gpt-*", "*"]);
    let guard = |guard: serde_json::Value| json!({"promptGuard": {"response": [guard]}});
    refuses(
        [
            (guard(json!({"regex": {"rules": []}})), "policy.promptGuard.response[0].regex.rules: 1 to 64"),
            (guard(json!({"regex": {"rules": [{"pattern": "("}]}})), "rules[0].pattern: is no regular expression"),
            (guard(json!({"regex": {"rules": [{"pattern": "a*"}]}})), "finds something everywhere"),
            (guard(json!({"regex": {"rules": [{}]}})), "one of the two"),
            (guard(json!({"regex": {"rules": [{"builtin": "ssn"}]}, "scope": ["messages"]})), "scope: is for requests"),
            (json!({"overrides": {"model": "x"}}), "policy.overrides.model: is not set here"),
            (json!({"modelAliases": {"a": "b*"}}), "is not for one model"),
            (json!({"clientGone": {"drain": "0s"}}), "clientGone.drain: write more than 0s"),
            (json!({"firstTokenTimeout": "11m"}), "firstTokenTimeout: write more than 0s, and 10m at most"),
            (json!({"prompts": {"append": [{"role": "user", "content": ""}]}}), "prompts.append: `content` is a text"),
            (json!({"promptGuard": {"holdBack": 1}}), "holdBack: write 16 to 4096"),
        ],
        Config::lower,
    );
}

/// What a client puts together of a stream: what is said, and what a tool is called with.
fn put_together(stream: &[u8]) -> [String; 2] {
    let data = std::str::from_utf8(stream).unwrap().lines().filter_map(|it| it.strip_prefix("data: "));
    let events: Vec<serde_json::Value> = data.map(|it| serde_json::from_str(it).unwrap()).collect();
    let of = |place: &str| events.iter().filter_map(|it| it.pointer(place)?.as_str()).collect();
    [of("/choices/0/delta/content"), of("/choices/0/delta/tool_calls/0/function/arguments")]
}

#[test]
fn what_is_personal_does_not_slip_out_of_a_stream_wherever_it_is_cut() {
    let names = ["email", "phoneNumber", "ssn", "creditCard", "caSin"];
    let guards = guards(names.map(|it| json!({"builtin": it})).into());
    let said = "Mail a.b+c@mail.example.com, call (555) 123-4567 or +1 555-123-4567; 123-45-6789, 046 454 286 \
                and 4111 1111 1111 1111 are \"his\".";
    let masked = "Mail <EMAIL_ADDRESS>, call <PHONE_NUMBER> or <PHONE_NUMBER>; <SSN>, <CA_SIN> \
                  and <CREDIT_CARD> are \"his\".";
    let escaped = |text: &str| json!({ "note": text }).to_string().replace('@', "\\u0040");
    let (called, wanted) = (escaped(said), escaped(masked));
    let event = |delta: serde_json::Value| format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": delta}]}));
    let words = |it: &str| event(json!({ "content": it }));
    let arguments = |it: &str| event(json!({"tool_calls": [{"index": 0, "function": {"arguments": it}}]}));
    let passed = |sent: &str, cut: usize| {
        let (mut stream, mut out) = (Stream::default(), Vec::new());
        sent.as_bytes().chunks(cut).for_each(|it| out.extend_from_slice(&stream.push(it, &guards).unwrap()));
        out.extend_from_slice(&stream.finish(&guards).unwrap());
        put_together(&out)
    };
    for at in 1..said.len() {
        let (first, second) = said.split_at(at);
        assert_eq!(passed(&(words(first) + &words(second)), 4096)[0], masked, "cut at {at}");
    }
    for at in 1..called.len() {
        let (first, second) = called.split_at(at);
        assert_eq!(passed(&(arguments(first) + &arguments(second)), 4096)[1], wanted, "cut at {at}");
    }
    // In pieces of each size, both in turn, and the bytes cut anywhere as well.
    for (size, cut) in (1..20).zip([1, 3, 7, 64, 4096].into_iter().cycle()) {
        let pieces = |text: &str| -> Vec<String> {
            text.as_bytes().chunks(size).map(|it| String::from_utf8(it.to_vec()).unwrap()).collect()
        };
        let (one, other) = (pieces(said), pieces(&called));
        let sent: String = (0..one.len().max(other.len()))
            .flat_map(|at| [one.get(at).map(|it| words(it)), other.get(at).map(|it| arguments(it))])
            .flatten()
            .collect();
        assert_eq!(passed(&sent, cut), [masked.to_owned(), wanted.clone()], "in pieces of {size}");
    }
}
