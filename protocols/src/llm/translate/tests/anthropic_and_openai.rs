use super::*;

const OPENAI: Wire = Wire::Completions;
const ANTHROPIC: Wire = Wire::Messages;

#[test]
fn a_conversation_with_everything_becomes_messages() {
    let body = json!({
        "model": "asked", "max_completion_tokens": 500, "temperature": 0.5, "stop": ["a\n", "b"], "user": "u",
        "n": 2, "logit_bias": {"1": 2}, "presence_penalty": 0, "seed": 3, "made_up\u{e9}": {"x": 1},
        "parallel_tool_calls": false, "tool_choice": "required",
        "tools": [{"type": "function", "function": {"name": "look", "description": "d", "parameters": {"type": "object"}, "strict": true}},
            {"type": "custom", "custom": {"name": "c"}}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}, "strict": true}},
        "messages": [
            {"role": "system", "content": "be \"kind\""},
            {"role": "developer", "content": [{"type": "text", "text": "and brief", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]},
            {"role": "user", "content": [
                {"type": "text", "text": "see \u{1f600}"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA/A"}},
                {"type": "image_url", "image_url": {"url": "https://x.example/i.png", "detail": "auto"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,BB", "filename": "f.pdf"}},
                {"type": "input_audio", "input_audio": {"data": "CC", "format": "wav"}}]},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{\"a\": \"\\n\"}"}},
                {"id": "c2", "type": "function", "function": {"name": "look", "arguments": ""}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "one"},
            {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "two"}]},
            {"role": "user", "content": "go on"}]});
    let (got, dropped) = translated(wanted(OPENAI, ANTHROPIC), &body);
    let want = json!({
        "model": "m", "max_tokens": 500, "temperature": 0.5, "stop_sequences": ["a\n", "b"], "metadata": {"user_id": "u"},
        "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
        "tools": [{"name": "look", "description": "d", "input_schema": {"type": "object"}, "strict": true}],
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
        "system": [{"type": "text", "text": "be \"kind\""},
            {"type": "text", "text": "and brief", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "see \u{1f600}"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA/A"}},
                {"type": "image", "source": {"type": "url", "url": "https://x.example/i.png"}},
                {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "BB"}, "title": "f.pdf"}]},
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "c1", "name": "look", "input": {"a": "\n"}},
                {"type": "tool_use", "id": "c2", "name": "look", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "one"},
                {"type": "tool_result", "tool_use_id": "c2", "content": "two"},
                {"type": "text", "text": "go on"}]}]});
    assert_eq!(got, want);
    assert_eq!(dropped, ["tools.custom", "messages.audio", "seed", "n", "logit_bias", "made_up"]);
}

#[test]
fn messages_with_everything_become_a_conversation() {
    let body = json!({
        "model": "asked", "max_tokens": 500, "temperature": 1, "top_k": 4, "stop_sequences": ["x"], "metadata": {"user_id": "u"},
        "thinking": {"type": "enabled", "budget_tokens": 3000}, "container": "c",
        "system": [{"type": "text", "text": "be kind", "cache_control": {"type": "ephemeral"}}],
        "tools": [{"name": "look", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}},
            {"type": "web_search_20250305", "name": "web_search"}],
        "tool_choice": {"type": "tool", "name": "look", "disable_parallel_tool_use": true},
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
        "messages": [
            {"role": "user", "content": [
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                {"type": "image", "source": {"type": "url", "url": "https://x.example/i.png"}},
                {"type": "document", "title": "t", "source": {"type": "base64", "media_type": "application/pdf", "data": "BB"}},
                {"type": "text", "text": "see"}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "text", "text": "I look"},
                {"type": "tool_use", "id": "c1", "name": "look", "input": {"a": "\"\n"}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c1", "is_error": true, "content": [
                    {"type": "text", "text": "no"}, {"type": "image", "source": {"type": "base64", "media_type": "image/gif", "data": "CC"}}]},
                {"type": "text", "text": "go on"}]}]});
    let (got, dropped) = translated(wanted(ANTHROPIC, OPENAI), &body);
    let want = json!({
        "model": "m", "max_tokens": 500, "temperature": 1, "stop": ["x"], "user": "u", "reasoning_effort": "medium",
        "response_format": {"type": "json_schema", "json_schema": {"name": "structured_output", "schema": {"type": "object"}}},
        "tools": [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}],
        "tool_choice": {"type": "function", "function": {"name": "look"}}, "parallel_tool_calls": false,
        "messages": [
            {"role": "system", "content": "be kind"},
            {"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "image_url", "image_url": {"url": "https://x.example/i.png"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,BB", "filename": "t"}},
                {"type": "text", "text": "see"}]},
            {"role": "assistant", "content": "I look", "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{\"a\":\"\\\"\\n\"}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "no"},
            {"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "data:image/gif;base64,CC"}},
                {"type": "text", "text": "go on"}]}]});
    assert_eq!(got, want);
    let dropped_want = [
        "tools.web_search_20250305",
        "cache_control",
        "messages.thinking",
        "tool_result.is_error",
        "top_k",
        "container",
    ];
    assert_eq!(dropped, dropped_want);
}

