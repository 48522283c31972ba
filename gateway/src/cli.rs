//! The command line.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::local::schema;
use crate::local::source::{Input, Refused, Source};
use crate::{boot, reference};

/// What a gateway without any configuration serves.
const DEMO: &str = include_str!("demo/default.yaml");

/// Exit code of a refused configuration.
const REFUSED: u8 = 1;

/// A programmable proxy for agents: HTTP, gRPC, WebSocket, SSE, TLS and TCP.
#[derive(Parser)]
#[command(name = "agentgateway", disable_version_flag = true, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
    /// Check the configuration and exit.
    #[arg(long)]
    validate_only: bool,
    /// Print the version.
    #[arg(short = 'V')]
    short_version: bool,
    /// Print version and build as JSON.
    #[arg(long)]
    version: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Serve (the default).
    Run(Run),
    /// Check a configuration: prints every problem with file, line and column.
    Validate {
        #[command(flatten)]
        run: Run,
        /// Also fail on warnings, such as references that lead nowhere.
        #[arg(long)]
        strict: bool,
    },
    /// Print the JSON schema of the configuration.
    Schema,
    /// Print the reference manual of the configuration, in Markdown.
    #[command(hide = true)]
    Reference,
}

#[derive(clap::Args, Clone, Default)]
struct Run {
    /// Configuration file, YAML or JSON; watched. `-` reads standard input once.
    #[arg(short = 'f', long = "file", conflicts_with = "config")]
    file: Option<PathBuf>,
    /// Configuration as text, or a file's path.
    #[arg(short = 'c', long = "config")]
    config: Option<String>,
    /// Take the listening sockets over from the process that serves.
    #[arg(long, hide = true)]
    takeover: bool,
}

/// Runs the program.
pub fn main() -> ExitCode {
    let Arguments { command, run, validate_only, short_version, version } = Arguments::parse();
    if short_version {
        return say(env!("CARGO_PKG_VERSION"));
    }
    if version {
        return say(&build_info().to_string());
    }
    match command {
        Some(Command::Schema) => say(schema::text().trim_end()),
        Some(Command::Reference) => say(reference::text().trim_end()),
        Some(Command::Validate { run, strict }) => validate(&run, strict),
        Some(Command::Run(run)) => serve(&run),
        None if validate_only => validate(&run, false),
        None => serve(&run),
    }
}

fn serve(run: &Run) -> ExitCode {
    let input = match input(run) {
        Ok(Some(input)) => input,
        Ok(None) => demo(),
        Err(reason) => return fail(&reason),
    };
    match boot::run(input, run.takeover) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{error:#}")),
    }
}

fn validate(run: &Run, strict: bool) -> ExitCode {
    let input = match input(run) {
        Ok(Some(input)) => input,
        Ok(None) => return fail("nothing to validate: name a file with -f"),
        Err(reason) => return fail(&reason),
    };
    let refused = |refused: Refused| {
        let lines: Vec<String> = refused.problems.iter().map(ToString::to_string).collect();
        fail(&lines.join("\n"))
    };
    let (mut source, mut warnings) = match Source::open(input, |name| std::env::var(name).ok()) {
        Ok(opened) => opened,
        Err(problems) => return refused(problems),
    };
    match source.load() {
        Err(problems) => refused(problems),
        Ok(loaded) => {
            warnings.extend(loaded.warnings);
            for warning in &warnings {
                tell(&format!("warning: {warning}"));
            }
            if strict && !warnings.is_empty() {
                return ExitCode::from(REFUSED);
            }
            say("Configuration is valid!")
        }
    }
}

/// The configuration that the flags name; `None` where they name none.
fn input(run: &Run) -> Result<Option<Input>, String> {
    if let Some(file) = &run.file {
        if file.as_os_str() == "-" {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(|error| format!("standard input: {error}"))?;
            return Ok(Some(Input::Text { name: "stdin".to_owned(), text }));
        }
        return Ok(Some(Input::File(file.clone())));
    }
    let Some(config) = &run.config else { return Ok(None) };
    // A document has a colon followed by space or line end, or a brace; a path has neither.
    let is_text = config.is_empty() || config.ends_with(':') || ["\n", "{", ": "].iter().any(|it| config.contains(it));
    if !is_text && std::path::Path::new(config).is_file() {
        return Ok(Some(Input::File(PathBuf::from(config))));
    }
    if !is_text {
        return Err(format!("-c `{config}` is neither a configuration nor a file that exists"));
    }
    Ok(Some(Input::Text { name: "command line".to_owned(), text: config.clone() }))
}

/// The embedded default, and what to try with it.
fn demo() -> Input {
    tell(
        "agentgateway: no configuration given, serving the embedded demo on http://127.0.0.1:3000\n\
         \n\
         try:\n\
         \x20 curl http://127.0.0.1:3000/hello            the request, said back\n\
         \x20 curl -N http://127.0.0.1:3000/events        a stream of server-sent events\n\
         \x20 curl http://127.0.0.1:15000/config/status   what is in force (admin)\n\
         \x20 curl http://127.0.0.1:15020/metrics         Prometheus metrics\n\
         next:\n\
         \x20 agentgateway -f config.yaml                 your own; edits take effect at once\n\
         \x20 agentgateway schema > schema.json           completion in editors\n",
    );
    Input::Text { name: "embedded demo".to_owned(), text: DEMO.to_owned() }
}

fn build_info() -> serde_json::Value {
    serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "git_revision": option_env!("GIT_REVISION").unwrap_or("unknown"),
        "rust_version": env!("CARGO_PKG_RUST_VERSION"),
        "build_profile": if cfg!(debug_assertions) { "debug" } else { "release" },
        "build_target": format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
    })
}

fn say(text: &str) -> ExitCode {
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn tell(text: &str) {
    // Nobody is left to hear of a closed standard error.
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn fail(text: &str) -> ExitCode {
    tell(text);
    ExitCode::from(REFUSED)
}
