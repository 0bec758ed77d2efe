//! A job: one segment in, its renditions and counts out; and what a probe tells of a segment.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::profile::Profile;

/// One segment to transcode.
#[derive(Clone, Debug)]
pub struct TranscodeJob {
    /// The stream it belongs to: what kills workers again and again is quarantined by this key.
    pub stream: String,
    pub profiles: Vec<Profile>,
    pub source: Bytes,
    /// Duration that the sender claims. Sizes the progress deadline; never trusted for output.
    pub duration: Duration,
    /// `service_provider` of the renditions' container.
    pub metadata: String,
    /// Only this part of the segment (the wire's `SegParameters`).
    pub clip: Option<Clip>,
    /// Wall time until the caller no longer wants the result.
    pub deadline: Duration,
}

/// A window of a segment, from its first video frame. `to` of zero means until the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clip {
    pub from: Duration,
    pub to: Duration,
}

/// What came of a job.
#[derive(Clone, Debug)]
pub struct Transcoded {
    /// In the order of the job's profiles.
    pub renditions: Vec<Rendition>,
    pub decoded_frames: u64,
    /// Sum of width x height of the decoded frames.
    pub decoded_pixels: u64,
}

/// One encoded rendition.
#[derive(Clone, Debug)]
pub struct Rendition {
    pub data: Bytes,
    pub frames: u64,
    /// Sum of width x height of the encoded frames: what is paid for.
    pub pixels: u64,
}

/// What a segment holds, as far as its headers and first frames tell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Demuxer's name: `mpegts`, `mov,mp4,m4a,3gp,3g2,mj2`.
    pub format: String,
    pub video: Option<VideoInfo>,
    pub audio: Option<AudioInfo>,
    pub duration: Duration,
    /// Whether a video keyframe is in the segment.
    pub keyframe: bool,
    /// When its pictures are shown. Only of MPEG-TS: an MP4 file has a clock of its own, which
    /// says nothing about the file before.
    pub shown: Option<Shown>,
}

/// A span of a stream's clock, in ticks of 90 kHz. The clock wraps at 33 bits; a demuxer may
/// have counted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// When the first picture is.
    pub from: i64,
    /// When the next one would be after the last.
    pub until: i64,
}

impl Probe {
    /// Audio with a video stream that has no frame: go-livepeer's gateway passes such a segment
    /// through as it is (`NeedsBypass`).
    pub fn needs_bypass(&self) -> bool {
        self.audio.is_some()
            && self
                .video
                .as_ref()
                .is_some_and(|video| video.pixel_format.is_none() && video.height == 0)
    }
}

/// The best video stream of a segment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VideoInfo {
    /// Codec name: `h264`, `hevc`, `vp8`, `vp9`, ...
    pub codec: String,
    pub width: u32,
    pub height: u32,
    /// libav's name (`yuv420p`); `None` when no frame told.
    pub pixel_format: Option<String>,
    /// Average frames per second, 0 when unknown.
    pub fps: f64,
    /// Video packets in the segment.
    pub packets: u64,
}

/// The best audio stream of a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioInfo {
    pub codec: String,
    pub sample_rate: u32,
    pub channels: u32,
    /// Audio packets in the segment.
    pub packets: u64,
}
