//! Tokens that are had step by step: those of Google's clouds and of Azure.

use std::process::Stdio;
use std::time::Duration;

use filters::backend_auth::{Step, Way, bearer};
use http::HeaderValue;

use super::Egress;
use crate::clock::wall;

/// Steps to one token.
const STEPS_MAX: usize = 6;
/// Largest file that holds a credential or a token, and most that a program may say.
const BYTES_MAX: usize = 64 << 10;

/// A token by this way, and how long it is good for.
pub(in crate::upstream) async fn token(
    egress: Egress,
    mut way: impl Way,
) -> Result<(HeaderValue, Option<Duration>), String> {
    let mut step = way.begin(wall())?;
    for _ in 0..STEPS_MAX {
        let (status, came) = match step {
            Step::Done(token, life) => return Ok((bearer(&token)?, Some(life))),
            Step::Read(path) => (200, read(&path).await?.into()),
            Step::Run(command) => (200, run(&command).await?.into()),
            Step::Ask(errand) => egress.errand(&errand).await.map_err(|fault| fault.to_string())?,
        };
        step = way.go_on(status, &came, wall())?;
    }
    Err("it takes too many steps".to_owned())
}

async fn read(path: &str) -> Result<Vec<u8>, String> {
    let why = |error: std::io::Error| format!("{path}: {error}");
    let length = tokio::fs::metadata(path).await.map_err(why)?.len();
    if length > BYTES_MAX as u64 {
        return Err(format!("{path}: more than {BYTES_MAX} bytes"));
    }
    tokio::fs::read(path).await.map_err(why)
}

/// What a program writes. It ends with whoever waits for it.
async fn run(command: &[String]) -> Result<Vec<u8>, String> {
    let [program, arguments @ ..] = command else { return Err("no program".to_owned()) };
    let run = tokio::process::Command::new(program).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = run.await.map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() && output.stdout.len() <= BYTES_MAX {
        true => Ok(output.stdout),
        // What it said may hold anything.
        false => Err(format!("{program} ended with {}", output.status)),
    }
}
