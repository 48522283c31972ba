//! The command line.

mod tools;

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::life::client::{self, Code};
use crate::life::heir::{Predecessor, Takeover};
use crate::life::{init, place};
use crate::local::schema;
use crate::local::source::{Input, Refused, Source};
use crate::{boot, fleet, reference, systemd};

/// What a gateway without any configuration serves.
const DEMO: &str = include_str!("demo/default.yaml");

const DEMO_NAME: &str = "embedded demo";

/// Largest data for an expression.
const DATA_BYTES_MAX: u64 = 16 << 20;

/// Exit code of a refused configuration.
const REFUSED: u8 = 1;
/// As of the parser of flags.
const WRONG_FLAGS: u8 = 2;

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
    /// Replace the running gateway by a new process, without a lost connection.
    ///
    /// Exit code 0: the successor has taken over (without --wait: was started); 3: refused, such as for a program that
    /// cannot be started or a gateway that is shutting down; 4: the successor did not become ready and the gateway
    /// serves on; 5: no gateway there; 6: another upgrade is under way; 7: it is another user's; 1: anything else.
    Upgrade {
        #[command(flatten)]
        whom: Whom,
        /// Wait until the successor serves, or has failed.
        #[arg(long)]
        wait: bool,
        /// The program to start, an absolute path. Default: the one the gateway was started from.
        #[arg(long)]
        binary: Option<PathBuf>,
    },
    /// Show the running gateway, the predecessors that still drain, and what each carries. Exit codes as `upgrade`.
    Status {
        #[command(flatten)]
        whom: Whom,
        #[arg(long)]
        json: bool,
    },
    /// Serve a configuration to other gateways, or ask about it.
    Xds {
        #[command(subcommand)]
        command: Xds,
    },
    /// Ask an MCP server, or be a small one.
    ///
    /// Exit code 1: the server cannot be reached or refuses, or the tool failed.
    Mcp {
        #[command(subcommand)]
        command: Mcp,
    },
    /// Be a provider of language models without a model, to try things with.
    ///
    /// Speaks OpenAI's, Anthropic's and Gemini's dialects, streamed or not. Exit code 1: the address cannot be bound; 2: the
    /// script is no script.
    MockLlm {
        /// Where it listens.
        #[arg(long, default_value = "127.0.0.1:8080")]
        address: std::net::SocketAddr,
        /// JSON that says how models answer, fail and wait, or a file with it.
        #[arg(long)]
        script: Option<String>,
    },
    /// Evaluate a CEL expression.
    ///
    /// Exit code 1: the expression is wrong, or fails on the data.
    Cel {
        /// The expression, such as 'request.path.startsWith("/a")'.
        expression: String,
        /// What it sees: JSON such as {"request": {"method": "GET"}, "jwt": {"sub": "alice"}}. `-` reads standard input.
        #[arg(long)]
        data: Option<PathBuf>,
    },
    /// Print the JSON schema of the configuration.
    Schema,
    /// Print the reference manual of the configuration, in Markdown.
    #[command(hide = true)]
    Reference,
}

#[derive(Subcommand)]
enum Mcp {
    /// List tools, prompts and resources, one a line.
    Ls {
        #[command(flatten)]
        server: Server,
        /// Instead say how many bytes and tokens (about) the definitions of tools are, by what their names begin with.
        #[arg(long)]
        tokens: bool,
    },
    /// Approve the tools of a server, or of all servers of a configuration: write their definitions into a file for
    /// `mcpPinning`, and say what is new (+), changed (~), gone (-) and suspicious (!).
    ///
    /// Exit code 0: written, or nothing has changed; 1: a server cannot be asked, and the file is as it was; 2: wrong
    /// flags; 3: with --check, something has changed.
    Pin(Pin),
    /// Call a tool and print its result.
    Call {
        #[command(flatten)]
        server: Server,
        tool: String,
        /// JSON, such as '{"city": "Berlin"}'.
        #[arg(default_value = "{}")]
        arguments: String,
    },
    /// Print everything the server says of itself, as JSON.
    Inspect(Server),
    /// Be a small server on standard input and output, to try things with.
    Demo,
}

#[derive(clap::Args)]
struct Pin {
    /// One server, such as http://localhost:8080/mcp.
    #[arg(required_unless_present = "file", conflicts_with = "file", requires = "target")]
    url: Option<String>,
    /// The name of its target.
    #[arg(long)]
    target: Option<String>,
    /// A header of each request to it, `name: value`.
    #[arg(short = 'H', long = "header", requires = "url")]
    headers: Vec<String>,
    /// A configuration file, of which all servers are asked.
    #[arg(short = 'f', long = "file")]
    file: Option<PathBuf>,
    /// The file of approvals.
    #[arg(short = 'o', long = "approvals", default_value = "pins.json")]
    approvals: PathBuf,
    /// Write nothing; exit with 3 where something has changed.
    #[arg(long)]
    check: bool,
}

/// Which MCP server is asked.
#[derive(clap::Args)]
struct Server {
    /// Where it speaks Streamable HTTP, such as http://localhost:3000/mcp.
    url: String,
    /// A header of each request, `name: value`.
    #[arg(short = 'H', long = "header")]
    headers: Vec<String>,
}

#[derive(Subcommand)]
enum Xds {
    /// Be a small control plane: watch a configuration file and serve it to gateways by delta xDS.
    ///
    /// Exit code 0: ended as told; 1: the configuration is refused or an address cannot be bound; 2: wrong flags, or
    /// such as would serve keys to strangers.
    Serve(fleet::Flags),
}

