//! What the kernel says about a process.

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