#[test]
fn models_of_openai_that_mark_caches_are_told_where() {
    let body = json!({"messages": [{"role": "user", "content": [
        {"type": "text", "text": "long", "cache_control": {"type": "ephemeral"}}]}], "max_tokens": 9});
    let (got, dropped) = translated(Wanted { model: "gpt-5.6-mini", ..wanted(ANTHROPIC, OPENAI) }, &body);
    let part = json!({"type": "text", "text": "long", "prompt_cache_breakpoint": {"mode": "explicit"}});
    assert_eq!((&got["messages"][0]["content"][0], &got["max_completion_tokens"]), (&part, &json!(9)));
    assert!(dropped.is_empty());
}

#[test]
fn thinking_is_asked_for_as_the_model_takes_it() {
    let ask = |model: &'static str, mut body: Value| {
        body["messages"].as_array_mut().unwrap().push(json!({"role": "user", "content": "x"}));
        translated(Wanted { model, ..wanted(OPENAI, ANTHROPIC) }, &body)
    };
    let (got, dropped) =
        ask("claude-sonnet-4-5", json!({"messages": [], "reasoning_effort": "high", "temperature": 0.2}));
    assert_eq!((&got["thinking"]["budget_tokens"], &got["max_tokens"]), (&json!(4096), &json!(8192)));
    assert_eq!((got.get("temperature"), dropped.as_slice()), (None, &["temperature".to_owned()][..]));
    let (got, _) = ask("claude-opus-5", json!({"messages": [], "reasoning_effort": "xhigh"}));
    assert_eq!((&got["thinking"]["type"], &got["output_config"]["effort"]), (&json!("adaptive"), &json!("xhigh")));
    let small = json!({"messages": [], "reasoning_effort": "high", "max_tokens": 100});
    let (got, dropped) = ask("claude-sonnet-4-5", small);
    assert_eq!((got.get("thinking"), dropped.as_slice()), (None, &["reasoning_effort".to_owned()][..]));
    for (model, want, lost) in [
        ("claude-sonnet-4-5", json!([0.2, null]), "top_p"),
        ("claude-opus-4-7", json!([null, null]), "temperature"),
        ("claude-3-5-haiku", json!([0.2, 0.9]), ""),
    ] {
        let (got, dropped) = ask(model, json!({"messages": [], "temperature": 0.2, "top_p": 0.9}));
        assert_eq!(json!([got["temperature"], got["top_p"]]), want, "{model}");
        assert_eq!(dropped.first().map_or("", |it| it), lost, "{model}");
    }
    // A thought that the client does not send back cannot go on.
    let calls = json!([{"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c", "content": "x"}]);
    let (got, dropped) = ask("claude-opus-5", json!({"messages": calls, "reasoning_effort": "low"}));
    assert_eq!((got.get("thinking"), dropped.as_slice()), (None, &["reasoning_effort".to_owned()][..]));
}

#[test]
fn what_a_model_refuses_is_not_sent_and_named() {
    let user = json!([{"role": "user", "content": "x"}]);
    let body = json!({"messages": user, "response_format": {"type": "json_object"}});
    let (got, dropped) = translated(wanted(OPENAI, ANTHROPIC), &body);
    assert_eq!((got.get("output_config"), dropped.as_slice()), (None, &["response_format".to_owned()][..]));
    let body = json!({"messages": user, "max_tokens": 5, "thinking": {"type": "adaptive"}});
    let (got, dropped) = translated(Wanted { model: "gpt-4o", ..wanted(ANTHROPIC, OPENAI) }, &body);
    assert_eq!((got.get("reasoning_effort"), dropped.as_slice()), (None, &["thinking".to_owned()][..]));
    let (got, dropped) = translated(Wanted { model: "gpt-5", ..wanted(ANTHROPIC, OPENAI) }, &body);
    assert_eq!((&got["reasoning_effort"], dropped.len()), (&json!("high"), 0));
}

fn message() -> Value {
    json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "tool_use", "stop_sequence": null,
        "content": [{"type": "thinking", "thinking": "hm", "signature": "sig"}, {"type": "text", "text": "a \"b\""},
            {"type": "tool_use", "id": "t1", "name": "look", "input": {"q": [1, "\n"]}}],
        "usage": {"input_tokens": 10, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 2, "output_tokens": 7}})
}

