//! The supervisor: owns the worker processes, hands them jobs, survives their deaths.
//!
//! Each slot of the pool is a task with one worker process. A job goes to whichever slot is
//! free; an attempt that dies with its worker is tried once more at once, on another, inside the
//! caller's deadline. What a worker says is never trusted with more than its own job.

mod attempt;
mod capacity;
mod files;
mod limits;
mod metrics;
mod quarantine;
mod selftest;
mod slot;
mod spawner;
mod worker;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::budget::Budget;
use crate::config::{DeviceStatus, EngineConfig};
use crate::error::{JobError, Kind};
use crate::job::{Probe, TranscodeJob, Transcoded};
use crate::message::{Outcome, SandboxAttempt, TranscodeWork, Work};
use crate::profile;

use attempt::{Attempt, Ended, Finished};
use capacity::Capacity;
use metrics::{Metrics, Refused};
use quarantine::Quarantine;

pub use limits::{Limits, container_memory, thread_budget};

/// Jobs that wait for a worker, for each worker. A live segment that waits longer than a few
/// others take is late anyway; its gateway should hear so at once.
const QUEUED_PER_WORKER: usize = 8;

/// Attempts at one job: the second only when the first one's worker died or stalled.
const ATTEMPTS: u32 = 2;

/// Wall time for what is not transcoding: reading headers, trying the sandbox.
const SHORT_DEADLINE: Duration = Duration::from_secs(10);

/// Why an engine could not start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("cannot start {program}")]
    Spawn {
        program: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the first worker did not get ready: {0}")]
    NotReady(String),
    #[error("self-test: {0}")]
    SelfTest(JobError),
}

/// A pool of worker processes. Clones share it; the last one dropped stops it.
#[derive(Clone, Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    /// Held by engines, not by slots.
    stop: Arc<DropGuard>,
}

/// What engines and slots share.
#[derive(Debug)]
struct Shared {
    config: EngineConfig,
    limits: Limits,
    /// For the memory files of jobs, and renditions that callers still hold.
    files: Budget,
    cancel: CancellationToken,
    tracker: TaskTracker,
    spawner: spawner::Spawner,
    queue: mpsc::Sender<Attempt>,
    attempts: AtomicU64,
    /// Jobs that run now: the thread budget is divided among them.
    running: AtomicUsize,
    device: DeviceStatus,
    capacity: Mutex<Capacity>,
    quarantine: Mutex<Quarantine>,
    metrics: Metrics,
    /// Process ids of the workers that live now.
    pids: Mutex<BTreeSet<u32>>,
}

/// Work for any worker.
struct Call<'a> {
    work: Work,
    source: Option<Bytes>,
    deadline: Instant,
    /// Quarantined when it kills workers again and again.
    stream: &'a str,
    /// For a place in the queue, rather than being refused.
    waits: bool,
}

impl Engine {
    /// Starts the workers, waits for the first, and measures what it can do.
    pub async fn start(
        config: EngineConfig,
        cancel: CancellationToken,
    ) -> Result<Engine, EngineError> {
        let limits = Limits::of(&config);
        if !limits.fits {
            tracing::warn!(
                workers = limits.workers,
                memory_per_worker = limits.memory_per_worker,
                reserved = config.reserved,
                files = config.files,
                "workers, bodies and this process may need more than four fifths of the memory"
            );
        }
        let spawner = spawner::Spawner::start(&config, limits.memory_per_worker)
            .map_err(|source| spawn_error(&config, source))?;
        let cancel = cancel.child_token();
        let stop = Arc::new(cancel.clone().drop_guard());
        let (first, device) = slot::start_first(&spawner)
            .await
            .map_err(|error| match error {
                worker::StartError::Spawn(source) => spawn_error(&config, source),
                error => EngineError::NotReady(error.to_string()),
            })?;
        let (queue, attempts) = mpsc::channel(limits.workers * QUEUED_PER_WORKER);
        let shared = Arc::new(Shared {
            limits,
            files: Budget::new(config.files),
            cancel,
            tracker: TaskTracker::new(),
            spawner,
            queue,
            attempts: AtomicU64::new(0),
            running: AtomicUsize::new(0),
            capacity: Mutex::new(Capacity::fixed(usize::from(device.is_usable()))),
            device,
            quarantine: Mutex::default(),
            metrics: Metrics::default(),
            pids: Mutex::default(),
            config,
        });
        slot::start_all(&shared, first, attempts);
        let engine = Engine { shared, stop };
        engine.measure().await?;
        Ok(engine)
    }

