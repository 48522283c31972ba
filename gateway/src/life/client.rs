//! `agentgateway upgrade` and `agentgateway status`: the other end of the control socket.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::generation::{Phase, View};
use crate::listen::handoff::message::{Message, Refusal, Versions};
use crate::listen::handoff::{HandoffFault, Line};

/// For the gateway to answer; it bounds an upgrade itself.
const PATIENCE: Duration = Duration::from_secs(900);

/// Exit codes, as `--help` tells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    Done = 0,
    /// Something of our own: what was asked for cannot be understood or found.
    Fault = 1,
    /// It is not going to be: the program is unsuitable, the process is on its way out.
    Refused = 3,
    /// The successor did not become ready; the predecessor serves.
    Failed = 4,
    /// There is no gateway.
    Absent = 5,
    /// Another upgrade is under way.
    Busy = 6,
    /// The gateway belongs to another user.
    Forbidden = 7,
}

/// What is told, and how the command ends.
pub type Answer = (Code, String);

/// Asks for an upgrade.
pub fn upgrade(places: &[PathBuf], binary: Option<PathBuf>, wait: bool) -> Answer {
    let line = match connect(places) {
        Ok(line) => line,
        Err(answer) => return answer,
    };
    if let Err(fault) = line.say(&Message::Upgrade { versions: Versions::OURS, binary, wait }) {
        return lost(&fault);
    }
    loop {
        match line.receive().map(|it| it.message) {
            Ok(Message::Started { pid }) if !wait => {
                return (
                    Code::Done,
                    format!("started a successor, pid {pid}; `agentgateway status` shows the outcome"),
                );
            }
            Ok(Message::Started { .. } | Message::Unknown) => {}
            Ok(Message::Ended { pid, error: None, seconds }) => {
                return (Code::Done, format!("process {pid} took over after {seconds:.2}s"));
            }
            Ok(Message::Ended { error: Some(error), .. }) => {
                return (Code::Failed, format!("no upgrade, the gateway serves on: {error}"));
            }
            Ok(Message::Refused { why, reason, .. }) => return refused(why, &reason),
            Ok(other) => return (Code::Fault, format!("the gateway answered with `{}`", other.word())),
            Err(fault) => return lost(&fault),
        }
    }
}

/// Asks for the state of things.
pub fn status(places: &[PathBuf], json: bool) -> Answer {
    let line = match connect(places) {
        Ok(line) => line,
        Err(answer) => return answer,
    };
    let asked = line.say(&Message::Status { versions: Versions::OURS }).and_then(|()| line.receive());
    match asked.map(|it| it.message) {
        Ok(Message::Report { view }) if json => (Code::Done, format!("{view:#}")),
        Ok(Message::Report { view }) => (Code::Done, table(&view)),
        Ok(Message::Refused { why, reason, .. }) => refused(why, &reason),
        Ok(other) => (Code::Fault, format!("the gateway answered with `{}`", other.word())),
        Err(fault) => lost(&fault),
    }
}

fn connect(places: &[PathBuf]) -> Result<Line, Answer> {
    let mut first = None;
    for place in places {
        match UnixStream::connect(place) {
            Ok(stream) => return Line::ask(stream, PATIENCE).map_err(|fault| (Code::Forbidden, fault.to_string())),
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                return Err((
                    Code::Forbidden,
                    format!("{}: no permission; ask as its user or as root", place.display()),
                ));
            }
            // What is wrong with the likeliest says most.
            Err(error) => first = first.or(Some(error)),
        }
    }
    let shown: Vec<_> = places.iter().map(|it| Path::display(it).to_string()).collect();
    let reason = first.map(|it| format!(" ({it})")).unwrap_or_default();
    Err((
        Code::Absent,
        format!("no gateway serves {}{reason}; name its file with -f or its socket with --socket", shown.join(" or ")),
    ))
}

fn refused(why: Refusal, reason: &str) -> Answer {
    let code = match why {
        Refusal::Busy => Code::Busy,
        Refusal::Peer => Code::Forbidden,
        Refusal::NotServing | Refusal::Binary | Refusal::Version | Refusal::Other => Code::Refused,
    };
    (code, format!("refused: {reason}"))
}

fn lost(fault: &HandoffFault) -> Answer {
    match fault {
        HandoffFault::Gone => (Code::Failed, "the gateway ended, or hung up, before it said how it went".to_owned()),
        fault => (Code::Fault, fault.to_string()),
    }
}

/// The report for people: a line for each generation, and how the last upgrade went.
fn table(report: &serde_json::Value) -> String {
    let views: Vec<View> =
        report.get("generations").and_then(|it| serde_json::from_value(it.clone()).ok()).unwrap_or_default();
    let mut text = String::from(
        "GENERATION  PID      STATE     VERSION  RSS-MIB  CONNS  HTTP1  HTTP2  SSE  WEBSOCKET  TCP  PASSTHROUGH  REQUESTS  STARTED\n",
    );
    for it in views {
        let state = match it.state {
            Phase::Starting => "starting",
            Phase::Serving => "serving",
            Phase::Draining => "draining",
        };
        let load = &it.carries;
        text += &format!(
            "{:<11} {:<8} {:<9} {:<8} {:<8.1} {:<6} {:<6} {:<6} {:<4} {:<10} {:<4} {:<12} {:<9} {}\n",
            it.generation,
            it.pid,
            state,
            it.version,
            it.rss_bytes as f64 / f64::from(1 << 20),
            load.connections,
            load.http1,
            load.http2,
            load.sse,
            load.websocket,
            load.tcp,
            load.passthrough,
            load.requests,
            it.started,
        );
    }
    let word = |path: &str| report.pointer(path).filter(|it| !it.is_null());
    if let Some(pid) = word("/upgrade/underway/pid") {
        text += &format!("an upgrade is under way, pid {pid}\n");
    }
    if let Some(error) = word("/upgrade/last/error").and_then(|it| it.as_str()) {
        let at = word("/upgrade/last/at").and_then(|it| it.as_str()).unwrap_or_default();
        text += &format!("the last upgrade, at {at}, came to nothing: {error}\n");
    }
    text.trim_end().to_owned()
}
