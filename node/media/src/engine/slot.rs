//! A slot of the pool: one worker process after another, one job at a time.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};

use super::attempt::{Attempt, Ended, Finished};
use super::files::{Files, FilesError};
use super::metrics::{Loss, Refused};
use super::spawner::Spawner;
use super::worker::{Event, StartError, Worker};
use super::{Shared, lock};
use crate::config::DeviceStatus;
use crate::error::JobError;
use crate::message::{Reply, Request, Work};

/// A running job that decodes and encodes nothing for this long hangs. Far above what a loaded
/// machine needs for a frame, and short enough for a second attempt inside the caller's 8 s.
const STALL: Duration = Duration::from_secs(3);

/// How often a running worker's memory is looked at: at the speed at which pictures are
/// allocated, an over-limit worker is seen before the container's limit is.
const MEMORY_EVERY: Duration = Duration::from_millis(100);

/// Time for a cancelled worker to stop by itself, which is cheaper than a new process.
const CANCEL_WITHIN: Duration = Duration::from_secs(1);

/// Jobs after which a worker is replaced, so that nothing hidden in it stays for ever.
const JOBS_PER_WORKER: u32 = 500;

/// Delay before a worker that did not start is started again: doubles up to the second number.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

type Attempts = Arc<Mutex<mpsc::Receiver<Attempt>>>;

/// Starts the worker whose device report stands for all.
pub(super) async fn start_first(spawner: &Spawner) -> Result<(Worker, DeviceStatus), StartError> {
    Worker::start(spawner).await
}

/// Starts every slot; the first one has its worker already.
pub(super) fn start_all(shared: &Arc<Shared>, first: Worker, attempts: mpsc::Receiver<Attempt>) {
    let attempts = Arc::new(Mutex::new(attempts));
    lock(&shared.pids).insert(first.pid());
    let mut first = Some(first);
    for number in 0..shared.limits.workers {
        let slot = Slot {
            shared: Arc::clone(shared),
            attempts: Arc::clone(&attempts),
            number,
        };
        let worker = first.take();
        shared.tracker.spawn(slot.run(worker));
    }
    shared.tracker.close();
}

struct Slot {
    shared: Arc<Shared>,
    attempts: Attempts,
    number: usize,
}

/// What a slot does with its worker after a job.
#[derive(PartialEq, Eq)]
enum After {
    Keep,
    Replace,
}

impl Slot {
    /// Runs until the engine stops.
    async fn run(self, mut worker: Option<Worker>) {
        let cancel = self.shared.cancel.clone();
        let serve = async {
            loop {
                let mut current = match worker.take() {
                    Some(worker) => worker,
                    None => self.start().await,
                };
                let pid = current.pid();
                lock(&self.shared.pids).insert(pid);
                self.serve(&mut current).await;
                lock(&self.shared.pids).remove(&pid);
                current.end().await;
            }
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => {}
            () = serve => {}
        }
    }

    /// Starts a worker, again and again if need be.
    async fn start(&self) -> Worker {
        let mut delay = BACKOFF.0;
        loop {
            match Worker::start(&self.shared.spawner).await {
                Ok((worker, _)) => return worker,
                Err(error) => {
                    tracing::warn!(slot = self.number, %error, "a worker did not start");
                    self.shared.metrics.lost(Loss::Start);
                    sleep(jittered(delay, self.number)).await;
                    delay = (delay * 2).min(BACKOFF.1);
                }
            }
        }
    }

    /// Gives a worker jobs until it has to go.
    async fn serve(&self, worker: &mut Worker) {
        for _ in 0..JOBS_PER_WORKER {
            let attempt = tokio::select! {
                biased;
                event = worker.next() => {
                    match event {
                        Event::Gone { reason, .. } => {
                            tracing::warn!(slot = self.number, pid = worker.pid(), reason, "an idle worker was lost");
                            self.shared.metrics.lost(Loss::Idle);
                            return;
                        }
                        // The answer of an attempt that was given up.
                        Event::Said(_) => continue,
                    }
                }
                attempt = self.take() => attempt,
            };
            if self.serve_one(worker, attempt).await == After::Replace {
                return;
            }
        }
    }

    /// The next job; waits for ever once the engine is gone.
    async fn take(&self) -> Attempt {
        match self.attempts.lock().await.recv().await {
            Some(attempt) => attempt,
            None => pending().await,
        }
    }

    async fn serve_one(&self, worker: &mut Worker, attempt: Attempt) -> After {
        if attempt.reply.is_closed() {
            return After::Keep;
        }
        if attempt.deadline <= Instant::now() {
            // It waited too long for a worker, which is not to blame.
            self.shared.metrics.refused(Refused::Waited);
            let _ = attempt.reply.send(Ended::Failed(JobError::late()));
            return After::Keep;
        }
        let running = Running::new(&self.shared.running);
        let Attempt {
            id,
            mut work,
            source,
            deadline,
            mut reply,
        } = attempt;
        let outputs = self.prepare(&mut work, deadline, running.others);
        let mut files = match Files::make(source, outputs, &self.shared.files).await {
            Ok(files) => files,
            Err(error) => {
                // A caller that left does not want to know.
                let _ = reply.send(Ended::Failed(self.no_files(error)));
                return After::Keep;
            }
        };
        let request = Request::Run { attempt: id, work };
        if let Err(error) = worker.send(&request, &files.descriptors()) {
            let reason = error.to_string();
            self.shared.metrics.lost(Loss::Outside);
            let _ = reply.send(Ended::WorkerLost {
                at_fault: false,
                reason,
            });
            return After::Replace;
        }
        let watched = tokio::select! {
            biased;
            () = reply.closed() => return self.cancel(worker, id).await,
            watched = self.watch(worker, id, deadline, &mut files) => watched,
        };
        drop(running);
        let (ended, after) = match watched {
            Watched::Done(outcome) => match files.read().await {
                Ok(outputs) => (Ended::Finished(Finished { outcome, outputs }), After::Keep),
                Err(error) => (Ended::Failed(self.no_files(error)), After::Keep),
            },
            Watched::Refused(error) => {
                let after = self.cancel(worker, id).await;
                (Ended::Failed(self.no_files(error)), after)
            }
            Watched::Failed(error) => (Ended::Failed(error), After::Keep),
            Watched::Late => {
                self.shared.metrics.lost(Loss::Late);
                (Ended::Failed(JobError::late()), After::Replace)
            }
            Watched::Lost { at_fault, reason } => {
                let cause = if at_fault { Loss::Job } else { Loss::Outside };
                self.shared.metrics.lost(cause);
                (Ended::WorkerLost { at_fault, reason }, After::Replace)
            }
        };
        let _ = reply.send(ended);
        after
    }

