//! What every dialect can say arrives at every other one, and comes back.

use super::*;

const ALL: [Wire; 5] = [Wire::Completions, Wire::Responses, Wire::Messages, Wire::GenerateContent, Wire::Converse];

/// The same conversation in each dialect.
fn asked(wire: Wire) -> Value {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    match wire {
        Wire::Completions => json!({"model": "m", "max_tokens": 50, "temperature": 0.5, "messages": [
            {"role": "system", "content": "be \"kind\""},
            {"role": "user", "content": [{"type": "text", "text": "look \u{e4}\n"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
            {"role": "assistant", "content": "I look", "tool_calls": [{"id": "c1", "type": "function",
                "function": {"name": "look", "arguments": "{\"city\":\"Bern\"}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "sunny"}],
            "tools": [{"type": "function", "function": {"name": "look", "description": "d", "parameters": schema}}],
            "tool_choice": "required"}),
        Wire::Responses => {
            json!({"model": "m", "max_output_tokens": 50, "temperature": 0.5, "instructions": "be \"kind\"", "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "look \u{e4}\n"},
                {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]},
            {"role": "assistant", "content": [{"type": "output_text", "text": "I look"}]},
            {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{\"city\":\"Bern\"}"},
            {"type": "function_call_output", "call_id": "c1", "output": "sunny"}],
            "tools": [{"type": "function", "name": "look", "description": "d", "parameters": schema, "strict": false}],
            "tool_choice": "required", "store": false})
        }
        Wire::Messages => json!({"model": "m", "max_tokens": 50, "system": "be \"kind\"", "messages": [
            {"role": "user", "content": [{"type": "text", "text": "look \u{e4}\n"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}]},
            {"role": "assistant", "content": [{"type": "text", "text": "I look"},
                {"type": "tool_use", "id": "c1", "name": "look", "input": {"city": "Bern"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "sunny"}]}],
            "temperature": 0.5, "tools": [{"name": "look", "description": "d", "input_schema": schema}],
            "tool_choice": {"type": "any"}}),
        Wire::GenerateContent => json!({"systemInstruction": {"parts": [{"text": "be \"kind\""}]}, "contents": [
            {"role": "user", "parts": [{"text": "look \u{e4}\n"}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]},
            {"role": "model", "parts": [{"text": "I look"}, {"functionCall": {"id": "c1", "name": "look", "args": {"city": "Bern"}}}]},
            {"role": "user", "parts": [{"functionResponse": {"id": "c1", "name": "look", "response": {"output": "sunny"}}}]}],
            "generationConfig": {"temperature": 0.5, "maxOutputTokens": 50},
            "tools": [{"functionDeclarations": [{"name": "look", "description": "d", "parametersJsonSchema": schema}]}],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}),
        Wire::Converse => json!({"system": [{"text": "be \"kind\""}], "messages": [
            {"role": "user", "content": [{"text": "look \u{e4}\n"}, {"image": {"format": "png", "source": {"bytes": "AAAA"}}}]},
            {"role": "assistant", "content": [{"text": "I look"}, {"toolUse": {"toolUseId": "c1", "name": "look", "input": {"city": "Bern"}}}]},
            {"role": "user", "content": [{"toolResult": {"toolUseId": "c1", "content": [{"text": "sunny"}], "status": "success"}}]}],
            "inferenceConfig": {"maxTokens": 50, "temperature": 0.5},
            "toolConfig": {"tools": [{"toolSpec": {"name": "look", "description": "d", "inputSchema": {"json": schema}}}],
                "toolChoice": {"any": {}}}}),
    }
}

#[test]
fn a_request_is_the_same_whichever_way_it_came() {
    for client in ALL {
        for provider in ALL.into_iter().filter(|it| *it != client) {
            let (got, dropped) = translated(wanted(client, provider), &asked(client));
            let mut want = asked(provider);
            if client == Wire::Responses && matches!(provider, Wire::Completions | Wire::Messages) {
                // What is not strict is said there, and is what the others are where nothing is said.
                let strict = got["tools"][0]["function"]["strict"].clone();
                if strict == json!(false) {
                    want["tools"][0]["function"]["strict"] = strict;
                }
            }
            assert_eq!(got, want, "{client:?} to {provider:?}");
            assert!(dropped.is_empty(), "{client:?} to {provider:?}: {dropped:?}");
        }
    }
}

/// An answer with a thought, a text and a call.
fn said(wire: Wire) -> Value {
    match wire {
        Wire::Completions => json!({"id": "x1", "object": "chat.completion", "created": 7, "model": "real",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "a\n", "reasoning_content": "hm",
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{\"city\":\"Bern\"}"}}]},
                "finish_reason": "tool_calls"}],
            "usage": {"prompt_tokens": 20, "completion_tokens": 9, "total_tokens": 29,
                "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 2}}}),
        Wire::Responses => {
            json!({"id": "x1", "object": "response", "model": "real", "status": "completed", "error": null, "output": [
            {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "hm"}]},
            {"type": "message", "id": "m", "role": "assistant", "content": [{"type": "output_text", "text": "a\n"}]},
            {"type": "function_call", "id": "f", "call_id": "c1", "name": "look", "arguments": "{\"city\":\"Bern\"}"}],
            "usage": {"input_tokens": 20, "output_tokens": 9, "input_tokens_details": {"cached_tokens": 4},
                "output_tokens_details": {"reasoning_tokens": 2}}})
        }
        Wire::Messages => json!({"id": "x1", "type": "message", "role": "assistant", "model": "real", "content": [
            {"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "text", "text": "a\n"},
            {"type": "tool_use", "id": "c1", "name": "look", "input": {"city": "Bern"}}],
            "stop_reason": "tool_use", "usage": {"input_tokens": 16, "cache_read_input_tokens": 4, "output_tokens": 9,
                "output_tokens_details": {"thinking_tokens": 2}}}),
        Wire::GenerateContent => {
            json!({"responseId": "x1", "modelVersion": "real", "candidates": [{"finishReason": "STOP", "content": {
            "role": "model", "parts": [{"text": "hm", "thought": true}, {"text": "a\n"},
                {"functionCall": {"id": "c1", "name": "look", "args": {"city": "Bern"}}}]}}],
            "usageMetadata": {"promptTokenCount": 20, "candidatesTokenCount": 7, "thoughtsTokenCount": 2, "cachedContentTokenCount": 4}})
        }
        Wire::Converse => json!({"output": {"message": {"role": "assistant", "content": [
            {"reasoningContent": {"reasoningText": {"text": "hm"}}}, {"text": "a\n"},
            {"toolUse": {"toolUseId": "c1", "name": "look", "input": {"city": "Bern"}}}]}}, "stopReason": "tool_use",
            "usage": {"inputTokens": 16, "outputTokens": 9, "cacheReadInputTokens": 4, "totalTokens": 29}}),
    }
}

/// What a client of this dialect makes of an answer.
fn heard(wire: Wire, it: &Value) -> [Value; 5] {
    let tokens = |input: &str, output: &str| json!([it["usage"][input], it["usage"][output]]);
    let parse = |it: &Value| serde_json::from_str::<Value>(it.as_str().unwrap()).unwrap();
    match wire {
        Wire::Completions => {
            let message = &it["choices"][0]["message"];
            let call = parse(&message["tool_calls"][0]["function"]["arguments"]);
            [
                message["reasoning_content"].clone(),
                message["content"].clone(),
                call,
                it["choices"][0]["finish_reason"].clone(),
                tokens("prompt_tokens", "completion_tokens"),
            ]
        }
        Wire::Responses => {
            let call = parse(&it["output"][2]["arguments"]);
            [
                it["output"][0]["summary"][0]["text"].clone(),
                it["output"][1]["content"][0]["text"].clone(),
                call,
                it["status"].clone(),
                tokens("input_tokens", "output_tokens"),
            ]
        }
        Wire::Messages => {
            let [thought, text, call] = [0, 1, 2].map(|at| it["content"][at].clone());
            [
                thought["thinking"].clone(),
                text["text"].clone(),
                call["input"].clone(),
                it["stop_reason"].clone(),
                tokens("input_tokens", "output_tokens"),
            ]
        }
        Wire::GenerateContent => {
            let [thought, text, call] = [0, 1, 2].map(|at| it["candidates"][0]["content"]["parts"][at].clone());
            let usage = &it["usageMetadata"];
            let thoughts = usage["thoughtsTokenCount"].as_u64().unwrap_or(0);
            let output = usage["candidatesTokenCount"].as_u64().unwrap() + thoughts;
            assert_eq!(thought["thought"], true);
            [
                thought["text"].clone(),
                text["text"].clone(),
                call["functionCall"]["args"].clone(),
                it["candidates"][0]["finishReason"].clone(),
                json!([usage["promptTokenCount"], output]),
            ]
        }
        Wire::Converse => {
            let [thought, text, call] = [0, 1, 2].map(|at| it["output"]["message"]["content"][at].clone());
            [
                thought["reasoningContent"]["reasoningText"]["text"].clone(),
                text["text"].clone(),
                call["toolUse"]["input"].clone(),
                it["stopReason"].clone(),
                tokens("inputTokens", "outputTokens"),
            ]
        }
    }
}

#[test]
fn an_answer_is_the_same_whichever_way_it_went() {
    for client in ALL {
        let (stop, input) = match client {
            Wire::Completions => ("tool_calls", 20),
            Wire::Responses => ("completed", 20),
            Wire::GenerateContent => ("STOP", 20),
            Wire::Messages | Wire::Converse => ("tool_use", 16),
        };
        let want = [json!("hm"), json!("a\n"), json!({"city": "Bern"}), json!(stop), json!([input, 9])];
        for provider in ALL.into_iter().filter(|it| *it != client) {
            let got = answered(client, provider, &said(provider));
            assert_eq!(heard(client, &got), want, "{provider:?} to {client:?}: {got}");
        }
    }
}

/// The bytes that a client of this dialect gets where an answer streams: made from one in a piece.
fn written_as_stream(wire: Wire) -> Vec<u8> {
    let other = if wire == Wire::Messages { Wire::Completions } else { Wire::Messages };
    answer(&terms(wire, other, true), said(other).to_string().as_bytes()).unwrap()
}

/// Deltas of text, of thoughts and of arguments, wherever they stand.
fn collected(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let count = |word: &str| text.matches(word).count();
    format!("hm {} a {} city {}", count("\"hm\"").min(1), count("\"a\\n\"").min(1), count("Bern").min(1))
}

#[test]
fn streams_pass_from_every_dialect_to_every_other_wherever_they_are_cut() {
    for provider in ALL {
        let sent = written_as_stream(provider);
        for client in ALL.into_iter().filter(|it| *it != provider) {
            let read = |cut: usize| {
                let mut stream = Stream::new(terms(client, provider, true));
                let mut out = Vec::new();
                sent.chunks(cut).for_each(|it| stream.push(it, &mut out));
                stream.finish(&mut out);
                assert!(!stream.has_failed(), "{provider:?} to {client:?}: {}", String::from_utf8_lossy(&out));
                out
            };
            let whole = read(sent.len());
            assert_eq!(
                collected(&whole),
                "hm 1 a 1 city 1",
                "{provider:?} to {client:?}: {}",
                String::from_utf8_lossy(&whole)
            );
            for cut in [1, 2, 3, 7, 64] {
                assert_eq!(read(cut), whole, "{provider:?} to {client:?} cut by {cut}");
            }
            // Cut at every border there is: what has come so far is never an answer that is whole.
            for end in 0..sent.len() {
                let mut stream = Stream::new(terms(client, provider, true));
                let mut out = Vec::new();
                stream.push(&sent[..end], &mut out);
                stream.finish(&mut out);
                assert!(stream.has_failed() || out.len() + 400 > whole.len(), "{provider:?} to {client:?} up to {end}");
            }
        }
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(text in "[{}\\[\\]\",:a-z0-9 \\\\]{0,80}|\\PC{0,30}") {
        for client in ALL {
            for provider in ALL {
                let _ = request(text.as_bytes(), &wanted(client, provider));
                let _ = answer(&terms(client, provider, false), text.as_bytes());
                let mut stream = Stream::new(terms(client, provider, true));
                let mut out = Vec::new();
                stream.push(format!("data: {text}\n\n").as_bytes(), &mut out);
                stream.finish(&mut out);
            }
        }
    }

    #[test]
    fn text_arrives_as_it_was_said(text in "\\PC{1,12}|[\"\\\\\n\u{1}\u{e4}\u{1f600}]{1,6}") {
        let body = json!({"messages": [{"role": "user", "content": text}]});
        for provider in [Wire::Messages, Wire::GenerateContent, Wire::Converse, Wire::Responses] {
            let (got, _) = translated(wanted(Wire::Completions, provider), &body);
            let said = match provider {
                Wire::GenerateContent => &got["contents"][0]["parts"][0]["text"],
                Wire::Responses => &got["input"][0]["content"][0]["text"],
                _ => &got["messages"][0]["content"][0]["text"],
            };
            proptest::prop_assert_eq!(said, &json!(text));
        }
    }
}
