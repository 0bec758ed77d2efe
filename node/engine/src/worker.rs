//! The worker's life: sandbox, then one job after another until the supervisor hangs up.
//!
//! Two threads: this one owns the socket's reading side, so that a cancellation or the end of
//! the supervisor is seen whatever libav is doing; the other runs jobs.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use livepeer_media::message::{self, MessageError, Outcome, Reply, Request, Work};
use livepeer_media::{Device, JobError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::device;
use crate::pipeline::{self, Control, Hardware};
use crate::sandbox::{self, SandboxError};

/// How often a running job's progress is told: well below the supervisor's stall deadline.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// Why a worker ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkerError {
    #[error("sandbox")]
    Sandbox(#[from] SandboxError),
    #[error("message")]
    Message(#[from] MessageError),
    #[error("cannot wait for messages")]
    Poll(#[source] rustix::io::Errno),
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    #[error("cannot close inherited descriptors")]
    Inherited(#[source] std::io::Error),
    #[error("the supervisor sent a second job before the first one ended")]
    SecondJob,
}

/// A job on its way to the thread that runs it.
struct Job {
    attempt: u64,
    work: Work,
    descriptors: Vec<OwnedFd>,
    control: Arc<Control>,
}

/// The attempt that runs, if any.
type Current = Arc<Mutex<Option<(u64, Arc<Control>)>>>;

/// Runs until the socket closes. `socket` is the only descriptor that survives.
pub(crate) fn run(
    socket: BorrowedFd<'static>,
    device: Device,
    memory_limit: u64,
) -> Result<(), WorkerError> {
    let (hardware, report) = device::open(device);
    sandbox::close(memory_limit, device)?;
    message::send(socket, &Reply::Ready { device: report }, &[])?;

    let current: Current = Arc::default();
    // One job at a time: the supervisor never sends a second.
    let (sender, jobs) = sync_channel(1);
    let running = Arc::clone(&current);
    let runner = thread::Builder::new()
        .name("job".to_owned())
        .spawn(move || run_jobs(socket, &jobs, &hardware, &running))
        .map_err(WorkerError::Thread)?;
    listen(socket, &sender, &current)?;
    // The supervisor is gone: whatever still runs is for nobody.
    drop(runner);
    Ok(())
}

fn listen(
    socket: BorrowedFd<'_>,
    jobs: &SyncSender<Job>,
    current: &Current,
) -> Result<(), WorkerError> {
    let mut told = 0;
    loop {
        if !readable(socket)? {
            told = tell_progress(socket, current, told)?;
            continue;
        }
        let Some((request, descriptors)) = message::receive::<Request>(socket)? else {
            return Ok(());
        };
        match request {
            Request::Run { attempt, work } => {
                let control = Arc::new(Control::default());
                let mut slot = current.lock().unwrap_or_else(PoisonError::into_inner);
                if slot.is_some() {
                    return Err(WorkerError::SecondJob);
                }
                *slot = Some((attempt, Arc::clone(&control)));
                drop(slot);
                told = 0;
                let job = Job {
                    attempt,
                    work,
                    descriptors,
                    control,
                };
                jobs.try_send(job).map_err(|_| WorkerError::SecondJob)?;
            }
            Request::Cancel { attempt } => {
                let slot = current.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some((_, control)) = slot.as_ref().filter(|(running, _)| *running == attempt)
                {
                    control.cancel();
                }
            }
        }
    }
}

/// Waits for a message, but not for ever: progress is told in between.
fn readable(socket: BorrowedFd<'_>) -> Result<bool, WorkerError> {
    let mut fds = [PollFd::from_borrowed_fd(socket, PollFlags::IN)];
    let wait = Timespec {
        tv_sec: 0,
        tv_nsec: i64::from(PROGRESS_EVERY.subsec_nanos()),
    };
    let ready =
        rustix::io::retry_on_intr(|| poll(&mut fds, Some(&wait))).map_err(WorkerError::Poll)?;
    Ok(ready > 0)
}

fn tell_progress(socket: BorrowedFd<'_>, current: &Current, told: u64) -> Result<u64, WorkerError> {
    let running = current
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .as_ref()
        .map(|(attempt, control)| (*attempt, control.progress()));
    match running {
        Some((attempt, frames)) if frames > told => {
            message::send(socket, &Reply::Progress { attempt, frames }, &[])?;
            Ok(frames)
        }
        _ => Ok(told),
    }
}

fn run_jobs(socket: BorrowedFd<'_>, jobs: &Receiver<Job>, hardware: &Hardware, current: &Current) {
    for job in jobs {
        let attempt = job.attempt;
        let result = run_job(job, hardware);
        livepeer_ffmpeg::process::trim_heap();
        current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let reply = match result {
            Ok(outcome) => Reply::Done { attempt, outcome },
            Err(error) => Reply::Failed {
                attempt,
                kind: error.kind(),
                text: message::bounded(&error.to_string()),
            },
        };
        if message::send(socket.as_fd(), &reply, &[]).is_err() {
            // The other thread sees the closed socket, and ends the process.
            return;
        }
    }
}

fn run_job(job: Job, hardware: &Hardware) -> Result<Outcome, JobError> {
    let mut files = job.descriptors.into_iter().map(File::from);
    let source = files.next();
    match job.work {
        Work::Transcode(work) => {
            sandbox::limit_cpu(work.cpu_seconds);
            let source = source.ok_or_else(no_source)?;
            pipeline::transcode(&work, source, files.collect(), hardware, &job.control)
                .map(Outcome::Transcoded)
        }
        Work::Probe => {
            pipeline::probe(source.ok_or_else(no_source)?, &job.control).map(Outcome::Probed)
        }
        Work::CheckSandbox => Ok(Outcome::SandboxChecked(sandbox::attempts())),
    }
}

fn no_source() -> JobError {
    JobError::from_text("the job has no source")
}
