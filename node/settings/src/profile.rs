//! A rendition that a gateway asks for, as a person writes it.
//!
//! Either a preset by name (`P240p30fps16x9`) or sizes and rates spelled out, with
//! the keys of go-livepeer's `-transcodingOptions` file (lpms `ffmpeg/videoprofile.go`)
//! so that a file in use today can be carried over key by key.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// Names of the presets: those that go-livepeer can look up (lpms `ffmpeg/videoprofile.go`).
/// What each stands for is in `livepeer_media::profile::PRESETS`; a test of the node keeps
/// the two lists the same.
pub const PRESETS: [&str; 13] = [
    "P720p60fps16x9",
    "P720p30fps16x9",
    "P720p25fps16x9",
    "P720p30fps4x3",
    "P576p30fps16x9",
    "P576p25fps16x9",
    "P360p30fps16x9",
    "P360p25fps16x9",
    "P360p30fps4x3",
    "P240p30fps16x9",
    "P240p25fps16x9",
    "P240p30fps4x3",
    "P144p30fps16x9",
];

/// Pixels of a side. The custom resource's schema has the same ranges.
const SIDE: RangeInclusive<u32> = 16..=16_384;
/// Bits a second. The encoder takes kilobits and refuses 0 of them
/// (`livepeer_media::Profile::validate`).
const BITRATE: RangeInclusive<u32> = 1000..=500_000_000;
const FPS: RangeInclusive<u32> = 0..=480_000;
const FPS_DEN: RangeInclusive<u32> = 1..=10_000;
/// Highest frame rate: that of `livepeer_media::profile::MAX_FPS`, above which every push
/// would be refused. A test of the node keeps the two the same.
pub const MAX_FPS: u32 = 240;

/// What is wrong with a profile on its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ProfileError {
    /// The key of the profile, in the spelling of the settings file.
    pub key: &'static str,
    /// The value and what would be right, for the person who wrote it.
    pub reason: String,
}

/// One profile. `width`, `height` and `bitrate` absent means that `name` is a preset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ProfileSettings {
    /// Name of the rendition, and of the preset when no size is given.
    pub name: String,
    /// Pixels; the longer side of the source is scaled to the longer of the two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Bits a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bitrate: Option<u32>,
    /// Frames a second; 0 keeps the source's.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fps: u32,
    /// Divisor of `fps`, for rates such as 30000/1001.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub fps_den: u32,
    /// H.264 profile of the encoder.
    #[serde(default, skip_serializing_if = "is_default")]
    pub profile: EncoderProfile,
    /// Seconds between keyframes (`2`, `0.5`), or `intra`; absent leaves it to the encoder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gop: Option<String>,
}

/// H.264 profiles, in go-livepeer's spelling.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EncoderProfile {
    #[default]
    #[serde(rename = "none")]
    None,
    #[serde(rename = "h264baseline")]
    H264Baseline,
    #[serde(rename = "h264main")]
    H264Main,
    #[serde(rename = "h264high")]
    H264High,
    #[serde(rename = "h264constrainedhigh")]
    H264ConstrainedHigh,
}

impl ProfileSettings {
    /// The preset of that name.
    #[must_use]
    pub fn preset(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            width: None,
            height: None,
            bitrate: None,
            fps: 0,
            fps_den: 1,
            profile: EncoderProfile::None,
            gop: None,
        }
    }

    /// True when sizes are left to the preset called `name`.
    #[must_use]
    pub fn is_preset(&self) -> bool {
        self.width.is_none() && self.height.is_none() && self.bitrate.is_none()
    }

    /// What the type cannot say: names that can be played, presets that exist, ranges.
    pub fn check(&self) -> Result<(), ProfileError> {
        self.check_name()?;
        let refuse = |key, reason| Err(ProfileError { key, reason });
        let sizes = [
            ("width", self.width),
            ("height", self.height),
            ("bitrate", self.bitrate),
        ];
        let missing = sizes.iter().find(|(_, size)| size.unwrap_or(0) == 0);
        if let Some((key, _)) = missing
            && !self.is_preset()
        {
            let reason = format!(
                "profile `{}` needs width, height and bitrate, each above 0, or none of them for a preset",
                self.name
            );
            return refuse(key, reason);
        }
        let ranges = [
            ("width", self.width, SIDE),
            ("height", self.height, SIDE),
            ("bitrate", self.bitrate, BITRATE),
            ("fps", Some(self.fps), FPS),
            ("fpsDen", Some(self.fps_den), FPS_DEN),
        ];
        for (key, value, range) in ranges {
            if let Some(value) = value
                && !range.contains(&value)
            {
                let (least, most) = range.into_inner();
                return refuse(key, format!("{value} must be from {least} to {most}"));
            }
        }
        if u64::from(self.fps) > u64::from(MAX_FPS) * u64::from(self.fps_den) {
            let rate = f64::from(self.fps) / f64::from(self.fps_den);
            let reason = format!("{rate} frames a second must be at most {MAX_FPS}");
            return refuse("fps", reason);
        }
        match self.gop.as_deref() {
            None | Some("intra") => Ok(()),
            Some(text) => match text.parse::<f64>() {
                Ok(seconds) if (0.0..=300.0).contains(&seconds) => Ok(()),
                _ => refuse(
                    "gop",
                    format!("`{text}` must be seconds from 0 to 300, or `intra`"),
                ),
            },
        }
    }

    fn check_name(&self) -> Result<(), ProfileError> {
        let name = &self.name;
        let reason = if name.is_empty() {
            "it is empty: renditions are stored and played under it".to_owned()
        } else if name.len() > 64 || !name.chars().all(is_name_character) {
            format!("`{name}` must be at most 64 of the characters A-Z a-z 0-9 . _ -")
        } else if name == "source" {
            "`source` is taken by the ingested stream".to_owned()
        } else if self.is_preset() && !PRESETS.contains(&name.as_str()) {
            format!(
                "there is no preset `{name}`, expected one of {}; or give width, height and bitrate",
                PRESETS.join(", ")
            )
        } else {
            return Ok(());
        };
        Err(ProfileError {
            key: "name",
            reason,
        })
    }
}

