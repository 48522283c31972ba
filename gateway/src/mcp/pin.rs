//! `agentgateway mcp pin`: asks servers for their tools, prompts and templates of resources, and writes approvals of them
//! (`mcpPinning`), saying what is new, gone or changed since the last time, and what is suspicious.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use filters::backend_auth::{Outgoing, Payload};
use filters::mcp_pinning::{Approvals, Definitions, Known, PINNED, render};
use filters::{Facts, Policy, Snapshot};
use ir::{BackendKind, BackendRef, McpProcess, McpReach, Target};
use pingora_http::RequestHeader;
use protocols::json::{self, Raw, quoted};
use protocols::mcp::definition::Definition;
use protocols::mcp::{List, Message, Version, answer, screen};

use super::client::Client;
use crate::outside::World;

/// Longest wait for one line of a program.
const LINE_DEADLINE: Duration = Duration::from_secs(60);
/// Pages of one program's list that are asked for.
const PAGES_MAX: usize = 64;

/// Where tools are asked for.
pub enum Place {
    Url(Client),
    Program(McpProcess),
    /// It cannot be asked from here, and why.
    Unreachable(String),
}

/// Servers by the name of their target.
pub type Places = BTreeMap<String, Place>;

/// What comes of it.
pub struct Outcome {
    /// A line for each difference and finding.
    pub report: String,
    pub differs: bool,
}

/// The servers of a configuration.
///
/// # Errors
/// Two backends have targets of one name, or a URL is none.
pub fn places(snapshot: &Snapshot) -> anyhow::Result<Places> {
    let mut places = Places::new();
    for backend in snapshot.backends.values() {
        let BackendKind::Mcp(mcp) = &backend.kind else { continue };
        for target in &mcp.targets {
            let place = match &target.reach {
                McpReach::Http(url) => http(snapshot, &url.backend, &url.path)?,
                McpReach::Sse(_) => Place::Unreachable("a server with a stream beside it: pin it by hand".to_owned()),
                McpReach::OpenApi(_) => Place::Unreachable("an API: pin it by the gateway's URL".to_owned()),
                McpReach::Stdio(process) => Place::Program(process.clone()),
            };
            if places.insert(target.name.to_string(), place).is_some() {
                bail!("two targets are called `{}`: approvals go by that name", target.name);
            }
        }
    }
    Ok(places)
}

fn http(snapshot: &Snapshot, reference: &BackendRef, path: &str) -> anyhow::Result<Place> {
    let BackendRef::Backend(key) = reference else {
        return Ok(Place::Unreachable("a service: pin it by its URL".to_owned()));
    };
    let Some(BackendKind::Host(host)) = snapshot.backends.get(key).map(|it| &it.kind) else {
        return Ok(Place::Unreachable(format!("the backend `{key}` is no host")));
    };
    let (mut tls, mut headers) = (false, Vec::new());
    for attachment in snapshot.policies.values().filter(|it| it.target == Target::Backend(key.clone())) {
        match &attachment.policy {
            Policy::BackendTls(_) => tls = true,
            Policy::BackendAuth(policy) => {
                let mut head = RequestHeader::build("POST", path.as_bytes(), None)?;
                let facts = Facts::new(std::net::Ipv4Addr::LOCALHOST.into(), false, 0);
                let (body, outside) = (Payload::Whole(b""), &World::default());
                let written = policy.on_attempt(Outgoing { head: &mut head, body, facts: &facts, outside });
                written.map_err(|why| anyhow::anyhow!("backendAuth: {why}"))?;
                let line = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
                    Some(format!("{name}: {}", value.to_str().ok()?))
                };
                headers.extend(head.headers.iter().filter_map(line));
            }
            _ => {}
        }
    }
    let scheme = if tls { "https" } else { "http" };
    Ok(Place::Url(Client::new(&format!("{scheme}://{host}{path}"), &headers)?))
}