fn completion() -> Value {
    json!({"id": "msg_1", "object": "chat.completion", "created": 7, "model": "claude",
        "choices": [{"index": 0, "logprobs": null, "finish_reason": "tool_calls", "message": {
            "role": "assistant", "content": "a \"b\"", "refusal": null, "reasoning_content": "hm",
            "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "sig"}],
            "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "look", "arguments": "{\"q\":[1,\"\\n\"]}"}}]}}],
        "usage": {"prompt_tokens": 17, "completion_tokens": 7, "total_tokens": 24,
            "prompt_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 2},
            "completion_tokens_details": {"reasoning_tokens": 0}}})
}

#[test]
fn answers_are_said_in_either_dialect() {
    assert_eq!(answered(OPENAI, ANTHROPIC, &message()), completion());
    let mut want = message();
    // A thought is read back where it is said plainly, and its signature is the other side's.
    want["content"][0]["signature"] = json!("");
    want["usage"]["output_tokens_details"] = json!({"thinking_tokens": 0});
    assert_eq!(answered(ANTHROPIC, OPENAI, &completion()), want);
}

#[test]
fn what_a_client_sends_back_is_what_it_was_given() {
    let said = answered(OPENAI, ANTHROPIC, &message())["choices"][0]["message"].clone();
    let body = json!({"messages": [{"role": "user", "content": "x"}, said]});
    let (got, dropped) = translated(wanted(OPENAI, ANTHROPIC), &body);
    assert_eq!(got["messages"][1]["content"], message()["content"]);
    assert!(dropped.is_empty(), "{dropped:?}");
}

