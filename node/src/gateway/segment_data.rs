//! What a gateway says about a segment: the `SegData` of `POST /segment`, and the
//! capabilities that the job needs (go-livepeer `server/segment_rpc.go`,
//! `core/capabilities.go`). Pure.

use bytes::Bytes;
use livepeer_media::{Codec, Format, Gop, H264Profile, Profile, VideoInfo};
use livepeer_proto::capabilities::{BitString, Capability};
use livepeer_proto::net;

/// `profiles` of a `SegData` since profiles are spelled out in fields of their own.
const PROFILES_ELSEWHERE: &[u8] = b"invalid";

/// A segment to transcode, as every orchestrator is told of it.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) manifest_id: String,
    pub(super) seq: u64,
    /// Keccak-256 of the segment.
    pub(super) hash: [u8; 32],
    pub(super) duration_ms: u32,
    pub(super) profiles: std::sync::Arc<[Profile]>,
    pub(super) capabilities: net::Capabilities,
    /// Only this part of the segment, in milliseconds.
    pub(super) slice: Option<(u64, u64)>,
    /// The source's format changed: codecs must be opened anew.
    pub(super) reinit: bool,
}

impl Job {
    /// As orchestrators are told it.
    pub(super) fn duration(&self) -> std::time::Duration {
        std::time::Duration::from_millis(self.duration_ms.into())
    }
}

/// The message for one orchestrator, whose token goes with it. Off-chain: no signature.
pub(super) fn build(job: &Job, token: Option<net::AuthToken>) -> net::SegData {
    let profiles: Vec<net::VideoProfile> = job.profiles.iter().map(video_profile).collect();
    let mut data = net::SegData {
        manifest_id: Bytes::copy_from_slice(job.manifest_id.as_bytes()),
        seq: i64::try_from(job.seq).unwrap_or(i64::MAX),
        hash: Bytes::copy_from_slice(&job.hash),
        profiles: Bytes::from_static(PROFILES_ELSEWHERE),
        duration: i32::try_from(job.duration_ms).unwrap_or(i32::MAX),
        capabilities: Some(job.capabilities.clone()),
        auth_token: token,
        segment_parameters: job.slice.map(|(from, to)| net::SegParameters { from, to }),
        force_session_reinit: job.reinit,
        ..net::SegData::default()
    };
    // an old orchestrator reads only the field that it knows; a new one the highest
    match profiles_field(&job.profiles) {
        ProfilesField::Plain => data.full_profiles = profiles,
        ProfilesField::Containers => data.full_profiles2 = profiles,
        ProfilesField::Encoders => data.full_profiles3 = profiles,
    }
    data
}

/// Which of the three lists of profiles a job uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ProfilesField {
    /// Field 33.
    Plain,
    /// Field 34, since containers can be chosen.
    Containers,
    /// Field 35, since frame rates, encoder profiles and keyframes can be.
    Encoders,
}

fn profiles_field(profiles: &[Profile]) -> ProfilesField {
    let encoders = |profile: &Profile| {
        wire_fps_den(profile) != 0
            || profile.h264_profile != H264Profile::Default
            || profile.gop != Gop::Default
    };
    if profiles.iter().any(encoders) {
        ProfilesField::Encoders
    } else if profiles.iter().any(|profile| profile.format == Format::Mp4) {
        ProfilesField::Containers
    } else {
        ProfilesField::Plain
    }
}

/// On the wire 0 stands for 1.
fn wire_fps_den(profile: &Profile) -> u32 {
    if profile.fps_den <= 1 {
        0
    } else {
        profile.fps_den
    }
}

