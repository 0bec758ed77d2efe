//! Wall time, CPU time and memory of a process tree, and whether the machine was otherwise idle.

use std::fmt;
use std::fs;
use std::time::Duration;

use livepeer_media::Engine;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Share of the machine that others may use before a run is void.
const OTHER_LOAD: f64 = 0.05;

/// What a run cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) wall: f64,
    pub(crate) cpu: f64,
    /// Share of the machine that others used meanwhile.
    others: f64,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} wall {:.2} CPU", self.wall, self.cpu)?;
        if self.others > OTHER_LOAD {
            write!(f, " (VOID: others used {:.0} %)", self.others * 100.0)?;
        }
        Ok(())
    }
}

/// A run being measured.
pub(crate) struct Meter {
    started: Instant,
    ours: f64,
    machine: f64,
}

impl Meter {
    /// `workers` are children that are not waited for yet.
    pub(crate) fn start(workers: &[u32]) -> Self {
        Self {
            started: Instant::now(),
            ours: ours(workers),
            machine: machine(),
        }
    }

    pub(crate) fn stop(self, workers: &[u32]) -> Cost {
        let wall = self.started.elapsed().as_secs_f64();
        let cpu = ours(workers) - self.ours;
        let cores = f64::from(u32::try_from(cores()).unwrap_or(1));
        let others = ((machine() - self.machine) - cpu).max(0.0) / (wall * cores);
        Cost { wall, cpu, others }
    }
}

/// The run in the middle, each number by itself.
pub(crate) fn median(costs: &[Cost]) -> Cost {
    let middle = |number: fn(&Cost) -> f64| {
        let mut numbers: Vec<f64> = costs.iter().map(number).collect();
        numbers.sort_by(f64::total_cmp);
        numbers[numbers.len() / 2]
    };
    Cost {
        wall: middle(|cost| cost.wall),
        cpu: middle(|cost| cost.cpu),
        others: middle(|cost| cost.others),
    }
}

fn cores() -> usize {
    fs::read_to_string("/proc/stat")
        .unwrap()
        .lines()
        .filter(|line| line.starts_with("cpu") && !line.starts_with("cpu "))
        .count()
}

/// Seconds of CPU of this process, of children that ended, and of the workers.
fn ours(workers: &[u32]) -> f64 {
    let own = ticks("self", 11, 4);
    let workers: u64 = workers
        .iter()
        .map(|pid| ticks(&pid.to_string(), 11, 2))
        .sum();
    seconds(own + workers)
}

/// Seconds of CPU that anyone used since the machine started.
fn machine() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap();
    let numbers: Vec<u64> = stat
        .lines()
        .next()
        .unwrap()
        .split_whitespace()
        .skip(1)
        .map(|number| number.parse().unwrap())
        .collect();
    // user, nice, system, (idle, iowait,) irq, softirq
    seconds(numbers[0] + numbers[1] + numbers[2] + numbers[5] + numbers[6])
}

/// Sum of fields of a process's `stat`, counted from the one after its name.
fn ticks(process: &str, first: usize, count: usize) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default();
    fields
        .split(' ')
        .skip(first)
        .take(count)
        .map(|ticks| ticks.parse().unwrap_or(0))
        .sum()
}

#[expect(clippy::cast_precision_loss, reason = "hundredths of seconds")]
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// Looks at memory while something runs.
pub(crate) struct PeakMemory {
    done: CancellationToken,
    peak: JoinHandle<u64>,
}

impl PeakMemory {
    pub(crate) fn watch(engine: Engine) -> Self {
        let done = CancellationToken::new();
        let ended = done.clone();
        let peak = tokio::task::spawn_blocking(move || {
            let mut peak = 0;
            while !ended.is_cancelled() {
                let workers: u64 = engine
                    .worker_pids()
                    .iter()
                    .map(|pid| resident(&pid.to_string()))
                    .sum();
                peak = peak.max(resident("self") + workers);
                std::thread::sleep(Duration::from_millis(20));
            }
            peak
        });
        Self { done, peak }
    }

    pub(crate) async fn stop(self) -> u64 {
        self.done.cancel();
        self.peak.await.unwrap()
    }
}

fn resident(process: &str) -> u64 {
    let statm = fs::read_to_string(format!("/proc/{process}/statm")).unwrap_or_default();
    let pages: u64 = statm
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0);
    pages * u64::try_from(rustix::param::page_size()).unwrap_or(4096)
}
