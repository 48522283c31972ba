//! Servers that are programs: started for a session, spoken to in lines, and gone with the session.
//!
//! A program gets a process group of its own, which ends as a whole: asked by the end of its input, then by SIGTERM,
//! then by SIGKILL. It inherits our environment without what is secret in it, or next to nothing (`clear_env`). What it
//! writes to standard error is in the log. Nothing it does can hold more of us than one message. Whatever still runs when
//! this process ends goes with it ([`end_all`]), however little it cares for the end of its input.

use std::collections::HashSet;
use std::process::Stdio;
use std::sync::{Arc, LazyLock, Weak};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use ir::{McpProcess, Text};
use parking_lot::Mutex;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process_group, prlimit};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, oneshot};

use super::MESSAGE_BYTES_MAX;
use super::duplex::{Line, WAITING_MAX};
use super::fault::Fault;

/// For a program to end by itself, and then after SIGTERM.
const FAREWELL: Duration = Duration::from_secs(2);
/// The same for all of them when this process ends.
const LAST_FAREWELL: Duration = Duration::from_millis(500);
/// Of a line of standard error in the log.
const LOG_BYTES_MAX: u64 = 4096;

/// What is kept of our environment in any case.
const NEEDED: [&str; 9] = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "TMPDIR"];
/// What is no program's business: keys, tokens, and sockets of the service manager.
const SECRET: [&str; 12] = [
    "SESSION_KEY",
    "STATE_KEY",
    "ADMIN_TOKEN",
    "XDS_AUTH_TOKEN",
    "XDS_CLIENT_CERT",
    "XDS_CLIENT_KEY",
    "CREDENTIALS_DIRECTORY",
    "NOTIFY_SOCKET",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "WATCHDOG_USEC",
];

/// Groups of programs that run.
static GROUPS: LazyLock<Mutex<HashSet<Pid>>> = LazyLock::new(Mutex::default);

/// Ends what still runs. Blocks for a moment; for the end of the process.
pub fn end_all() {
    let groups: Vec<Pid> = GROUPS.lock().drain().collect();
    groups.iter().for_each(|it| signal(Some(*it), Signal::TERM));
    let until = Instant::now() + LAST_FAREWELL;
    let runs = |group: &Pid| rustix::process::test_kill_process_group(*group).is_ok();
    while groups.iter().any(runs) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    groups.iter().for_each(|it| signal(Some(*it), Signal::KILL));
}

/// Starts a program. It ends with the line.
pub(super) fn start(target: &Text, process: &McpProcess) -> Result<Arc<Line>, Fault> {
    let mut command = Command::new(&*process.command);
    command.args(process.args.iter().map(|it| &**it));
    if process.clear_env {
        command.env_clear();
        command.envs(NEEDED.iter().filter_map(|name| Some((*name, std::env::var_os(name)?))));
    }
    for name in SECRET {
        command.env_remove(name);
    }
    for (name, value) in &process.env {
        command.env(&**name, String::from_utf8_lossy(value.expose()).as_ref());
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| {
        tracing::warn!(target_name = &**target, command = &*process.command, %error, "an MCP server cannot be started");
        Fault::Broken("the program cannot be started".into())
    })?;
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    GROUPS.lock().extend(group);
    limit(&child, process);
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(Fault::Broken("the program has no pipes".into()));
    };
    let (out, messages) = mpsc::channel(WAITING_MAX);
    let (end, ending) = oneshot::channel::<()>();
    let line = Line::new(out, end);
    tokio::spawn(say(stdin, messages));
    tokio::spawn(hear(stdout, Arc::downgrade(&line)));
    tokio::spawn(complain(stderr, target.clone()));
    tokio::spawn(attend(child, target.clone(), ending, Arc::downgrade(&line)));
    Ok(line)
}

/// Sets what the program, and whatever it starts, may take. It waits for its first message until then.
fn limit(child: &Child, process: &McpProcess) {
    let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    for (resource, most) in [(Resource::Data, process.memory_max), (Resource::Cpu, process.cpu_max)] {
        let (Some(pid), Some(most)) = (pid, most) else { continue };
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        if let Err(error) = prlimit(Some(pid), resource, limit) {
            tracing::warn!(?resource, %error, "an MCP server runs without a limit");
        }
    }
}

/// Writes messages, a line each. Ends, and closes the pipe, with the line.
async fn say(mut stdin: ChildStdin, mut messages: mpsc::Receiver<Bytes>) {
    while let Some(message) = messages.recv().await {
        // Line breaks of JSON stand outside of strings, where a space means the same.
        let mut text: Vec<u8> = message.iter().map(|it| if matches!(it, b'\n' | b'\r') { b' ' } else { *it }).collect();
        text.push(b'\n');
        if stdin.write_all(&text).await.is_err() || stdin.flush().await.is_err() {
            return;
        }
    }
}