fn video_profile(profile: &Profile) -> net::VideoProfile {
    use net::video_profile::{Format as WireFormat, Profile as WireProfile, VideoCodec};
    let signed = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
    let format = match profile.format {
        Format::MpegTs => WireFormat::Mpegts,
        Format::Mp4 => WireFormat::Mp4,
    };
    let encoder_profile = match profile.h264_profile {
        H264Profile::Default => WireProfile::EncoderDefault,
        H264Profile::Baseline => WireProfile::H264Baseline,
        H264Profile::Main => WireProfile::H264Main,
        H264Profile::High => WireProfile::H264High,
        H264Profile::ConstrainedHigh => WireProfile::H264ConstrainedHigh,
    };
    let codec = match profile.codec {
        Codec::H264 => VideoCodec::H264,
        Codec::H265 => VideoCodec::H265,
        Codec::Vp8 => VideoCodec::Vp8,
        Codec::Vp9 => VideoCodec::Vp9,
    };
    net::VideoProfile {
        name: profile.name.clone(),
        width: signed(profile.width),
        height: signed(profile.height),
        bitrate: signed(profile.bitrate),
        fps: profile.fps,
        fps_den: wire_fps_den(profile),
        format: format.into(),
        profile: encoder_profile.into(),
        gop: match profile.gop {
            Gop::Default => 0,
            Gop::Intra => -1,
            Gop::Every(distance) => i32::try_from(distance.as_millis()).unwrap_or(i32::MAX),
        },
        encoder: codec.into(),
        quality: profile.quality,
        ..net::VideoProfile::default()
    }
}

/// What a source needs that no orchestrator offers; the text is the wire's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum SourceError {
    #[error("Unsupported input codec")]
    Codec,
    #[error("Unsupported input pixel format")]
    PixelFormat,
}

/// The capabilities that transcoding `source` to `profiles` takes.
pub(super) fn job_capabilities(
    source: Option<&VideoInfo>,
    profiles: &[Profile],
    slicing: bool,
) -> Result<net::Capabilities, SourceError> {
    let mut bits = BitString::default();
    let mut need = |capability: Capability| bits.insert(capability as u32);
    need(Capability::AuthToken);
    if slicing {
        need(Capability::SegmentSlicing);
    }
    match source.map_or("h264", |video| video.codec.as_str()) {
        "h264" => {
            need(Capability::H264);
            let format = source.and_then(|video| video.pixel_format.as_deref());
            if let Some(capability) = pixel_format_capability(format)? {
                need(capability);
            }
        }
        "hevc" => need(Capability::HevcDecode),
        "vp8" => need(Capability::Vp8Decode),
        "vp9" => need(Capability::Vp9Decode),
        _ => return Err(SourceError::Codec),
    }
    for profile in profiles {
        for capability in profile_capabilities(profile) {
            need(capability);
        }
    }
    Ok(net::Capabilities {
        bitstring: bits.0,
        constraints: Some(net::capabilities::Constraints::default()),
        ..net::Capabilities::default()
    })
}

/// Chroma and depth beyond 8-bit 4:2:0 are capabilities of their own.
fn pixel_format_capability(name: Option<&str>) -> Result<Option<Capability>, SourceError> {
    Ok(match name {
        None | Some("yuv420p" | "yuvj420p" | "nv12" | "gray") => None,
        Some("yuv444p" | "yuvj444p") => Some(Capability::H264Decode444Bits8),
        Some("yuv422p" | "yuvj422p") => Some(Capability::H264Decode422Bits8),
        Some("yuv444p10le") => Some(Capability::H264Decode444Bits10),
        Some("yuv422p10le") => Some(Capability::H264Decode422Bits10),
        Some("yuv420p10le") => Some(Capability::H264Decode420Bits10),
        Some(_) => return Err(SourceError::PixelFormat),
    })
}

