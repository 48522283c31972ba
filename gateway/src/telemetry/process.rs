//! What the kernel knows of this process (Linux; elsewhere the figures are absent).

use std::fs;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Handle, RuntimeMetrics};

/// Keys of `/proc/self/smaps_rollup` and the metric each becomes, in bytes.
const MEMORY: &[(&str, &str)] = &[
    ("Rss", "rss"),
    ("Pss", "pss"),
    ("Pss_Dirty", "pss_dirty"),
    ("Shared_Clean", "shared_clean"),
    ("Shared_Dirty", "shared_dirty"),
    ("Private_Clean", "private_clean"),
    ("Private_Dirty", "private_dirty"),
    ("Private_Hugetlb", "private_hugetlb"),
    ("Referenced", "referenced"),
    ("Anonymous", "anonymous"),
    ("LazyFree", "lazy_free"),
    ("AnonHugePages", "anon_huge_pages"),
    ("FilePmdMapped", "file_pmd_mapped"),
    ("Locked", "locked"),
];

/// Memory of the process: names and bytes. Walks the page tables: not for the data path.
pub fn memory() -> Vec<(&'static str, u64)> {
    fs::read_to_string("/proc/self/smaps_rollup").map(|text| memory_of(&text)).unwrap_or_default()
}

fn memory_of(rollup: &str) -> Vec<(&'static str, u64)> {
    let lines = rollup.lines().filter_map(|line| line.split_once(':'));
    let figure = |(key, value): (&str, &str)| {
        let (_, name) = MEMORY.iter().find(|(known, _)| *known == key)?;
        let kilobytes: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some((*name, kilobytes * 1024))
    };
    lines.filter_map(figure).collect()
}

/// CPU time of all threads so far.
pub(super) fn cpu() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(spent.tv_sec).unwrap_or(0), u32::try_from(spent.tv_nsec).unwrap_or(0))
}

/// Open descriptors and their soft limit.
pub(super) fn descriptors() -> (Option<u64>, Option<u64>) {
    // The listing itself holds one descriptor.
    let open = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count().saturating_sub(1));
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    (open.and_then(|open| u64::try_from(open).ok()), limit)
}

/// Threads of the process.
pub(super) fn threads() -> Option<u64> {
    let entries = fs::read_dir("/proc/self/task").ok()?;
    u64::try_from(entries.count()).ok()
}

/// A Tokio runtime under observation.
#[derive(Clone, Debug)]
pub(super) struct Runtime {
    pub(super) name: &'static str,
    metrics: RuntimeMetrics,
}

/// Figures of a runtime, as metrics and `/debug/tasks` show them.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeFigures {
    pub name: &'static str,
    pub workers: u64,
    pub alive_tasks: u64,
    pub global_queue_depth: u64,
    pub busy_seconds: f64,
    pub parks: u64,
}

impl Runtime {
    pub(super) fn new(name: &'static str, handle: &Handle) -> Self {
        Self { name, metrics: handle.metrics() }
    }

    pub(super) fn figures(&self) -> RuntimeFigures {
        let count = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
        let workers = 0..self.metrics.num_workers();
        let busy: Duration = workers.clone().map(|worker| self.metrics.worker_total_busy_duration(worker)).sum();
        RuntimeFigures {
            name: self.name,
            workers: count(self.metrics.num_workers()),
            alive_tasks: count(self.metrics.num_alive_tasks()),
            global_queue_depth: count(self.metrics.global_queue_depth()),
            busy_seconds: busy.as_secs_f64(),
            parks: workers.map(|worker| self.metrics.worker_park_count(worker)).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        let text =
            "55d7-7fff ---p 00000000 00:00 0 [rollup]\nRss:       1816 kB\nPss_Anon:   1 kB\nLocked: 0 kB\nbad\n";
        assert_eq!(memory_of(text), [("rss", 1816 * 1024), ("locked", 0)]);
    }
}