/// Asks everybody, compares with the file, and writes it unless it is only to be checked.
///
/// # Errors
/// A server cannot be asked, or the file cannot be read or written: then it stays as it is.
pub async fn run(places: Places, file: &Path, check: bool) -> anyhow::Result<Outcome> {
    let before = match std::fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => br#"{"version":1}"#.to_vec(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    let approvals = Approvals::parse(&before).map_err(|why| anyhow!("{}: {why}", file.display()))?;
    let mut all = kept(&before, &places)?;
    let mut report = String::new();
    for (name, place) in places {
        let items = match place {
            Place::Url(client) => client.lists(&PINNED.map(|(list, _)| list)).await,
            Place::Program(process) => tokio::task::spawn_blocking(move || program(&process)).await?,
            Place::Unreachable(why) => Err(anyhow!("{why}")),
        };
        let items = items.with_context(|| format!("target `{name}`"))?;
        for (list, _) in PINNED {
            let held = all.entry(list).or_default().entry(name.clone()).or_default();
            let gone = std::mem::take(held);
            for (_, item) in items.iter().filter(|(of, _)| *of == list) {
                let raw = json::parse(item.as_bytes())?;
                let Some(called) = raw.get(list.identity()).and_then(Raw::as_str) else { continue };
                let definition = Definition::in_list(list, raw);
                let compared = (gone.get(&*called), &definition);
                say(&mut report, (list, &name, &called), &approvals, compared);
                held.insert(called.into_owned(), definition);
            }
            for called in gone.keys().filter(|it| !held.contains_key(*it)) {
                report.push_str(&format!("- {}\n", shown(list, &name, called)));
            }
        }
    }
    let after = render(&all);
    let differs = after.as_bytes() != before;
    if differs && !check {
        write(file, &after).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(Outcome { report, differs })
}

/// What the file holds of everybody else, and of these for comparing.
fn kept(before: &[u8], places: &Places) -> anyhow::Result<Definitions> {
    let whole = json::parse(before)?;
    let mut kept = Definitions::new();
    for (list, key) in PINNED {
        let of_list = kept.entry(list).or_default();
        for (target, items) in whole.get(key).map(Raw::members).into_iter().flatten() {
            let items = items.members().filter_map(|(name, entry)| {
                Some((name.into_owned(), Definition::in_list(list, entry.get("definition")?)))
            });
            of_list.insert(target.into_owned(), items.collect());
        }
        for name in places.keys() {
            of_list.entry(name.clone()).or_default();
        }
    }
    Ok(kept)
}

/// What a line of the report is about.
fn shown(list: List, target: &str, name: &str) -> String {
    let kind = match list {
        List::Tools => "",
        List::Prompts => "prompt ",
        List::Resources => "resource ",
        List::Templates => "template ",
    };
    format!("{target} {kind}{}", name.escape_debug())
}

fn say(
    report: &mut String,
    (list, target, name): (List, &str, &str),
    approvals: &Approvals,
    (before, now): (Option<&Definition>, &Definition),
) {
    let shown = shown(list, target, name);
    match approvals.judge(list, (target, name), now) {
        Known::Approved => {}
        Known::New => report.push_str(&format!("+ {shown}\n")),
        Known::Renamed => report.push_str(&format!("+ {shown}: approved under another name before\n")),
        Known::Changed => {
            let changed = before.map(|it| changed(it, now)).unwrap_or_default();
            report.push_str(&format!("~ {shown}: {}\n", changed.join(", ")));
        }
    }
    let hidden = json::parse(now.text.as_bytes()).ok().and_then(screen::hidden);
    if let Some(character) = hidden {
        let code = u32::from(character);
        report.push_str(&format!("! {shown}: holds U+{code:04X}, which people do not see\n"));
    }
}

/// Members that differ.
fn changed(before: &Definition, now: &Definition) -> Vec<String> {
    let (Ok(before), Ok(now)) = (json::parse(before.text.as_bytes()), json::parse(now.text.as_bytes())) else {
        return Vec::new();
    };
    let mut names: Vec<String> = before.members().chain(now.members()).map(|(name, _)| name.into_owned()).collect();
    names.sort();
    names.dedup();
    names.retain(|it| before.get(it).map(Raw::text) != now.get(it).map(Raw::text));
    names
}

/// In one step, so that a gateway that watches it sees it whole.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let beside = file.with_file_name(name);
    std::fs::write(&beside, text)?;
    std::fs::rename(&beside, file)
}

/// What a program on its standard input and output lists.
fn program(process: &McpProcess) -> anyhow::Result<Vec<(List, String)>> {
    let mut command = Command::new(&*process.command);
    if process.clear_env {
        command.env_clear();
        command.envs(std::env::var_os("PATH").map(|it| ("PATH", it)));
    }
    let env = process.env.iter().map(|(name, value)| (&**name, String::from_utf8_lossy(value.expose()).into_owned()));
    command.args(process.args.iter().map(|it| &**it)).envs(env).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start `{}`", process.command))?;
    let asked = converse(&mut child);
    // It may be gone already.
    let _ = child.kill();
    let _ = child.wait();
    asked
}

fn converse(child: &mut std::process::Child) -> anyhow::Result<Vec<(List, String)>> {
    let mut input = child.stdin.take().context("no standard input")?;
    let output = child.stdout.take().context("no standard output")?;
    let (sender, lines) = mpsc::sync_channel(16);
    // Ends with the program, which is killed.
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    // `None`: it knows no such method.
    let mut ask = |id: &str, method: &str, params: &str| -> anyhow::Result<Option<String>> {
        writeln!(input, "{}", answer::request(id, method, params))?;
        loop {
            let line = lines.recv_timeout(LINE_DEADLINE).context("the program does not answer")?;
            let Ok(message) = Message::parse(line.as_bytes()) else { continue };
            if !message.answers(id) {
                continue;
            }
            return match (message.result, message.error) {
                (Some(result), _) => Ok(Some(result.text().to_owned())),
                (None, Some(error)) if error.get("code").is_some_and(|it| it.text() == "-32601") => Ok(None),
                (None, error) => bail!("it answers with an error: {}", error.map_or("", Raw::text)),
            };
        }
    };
    let opening = format!(
        r#"{{"protocolVersion":"{}","capabilities":{{}},"clientInfo":{{"name":"agentgateway","version":"{}"}}}}"#,
        Version::LEGACY,
        env!("CARGO_PKG_VERSION")
    );
    ask("0", "initialize", &opening)?;
    let mut items = Vec::new();
    for (list, _) in PINNED {
        let mut params = String::new();
        for page in 1..=PAGES_MAX {
            let Some(result) = ask(&page.to_string(), list.method(), &params)? else { break };
            let result = json::parse(result.as_bytes())?;
            items.extend(list.items(result).map(|(_, item)| (list, item.text().to_owned())));
            match result.get("nextCursor").and_then(Raw::as_str) {
                Some(cursor) if !cursor.is_empty() => params = format!(r#"{{"cursor":{}}}"#, quoted(&cursor)),
                _ => break,
            }
        }
    }
    Ok(items)
}