fn profile_capabilities(profile: &Profile) -> Vec<Capability> {
    let container = match profile.format {
        Format::MpegTs => Capability::MpegTs,
        Format::Mp4 => Capability::Mp4,
    };
    let encoder = match profile.codec {
        Codec::H264 => Capability::H264,
        Codec::H265 => Capability::HevcEncode,
        Codec::Vp8 => Capability::Vp8Encode,
        Codec::Vp9 => Capability::Vp9Encode,
    };
    let encoder_profile = match profile.h264_profile {
        H264Profile::Default => None,
        H264Profile::Baseline => Some(Capability::ProfileH264Baseline),
        H264Profile::Main => Some(Capability::ProfileH264Main),
        H264Profile::High => Some(Capability::ProfileH264High),
        H264Profile::ConstrainedHigh => Some(Capability::ProfileH264ConstrainedHigh),
    };
    let fractional = (wire_fps_den(profile) > 0).then_some(Capability::FractionalFramerates);
    let gop = (profile.gop != Gop::Default).then_some(Capability::Gop);
    [
        Some(container),
        Some(encoder),
        encoder_profile,
        fractional,
        gop,
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Job, SourceError, build, job_capabilities};
    use livepeer_media::{Format, Gop, H264Profile, Profile, VideoInfo};
    use livepeer_proto::net;

    fn job(edit: impl FnOnce(&mut Profile)) -> Job {
        let mut profile = Profile::preset("P240p30fps16x9").unwrap();
        edit(&mut profile);
        Job {
            manifest_id: "hello".into(),
            seq: 7,
            hash: [9; 32],
            duration_ms: 2000,
            capabilities: job_capabilities(None, &[], false).unwrap(),
            profiles: vec![profile].into(),
            slice: None,
            reinit: false,
        }
    }

    fn lists(data: &net::SegData) -> [usize; 3] {
        [
            &data.full_profiles,
            &data.full_profiles2,
            &data.full_profiles3,
        ]
        .map(Vec::len)
    }

    // server/segment_rpc_test.go: TestGenSegCreds_FullProfiles
    #[test]
    fn profiles_go_into_the_field_that_their_features_need() {
        assert_eq!(lists(&build(&job(|_| ()), None)), [1, 0, 0]);
        assert_eq!(
            lists(&build(&job(|p| p.format = Format::Mp4), None)),
            [0, 1, 0]
        );
        assert_eq!(lists(&build(&job(|p| p.fps_den = 12), None)), [0, 0, 1]);
        let high = job(|p| p.h264_profile = H264Profile::High);
        assert_eq!(lists(&build(&high, None)), [0, 0, 1]);
        let gop = build(
            &job(|p| p.gop = Gop::Every(Duration::from_millis(123))),
            None,
        );
        assert_eq!((lists(&gop), gop.full_profiles3[0].gop), ([0, 0, 1], 123));
        assert_eq!(
            build(&job(|p| p.gop = Gop::Intra), None).full_profiles3[0].gop,
            -1
        );
    }

    #[test]
    fn a_message_is_unsigned_and_names_the_segment() {
        let data = build(&job(|_| ()), None);
        assert_eq!(
            (&data.manifest_id[..], data.seq, data.duration),
            (&b"hello"[..], 7, 2000)
        );
        assert_eq!((&data.profiles[..], data.sig.len()), (&b"invalid"[..], 0));
        assert_eq!(data.segment_parameters, None);
        assert_eq!(data.full_profiles[0].name, "P240p30fps16x9");
    }

    // core/capabilities_test.go and captured jobs
    #[test]
    fn capabilities_of_a_job_match_go_livepeer() {
        let bits = |profiles: &[Profile], slicing| {
            job_capabilities(None, profiles, slicing).unwrap().bitstring
        };
        let preset = Profile::preset("P240p30fps16x9").unwrap();
        assert_eq!(bits(&[], false), [(1 << 12) | 1]);
        assert_eq!(bits(std::slice::from_ref(&preset), false), [4099]);
        assert_eq!(bits(&[preset], true), [67_112_963]);
    }

    #[test]
    fn the_source_adds_what_decoding_it_takes() {
        let source = |codec: &str, pixel_format: &str| {
            let video = VideoInfo {
                codec: codec.into(),
                width: 640,
                height: 360,
                pixel_format: Some(pixel_format.into()),
                fps: 25.0,
                packets: 50,
            };
            job_capabilities(Some(&video), &[], false).map(|caps| caps.bitstring)
        };
        assert_eq!(source("h264", "yuv420p"), Ok(vec![4097]));
        assert_eq!(source("h264", "yuv422p10le"), Ok(vec![4097 | 1 << 24]));
        assert_eq!(source("hevc", "yuv420p"), Ok(vec![4096 | 1 << 15]));
        assert_eq!(source("h264", "yuv420p12le"), Err(SourceError::PixelFormat));
        assert_eq!(source("mpeg2video", "yuv420p"), Err(SourceError::Codec));
    }
}