    /// Finds out how many sessions to advertise.
    async fn measure(&self) -> Result<(), EngineError> {
        let shared = &self.shared;
        let capacity = if !shared.device.is_usable() {
            Capacity::fixed(0)
        } else if let Some(sessions) = shared.config.capacity {
            Capacity::fixed(sessions)
        } else {
            match selftest::speed(self).await {
                Ok(speed) => Capacity::measured(speed),
                // A node whose cores are all taken starts slowly, not in a crash loop.
                Err(error)
                    if matches!(
                        error.kind(),
                        Kind::WorkerDied | Kind::WorkerLost | Kind::Deadline
                    ) =>
                {
                    tracing::warn!(%error, "self-test did not finish in time, taken as slow");
                    Capacity::measured(0.0)
                }
                Err(error) => return Err(EngineError::SelfTest(error)),
            }
        };
        tracing::info!(
            capacity = capacity.sessions(),
            workers = shared.limits.workers,
            threads = shared.limits.threads,
            memory_per_worker = shared.limits.memory_per_worker,
            "engine ready"
        );
        *lock(&shared.capacity) = capacity;
        Ok(())
    }

    /// Transcodes a segment. Dropping the future cancels the job.
    pub async fn transcode(&self, job: TranscodeJob) -> Result<Transcoded, JobError> {
        profile::validate_all(&job.profiles)?;
        if let DeviceStatus::Unusable { reason } = &self.shared.device {
            return Err(JobError::new(Kind::Transcode, reason.as_str()));
        }
        let deadline = Instant::now() + job.deadline;
        self.check_quarantine(&job.stream)?;
        let started = Instant::now();
        let work = Work::Transcode(TranscodeWork {
            profiles: job.profiles,
            metadata: job.metadata,
            clip: job.clip,
            threads: 0,
            cpu_seconds: 0,
        });
        let call = Call {
            work,
            source: Some(job.source),
            deadline,
            stream: &job.stream,
            waits: false,
        };
        let finished = self.run(call).await;
        // one that was given up at its deadline took that long at least
        if finished.is_ok() || started.elapsed() >= job.deadline {
            lock(&self.shared.capacity).record(
                job.duration,
                started.elapsed(),
                self.shared.running.load(Ordering::Relaxed) + 1,
            );
        }
        let finished = finished?;
        match finished.outcome {
            Outcome::Transcoded(counts) => attempt::transcoded(counts, finished.outputs),
            Outcome::Probed(_) | Outcome::SandboxChecked(_) => Err(unexpected()),
        }
    }

    /// Tells what a segment of `stream` holds. It waits for a worker as long as the caller
    /// does: a probe takes milliseconds, and so do those before it.
    pub async fn probe(&self, source: Bytes, stream: &str) -> Result<Probe, JobError> {
        let deadline = Instant::now() + SHORT_DEADLINE;
        self.check_quarantine(stream)?;
        let call = Call {
            work: Work::Probe,
            source: Some(source),
            deadline,
            stream,
            waits: true,
        };
        let finished = self.run(call).await?;
        match finished.outcome {
            Outcome::Probed(probe) => Ok(probe),
            Outcome::Transcoded(_) | Outcome::SandboxChecked(_) => Err(unexpected()),
        }
    }

    /// Lets a worker try what its sandbox must refuse, and tells what happened.
    pub async fn check_sandbox(&self) -> Result<Vec<SandboxAttempt>, JobError> {
        let deadline = Instant::now() + SHORT_DEADLINE;
        let call = Call {
            work: Work::CheckSandbox,
            source: None,
            deadline,
            stream: "",
            waits: false,
        };
        let finished = self.run(call).await?;
        match finished.outcome {
            Outcome::SandboxChecked(attempts) => Ok(attempts),
            Outcome::Transcoded(_) | Outcome::Probed(_) => Err(unexpected()),
        }
    }

