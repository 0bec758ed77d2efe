//! What a rendition should be: the profile that a gateway asks for.
//!
//! Field rules and presets are go-livepeer's (lpms `ffmpeg/videoprofile.go`), so that a name or
//! a JSON profile means the same to both. How a profile meets a source (size, frame rate,
//! keyframes) is the engine's business, not this file's.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::JobError;

/// Most renditions of one segment; lpms refuses the eleventh with `Too many outputs`.
pub const MAX_OUTPUTS: usize = 10;

/// Longest profile name kept; go-livepeer has no limit, ours bounds messages and file names.
pub const MAX_NAME_BYTES: usize = 256;

/// Container of a rendition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    #[default]
    MpegTs,
    Mp4,
}

impl Format {
    /// File extension, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::MpegTs => "ts",
            Self::Mp4 => "mp4",
        }
    }

    /// MIME type as go-livepeer writes it in multipart replies.
    pub fn mime(self) -> &'static str {
        match self {
            Self::MpegTs => "video/mp2t",
            Self::Mp4 => "video/mp4",
        }
    }
}

/// H.264 profile asked for. `Default` leaves the choice to the encoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum H264Profile {
    #[default]
    Default,
    Baseline,
    Main,
    High,
    ConstrainedHigh,
}

/// Distance between keyframes. The first frame of a segment is a keyframe in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gop {
    #[default]
    Default,
    Intra,
    Every(Duration),
}

/// Codec of a rendition. The engine encodes H.264; the others are names of the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    #[default]
    H264,
    H265,
    Vp8,
    Vp9,
}

/// One rendition asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Profile {
    pub name: String,
    pub width: u32,
    pub height: u32,
    /// Bits per second; average, maximum and buffer size at once.
    pub bitrate: u32,
    /// Frames per `fps_den` seconds; 0 passes the source's frames through.
    pub fps: u32,
    /// At least 1.
    pub fps_den: u32,
    pub format: Format,
    pub h264_profile: H264Profile,
    pub gop: Gop,
    pub codec: Codec,
    /// Constant quality (CRF) 1-63 with the bitrate as a cap; 0 means by bitrate.
    pub quality: u32,
}

impl Profile {
    /// The preset of that exact name, or `None`.
    pub fn preset(name: &str) -> Option<Profile> {
        PRESETS
            .iter()
            .find(|preset| preset.name == name)
            .map(Preset::profile)
    }

    /// Checks what go-livepeer checks before it starts a job.
    pub fn validate(&self) -> Result<(), JobError> {
        if self.width == 0 && self.height == 0 {
            return Err(JobError::input("TranscoderInvalidResolution"));
        }
        match self.codec {
            Codec::H264 => {}
            Codec::H265 | Codec::Vp8 | Codec::Vp9 => {
                return Err(JobError::input("Encoder not found"));
            }
        }
        if self.name.len() > MAX_NAME_BYTES || self.fps_den == 0 || self.quality > 63 {
            return Err(JobError::input("Invalid argument"));
        }
        // x264 takes kbit/s and refuses 0 with these rate-control settings.
        if self.bitrate < 1000 || i32::try_from(self.bitrate).is_err() {
            return Err(JobError::input("Invalid argument"));
        }
        if u64::from(self.fps) > u64::from(MAX_FPS) * u64::from(self.fps_den) {
            return Err(JobError::input("Invalid argument"));
        }
        Ok(())
    }
}

/// Highest frame rate encoded: four times the fastest preset. Above it a profile only burns CPU.
pub const MAX_FPS: u32 = 240;

/// Checks a job's profiles as a set, then each.
pub fn validate_all(profiles: &[Profile]) -> Result<(), JobError> {
    if profiles.len() > MAX_OUTPUTS {
        return Err(JobError::input("Too many outputs"));
    }
    profiles.iter().try_for_each(Profile::validate)
}

/// A preset: name, size, frame rate and bitrate; everything else is the default.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    pub name: &'static str,
    pub width: u32,
    pub height: u32,
    pub fps: u32,
    pub bitrate: u32,
}

impl Preset {
    const fn new(name: &'static str, width: u32, height: u32, fps: u32, kbps: u32) -> Self {
        Self {
            name,
            width,
            height,
            fps,
            bitrate: kbps * 1000,
        }
    }

    /// The profile that the preset stands for.
    pub fn profile(&self) -> Profile {
        Profile {
            name: self.name.to_owned(),
            width: self.width,
            height: self.height,
            bitrate: self.bitrate,
            fps: self.fps,
            fps_den: 1,
            format: Format::default(),
            h264_profile: H264Profile::default(),
            gop: Gop::default(),
            codec: Codec::default(),
            quality: 0,
        }
    }
}

/// The presets that go-livepeer can look up by name (`P144p25fps16x9` is defined there, but not
/// in its table, so it is not here either).
pub const PRESETS: &[Preset] = &[
    Preset::new("P720p60fps16x9", 1280, 720, 60, 6000),
    Preset::new("P720p30fps16x9", 1280, 720, 30, 4000),
    Preset::new("P720p25fps16x9", 1280, 720, 25, 3500),
    Preset::new("P720p30fps4x3", 960, 720, 30, 3500),
    Preset::new("P576p30fps16x9", 1024, 576, 30, 1500),
    Preset::new("P576p25fps16x9", 1024, 576, 25, 1500),
    Preset::new("P360p30fps16x9", 640, 360, 30, 1200),
    Preset::new("P360p25fps16x9", 640, 360, 25, 1000),
    Preset::new("P360p30fps4x3", 480, 360, 30, 1000),
    Preset::new("P240p30fps16x9", 426, 240, 30, 600),
    Preset::new("P240p25fps16x9", 426, 240, 25, 600),
    Preset::new("P240p30fps4x3", 320, 240, 30, 600),
    Preset::new("P144p30fps16x9", 256, 144, 30, 400),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_is_found_by_its_exact_name() {
        let profile = Profile::preset("P240p30fps16x9").unwrap();
        assert_eq!((profile.width, profile.height), (426, 240));
        assert_eq!((profile.fps, profile.bitrate), (30, 600_000));
        assert_eq!(Profile::preset("p240p30fps16x9"), None);
        assert_eq!(Profile::preset("P144p25fps16x9"), None);
    }

    #[test]
    fn every_preset_passes_its_own_checks() {
        for preset in PRESETS {
            preset.profile().validate().unwrap();
        }
    }

    #[test]
    fn an_eleventh_output_is_refused_with_the_texts_of_the_wire() {
        let eleven = vec![PRESETS[0].profile(); 11];
        let error = validate_all(&eleven).unwrap_err();
        assert_eq!(error.to_string(), "Too many outputs");
        assert!(error.is_input_fault());
    }

    #[test]
    fn what_no_encoder_can_make_is_refused_before_any_work() {
        let good = PRESETS[0].profile();
        let cases = [
            (
                Profile {
                    width: 0,
                    height: 0,
                    ..good.clone()
                },
                "TranscoderInvalidResolution",
            ),
            (
                Profile {
                    codec: Codec::Vp9,
                    ..good.clone()
                },
                "Encoder not found",
            ),
            (
                Profile {
                    bitrate: 0,
                    ..good.clone()
                },
                "Invalid argument",
            ),
            (Profile { fps_den: 0, ..good }, "Invalid argument"),
        ];
        for (profile, text) in cases {
            assert_eq!(profile.validate().unwrap_err().to_string(), text);
        }
    }
}
