//! A small MCP server on standard input and output, so that one can try things with nothing installed:
//! `stdio: { cmd: agentgateway, args: [mcp, demo] }`.

use std::io::{BufRead, Write};

use protocols::json::{Raw, quoted};
use protocols::mcp::{Message, Shape, Version, answer};

const TOOLS: &str = concat!(
    r#"{"tools":[{"name":"echo","description":"Says its arguments back.","inputSchema":{"type":"object"}},"#,
    r#"{"name":"add","description":"Adds two numbers.","inputSchema":{"type":"object","properties":"#,
    r#"{"a":{"type":"number"},"b":{"type":"number"}},"required":["a","b"]}}]}"#
);
const RESOURCES: &str = r#"{"resources":[{"uri":"demo://about","name":"about","mimeType":"text/plain"}]}"#;
const ABOUT: &str = "A small server that is part of the gateway.";

/// Answers messages, one a line, until there are no more.
///
/// # Errors
/// Standard input or output cannot be read or written.
pub fn run(input: impl BufRead, mut output: impl Write) -> std::io::Result<()> {
    for line in input.lines() {
        let line = line?;
        if let Some(said) = reply(&line) {
            writeln!(output, "{said}")?;
            output.flush()?;
        }
    }
    Ok(())
}

fn reply(line: &str) -> Option<String> {
    let message = match Message::parse(line.as_bytes()) {
        Ok(message) => message,
        Err(_) if line.trim().is_empty() => return None,
        Err(fault) => return Some(answer::error("", fault.code(), &fault.to_string())),
    };
    if message.shape() != Shape::Request {
        return None;
    }
    let id = message.id.map_or("null", Raw::text);
    let param = |name: &str| message.params.and_then(|it| it.get(name));
    Some(match message.method() {
        "initialize" => {
            let version = Version::negotiate(param("protocolVersion").and_then(Raw::as_str).as_deref());
            let capabilities = r#"{"tools":{},"resources":{}}"#;
            let server = format!(r#"{{"name":"demo","version":"{}"}}"#, env!("CARGO_PKG_VERSION"));
            let result =
                format!(r#"{{"protocolVersion":"{version}","capabilities":{capabilities},"serverInfo":{server}}}"#);
            answer::result(id, &result)
        }
        "ping" => answer::result(id, "{}"),
        "tools/list" => answer::result(id, TOOLS),
        "resources/list" => answer::result(id, RESOURCES),
        "resources/read" if param("uri").and_then(Raw::as_str).as_deref() == Some("demo://about") => {
            answer::result(id, &format!(r#"{{"contents":[{{"uri":"demo://about","text":{}}}]}}"#, quoted(ABOUT)))
        }
        "tools/call" => called(id, &param("name").and_then(Raw::as_str).unwrap_or_default(), param("arguments")),
        method => answer::error(id, answer::METHOD_NOT_FOUND, &format!("method not found: {method}")),
    })
}

fn called(id: &str, tool: &str, arguments: Option<Raw<'_>>) -> String {
    let number = |name: &str| arguments?.get(name)?.text().parse::<f64>().ok();
    let text = match tool {
        "echo" => arguments.map_or("{}", Raw::text).to_owned(),
        "add" => match number("a").zip(number("b")) {
            Some((a, b)) => (a + b).to_string(),
            None => return answer::error(id, answer::INVALID_PARAMS, "`a` and `b` are numbers"),
        },
        _ => return answer::error(id, answer::INVALID_PARAMS, &format!("Unknown tool: {tool}")),
    };
    answer::result(id, &format!(r#"{{"content":[{{"type":"text","text":{}}}]}}"#, quoted(&text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_speaks_lines() {
        let asked = concat!(
            "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-06-18\"}}\n",
            "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n\n",
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"add\",\"arguments\":{\"a\":1.5,\"b\":2}}}\n",
            "nonsense\n",
        );
        let mut out = Vec::new();
        run(asked.as_bytes(), &mut out).unwrap();
        let said = String::from_utf8(out).unwrap();
        let lines: Vec<_> = said.lines().collect();
        assert!(lines[0].contains(r#""protocolVersion":"2025-06-18""#), "{said}");
        assert_eq!(lines[1], r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"3.5"}]}}"#);
        assert!(lines[2].contains("-32700") && lines.len() == 3, "{said}");
    }
}