#[test]
fn an_answer_of_anthropic_streams_to_a_client_of_openai() {
    let usage =
        json!({"input_tokens": 10, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 0, "output_tokens": 1});
    let events = [
        json!({"type": "message_start", "message": {"id": "msg_1", "model": "claude", "content": [], "usage": usage}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "sig"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "ping"}),
        json!({"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "a \u{1f600}"}}),
        json!({"type": "content_block_stop", "index": 1}),
        json!({"type": "content_block_start", "index": 2, "content_block": {"type": "tool_use", "id": "t1", "name": "look", "input": {}}}),
        json!({"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": ""}}),
        json!({"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": "{\"q\":"}}),
        json!({"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": "1}"}}),
        json!({"type": "content_block_stop", "index": 2}),
        json!({"type": "content_block_start", "index": 3, "content_block": {"type": "tool_use", "id": "t2", "name": "look", "input": {}}}),
        json!({"type": "content_block_stop", "index": 3}),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null}, "usage": {"output_tokens": 9}}),
        json!({"type": "message_stop"}),
    ];
    let got = streamed(OPENAI, ANTHROPIC, &sse(&events));
    let delta = |delta: Value, finish: Value| {
        json!({"id": "msg_1", "object": "chat.completion.chunk", "created": 7, "model": "claude", "usage": null,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    };
    let call = |call: Value| delta(json!({"tool_calls": [call]}), Value::Null);
    let begun = |index: u64, id: &str| {
        call(json!({"index": index, "id": id, "type": "function", "function": {"name": "look", "arguments": ""}}))
    };
    let more = |index: u64, text: &str| call(json!({"index": index, "function": {"arguments": text}}));
    let block = json!({"type": "thinking", "thinking": "hm", "signature": "sig"});
    let want = [
        delta(json!({"role": "assistant", "content": ""}), Value::Null),
        delta(json!({"reasoning_content": "hm"}), Value::Null),
        delta(json!({"thinking_blocks": [block]}), Value::Null),
        delta(json!({"content": "a \u{1f600}"}), Value::Null),
        begun(0, "t1"),
        more(0, "{\"q\":"),
        more(0, "1}"),
        begun(1, "t2"),
        more(1, "{}"),
        delta(json!({}), json!("tool_calls")),
        json!({"id": "msg_1", "object": "chat.completion.chunk", "created": 7, "model": "claude", "choices": [],
            "usage": {"prompt_tokens": 15, "completion_tokens": 9, "total_tokens": 24,
                "prompt_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0}}}),
        json!("[DONE]"),
    ];
    assert_eq!(got, want);
}

#[test]
fn an_answer_of_openai_streams_to_a_client_of_anthropic() {
    let chunk = |delta: Value, finish: Value| {
        json!({"id": "c", "object": "chat.completion.chunk", "model": "gpt", "usage": null,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    };
    let call = |index: u64, rest: Value| {
        let mut call = json!({"index": index});
        call.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        chunk(json!({"tool_calls": [call]}), Value::Null)
    };
    let mut sent = sse(&[
        chunk(json!({"role": "assistant", "content": ""}), Value::Null),
        chunk(json!({"reasoning_content": "hm", "reasoning": "hm"}), Value::Null),
        chunk(json!({"content": "a"}), Value::Null),
        chunk(json!({"content": "b"}), Value::Null),
        call(0, json!({"id": "t1", "type": "function", "function": {"name": "look", "arguments": ""}})),
        call(0, json!({"function": {"arguments": "{}"}})),
        call(1, json!({"id": "t2", "type": "function", "function": {"name": "see", "arguments": "{\"x\":1}"}})),
        chunk(json!({}), json!("tool_calls")),
        json!({"id": "c", "choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}}),
    ]);
    sent.extend_from_slice(b"data: [DONE]\n\n");
    let got = streamed(ANTHROPIC, OPENAI, &sent);
    let kinds: Vec<_> =
        got.iter().map(|it| it["type"].as_str().unwrap().trim_start_matches("content_block_")).collect();
    let block = |deltas: usize| ["start"].into_iter().chain(vec!["delta"; deltas]).chain(["stop"]);
    let blocks = block(1).chain(block(2)).chain(block(1)).chain(block(1));
    let want: Vec<_> = ["message_start"].into_iter().chain(blocks).chain(["message_delta", "message_stop"]).collect();
    assert_eq!(kinds, want);
    assert_eq!(got[0]["message"]["id"], "c");
    let texts = |key: &str| got.iter().filter_map(|it| it["delta"][key].as_str()).collect::<Vec<_>>().concat();
    assert_eq!(
        (texts("thinking"), texts("text"), texts("partial_json")),
        ("hm".into(), "ab".into(), "{}{\"x\":1}".into())
    );
    let end = &got[got.len() - 2];
    let usage =
        json!({"input_tokens": 8, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 0, "output_tokens": 5});
    assert_eq!((&end["delta"]["stop_reason"], &end["usage"]), (&json!("tool_use"), &usage));
}

#[test]
fn what_goes_wrong_is_said_in_the_clients_dialect() {
    let overloaded = json!({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}).to_string();
    let (body, _) = error(&terms(OPENAI, ANTHROPIC, false), 529, overloaded.as_bytes());
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&body["error"]["message"], &body["error"]["code"]), (&json!("busy"), &json!("overloaded_error")));
    let limited = json!({"error": {"message": "slow", "type": "x", "code": "rate_limit_exceeded"}}).to_string();
    let (body, _) = error(&terms(ANTHROPIC, OPENAI, false), 429, limited.as_bytes());
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&body["type"], &body["error"]["type"]), (&json!("error"), &json!("rate_limit_error")));
    let (body, _) = error(&terms(ANTHROPIC, OPENAI, false), 502, b"<html>");
    assert!(body.contains("<html>"));
    // With a status that says that all is well.
    let fault = answer(&terms(OPENAI, ANTHROPIC, false), overloaded.as_bytes()).unwrap_err();
    assert!(matches!(fault, AnswerFault::Error { status: 503, .. }), "{fault:?}");
    for wrong in ["", "{\"a\":", "[]", "{}", "12", "\u{0}"] {
        assert!(answer(&terms(OPENAI, ANTHROPIC, false), wrong.as_bytes()).is_err(), "{wrong}");
    }
}

#[test]
fn streams_that_break_off_end_in_an_error() {
    let begun = json!({"type": "message_start", "message": {"id": "m", "model": "c"}});
    for rest in [
        "",
        "data: {\"type\":",
        "data: {\"type\":\n\n",
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"busy\"}}\n\ndata: {}\n\n",
    ] {
        let sent = [&sse(std::slice::from_ref(&begun)), rest.as_bytes()].concat();
        let got = streamed(OPENAI, ANTHROPIC, &sent);
        assert_eq!(got.len(), 2, "{rest}: {got:?}");
        assert!(got[1]["error"]["message"].is_string(), "{rest}: {got:?}");
    }
    let got = streamed(ANTHROPIC, OPENAI, b"data: \xff\xfe\n\n");
    assert_eq!(got.last().unwrap()["type"], "error");
    // The reason was said, and only the last word is missing.
    let done = json!({"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]});
    assert_eq!(streamed(ANTHROPIC, OPENAI, &sse(&[done])).last().unwrap()["type"], "message_stop");
}

#[test]
fn an_endless_event_is_given_up() {
    let mut stream = Stream::new(terms(OPENAI, ANTHROPIC, true));
    let mut out = Vec::new();
    for _ in 0..20 {
        stream.push(&vec![b'x'; 1 << 20], &mut out);
    }
    stream.finish(&mut out);
    assert!(String::from_utf8(out).unwrap().contains("larger than"));
    assert!(stream.has_failed());
}

#[test]
fn what_is_no_conversation_is_refused() {
    for body in
        ["[]", "{}", "{\"messages\":{}}", "{\"messages\":[{}]}", "{\"messages\":[{\"role\":\"x\",\"content\":\"\"}]}"]
    {
        assert!(check(OPENAI, body.as_bytes()).is_err(), "{body}");
        assert!(check(ANTHROPIC, body.as_bytes()).is_err(), "{body}");
    }
}
