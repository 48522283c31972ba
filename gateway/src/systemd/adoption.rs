//! A successor that is to be the manager's own child.
//!
//! systemd takes any process of the unit as its main process. But of one that is not its child it neither sees the
//! end, so that a crash goes unnoticed while a predecessor drains, nor waits for it, so that a stop kills it at once
//! instead of letting it drain. So the process that the predecessor starts only stands between: it starts the
//! successor proper, reports its end as its own, and leaves when the successor serves. The kernel then gives the
//! orphan to the manager, and only then does it say that it is the main process.
//!
//! ```text
//! predecessor ── between ── successor        starting: each end is seen by the one before
//! manager ─────────────────── successor      serving
//! ```

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::ExitCode;
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Names to the successor the process in between.
const BETWEEN: &str = "AGENTGATEWAY_BETWEEN";

/// Where the program lies that runs, even when the file has been replaced since.
const SELF: &str = "/proc/self/exe";

/// For the process in between to leave.
const FAREWELL: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(1);

/// Exit code when the successor was ended by a signal: this and its number, as shells have it.
const SIGNALLED: i32 = 128;

/// Stands between a predecessor and a successor, to be called before anything else is begun. `None` for the
/// successor itself and where no manager listens: that process is to go on.
pub fn stand_between() -> Option<ExitCode> {
    std::env::var_os("NOTIFY_SOCKET").filter(|it| !it.is_empty())?;
    if between().is_some() {
        // Until it serves it ends with the process in between: nobody else would see it.
        let bound = Bond::tie().is_ok_and(|it| BOND.set(it).is_ok());
        return (!bound || between().is_none()).then_some(ExitCode::FAILURE);
    }
    match stand() {
        Ok(code) => Some(code),
        Err(error) => {
            tracing::warn!(%error, "the successor will not be the service manager's child");
            None
        }
    }
}

/// Says farewell to the process in between; this one is the manager's child afterwards.
pub async fn leave() {
    let Some(parent) = between() else { return };
    let gone = async {
        if let Some(bond) = BOND.get() {
            bond.untie().await;
        }
        rustix::process::kill_process(parent, Signal::USR1)?;
        while between().is_some() {
            tokio::time::sleep(LOOK).await;
        }
        Ok::<(), rustix::io::Errno>(())
    };
    match tokio::time::timeout(FAREWELL, gone).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "not the service manager's child"),
        Err(_) => tracing::warn!("not the service manager's child: the process in between stays"),
    }
}

/// Ends this process with its parent, until untied. The kernel keeps the wish with the thread that uttered it, so
/// that thread does nothing else.
struct Bond {
    untie: mpsc::Sender<()>,
    untied: watch::Receiver<bool>,
}

static BOND: OnceLock<Bond> = OnceLock::new();

impl Bond {
    fn tie() -> std::io::Result<Self> {
        let (untie, asked) = mpsc::channel();
        let (tied, is_tied) = mpsc::sync_channel(1);
        let (done, untied) = watch::channel(false);
        std::thread::Builder::new().name("bond".to_owned()).spawn(move || {
            let wish = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
            if tied.send(wish.is_ok()).is_ok() && asked.recv().is_ok() {
                // Nothing can be wrong with taking back what was granted.
                let _ = rustix::process::set_parent_process_death_signal(None);
                done.send_replace(true);
            }
        })?;
        match is_tied.recv() {
            Ok(true) => Ok(Self { untie, untied }),
            _ => Err(std::io::ErrorKind::Unsupported.into()),
        }
    }

    async fn untie(&self) {
        if self.untie.send(()).is_ok() {
            // The thread ends only after it has said so.
            let _ = self.untied.clone().wait_for(|it| *it).await;
        }
    }
}

/// The parent, if it is the process in between.
fn between() -> Option<Pid> {
    let named: i32 = std::env::var(BETWEEN).ok()?.parse().ok()?;
    rustix::process::getppid().filter(|it| it.as_raw_nonzero().get() == named)
}

fn stand() -> std::io::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut served = signal(SignalKind::user_defined1())?;
        let mut arguments = std::env::args_os();
        let mut command = std::process::Command::new(SELF);
        command.env(BETWEEN, std::process::id().to_string());
        command.arg0(arguments.next().unwrap_or_default()).args(arguments);
        let mut child = tokio::process::Command::from(command).spawn()?;
        tokio::select! {
            _ = served.recv() => Ok(ExitCode::SUCCESS),
            status = child.wait() => {
                let status = status?;
                let code = status.code().or_else(|| Some(SIGNALLED + status.signal()?)).unwrap_or(SIGNALLED);
                Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
            }
        }
    })
}
