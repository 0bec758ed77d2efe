//! What the container lets the engine use, and how it is divided among workers.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::EngineConfig;

/// Share of the container's memory for workers, supervisor and all that it holds; the kernel
/// has the rest, for sockets and its own needs. On cgroup v2 one process over the
/// limit takes the whole container with it.
const MEMORY_SHARE: (u64, u64) = (4, 5);

/// What a worker needs for a 1080p source and a full ladder; fewer workers rather than less.
const WORKER_BYTES: u64 = 512 << 20;

/// Least memory a worker is given, whatever the container says: below it nothing decodes.
const LEAST_WORKER_BYTES: u64 = 192 << 20;

/// Workers at most, when nobody says: beyond it a machine wants several pods.
const MOST_WORKERS: usize = 32;

/// Workers at least: one segment's start overlaps the last one's drain.
const LEAST_WORKERS: usize = 2;

/// The engine's share of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Cores to divide among running jobs.
    pub threads: usize,
    pub workers: usize,
    pub memory_per_worker: u64,
    /// All of it stays within its share of the container.
    pub fits: bool,
}

impl Limits {
    /// Reads the machine and the container.
    pub fn of(config: &EngineConfig) -> Self {
        Self::divide(thread_budget(), container_memory(), config)
    }

    /// Divides `threads` and a container's `memory`. Pure.
    pub fn divide(threads: usize, memory: Option<u64>, config: &EngineConfig) -> Self {
        let shared = memory.map(|memory| {
            (memory / MEMORY_SHARE.1 * MEMORY_SHARE.0)
                .saturating_sub(config.reserved)
                .saturating_sub(config.files)
        });
        let workers = config.workers.unwrap_or_else(|| {
            let fit = shared.map_or(MOST_WORKERS, |shared| {
                usize::try_from(shared / WORKER_BYTES).unwrap_or(MOST_WORKERS)
            });
            threads.max(LEAST_WORKERS).min(fit).min(MOST_WORKERS)
        });
        let workers = workers.max(1);
        let count = u64::try_from(workers).unwrap_or(u64::MAX);
        let memory_per_worker = config
            .memory_limit
            .unwrap_or_else(|| shared.map_or(WORKER_BYTES, |shared| shared / count))
            .max(LEAST_WORKER_BYTES);
        let together = memory_per_worker.saturating_mul(count);
        Self {
            threads,
            workers,
            memory_per_worker,
            fits: shared.is_none_or(|shared| together <= shared),
        }
    }
}

/// Cores of this process: the least of its affinity and its CPU quota, cgroup v1 or v2.
pub fn thread_budget() -> usize {
    // The standard library reads all three.
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The least memory limit of this process's control groups, or the machine's memory.
pub fn container_memory() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit = limit_files(&groups)
        .into_iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .filter_map(|text| text.trim().parse::<u64>().ok())
        .min();
    let total = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| memory_total(&text));
    [limit, total].into_iter().flatten().min()
}

/// Files that may hold a limit: the group's own and its ancestors', v2 and v1. Inside a
/// container the paths often lead nowhere but the root, which then is the container's own.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let (root, name) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        let below = Path::new(path.trim_start_matches('/'));
        files.extend(
            below
                .ancestors()
                .map(|group| Path::new(root).join(group).join(name)),
        );
    }
    files
}

fn memory_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn workers_and_supervisor_stay_under_four_fifths_of_the_container() {
        let config = EngineConfig::new("x");
        for memory in [2 * GIB, 4 * GIB, 8 * GIB] {
            let limits = Limits::divide(8, Some(memory), &config);
            let used = limits.memory_per_worker * limits.workers as u64;
            let used = used + config.reserved + config.files;
            assert!(
                limits.fits && used <= memory / 5 * 4,
                "{memory}: {limits:?}"
            );
        }
    }

    #[test]
    fn a_small_container_has_fewer_workers_rather_than_starved_ones() {
        let mut config = EngineConfig::new("x");
        config.files = 64 << 20;
        let limits = Limits::divide(8, Some(GIB), &config);
        assert_eq!(limits.workers, 1);
        assert!(limits.memory_per_worker > WORKER_BYTES);
    }

    #[test]
    fn what_is_reserved_is_not_divided_and_what_does_not_fit_is_told() {
        let mut config = EngineConfig::new("x");
        let all = Limits::divide(8, Some(4 * GIB), &config);
        config.reserved += GIB;
        let rest = Limits::divide(8, Some(4 * GIB), &config);
        assert_eq!((all.workers, rest.workers), (5, 3));
        config.reserved = 4 * GIB;
        assert!(!Limits::divide(8, Some(4 * GIB), &config).fits);
    }

    #[test]
    fn settings_win() {
        let config = EngineConfig {
            workers: Some(3),
            memory_limit: Some(GIB),
            ..EngineConfig::new("x")
        };
        let limits = Limits::divide(1, Some(GIB), &config);
        assert_eq!((limits.workers, limits.memory_per_worker), (3, GIB));
    }

    #[test]
    fn limits_are_looked_for_in_the_group_and_all_above_it() {
        let files = limit_files("4:memory:/a/b\n2:cpuacct:/x\n0::/\n");
        let expected = [
            "/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/a/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory.max",
        ];
        assert_eq!(files, expected.map(PathBuf::from));
    }
}
