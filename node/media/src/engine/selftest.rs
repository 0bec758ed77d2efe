//! Measures how fast this engine is, with a clip of its own.
//!
//! On a CPU by the processor time of one session, so that whatever else the machine does
//! meanwhile (other pods that start beside this one) does not count, and a restart need not
//! measure again; on a card by the clock, at each start.
//! The profiles are the gateway's defaults: heavier ladders are corrected for by the
//! segments themselves (see `capacity`).

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::Engine;
use super::worker::cpu_time;
use crate::config::DeviceStatus;
use crate::error::JobError;
use crate::job::TranscodeJob;
use crate::profile::Profile;

/// The first second of the benchmark's clip (`node/engine/benches/clip.sh`).
static CLIP: &[u8] = include_bytes!("../../assets/self-test.ts");
const CLIP_PLAYS: Duration = Duration::from_secs(1);

/// What a session is taken to ask for.
const PROFILES: [&str; 2] = ["P240p30fps16x9", "P360p30fps16x9"];

/// A machine that needs longer for a second of video has no business here.
const DEADLINE: Duration = Duration::from_secs(30);

/// A result that was kept.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// Everything that changes the result.
    key: String,
    speed: f64,
}

/// How many times faster than real time the engine transcodes; from the last start if nothing
/// has changed since.
pub(super) async fn speed(engine: &Engine) -> Result<f64, JobError> {
    let key = key(engine);
    let file = match engine.device_status() {
        DeviceStatus::Cpu => engine.shared.config.cache_dir.as_ref(),
        // what worked before may be why this is a restart: it shows each time that it works
        DeviceStatus::Ready { .. } | DeviceStatus::Unusable { .. } => None,
    }
    .map(|dir| dir.join("self-test.json"));
    if let Some(kept) = file.as_ref().and_then(load).filter(|kept| kept.key == key) {
        return Ok(kept.speed);
    }
    let started = Instant::now();
    let before = used(engine);
    engine
        .transcode(TranscodeJob {
            stream: "self-test".to_owned(),
            profiles: PROFILES
                .iter()
                .filter_map(|name| Profile::preset(name))
                .collect(),
            source: Bytes::from_static(CLIP),
            duration: CLIP_PLAYS,
            metadata: String::new(),
            clip: None,
            deadline: DEADLINE,
        })
        .await?;
    let wall = started.elapsed();
    let processors = match (before, used(engine), engine.device_status()) {
        (Some(before), Some(after), DeviceStatus::Cpu) => after.checked_sub(before),
        _ => None,
    };
    let speed = times_real_time(wall, processors, engine.shared.limits.threads);
    if let Some(file) = file {
        save(&file, &Kept { key, speed });
    }
    Ok(speed)
}

/// How many sessions at once keep up: by the processor time that the clip took, on all
/// `threads`, or else by the clock.
fn times_real_time(wall: Duration, processors: Option<Duration>, threads: usize) -> f64 {
    let threads = u32::try_from(threads).unwrap_or(u32::MAX).max(1);
    let took = match processors {
        Some(used) if !used.is_zero() => used / threads,
        Some(_) | None => wall,
    };
    CLIP_PLAYS.as_secs_f64() / took.as_secs_f64().max(0.001)
}

/// Processor time of all workers so far; less than before when one was replaced meanwhile.
fn used(engine: &Engine) -> Option<Duration> {
    engine.worker_pids().into_iter().map(cpu_time).sum()
}

fn key(engine: &Engine) -> String {
    let shared = &engine.shared;
    let program = fs::metadata(&shared.config.program).ok();
    let built = program
        .as_ref()
        .and_then(|program| program.modified().ok())
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .map_or(0, |time| time.as_secs());
    format!(
        "{} {built} {:?} {} threads",
        program.map_or(0, |program| program.len()),
        shared.device,
        shared.limits.threads
    )
}

fn load(file: &PathBuf) -> Option<Kept> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

/// Keeping it only saves the next start's time: a full or read-only disk is no reason to fail.
fn save(file: &PathBuf, kept: &Kept) {
    let written = serde_json::to_vec(kept)
        .map_err(std::io::Error::other)
        .and_then(|text| fs::write(file, text));
    if let Err(error) = written {
        tracing::debug!(file = %file.display(), %error, "the self-test's result is not kept");
    }
}

#[cfg(test)]
mod tests {
    use super::times_real_time;
    use std::time::Duration;

    #[test]
    fn what_else_the_machine_does_meanwhile_does_not_count() {
        let (quiet, busy) = (Duration::from_millis(125), Duration::from_secs(2));
        let used = Some(Duration::from_millis(500));
        let speed = times_real_time(quiet, used, 4);
        assert!((speed - 8.0).abs() < f64::EPSILON);
        assert!((times_real_time(busy, used, 4) - speed).abs() < f64::EPSILON);
        // a card does the work, or a worker was replaced
        assert!((times_real_time(busy, None, 4) - 0.5).abs() < f64::EPSILON);
        assert!((times_real_time(busy, Some(Duration::ZERO), 4) - 0.5).abs() < f64::EPSILON);
    }
}