#[derive(clap::Args, Clone, Default)]
struct Run {
    /// Configuration file, YAML or JSON; watched. `-` reads standard input once.
    #[arg(short = 'f', long = "file", conflicts_with = "config")]
    file: Option<PathBuf>,
    /// Configuration as text, or a file's path.
    #[arg(short = 'c', long = "config")]
    config: Option<String>,
    /// Take over from the process that serves, through its control socket.
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "control")]
    takeover: Option<Takeover>,
    /// Stay above the gateway and its successors: forward signals, reap, and end with the last one. So it is always
    /// as PID 1.
    #[arg(long)]
    supervise: bool,
}

/// Which gateway is meant.
#[derive(clap::Args)]
struct Whom {
    /// Its configuration file.
    #[arg(short = 'f', long = "file", conflicts_with = "socket")]
    file: Option<PathBuf>,
    /// Its control socket.
    #[arg(long)]
    socket: Option<PathBuf>,
}

impl Whom {
    /// Where its control socket may be.
    fn places(self) -> Vec<PathBuf> {
        let Self { file, socket } = self;
        let input = file.map_or_else(|| Input::Text { name: String::new(), text: DEMO.to_owned() }, Input::File);
        // A file that is refused at the moment still names the gateway by where it is.
        let named = || {
            let statics = Source::open(input.clone(), |name| std::env::var(name).ok()).ok()?.0.statics().clone();
            statics.handoff.clone()
        };
        place::candidates(socket.or_else(named), &input)
    }
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
        Some(Command::Upgrade { whom, wait, binary }) => answered(client::upgrade(&whom.places(), binary, wait)),
        Some(Command::Status { whom, json }) => answered(client::status(&whom.places(), json)),
        Some(Command::Xds { command: Xds::Serve(flags) }) => control(flags),
        Some(Command::Mcp { command }) => tools::mcp(command),
        Some(Command::MockLlm { address, script }) => tools::mock_llm(address, script),
        Some(Command::Cel { expression, data }) => cel(&expression, data),
        Some(Command::Schema) => say(schema::text().trim_end()),
        Some(Command::Reference) => say(reference::text().trim_end()),
        Some(Command::Validate { run, strict }) => validate(&run, strict),
        Some(Command::Run(run)) => serve(&run),
        None if validate_only => validate(&run, false),
        None => serve(&run),
    }
}

fn answered((code, text): client::Answer) -> ExitCode {
    match code {
        Code::Done => say(&text),
        code => {
            tell(&text);
            ExitCode::from(code as u8)
        }
    }
}

fn serve(run: &Run) -> ExitCode {
    if init::is_needed(run.supervise) {
        return init::stand().unwrap_or_else(|error| fail(&format!("cannot supervise: {error:#}")));
    }
    if run.takeover == Some(Takeover::Stdin)
        && let Some(code) = systemd::adoption::stand_between()
    {
        return code;
    }
    let inherited = match run.takeover {
        Some(Takeover::Stdin) => match Predecessor::at_stdin() {
            Ok(inherited) => Some(inherited),
            Err(fault) => return fail(&format!("cannot take over: {fault}")),
        },
        Some(Takeover::Control) | None => None,
    };
    let given = inherited.as_ref().and_then(|(_, left)| left.states.iter().find(|it| it.name == boot::Text::NAME));
    let input = match input(run, given.map(|it| it.bytes.as_slice())) {
        Ok(Some(input)) => input,
        Ok(None) if inherited.is_some() => Input::Text { name: DEMO_NAME.to_owned(), text: DEMO.to_owned() },
        Ok(None) => demo(),
        Err(reason) => return fail(&reason),
    };
    match boot::run(input, run.takeover, inherited) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{error:#}")),
    }
}

fn control(flags: fleet::Flags) -> ExitCode {
    match fleet::run(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<fleet::Refusal>() => {
            tell(&format!("{error}"));
            ExitCode::from(WRONG_FLAGS)
        }
        Err(error) => fail(&format!("{error:#}")),
    }
}

fn cel(expression: &str, data: Option<PathBuf>) -> ExitCode {
    let text = data.map(|path| match path.as_os_str() == "-" {
        true => std::io::read_to_string(std::io::stdin().take(DATA_BYTES_MAX)),
        false => std::fs::File::open(&path).and_then(|file| std::io::read_to_string(file.take(DATA_BYTES_MAX))),
    });
    let data = match text.transpose() {
        Ok(text) => text.map(|text| serde_json::from_str(&text)).transpose(),
        Err(error) => return fail(&format!("the data cannot be read: {error}")),
    };
    match data
        .map_err(|error| format!("the data is not JSON: {error}"))
        .and_then(|it| crate::cel::evaluate(expression, it))
    {
        Ok(result) => say(&serde_json::to_string_pretty(&result).unwrap_or_default()),
        Err(reason) => fail(&reason),
    }
}

fn validate(run: &Run, strict: bool) -> ExitCode {
    let input = match input(run, None) {
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

/// The configuration that the flags name; `None` where they name none. A successor is `given` by its predecessor what
/// that read from standard input.
fn input(run: &Run, given: Option<&[u8]>) -> Result<Option<Input>, String> {
    if let Some(file) = &run.file {
        if file.as_os_str() == "-" {
            let mut text = String::new();
            match given {
                Some(given) => text = String::from_utf8_lossy(given).into_owned(),
                None => drop(std::io::stdin().read_to_string(&mut text).map_err(|it| format!("standard input: {it}"))?),
            }
            return Ok(Some(Input::Text { name: Input::STDIN.to_owned(), text }));
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
    Input::Text { name: DEMO_NAME.to_owned(), text: DEMO.to_owned() }
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
