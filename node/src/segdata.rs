//! What a `SegData` asks for, in the engine's terms (go-livepeer `server/segment_rpc.go`,
//! `coreSegMetadata` and `makeFfmpegVideoProfiles`). The orchestrator reads it from a
//! gateway's header, the transcoder from a task.
//!
//! Not here: whether the job may be done (credentials, capabilities, capacity).

use std::time::Duration;

use livepeer_media::{Clip, Codec, Format, Gop, H264Profile, Profile};
use livepeer_proto::net::video_profile;
use livepeer_proto::net::{self, SegData};

/// The release of go-livepeer whose wire we speak, then our own version. Peers compare
/// the first three numbers with the minimum that a job may ask for.
pub const WIRE_VERSION: &str = concat!("0.9.1+livepeer-node-", env!("CARGO_PKG_VERSION"));

/// Longest segment (`common.MaxDuration`).
const MAX_DURATION_MS: i32 = 300_000;
/// What a segment that does not say lasts (`server/segment_rpc.go`).
const DEFAULT_DURATION: Duration = Duration::from_secs(2);
/// Least time that a gateway gives a segment (`common.HTTPTimeout`).
const LEAST_DEADLINE: Duration = Duration::from_secs(8);

/// The profiles, duration and part of one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub profiles: Vec<Profile>,
    pub duration: Duration,
    pub clip: Option<Clip>,
}

/// Why a `SegData` asks for nothing that can be done; the texts are the wire's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SegDataError {
    #[error("invalid duration")]
    Duration,
    #[error("unrecognized profile output format")]
    Format,
    #[error("unrecognized encoder profile")]
    EncoderProfile,
    #[error("unrecognized video codec")]
    Codec,
    #[error("no profiles")]
    NoProfiles,
}

impl Asked {
    /// Reads `data`.
    pub fn parse(data: &SegData) -> Result<Self, SegDataError> {
        let profiles = [
            &data.full_profiles3,
            &data.full_profiles2,
            &data.full_profiles,
        ]
        .into_iter()
        .find(|profiles| !profiles.is_empty())
        .ok_or(SegDataError::NoProfiles)?
        .iter()
        .map(profile)
        .collect::<Result<_, _>>()?;
        Ok(Self {
            profiles,
            duration: duration(data.duration)?,
            clip: data.segment_parameters.as_ref().and_then(clip),
        })
    }

    /// How long the gateway waits for the whole call (`server/broadcast.go`).
    #[must_use]
    pub fn deadline(&self) -> Duration {
        LEAST_DEADLINE.max(self.duration * 4)
    }
}

fn duration(millis: i32) -> Result<Duration, SegDataError> {
    match u64::try_from(millis) {
        Ok(0) => Ok(DEFAULT_DURATION),
        Ok(whole) if millis <= MAX_DURATION_MS => Ok(Duration::from_millis(whole)),
        Ok(_) | Err(_) => Err(SegDataError::Duration),
    }
}

/// go-livepeer's HTTP ingest always sends the message, mostly with nothing in it.
fn clip(parameters: &net::SegParameters) -> Option<Clip> {
    (parameters.from != 0 || parameters.to != 0).then(|| Clip {
        from: Duration::from_millis(parameters.from),
        to: Duration::from_millis(parameters.to),
    })
}

/// Negative sizes become 0, which the engine refuses with the wire's text.
fn profile(asked: &net::VideoProfile) -> Result<Profile, SegDataError> {
    let positive = |value: i32| u32::try_from(value).unwrap_or(0);
    let (width, height) = (positive(asked.width), positive(asked.height));
    let bitrate = positive(asked.bitrate);
    let name = if asked.name.is_empty() {
        format!("net_{width}x{height}_{bitrate}")
    } else {
        asked.name.clone()
    };
    Ok(Profile {
        name,
        width,
        height,
        bitrate,
        fps: asked.fps,
        fps_den: asked.fps_den.max(1),
        format: format(asked.format)?,
        h264_profile: h264_profile(asked.profile)?,
        gop: gop(asked.gop),
        codec: codec(asked.encoder)?,
        quality: asked.quality,
    })
}

fn format(value: i32) -> Result<Format, SegDataError> {
    match video_profile::Format::try_from(value) {
        Ok(video_profile::Format::Mpegts) => Ok(Format::MpegTs),
        Ok(video_profile::Format::Mp4) => Ok(Format::Mp4),
        Err(_) => Err(SegDataError::Format),
    }
}