async fn hear(stdout: impl AsyncRead + Unpin, line: Weak<Line>) {
    let mut reader = BufReader::new(stdout);
    let mut text = BytesMut::new();
    loop {
        let (used, ends) = match reader.fill_buf().await {
            Ok([]) | Err(_) => break,
            Ok(bytes) => match memchr::memchr(b'\n', bytes) {
                Some(at) => {
                    text.extend_from_slice(bytes.get(..at).unwrap_or_default());
                    (at + 1, true)
                }
                None => {
                    text.extend_from_slice(bytes);
                    (bytes.len(), false)
                }
            },
        };
        reader.consume(used);
        let Some(line) = line.upgrade() else { return };
        if text.len() > MESSAGE_BYTES_MAX {
            break;
        }
        if ends {
            line.said(text.split().freeze()).await;
        }
    }
    if let Some(line) = line.upgrade() {
        line.ended();
    }
}

async fn complain(stderr: impl AsyncRead + Unpin, target: Text) {
    let mut reader = BufReader::new(stderr);
    let mut text = Vec::new();
    loop {
        text.clear();
        match (&mut reader).take(LOG_BYTES_MAX).read_until(b'\n', &mut text).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let said = String::from_utf8_lossy(&text);
                tracing::info!(target_name = &*target, said = said.trim_end(), "an MCP server writes");
            }
        }
    }
}

/// Waits for the program to end, or ends it when the line does.
async fn attend(mut child: Child, target: Text, ending: oneshot::Receiver<()>, line: Weak<Line>) {
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    tokio::select! {
        status = child.wait() => {
            if let Some(line) = line.upgrade() {
                line.ended();
            }
            let status = status.map(|it| it.to_string()).unwrap_or_default();
            tracing::info!(target_name = &*target, status, "an MCP server has ended");
        }
        _ = ending => {
            // Its input has ended with the line.
            if tokio::time::timeout(FAREWELL, child.wait()).await.is_err() {
                signal(group, Signal::TERM);
                let _ = tokio::time::timeout(FAREWELL, child.wait()).await;
            }
        }
    }
    // Whatever it has started goes as well.
    signal(group, Signal::KILL);
    if let Some(group) = group {
        GROUPS.lock().remove(&group);
    }
    let _ = child.wait().await;
}

fn signal(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        // The group may be gone already.
        let _ = kill_process_group(group, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(script: &str) -> McpProcess {
        let args = ["-c", script].map(Text::from).to_vec();
        McpProcess { command: "/bin/sh".into(), args, ..McpProcess::default() }
    }

    #[tokio::test]
    async fn a_program_is_spoken_to_in_lines_and_sees_no_secrets() {
        let script =
            r#"read x; printf '{"jsonrpc":"2.0","id":1,"result":{"got":"%s"}}\n' "${SESSION_KEY:-none}$EXTRA${#x}""#;
        let mut process = process(script);
        process.env.insert("EXTRA".into(), ir::Secret::new(*b"-more-"));
        let line = start(&"t".into(), &process).unwrap();
        let mut events = line.ask("1", Bytes::from_static(b"{\n}")).await.unwrap();
        let answer = events.recv().await.unwrap();
        assert_eq!(&answer.data[..], br#"{"jsonrpc":"2.0","id":1,"result":{"got":"none-more-3"}}"#);
    }

    #[tokio::test]
    async fn a_program_ends_with_its_line_whatever_it_thinks_of_that() {
        let script =
            r#"trap '' TERM; sleep 1000 & printf '{"jsonrpc":"2.0","id":1,"result":%s}\n' $!; wait; sleep 1000"#;
        let line = start(&"t".into(), &process(script)).unwrap();
        let mut events = line.ask("1", Bytes::from_static(b"{}")).await.unwrap();
        let answer = String::from_utf8(events.recv().await.unwrap().data.to_vec()).unwrap();
        let grandchild: i32 = answer.trim_end_matches('}').rsplit_once(':').unwrap().1.parse().unwrap();
        drop((line, events));
        let gone = async {
            let lives = || {
                let stat = std::fs::read_to_string(format!("/proc/{grandchild}/stat")).unwrap_or_default();
                !stat.is_empty() && !stat.contains(") Z")
            };
            while lives() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), gone).await.expect("the whole group ends");
    }

    #[tokio::test]
    async fn a_program_may_take_what_it_is_allowed() {
        let script = r#"read x; printf '{"jsonrpc":"2.0","id":1,"result":"%s-%s"}\n' "$(ulimit -t)" "$(ulimit -d)""#;
        let process = McpProcess { memory_max: Some(256 << 20), cpu_max: Some(7), ..process(script) };
        let line = start(&"t".into(), &process).unwrap();
        let mut events = line.ask("1", Bytes::from_static(b"{}")).await.unwrap();
        let answer = events.recv().await.unwrap();
        assert_eq!(&answer.data[..], br#"{"jsonrpc":"2.0","id":1,"result":"7-262144"}"#);
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_a_fault() {
        let absent = McpProcess { command: "/no/such/program".into(), ..McpProcess::default() };
        assert!(matches!(start(&"t".into(), &absent), Err(Fault::Broken(_))));
        let line = start(&"t".into(), &process("exit 3")).unwrap();
        let events = line.ask("1", Bytes::from_static(b"{}")).await;
        if let Ok(mut events) = events {
            assert!(events.recv().await.is_none(), "it ended without an answer");
        }
    }
}
