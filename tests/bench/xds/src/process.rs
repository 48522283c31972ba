//! CPU and memory of a process and of its threads, from `/proc`.

use std::time::Duration;

/// CPU time of all its threads that live, to the nanosecond.
pub fn cpu(pid: u32) -> Duration {
    threads(pid).into_iter().map(|(_, cpu)| cpu).sum()
}

/// CPU time of the threads that serve traffic: all that carry the name of that runtime.
pub fn traffic_cpu(pid: u32) -> Duration {
    threads(pid).into_iter().filter(|(name, _)| name.to_lowercase().contains("listeners")).map(|(_, cpu)| cpu).sum()
}

/// Names of its threads, and their CPU time.
pub fn threads(pid: u32) -> Vec<(String, Duration)> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let read = |path: std::path::PathBuf| {
        let name = std::fs::read_to_string(path.join("comm")).ok()?;
        let spent = std::fs::read_to_string(path.join("schedstat")).ok()?;
        let nanos = spent.split_whitespace().next()?.parse().ok()?;
        Some((name.trim().to_owned(), Duration::from_nanos(nanos)))
    };
    tasks.filter_map(|it| read(it.ok()?.path())).collect()
}