fn h264_profile(value: i32) -> Result<H264Profile, SegDataError> {
    match video_profile::Profile::try_from(value) {
        Ok(video_profile::Profile::EncoderDefault) => Ok(H264Profile::Default),
        Ok(video_profile::Profile::H264Baseline) => Ok(H264Profile::Baseline),
        Ok(video_profile::Profile::H264Main) => Ok(H264Profile::Main),
        Ok(video_profile::Profile::H264High) => Ok(H264Profile::High),
        Ok(video_profile::Profile::H264ConstrainedHigh) => Ok(H264Profile::ConstrainedHigh),
        Err(_) => Err(SegDataError::EncoderProfile),
    }
}

fn codec(value: i32) -> Result<Codec, SegDataError> {
    match video_profile::VideoCodec::try_from(value) {
        Ok(video_profile::VideoCodec::H264) => Ok(Codec::H264),
        Ok(video_profile::VideoCodec::H265) => Ok(Codec::H265),
        Ok(video_profile::VideoCodec::Vp8) => Ok(Codec::Vp8),
        Ok(video_profile::VideoCodec::Vp9) => Ok(Codec::Vp9),
        Err(_) => Err(SegDataError::Codec),
    }
}

/// Milliseconds; -1 is intra only; 0 and what means nothing is the encoder's choice.
fn gop(millis: i32) -> Gop {
    match u64::try_from(millis) {
        Ok(0) => Gop::Default,
        Ok(millis) => Gop::Every(Duration::from_millis(millis)),
        Err(_) if millis == -1 => Gop::Intra,
        Err(_) => Gop::Default,
    }
}

#[cfg(test)]
mod tests {
    use super::{Asked, SegDataError};
    use livepeer_media::{Format, Gop};
    use livepeer_proto::net::{SegData, SegParameters, VideoProfile};
    use std::time::Duration;

    fn with_duration(millis: i32) -> Result<Duration, SegDataError> {
        let data = SegData {
            duration: millis,
            full_profiles: vec![VideoProfile::default()],
            ..SegData::default()
        };
        Asked::parse(&data).map(|asked| asked.duration)
    }

    // server/segment_rpc_test.go, TestVerifySegCreds_Duration
    #[test]
    fn durations_are_those_that_go_livepeer_takes() {
        assert_eq!(with_duration(0), Ok(Duration::from_secs(2)));
        assert_eq!(with_duration(123), Ok(Duration::from_millis(123)));
        assert_eq!(with_duration(-1), Err(SegDataError::Duration));
        assert_eq!(with_duration(300_001), Err(SegDataError::Duration));
    }

    #[test]
    fn the_newest_profile_field_wins() {
        let named = |name: &str| {
            vec![VideoProfile {
                name: name.to_owned(),
                ..VideoProfile::default()
            }]
        };
        let mut data = SegData {
            full_profiles: named("one"),
            full_profiles2: named("two"),
            full_profiles3: named("three"),
            ..SegData::default()
        };
        let name = |data: &SegData| Asked::parse(data).unwrap().profiles[0].name.clone();
        assert_eq!(name(&data), "three");
        data.full_profiles3.clear();
        assert_eq!(name(&data), "two");
        data.full_profiles2.clear();
        assert_eq!(name(&data), "one");
    }

    #[test]
    fn unknown_enums_are_refused_with_the_texts_of_the_wire() {
        let parse = |profile| {
            let data = SegData {
                full_profiles: vec![profile],
                ..SegData::default()
            };
            Asked::parse(&data).unwrap_err().to_string()
        };
        let plain = VideoProfile::default();
        assert_eq!(
            parse(VideoProfile {
                format: 9,
                ..plain.clone()
            }),
            "unrecognized profile output format"
        );
        assert_eq!(
            parse(VideoProfile {
                profile: 9,
                ..plain.clone()
            }),
            "unrecognized encoder profile"
        );
        assert_eq!(
            parse(VideoProfile {
                encoder: 9,
                ..plain
            }),
            "unrecognized video codec"
        );
    }

    #[test]
    fn empty_slicing_parameters_mean_the_whole_segment() {
        let mut data = SegData {
            full_profiles: vec![VideoProfile {
                width: 10,
                height: 20,
                bitrate: 30,
                format: 1,
                gop: -1,
                ..VideoProfile::default()
            }],
            segment_parameters: Some(SegParameters::default()),
            ..SegData::default()
        };
        let asked = Asked::parse(&data).unwrap();
        assert_eq!(asked.clip, None);
        assert_eq!(asked.profiles[0].name, "net_10x20_30");
        assert_eq!(
            (asked.profiles[0].format, asked.profiles[0].gop),
            (Format::Mp4, Gop::Intra)
        );
        data.segment_parameters = Some(SegParameters { from: 0, to: 500 });
        assert!(Asked::parse(&data).unwrap().clip.is_some());
    }
}
