//! Looks into a pushed segment before anyone is asked to transcode it: what would
//! fail everywhere is refused here, with the text that an orchestrator would have
//! given, and nobody is bothered or blamed.
//!
//! The looking is done by a worker process of the engine: hostile bytes never meet a
//! demuxer in this one. A stream that kills workers is refused, so that the others have
//! theirs. When no worker gets free in time the segment goes on unseen, since the
//! orchestrator looks too.

use std::time::Duration;

use bytes::Bytes;
use livepeer_media::error::Kind;
use livepeer_media::{Engine, JobError, Probe};

/// Longest time that a look may take, with the wait for a worker; reading headers takes
/// milliseconds.
const PROBE_TIME: Duration = Duration::from_secs(5);

/// The segment cannot be transcoded anywhere: 422 with this text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Untranscodable(pub(super) String);

/// What the source is made of. When it changes inside a stream, orchestrators must
/// open their codecs anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SourceFormat {
    pub(super) video: String,
    pub(super) pixel_format: Option<String>,
    pub(super) size: (u32, u32),
    pub(super) audio: Option<String>,
}

/// Probes a segment of a stream. `None`: nobody could look.
pub(super) async fn check(
    engine: &Engine,
    manifest_id: &str,
    source: Bytes,
) -> Result<Option<Probe>, Untranscodable> {
    match tokio::time::timeout(PROBE_TIME, engine.probe(source, manifest_id)).await {
        Ok(Ok(probe)) => {
            judge(&probe)?;
            Ok(Some(probe))
        }
        Ok(Err(error)) => match refusal(&error) {
            Some(refusal) => Err(refusal),
            None => {
                tracing::warn!(%error, "segment not probed");
                Ok(None)
            }
        },
        Err(_) => {
            tracing::warn!("segment not probed in time");
            Ok(None)
        }
    }
}

/// Whether an error of the probe is about the segment.
fn refusal(error: &JobError) -> Option<Untranscodable> {
    match error.kind() {
        Kind::Input | Kind::Transcode | Kind::WorkerDied | Kind::Quarantined => {
            Some(Untranscodable(error.to_string()))
        }
        Kind::WorkerLost | Kind::Deadline | Kind::Busy | Kind::Stopped => None,
    }
}

/// The rules; texts are go-livepeer's.
fn judge(probe: &Probe) -> Result<(), Untranscodable> {
    let refuse = |text: &str| Err(Untranscodable(text.to_owned()));
    if probe.needs_bypass() {
        return Ok(());
    }
    let Some(video) = &probe.video else {
        return refuse("TranscoderInvalidVideo");
    };
    if !matches!(video.codec.as_str(), "h264" | "hevc" | "vp8" | "vp9") {
        return refuse("Unsupported input codec");
    }
    if !probe.keyframe {
        return refuse("No keyframes in input");
    }
    Ok(())
}

/// The format of a probed source.
pub(super) fn source_format(probe: &Probe) -> Option<SourceFormat> {
    let video = probe.video.as_ref()?;
    Some(SourceFormat {
        video: video.codec.clone(),
        pixel_format: video.pixel_format.clone(),
        size: (video.width, video.height),
        audio: probe.audio.as_ref().map(|audio| audio.codec.clone()),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{judge, refusal};
    use livepeer_media::error::Kind;
    use livepeer_media::{AudioInfo, JobError, Probe, VideoInfo};

    fn probe() -> Probe {
        Probe {
            format: "mpegts".into(),
            video: Some(VideoInfo {
                codec: "h264".into(),
                width: 1280,
                height: 720,
                pixel_format: Some("yuv420p".into()),
                fps: 25.0,
                packets: 50,
            }),
            audio: Some(AudioInfo {
                codec: "aac".into(),
                sample_rate: 48000,
                channels: 2,
                packets: 90,
            }),
            duration: Duration::from_secs(2),
            keyframe: true,
            shown: None,
        }
    }

    fn refused(edit: impl FnOnce(&mut Probe)) -> String {
        let mut probe = probe();
        edit(&mut probe);
        judge(&probe).unwrap_err().to_string()
    }

    #[test]
    fn what_no_orchestrator_could_transcode_is_refused_with_its_text() {
        assert_eq!(judge(&probe()), Ok(()));
        assert_eq!(refused(|p| p.video = None), "TranscoderInvalidVideo");
        assert_eq!(refused(|p| p.keyframe = false), "No keyframes in input");
        let codec = |p: &mut Probe| p.video.as_mut().unwrap().codec = "mpeg2video".into();
        assert_eq!(refused(codec), "Unsupported input codec");
    }

    #[test]
    fn a_video_stream_without_a_frame_passes_by() {
        let mut probe = probe();
        probe.keyframe = false;
        let video = probe.video.as_mut().unwrap();
        (video.pixel_format, video.height, video.width) = (None, 0, 0);
        assert_eq!(judge(&probe), Ok(()));
    }

    #[test]
    fn only_what_tells_of_the_segment_refuses_it() {
        let invalid = JobError::from_text("Invalid data found when processing input");
        assert!(refusal(&invalid).is_some());
        assert!(refusal(&JobError::new(Kind::Busy, "TranscoderBusy")).is_none());
        assert!(refusal(&JobError::new(Kind::Deadline, "")).is_none());
        assert!(refusal(&JobError::new(Kind::WorkerLost, "killed")).is_none());
    }
}
