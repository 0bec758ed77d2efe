//! The work on one pushed segment, from the checked bytes to the playlists.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use livepeer_media::{Probe, Shown};
use tokio::time::Instant;

use super::App;
use super::attempts::{Attempts, TranscodeError};
use super::check;
use super::duration;
use super::hls::timeline::Segment;
use super::metrics::Outcome;
use super::rendition;
use super::segment_data::{self, Job};
use super::stream::Stream;
use super::streams::Entrance;
use livepeer_media::budget::Budget;

/// The share of the byte budget that segments kept for viewers may take, over all
/// streams: a half, so that they never starve those in flight. Live streams divide it
/// evenly, and none keeps more than half of its own share; streams that are over have what
/// the live ones leave.
const KEPT_SHARE: u64 = 2;

/// A segment whose bytes are here and were looked at.
#[derive(Debug)]
pub(super) struct Pushed {
    pub(super) seq: u64,
    /// Who pushes it, for the log.
    pub(super) client_ip: IpAddr,
    pub(super) data: Bytes,
    pub(super) hash: [u8; 32],
    /// What orchestrators are told.
    pub(super) duration_ms: u32,
    /// `None` when nobody could look.
    pub(super) probe: Option<Probe>,
    pub(super) slice: Option<(u64, u64)>,
    pub(super) reinit: bool,
}

/// Brings the renditions and publishes the segment, whole or not at all.
pub(super) async fn process(
    app: &App,
    stream: &Stream,
    pushed: Pushed,
    entrance: Entrance,
) -> Result<Vec<Bytes>, TranscodeError> {
    let begun = Instant::now();
    let probe = pushed.probe.as_ref();
    let work = stream.begin(pushed.seq, &pushed.hash, probe, begun);
    let result = transcode(app, stream, &pushed, work.reinit, entrance.budget()).await;
    let segment = result.as_ref().ok().map(|renditions| Segment {
        hash: pushed.hash,
        source: probe.and_then(check::source_format),
        duration: duration::played(pushed.duration_ms, probe),
        shown: shown(&pushed),
        files: std::iter::once(&pushed.data)
            .chain(renditions)
            .cloned()
            .collect(),
    });
    let kept = app.budget.limit() / KEPT_SHARE;
    let share = kept / (app.streams.active().max(1) as u64);
    let share = share.min(entrance.budget().limit() / KEPT_SHARE);
    stream.finish(work, segment, share, Instant::now());
    app.streams.make_room(kept);
    account(app, stream, &pushed, &result, begun.elapsed());
    drop(entrance);
    result
}

async fn transcode(
    app: &App,
    stream: &Stream,
    pushed: &Pushed,
    reinit: bool,
    budget: &Budget,
) -> Result<Vec<Bytes>, TranscodeError> {
    if stream.profiles.is_empty() {
        return Ok(Vec::new());
    }
    // a video stream without a frame: go-livepeer hands the source back as it is
    if pushed.probe.as_ref().is_some_and(Probe::needs_bypass) {
        if let Some(segments) = stream.passed_by(Instant::now()) {
            let (manifest_id, seq) = (stream.manifest_id.as_str(), pushed.seq);
            tracing::warn!(
                manifest_id,
                seq,
                segments,
                "no picture of the segment can be decoded, its source stands for the renditions"
            );
        }
        return Ok(vec![pushed.data.clone(); stream.profiles.len()]);
    }
    let source = pushed.probe.as_ref().and_then(|probe| probe.video.as_ref());
    let capabilities =
        segment_data::job_capabilities(source, &stream.profiles, pushed.slice.is_some())
            .map_err(|error| TranscodeError::Segment(error.to_string()))?;
    let job = Job {
        manifest_id: stream.manifest_id.clone(),
        seq: pushed.seq,
        hash: pushed.hash,
        duration_ms: pushed.duration_ms,
        profiles: Arc::clone(&stream.profiles),
        capabilities,
        slice: pushed.slice,
        reinit: pushed.reinit || reinit,
    };
    let measured = duration::measured(pushed.probe.as_ref());
    let plays = job.duration().max(measured.unwrap_or_default());
    let limits: Vec<u64> = stream
        .profiles
        .iter()
        .map(|profile| rendition::most_bytes(profile, plays, pushed.data.len() as u64))
        .collect();
    let attempts = Attempts {
        orchestrators: &app.orchestrators,
        sessions: &stream.sessions,
        budget,
        metrics: &app.metrics,
        job: &job,
        body: &pushed.data,
        limits: &limits,
        timeout_multiplier: stream.timeout_multiplier,
    };
    attempts.run().await
}

/// Of a slice nothing is known: its renditions have a clock of their own, each from zero.
fn shown(pushed: &Pushed) -> Option<Shown> {
    match pushed.slice {
        None => pushed.probe.as_ref()?.shown,
        Some(_) => None,
    }
}

fn account(
    app: &App,
    stream: &Stream,
    pushed: &Pushed,
    result: &Result<Vec<Bytes>, TranscodeError>,
    took: Duration,
) {
    let manifest_id = stream.manifest_id.as_str();
    let (seq, seconds) = (pushed.seq, took.as_secs_f64());
    let client_ip = pushed.client_ip;
    match result {
        Ok(renditions) => {
            let bytes: usize = renditions.iter().map(Bytes::len).sum();
            app.metrics.rendition_bytes.inc_by(bytes as u64);
            app.metrics.transcoded(took);
            app.metrics.ended(Outcome::Complete);
            tracing::debug!(manifest_id, seq, %client_ip, seconds, bytes, "segment complete");
            if let Some(lost) = stream.segment_taken() {
                tracing::info!(manifest_id, seq, lost, "no segment is lost any more");
            }
        }
        Err(error @ (TranscodeError::Segment(_) | TranscodeError::MaxAttempts(_))) => {
            app.metrics.ended(Outcome::Refused);
            tracing::info!(manifest_id, seq, %client_ip, seconds, %error, "segment refused");
        }
        // as long as that lasts, so it goes with each segment: once, and now and then how
        // often, is enough
        Err(error @ (TranscodeError::NoRoom(_) | TranscodeError::NoSession(_))) => {
            app.metrics.ended(Outcome::Lost);
            if let Some(lost) = stream.segment_lost(Instant::now()) {
                tracing::warn!(manifest_id, seq, %client_ip, seconds, %error, lost, "segment lost");
            } else {
                tracing::debug!(manifest_id, seq, %client_ip, seconds, %error, "segment lost");
            }
        }
        Err(error @ TranscodeError::Budget) => {
            app.metrics.ended(Outcome::Lost);
            tracing::warn!(manifest_id, seq, %client_ip, seconds, %error, "segment lost");
        }
    }
}