/// Names become path parts of playlists and file names of multipart replies.
fn is_name_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

fn one() -> u32 {
    1
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_one(value: &u32) -> bool {
    *value == 1
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::{MAX_FPS, PRESETS, ProfileSettings};

    #[test]
    fn a_preset_needs_nothing_but_its_name() {
        for name in PRESETS {
            assert_eq!(ProfileSettings::preset(name).check(), Ok(()));
        }
    }

    #[test]
    fn a_preset_that_does_not_exist_is_refused_with_those_that_do() {
        let error = ProfileSettings::preset("P240p30fps16x10")
            .check()
            .unwrap_err();
        assert_eq!(error.key, "name");
        assert!(error.reason.contains("`P240p30fps16x10`"), "{error}");
        assert!(error.reason.contains("P240p30fps16x9"), "{error}");
    }

    #[test]
    fn half_a_size_names_the_profile_and_what_is_missing() {
        let mut profile = ProfileSettings::preset("odd");
        profile.width = Some(640);
        let error = profile.check().unwrap_err();
        assert_eq!(error.key, "height");
        assert!(error.reason.contains("profile `odd` needs"), "{error}");
    }

    #[test]
    fn a_name_that_would_leave_its_folder_is_refused() {
        assert!(ProfileSettings::preset("../x").check().is_err());
        assert!(ProfileSettings::preset("").check().is_err());
        assert!(ProfileSettings::preset("source").check().is_err());
    }

    #[test]
    fn what_no_segment_could_be_transcoded_to_is_refused_with_its_key() {
        let good = ProfileSettings {
            width: Some(426),
            height: Some(240),
            bitrate: Some(1000),
            fps: MAX_FPS,
            ..ProfileSettings::preset("mine")
        };
        assert_eq!(good.check(), Ok(()));
        type Edit = fn(&mut ProfileSettings);
        let cases: [(Edit, &str, &str); 6] = [
            (
                |p| p.width = Some(15),
                "width",
                "15 must be from 16 to 16384",
            ),
            (|p| p.height = Some(16_385), "height", "16385 must be"),
            (
                |p| p.bitrate = Some(999),
                "bitrate",
                "999 must be from 1000 to",
            ),
            (
                |p| p.fps = 241,
                "fps",
                "241 frames a second must be at most 240",
            ),
            (|p| p.fps_den = 0, "fpsDen", "0 must be from 1 to 10000"),
            (
                |p| p.fps = 480_001,
                "fps",
                "480001 must be from 0 to 480000",
            ),
        ];
        for (edit, key, reason) in cases {
            let mut profile = good.clone();
            edit(&mut profile);
            let error = profile.check().unwrap_err();
            assert_eq!(error.key, key);
            assert!(error.reason.starts_with(reason), "{error}");
        }
        let slow = ProfileSettings {
            fps: 241,
            fps_den: 2,
            ..good
        };
        assert_eq!(slow.check(), Ok(()));
    }

    #[test]
    fn gop_is_seconds_or_intra() {
        let mut profile = ProfileSettings::preset("P144p30fps16x9");
        for (gop, good) in [
            ("intra", true),
            ("2.5", true),
            ("-1", false),
            ("2 s", false),
            ("NaN", false),
        ] {
            profile.gop = Some(gop.to_owned());
            assert_eq!(profile.check().is_ok(), good, "{gop}");
        }
    }
}