    /// Refuses a stream that killed too many workers.
    fn check_quarantine(&self, stream: &str) -> Result<(), JobError> {
        lock(&self.shared.quarantine)
            .check(stream, Instant::now())
            .inspect_err(|_| self.shared.metrics.refused(Refused::Quarantined))
    }

    /// Runs work, twice if the first worker dies of it.
    async fn run(&self, call: Call<'_>) -> Result<Finished, JobError> {
        let Call {
            work,
            source,
            deadline,
            stream,
            waits,
        } = call;
        let mut last = JobError::stopped();
        for number in 1..=ATTEMPTS {
            let place = self.place(deadline, waits).await?;
            let (reply, ended) = oneshot::channel();
            place.send(Attempt {
                id: self.shared.attempts.fetch_add(1, Ordering::Relaxed),
                work: work.clone(),
                source: source.clone(),
                deadline,
                reply,
            });
            match ended.await.unwrap_or(Ended::Stopped) {
                Ended::Finished(finished) => return Ok(finished),
                Ended::Failed(error) => return Err(error),
                Ended::Stopped => return Err(JobError::stopped()),
                Ended::WorkerLost { at_fault, reason } => {
                    tracing::warn!(stream, attempt = number, reason, "a worker was lost");
                    if at_fault {
                        lock(&self.shared.quarantine).record(stream, Instant::now())?;
                    }
                    let kind = if at_fault {
                        Kind::WorkerDied
                    } else {
                        Kind::WorkerLost
                    };
                    last = JobError::new(kind, format!("the worker died: {reason}"));
                }
            }
        }
        Err(last)
    }

    /// A place in the queue.
    async fn place(
        &self,
        deadline: Instant,
        waits: bool,
    ) -> Result<mpsc::Permit<'_, Attempt>, JobError> {
        let queue = &self.shared.queue;
        match queue.try_reserve() {
            Ok(place) => Ok(place),
            Err(mpsc::error::TrySendError::Closed(())) => Err(JobError::stopped()),
            Err(mpsc::error::TrySendError::Full(())) if waits => {
                match timeout_at(deadline, queue.reserve()).await {
                    Ok(place) => place.map_err(|_| JobError::stopped()),
                    Err(_) => Err(self.refuse(Refused::Waited)),
                }
            }
            Err(mpsc::error::TrySendError::Full(())) => Err(self.refuse(Refused::QueueFull)),
        }
    }

    fn refuse(&self, reason: Refused) -> JobError {
        self.shared.metrics.refused(reason);
        JobError::busy()
    }

    /// Registers what it counts, below the role whose engine it is.
    pub fn register(&self, registry: &mut Registry) {
        self.shared.metrics.register(registry);
    }

    /// Sessions at once; 0 while the device is unusable.
    pub fn capacity(&self) -> usize {
        lock(&self.shared.capacity).sessions()
    }

    /// Follows [`Self::capacity`], which segments that fall behind lower.
    pub fn follow_capacity(&self) -> watch::Receiver<usize> {
        lock(&self.shared.capacity).follow()
    }

    /// What became of the device asked for.
    pub fn device_status(&self) -> DeviceStatus {
        self.shared.device.clone()
    }

    /// Worker processes, so jobs at once.
    pub fn workers(&self) -> usize {
        self.shared.limits.workers
    }

    /// Process ids of the workers that are ready now, for whoever measures or debugs them.
    pub fn worker_pids(&self) -> Vec<u32> {
        lock(&self.shared.pids).iter().copied().collect()
    }

    /// Kills and reaps the workers; jobs still running end with `TranscoderStopped`.
    pub async fn stop(self) {
        self.shared.cancel.cancel();
        self.shared.tracker.close();
        self.shared.tracker.wait().await;
        drop(self.stop);
    }
}

fn spawn_error(config: &EngineConfig, source: std::io::Error) -> EngineError {
    EngineError::Spawn {
        program: config.program.display().to_string(),
        source,
    }
}

fn unexpected() -> JobError {
    JobError::new(Kind::Transcode, "the worker answered another question")
}

/// Never held across an await; a panic inside leaves plain numbers behind, which stay usable.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
