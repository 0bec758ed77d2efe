//! A rendition that a gateway asks for, as a person writes it.
//!
//! Either a preset by name (`P240p30fps16x9`) or sizes and rates spelled out, with
//! the keys of go-livepeer's `-transcodingOptions` file (lpms `ffmpeg/videoprofile.go`)
//! so that a file in use today can be carried over key by key.

use serde::{Deserialize, Serialize};

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

    /// What is wrong with this profile on its own, in words for the person who wrote it.
    ///
    /// Whether a preset of that name exists is known to the node alone.
    pub fn check(&self) -> Result<(), String> {
        let sizes = [self.width, self.height, self.bitrate];
        if self.name.is_empty() {
            return Err("name is empty: renditions are stored and played under it".to_owned());
        }
        if self.name.len() > 64 || !self.name.chars().all(is_name_character) {
            return Err(format!(
                "name `{}` must be at most 64 of the characters A-Z a-z 0-9 . _ -",
                self.name
            ));
        }
        if !self.is_preset() && sizes.iter().any(|size| size.unwrap_or(0) == 0) {
            return Err(format!(
                "profile `{}` needs width, height and bitrate, each above 0, or none of them for a preset",
                self.name
            ));
        }
        if self.fps_den == 0 {
            return Err(format!(
                "fpsDen of profile `{}` must be at least 1",
                self.name
            ));
        }
        match self.gop.as_deref() {
            None | Some("intra") => Ok(()),
            Some(text) => match text.parse::<f64>() {
                Ok(seconds) if (0.0..=300.0).contains(&seconds) => Ok(()),
                _ => Err(format!(
                    "gop `{text}` of profile `{}` must be seconds from 0 to 300, or `intra`",
                    self.name
                )),
            },
        }
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
    use super::ProfileSettings;

    #[test]
    fn a_preset_needs_nothing_but_its_name() {
        assert_eq!(ProfileSettings::preset("P240p30fps16x9").check(), Ok(()));
    }

    #[test]
    fn half_a_size_names_the_profile_and_what_is_missing() {
        let mut profile = ProfileSettings::preset("odd");
        profile.width = Some(640);
        assert!(profile.check().unwrap_err().contains("profile `odd` needs"));
    }

    #[test]
    fn a_name_that_would_leave_its_folder_is_refused() {
        assert!(ProfileSettings::preset("../x").check().is_err());
        assert!(ProfileSettings::preset("").check().is_err());
    }

    #[test]
    fn gop_is_seconds_or_intra() {
        let mut profile = ProfileSettings::preset("p");
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
