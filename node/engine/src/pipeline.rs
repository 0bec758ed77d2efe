//! One job: decode once, then every rendition side by side.
//!
//! The calling thread demuxes and decodes; each rendition has a thread that scales, encodes and
//! muxes. Between them stand bounded queues of counted frames: no picture is copied, and a slow
//! encoder holds the decoder back instead of filling memory. Everything here is made for the
//! job and dropped with it: encoders cannot be flushed and used again.

mod bounded;
mod faststart;
mod probe;
mod rendition;
mod source;

use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, ScopedJoinHandle};

use livepeer_ffmpeg::{CopiedStream, CudaDevice, Frame, Packet, Rational};
use livepeer_media::message::{Counts, TranscodeWork};
use livepeer_media::{JobError, Profile};

use crate::plan::Route;
use crate::threads;

pub(crate) use probe::probe;

/// Pictures that wait for one encoder. Enough to ride out uneven frames; each 1080p picture is
/// 3 MB, shared among renditions.
const QUEUED_ITEMS: usize = 16;

/// What a running job shares with whoever watches it.
#[derive(Debug, Default)]
pub(crate) struct Control {
    cancelled: AtomicBool,
    /// Frames out of the decoder: the measure of the runaway rule.
    decoded: AtomicU64,
    /// Steps of any stage, draining included.
    steps: AtomicU64,
}

impl Control {
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// A number that grows while the job moves.
    pub(crate) fn progress(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    fn step(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }

    fn check(&self) -> Result<(), JobError> {
        if self.cancelled.load(Ordering::Relaxed) {
            Err(JobError::stopped())
        } else {
            Ok(())
        }
    }
}

/// What the decoder's side sends to every rendition.
enum Item {
    Picture(Frame),
    Audio(Packet),
}

/// What every rendition needs to know of the source.
struct SourceInfo {
    time_base: Rational,
    frame_rate: Rational,
    /// What the container says; not positive where the frames have to.
    sample_aspect: Rational,
    audio: Option<CopiedStream>,
}

/// A device, and which stages run on it.
pub(crate) struct Hardware {
    pub(crate) device: Option<CudaDevice>,
    pub(crate) route: Route,
}

/// A libav error as a job's failure.
fn fault(error: livepeer_ffmpeg::Error) -> JobError {
    JobError::from_text(error.to_string())
}

/// Runs a job; each output gets its rendition.
pub(crate) fn transcode(
    work: &TranscodeWork,
    source: File,
    outputs: Vec<File>,
    hardware: &Hardware,
    control: &Control,
) -> Result<Counts, JobError> {
    livepeer_media::profile::validate_all(&work.profiles)?;
    if outputs.len() != work.profiles.len() {
        return Err(JobError::input("Invalid argument"));
    }
    let mut source = source::Source::open(source)?;
    let info = source.info()?;
    let rate = source.frame_rate().to_f64();
    let loads: Vec<u64> = work
        .profiles
        .iter()
        .map(|profile| load(profile, source.size(), rate))
        .collect();
    let threads = threads::divide(work.threads, &loads);

    thread::scope(|scope| {
        let mut senders = Vec::with_capacity(outputs.len());
        let mut running = Vec::with_capacity(outputs.len());
        for ((profile, output), &encode) in work.profiles.iter().zip(outputs).zip(&threads.encode) {
            let (sender, items) = sync_channel(QUEUED_ITEMS);
            let task = rendition::Task {
                profile,
                metadata: &work.metadata,
                source: &info,
                route: hardware.route,
                scale_threads: threads.scale,
                encode_threads: encode,
                control,
            };
            senders.push(sender);
            running.push(spawn(scope, task, items, output)?);
        }
        let decoded = source.feed(&senders, work.clip, threads.decode, hardware, control);
        if decoded.is_err() {
            // Renditions must not finish what nobody will use.
            control.cancel();
        }
        drop(senders);
        let renditions = join(running);
        finish(decoded, renditions)
    })
}

fn spawn<'scope, 'env>(
    scope: &'scope thread::Scope<'scope, 'env>,
    task: rendition::Task<'env>,
    items: Receiver<Item>,
    output: File,
) -> Result<ScopedJoinHandle<'scope, Rendered>, JobError> {
    thread::Builder::new()
        .name("rendition".to_owned())
        .spawn_scoped(scope, move || task.run(items, output))
        .map_err(|error| JobError::from_text(format!("cannot start a thread: {error}")))
}

/// Frames and pixels of a rendition, or why there is none.
type Rendered = Result<(u64, u64), JobError>;

fn join(running: Vec<ScopedJoinHandle<'_, Rendered>>) -> Vec<Rendered> {
    running
        .into_iter()
        .map(|handle| match handle.join() {
            Ok(result) => result,
            Err(_) => Err(JobError::from_text("a rendition's thread panicked")),
        })
        .collect()
}

/// Picks the failure that explains the others: a rendition that ended early makes the decoder
/// stop, and a decoder that failed makes the renditions stop.
fn finish(
    decoded: Result<source::Decoded, JobError>,
    joined: Vec<Rendered>,
) -> Result<Counts, JobError> {
    let own_fault = |error: &&JobError| error.kind() != livepeer_media::error::Kind::Stopped;
    let failures: Vec<&JobError> = joined
        .iter()
        .filter_map(|done| done.as_ref().err())
        .collect();
    if let Some(error) = failures.iter().copied().find(own_fault) {
        return Err(error.clone());
    }
    let decoded = decoded?;
    Ok(Counts {
        decoded_frames: decoded.frames,
        decoded_pixels: decoded.pixels,
        outputs: joined.into_iter().collect::<Result<_, _>>()?,
    })
}

/// Pixels a second that a rendition costs, roughly.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rough measure of positive numbers"
)]
fn load(profile: &Profile, source: (u32, u32), source_rate: f64) -> u64 {
    let (width, height) = livepeer_media::rendition_size(source, (profile.width, profile.height));
    let rate = if profile.fps > 0 {
        f64::from(profile.fps) / f64::from(profile.fps_den.max(1))
    } else {
        source_rate.max(1.0)
    };
    (f64::from(width) * f64::from(height) * rate) as u64
}

/// Sends to every rendition; false when one has ended, which it does only on failure.
fn broadcast(
    senders: &[SyncSender<Item>],
    item: impl Fn() -> Result<Item, JobError>,
) -> Result<bool, JobError> {
    for sender in senders {
        if sender.send(item()?).is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}
