//! Measures how fast this engine is, with a clip of its own.
//!
//! One session alone gets all threads, so its speed is about the sum of what sessions at once
//! can have. The profiles are the gateway's defaults: heavier ladders are corrected for by the
//! segments themselves (see `capacity`).

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::Engine;
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
    let file = engine
        .shared
        .config
        .cache_dir
        .as_ref()
        .map(|dir| dir.join("self-test.json"));
    if let Some(kept) = file.as_ref().and_then(load).filter(|kept| kept.key == key) {
        return Ok(kept.speed);
    }
    let started = Instant::now();
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
    let speed = CLIP_PLAYS.as_secs_f64() / started.elapsed().as_secs_f64().max(0.001);
    if let Some(file) = file {
        save(&file, &Kept { key, speed });
    }
    Ok(speed)
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