    /// Asks for a job back that nobody waits for.
    async fn cancel(&self, worker: &mut Worker, id: u64) -> After {
        let after = cancel(worker, id).await;
        if after == After::Replace {
            self.shared.metrics.lost(Loss::Cancelled);
        }
        after
    }

    /// What a caller hears of files that there are none of.
    fn no_files(&self, error: FilesError) -> JobError {
        match error {
            FilesError::NoRoom => {
                self.shared.metrics.refused(Refused::NoMemory);
                JobError::busy()
            }
            FilesError::Failed(error) => error,
        }
    }

    /// Divides threads and time; how many outputs the work has.
    fn prepare(&self, work: &mut Work, deadline: Instant, others: usize) -> usize {
        match work {
            Work::Transcode(transcode) => {
                let threads = self.shared.limits.threads;
                let mine = (threads / (others + 1)).max(1);
                transcode.threads = u32::try_from(mine).unwrap_or(u32::MAX);
                let wall = deadline.saturating_duration_since(Instant::now()).as_secs() + 1;
                transcode.cpu_seconds = wall.saturating_mul(threads as u64);
                transcode.profiles.len()
            }
            Work::Probe | Work::CheckSandbox => 0,
        }
    }

    /// Watches a worker until its job ends one way or another.
    async fn watch(
        &self,
        worker: &mut Worker,
        id: u64,
        deadline: Instant,
        files: &mut Files,
    ) -> Watched {
        let mut memory = interval(MEMORY_EVERY);
        memory.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut moved = Instant::now();
        let mut used = worker.cpu_time();
        loop {
            tokio::select! {
                // first what a worker that never stops talking would keep from being seen
                biased;
                () = sleep_until(deadline) => return Watched::Late,
                _ = memory.tick() => {
                    let limit = self.shared.limits.memory_per_worker;
                    let used = worker.resident_bytes().unwrap_or(0);
                    if used > limit {
                        let reason = format!("it uses {used} bytes of memory, limit {limit}");
                        return Watched::Lost { at_fault: true, reason };
                    }
                    if let Err(error) = files.account() {
                        return Watched::Refused(error);
                    }
                }
                event = worker.next() => match event {
                    Event::Said(Reply::Progress { attempt, .. }) if attempt == id => {
                        moved = Instant::now();
                        used = worker.cpu_time();
                    }
                    Event::Said(Reply::Done { attempt, outcome }) if attempt == id => {
                        return Watched::Done(outcome);
                    }
                    Event::Said(Reply::Failed { attempt, kind, text }) if attempt == id => {
                        return Watched::Failed(JobError::new(kind, text));
                    }
                    Event::Said(_) => {}
                    Event::Gone { crashed, reason } => {
                        return Watched::Lost { at_fault: crashed, reason };
                    }
                },
                () = sleep_until(moved + STALL) => {
                    let reason = format!("no progress for {STALL:?}");
                    // A stopped or starved process is no fault of its job; one that spins is.
                    let at_fault = match (used, worker.cpu_time()) {
                        (Some(before), Some(now)) => now.saturating_sub(before) > STALL / 2,
                        _ => false,
                    };
                    return Watched::Lost { at_fault, reason };
                }
            }
        }
    }
}

enum Watched {
    Done(crate::message::Outcome),
    Failed(JobError),
    /// What it writes has no room any more.
    Refused(FilesError),
    Late,
    Lost {
        at_fault: bool,
        reason: String,
    },
}

/// Asks a worker to give a job up; says whether it did in time.
async fn cancel(worker: &mut Worker, id: u64) -> After {
    if worker.send(&Request::Cancel { attempt: id }, &[]).is_err() {
        return After::Replace;
    }
    let answered = async {
        loop {
            match worker.next().await {
                Event::Said(Reply::Done { attempt, .. } | Reply::Failed { attempt, .. })
                    if attempt == id =>
                {
                    return After::Keep;
                }
                Event::Said(_) => {}
                Event::Gone { .. } => return After::Replace,
            }
        }
    };
    timeout(CANCEL_WITHIN, answered)
        .await
        .unwrap_or(After::Replace)
}

/// Counts a running job for as long as it lives.
struct Running<'a> {
    count: &'a AtomicUsize,
    /// Jobs that ran already.
    others: usize,
}

impl<'a> Running<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        let others = count.fetch_add(1, Ordering::Relaxed);
        Self { count, others }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Spreads slots that failed together: each waits up to half longer than the one before.
fn jittered(delay: Duration, slot: usize) -> Duration {
    let eighths = u32::try_from(slot % 5).unwrap_or(0);
    delay + delay * eighths / 8
}
