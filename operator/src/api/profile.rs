//! `profiles[]` of a gateway: the renditions that it asks for.
//!
//! The members mirror [`livepeer_settings::ProfileSettings`]; the schema knows what
//! that type's `check` refuses, so that `kubectl apply` says it and not a pod.

use kube::KubeSchema;
use kube::core::{Message, Rule};
use livepeer_settings::ProfileSettings;
use livepeer_settings::profile::{EncoderProfile as NodeEncoderProfile, MAX_FPS, PRESETS};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One rendition: a preset by its name alone (such as P240p30fps16x9), or a name with
/// width, height and bitrate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.width) == has(self.height) && has(self.height) == has(self.bitrate)").message("width, height and bitrate go together; none of them means that name is a preset"))]
#[x_kube(validation = preset_exists())]
#[x_kube(validation = not_too_fast())]
pub struct Profile {
    /// Name of the rendition in playlists, and of the preset when no size is given.
    #[schemars(
        length(min = 1, max = 64),
        regex(pattern = r"^[A-Za-z0-9][-_.A-Za-z0-9]*$")
    )]
    #[x_kube(validation = Rule::new("self != 'source'").message("source is the name of the ingested stream"))]
    pub name: String,
    /// Width in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 16, max = 16384))]
    pub width: Option<u32>,
    /// Height in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 16, max = 16384))]
    pub height: Option<u32>,
    /// Bits a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1000, max = 500_000_000))]
    pub bitrate: Option<u32>,
    /// Frames a second, at most 240 when divided by fpsDen; 0 keeps the source's. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 480_000))]
    pub fps: Option<u32>,
    /// Divisor of fps, for rates such as 30000/1001. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub fps_den: Option<u32>,
    /// H.264 profile of the encoder. Default: the encoder's own choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<EncoderProfile>,
    /// Seconds between keyframes (2 or 0.5), or intra: every frame. Every segment begins
    /// with one. Default: every 250 frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 12),
        regex(pattern = r"^(intra|[0-9]{1,4}(\.[0-9]{1,6})?)$")
    )]
    #[x_kube(validation = Rule::new("self == 'intra' || double(self) <= 300.0").message("must be at most 300 seconds, or intra"))]
    pub gop: Option<String>,
}

/// A mistyped preset is refused while the person who typed it looks on.
fn preset_exists() -> Rule {
    let names = PRESETS.map(|name| format!("'{name}'")).join(", ");
    let message = format!(
        "name must be one of the presets {}, or come with width, height and bitrate",
        PRESETS.join(", ")
    );
    Rule::new(format!("has(self.width) || self.name in [{names}]"))
        .message(Message::Message(message))
        .field_path(".name")
}

fn not_too_fast() -> Rule {
    let rule =
        format!("!has(self.fps) || self.fps <= {MAX_FPS} * (has(self.fpsDen) ? self.fpsDen : 1)");
    let message = format!("fps divided by fpsDen must be at most {MAX_FPS} frames a second");
    Rule::new(rule)
        .message(Message::Message(message))
        .field_path(".fps")
}

/// H.264 profiles, in go-livepeer's spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EncoderProfile {
    #[serde(rename = "h264baseline")]
    H264Baseline,
    #[serde(rename = "h264main")]
    H264Main,
    #[serde(rename = "h264high")]
    H264High,
    #[serde(rename = "h264constrainedhigh")]
    H264ConstrainedHigh,
}

impl Profile {
    /// The node's own type.
    #[must_use]
    pub fn settings(&self) -> ProfileSettings {
        let Self {
            name,
            width,
            height,
            bitrate,
            fps,
            fps_den,
            profile,
            gop,
        } = self;
        ProfileSettings {
            name: name.clone(),
            width: *width,
            height: *height,
            bitrate: *bitrate,
            fps: fps.unwrap_or(0),
            fps_den: fps_den.unwrap_or(1),
            profile: profile.map_or(NodeEncoderProfile::None, Into::into),
            gop: gop.clone(),
        }
    }
}

impl From<EncoderProfile> for NodeEncoderProfile {
    fn from(profile: EncoderProfile) -> Self {
        match profile {
            EncoderProfile::H264Baseline => Self::H264Baseline,
            EncoderProfile::H264Main => Self::H264Main,
            EncoderProfile::H264High => Self::H264High,
            EncoderProfile::H264ConstrainedHigh => Self::H264ConstrainedHigh,
        }
    }
}
