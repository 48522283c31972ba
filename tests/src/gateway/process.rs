//! What the kernel says about a process, and lets it have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of open descriptors, for this process and the gateways it starts from now on.
pub fn allow_descriptors(count: usize) {
    let (count, limit) = (u64::try_from(count).expect("a count"), getrlimit(Resource::Nofile));
    let maximum = limit.maximum.unwrap_or(u64::MAX);
    assert!(maximum >= count, "no more than {maximum} descriptors are allowed (ulimit -Hn), and {count} are needed");
    if limit.current.is_some_and(|it| it < count) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(count), maximum: limit.maximum }).expect("raise the limit");
    }
}

/// Gone, or a zombie that nobody has waited for.
pub(super) fn is_gone(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    stat.rsplit(") ").next().is_some_and(|it| it.starts_with('Z'))
}

/// A size of memory from the process's status, in KiB: `VmRSS`, `VmHWM`. `None` once the process has ended.
pub(super) fn memory_kib(pid: u32, name: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|it| it.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}
