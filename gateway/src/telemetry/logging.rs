//! The process's own log: `tracing` on standard error, levels that can be changed while it runs.
//!
//! Records of the `log` crate (Pingora's) arrive here too. Pingora reports each failed request and
//! each stale pooled connection at `error`; the access log already tells the first and the second
//! is no failure, so Pingora is quiet unless a directive names its targets.
//!
//! The writer never blocks: a full queue drops records.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::Mutex;
use tracing::{Level, Subscriber};
use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};
use tracing_log::{AsLog, LogTracer};
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, reload};

use crate::statics::{LogFormat, Statics};

/// What is always said of Pingora, before the operator's directives.
const QUIET: &str = "pingora_core=warn,pingora_core::connectors=off,pingora_proxy=off";
const DEFAULT: &str = "info";
/// Longest text of directives accepted.
const DIRECTIVES_BYTES_MAX: usize = 4096;
/// Records waiting for standard error; further ones are dropped.
const QUEUE_MAX: usize = 16_384;

/// How much the access log says: target `request`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verbosity {
    Off,
    Info,
    /// Connection ids as well.
    Debug,
}

/// Kept apart from the subscriber: asked once per request. 0, 1, 2 as in [`Verbosity`].
static ACCESS_LOG: AtomicU8 = AtomicU8::new(1);

pub(super) fn access_log_verbosity() -> Verbosity {
    match ACCESS_LOG.load(Ordering::Relaxed) {
        0 => Verbosity::Off,
        1 => Verbosity::Info,
        _ => Verbosity::Debug,
    }
}

/// Changes levels while the process runs. Dropping the last one flushes the log.
#[derive(Clone)]
pub struct LogControl {
    shared: Arc<Shared>,
}

struct Shared {
    /// Of the configuration: what a reset returns to.
    initial: String,
    current: Mutex<Vec<String>>,
    apply: Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>,
}

/// Installs the process's log. Call once, first thing. A filter in the configuration that cannot
/// be read is an error. Lines still on their way are written when the guard is dropped: let it be the last.
pub fn init(statics: &Statics) -> Result<(LogControl, WorkerGuard), String> {
    let (writer, guard) = tracing_appender::non_blocking::NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(QUEUE_MAX)
        .thread_name("log")
        .finish(std::io::stderr());
    let initial = match statics.log_filter.trim() {
        "" => DEFAULT,
        filter => filter,
    };
    let directives = merged(&[DEFAULT.to_owned()], initial)?;
    let (filter, handle) = reload::Layer::new(build(&directives)?);
    let subscriber = tracing_subscriber::registry().with(filter).with(output(statics.log_format, writer));
    tracing::subscriber::set_global_default(subscriber).map_err(|error| error.to_string())?;
    LogTracer::init().map_err(|error| error.to_string())?;
    let apply = move |filter| {
        handle.reload(filter).map_err(|error| error.to_string())?;
        observe();
        Ok(())
    };
    observe();
    let shared = Shared { initial: initial.to_owned(), current: Mutex::new(directives), apply: Box::new(apply) };
    Ok((LogControl { shared: Arc::new(shared) }, guard))
}

fn output<S>(format: LogFormat, writer: NonBlocking) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> tracing_subscriber::registry::LookupSpan<'span>,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false);
    match format {
        LogFormat::Text => Box::new(layer),
        LogFormat::Json => Box::new(layer.json().flatten_event(true)),
    }
}

impl LogControl {
    /// Changes levels: `debug` for all, `module=debug` for one, several with commas. Directives not
    /// named stay. On error nothing changes.
    pub fn set(&self, text: &str) -> Result<(), String> {
        let mut current = self.shared.current.lock();
        let directives = merged(&current, text)?;
        (self.shared.apply)(build(&directives)?)?;
        *current = directives;
        Ok(())
    }

    /// Returns to the levels of the configuration.
    pub fn reset(&self) -> Result<(), String> {
        *self.shared.current.lock() = vec![DEFAULT.to_owned()];
        self.set(&self.shared.initial)
    }

    /// The directives in force, without the built-in ones for Pingora.
    pub fn current(&self) -> String {
        self.shared.current.lock().join(",")
    }

    /// A control that changes nothing but itself, for tests of its users.
    #[cfg(test)]
    pub(crate) fn detached() -> Self {
        let shared = Shared {
            initial: DEFAULT.to_owned(),
            current: Mutex::new(vec![DEFAULT.to_owned()]),
            apply: Box::new(|_| Ok(())),
        };
        Self { shared: Arc::new(shared) }
    }
}

