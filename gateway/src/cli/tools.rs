//! Commands that need no gateway: clients of MCP servers, the demo server, the mock provider.

use std::process::ExitCode;

use super::{Mcp, Pin, REFUSED, WRONG_FLAGS, fail, say, tell};
use crate::llm::mock::{self as llm, script::Script};
use crate::local::source::{Input, Refused, Source};
use crate::mcp::client::{Client, Wish};
use crate::mcp::{demo, pin};

/// Exit code of `mcp pin --check` where something has changed.
const DIFFERS: u8 = 3;

pub(super) fn mcp(command: Mcp) -> ExitCode {
    let (server, wish) = match command {
        Mcp::Demo => {
            return match demo::run(std::io::stdin().lock(), std::io::stdout().lock()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(&format!("{error}")),
            };
        }
        Mcp::Pin(it) => return pin_tools(it),
        Mcp::Ls { server, tokens: false } => (server, Wish::List),
        Mcp::Ls { server, tokens: true } => (server, Wish::Weigh),
        Mcp::Inspect(server) => (server, Wish::Inspect),
        Mcp::Call { server, tool, arguments } => (server, Wish::Call { tool, arguments }),
    };
    let client = match Client::new(&server.url, &server.headers) {
        Ok(client) => client,
        Err(error) => {
            tell(&format!("{error:#}"));
            return ExitCode::from(WRONG_FLAGS);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let asked = runtime.map_err(Into::into).and_then(|it| it.block_on(client.run(&wish)));
    match asked {
        Ok((text, failed)) => {
            let said = say(text.trim_end());
            if failed { ExitCode::from(REFUSED) } else { said }
        }
        Err(error) => fail(&format!("{error:#}")),
    }
}

pub(super) fn mock_llm(address: std::net::SocketAddr, script: Option<String>) -> ExitCode {
    let text = match script {
        Some(text) if text.trim_start().starts_with('{') => Ok(text),
        Some(path) => std::fs::read_to_string(&path).map_err(|error| format!("`{path}` cannot be read: {error}")),
        None => Ok("{}".to_owned()),
    };
    let script = match text.and_then(|it| Script::parse(&it)) {
        Ok(script) => script,
        Err(reason) => {
            tell(&reason);
            return ExitCode::from(WRONG_FLAGS);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let told = |address| {
        // Who closed standard output does not want to know.
        let _ = say(&format!("mock-llm listens on http://{address}"));
    };
    match runtime.and_then(|it| it.block_on(llm::serve(address, script, told))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{address}: {error}")),
    }
}

fn pin_tools(it: Pin) -> ExitCode {
    let Pin { url, target, headers, file, approvals, check } = it;
    let places = match (url, target, file) {
        (Some(url), Some(target), _) => {
            Client::new(&url, &headers).map(|it| pin::Places::from([(target, pin::Place::Url(it))]))
        }
        (_, _, Some(file)) => {
            let input = Input::File(file);
            let refused = |it: Refused| {
                let lines: Vec<String> = it.problems.iter().map(ToString::to_string).collect();
                anyhow::anyhow!("the configuration is refused:\n{}", lines.join("\n"))
            };
            let loaded = Source::open(input, |name| std::env::var(name).ok()).map_err(refused);
            let loaded = loaded.and_then(|(mut source, _)| source.load().map_err(refused));
            loaded.and_then(|it| pin::places(&filters::Snapshot::default().with(&it.patch)))
        }
        _ => return ExitCode::from(WRONG_FLAGS),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(Into::into).and_then(|it| it.block_on(pin::run(places?, &approvals, check)));
    match done {
        Ok(pin::Outcome { report, differs }) => {
            let said = if report.is_empty() { "nothing has changed".to_owned() } else { report };
            let said = say(said.trim_end());
            if check && differs { ExitCode::from(DIFFERS) } else { said }
        }
        Err(error) => fail(&format!("{error:#}")),
    }
}