/// Follows a change of the filter where it is remembered outside the subscriber.
fn observe() {
    log::set_max_level(LevelFilter::current().as_log());
    let verbosity =
        match (tracing::enabled!(target: "request", Level::DEBUG), tracing::enabled!(target: "request", Level::INFO)) {
            (true, _) => 2,
            (false, true) => 1,
            (false, false) => 0,
        };
    ACCESS_LOG.store(verbosity, Ordering::Relaxed);
}

fn build(directives: &[String]) -> Result<EnvFilter, String> {
    let text = format!("{QUIET},{}", directives.join(","));
    EnvFilter::builder().parse(text).map_err(|error| error.to_string())
}

/// The directives after `text`: one without a target replaces the default level, others replace
/// those of the same target.
fn merged(current: &[String], text: &str) -> Result<Vec<String>, String> {
    if text.len() > DIRECTIVES_BYTES_MAX {
        return Err(format!("directives are longer than {DIRECTIVES_BYTES_MAX} bytes"));
    }
    let mut directives = current.to_vec();
    for directive in text.split(',').map(str::trim).filter(|it| !it.is_empty()) {
        check(directive)?;
        directives.retain(|known| target(known) != target(directive));
        directives.push(directive.to_owned());
    }
    if directives.iter().map(String::len).sum::<usize>() > DIRECTIVES_BYTES_MAX {
        return Err(format!("directives in force would be longer than {DIRECTIVES_BYTES_MAX} bytes: reset first"));
    }
    Ok(directives)
}

/// Whether directives can be read, and why not.
///
/// # Errors
/// The first directive that cannot be read, or that they are too long.
pub fn readable(text: &str) -> Result<(), String> {
    build(&merged(&[DEFAULT.to_owned()], text)?).map(drop)
}

fn check(directive: &str) -> Result<(), String> {
    let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level);
    // `EnvFilter` would read an unknown level as the name of a target, and log all of it.
    if level.parse::<LevelFilter>().is_err() {
        return Err(format!("`{level}` is not a level: write off, error, warn, info, debug or trace"));
    }
    EnvFilter::builder().parse(directive).map(drop).map_err(|error| format!("`{directive}`: {error}"))
}

fn target(directive: &str) -> &str {
    directive.rsplit_once('=').map_or("", |(target, _)| target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_replace_those_of_the_same_target() {
        let control = LogControl::detached();
        for (text, expected) in [
            ("debug", "debug"),
            ("gateway=trace", "debug,gateway=trace"),
            ("gateway=warn, info", "gateway=warn,info"),
            ("request=off", "gateway=warn,info,request=off"),
        ] {
            control.set(text).unwrap();
            assert_eq!(control.current(), expected, "{text}");
        }
        control.reset().unwrap();
        assert_eq!(control.current(), "info");
    }

    #[test]
    fn unreadable_directives_change_nothing() {
        let control = LogControl::detached();
        for text in ["loud", "gateway=loud", "info,[", "a=b=c", &"x".repeat(5000)] {
            assert!(control.set(text).is_err(), "{text}");
            assert_eq!(control.current(), "info");
        }
    }

    #[test]
    fn pingora_is_quiet_unless_named() {
        let text = build(&["debug".to_owned(), "pingora_proxy=debug".to_owned()]).unwrap().to_string();
        assert!(text.contains("pingora_proxy=debug") && text.contains("pingora_core::connectors=off"), "{text}");
    }

    /// The one test that installs the process's log; it leaves the target `request` alone.
    #[test]
    fn levels_change_while_the_process_runs_for_both_crates() {
        let (control, _written) = init(&crate::telemetry::tests::statics()).unwrap();
        let enabled = || (tracing::enabled!(target: "gateway", Level::DEBUG), log::max_level());
        assert_eq!(enabled(), (false, log::LevelFilter::Info));
        control.set("gateway=debug").unwrap();
        assert_eq!(enabled(), (true, log::LevelFilter::Debug));
        assert!(log::log_enabled!(target: "pingora_core", log::Level::Warn));
        assert!(!log::log_enabled!(target: "pingora_core::connectors", log::Level::Error));
        assert!(!log::log_enabled!(target: "pingora_proxy", log::Level::Error));
        control.reset().unwrap();
        assert_eq!(enabled(), (false, log::LevelFilter::Info));
        assert_eq!(access_log_verbosity(), Verbosity::Info);
    }
}
