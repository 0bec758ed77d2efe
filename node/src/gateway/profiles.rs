//! Profiles as people write them, turned into those that the engine and the wire know.
//!
//! Two spellings: the settings file ([`ProfileSettings`]) and the JSON of the
//! `Livepeer-Transcode-Configuration` header (go-livepeer lpms
//! `ffmpeg/videoprofile.go`, `ParseProfiles`). Pure.

use std::time::Duration;

use livepeer_media::{Codec, Format, Gop, H264Profile, Profile};
use livepeer_settings::ProfileSettings;
use livepeer_settings::profile::EncoderProfile;
use serde::Deserialize;

/// Longest keyframe distance: the longest segment.
const MAX_GOP_SECONDS: f64 = 300.0;

/// Why a profile cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProfileError {
    #[error("unknown preset `{0}`")]
    UnknownPreset(String),
    #[error("unknown encoder profile `{0}`")]
    EncoderProfile(String),
    #[error("unknown encoder `{0}`")]
    Encoder(String),
    #[error("invalid gop `{0}`")]
    Gop(String),
    #[error("invalid name `{0}`")]
    Name(String),
    #[error("width, height, bitrate, fps and quality must not be negative")]
    Negative,
}

/// One entry of the header's `profiles`, its keys in small letters.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct JsonProfile {
    name: String,
    width: i64,
    height: i64,
    bitrate: i64,
    fps: i64,
    #[serde(rename = "fpsden")]
    fps_den: i64,
    profile: String,
    gop: String,
    encoder: String,
    quality: i64,
}

/// The profile of a settings entry: the preset of its name, or what it spells out.
pub(super) fn from_settings(settings: &ProfileSettings) -> Result<Profile, ProfileError> {
    let ProfileSettings {
        name,
        width,
        height,
        bitrate,
        fps,
        fps_den,
        profile,
        gop,
    } = settings;
    if settings.is_preset() {
        return Profile::preset(name).ok_or_else(|| ProfileError::UnknownPreset(name.clone()));
    }
    Ok(Profile {
        name: name.clone(),
        width: width.unwrap_or(0),
        height: height.unwrap_or(0),
        bitrate: bitrate.unwrap_or(0),
        fps: *fps,
        fps_den: (*fps_den).max(1),
        format: Format::MpegTs,
        h264_profile: match profile {
            EncoderProfile::None => H264Profile::Default,
            EncoderProfile::H264Baseline => H264Profile::Baseline,
            EncoderProfile::H264Main => H264Profile::Main,
            EncoderProfile::H264High => H264Profile::High,
            EncoderProfile::H264ConstrainedHigh => H264Profile::ConstrainedHigh,
        },
        gop: parse_gop(gop.as_deref().unwrap_or_default())?,
        codec: Codec::H264,
        quality: 0,
    })
}

/// The profile of a JSON entry.
pub(super) fn from_json(json: &JsonProfile) -> Result<Profile, ProfileError> {
    let number = |value: i64| u32::try_from(value).map_err(|_| ProfileError::Negative);
    let name = if json.name.is_empty() {
        format!("custom_{}x{}_{}", json.width, json.height, json.bitrate)
    } else {
        json.name.clone()
    };
    if !is_valid_name(&name) {
        return Err(ProfileError::Name(name));
    }
    Ok(Profile {
        width: number(json.width)?,
        height: number(json.height)?,
        bitrate: number(json.bitrate)?,
        fps: number(json.fps)?,
        fps_den: number(json.fps_den)?.max(1),
        format: Format::MpegTs,
        h264_profile: parse_encoder_profile(&json.profile)?,
        gop: parse_gop(&json.gop)?,
        codec: parse_codec(&json.encoder)?,
        quality: number(json.quality)?,
        name,
    })
}

/// Names become path parts and file names; `source` is the ingested stream's.
fn is_valid_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=64).contains(&name.len())
        && name.chars().all(good)
        && name != "source"
        && name.chars().any(|c| c != '.')
}

fn parse_encoder_profile(text: &str) -> Result<H264Profile, ProfileError> {
    Ok(match text.to_ascii_lowercase().as_str() {
        "" | "none" => H264Profile::Default,
        "h264baseline" => H264Profile::Baseline,
        "h264main" => H264Profile::Main,
        "h264high" => H264Profile::High,
        "h264constrainedhigh" => H264Profile::ConstrainedHigh,
        _ => return Err(ProfileError::EncoderProfile(text.to_owned())),
    })
}

fn parse_codec(text: &str) -> Result<Codec, ProfileError> {
    Ok(match text {
        "" | "H.264" => Codec::H264,
        "HEVC" => Codec::H265,
        "VP8" => Codec::Vp8,
        "VP9" => Codec::Vp9,
        _ => return Err(ProfileError::Encoder(text.to_owned())),
    })
}

/// Seconds as text, 0 for the encoder's choice, or `intra`.
fn parse_gop(text: &str) -> Result<Gop, ProfileError> {
    match text {
        "" => Ok(Gop::Default),
        "intra" => Ok(Gop::Intra),
        _ => match text.parse::<f64>() {
            Ok(0.0) => Ok(Gop::Default),
            Ok(seconds) if (0.0..=MAX_GOP_SECONDS).contains(&seconds) => {
                Ok(Gop::Every(Duration::from_secs_f64(seconds)))
            }
            _ => Err(ProfileError::Gop(text.to_owned())),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{JsonProfile, ProfileError, from_json, from_settings};
    use livepeer_media::{Codec, Gop, H264Profile, Profile};
    use livepeer_settings::ProfileSettings;

    fn json(text: &str) -> Result<Profile, ProfileError> {
        from_json(&serde_json::from_str::<JsonProfile>(text).unwrap())
    }

    #[test]
    fn the_settings_know_every_preset_and_no_other() {
        let known = livepeer_media::profile::PRESETS.iter();
        let known: Vec<_> = known.map(|preset| preset.name).collect();
        assert_eq!(known, livepeer_settings::profile::PRESETS);
    }

    #[test]
    fn the_settings_take_no_profile_that_every_push_would_be_refused_for() {
        use livepeer_settings::profile::MAX_FPS;
        assert_eq!(livepeer_media::profile::MAX_FPS, MAX_FPS);
        let mut least = ProfileSettings::preset("mine");
        (least.width, least.height) = (Some(16), Some(16));
        (least.bitrate, least.fps) = (Some(1000), MAX_FPS);
        assert_eq!(least.check(), Ok(()));
        assert!(from_settings(&least).unwrap().validate().is_ok());
        least.bitrate = Some(999);
        assert!(least.check().is_err());
        assert!(from_settings(&least).unwrap().validate().is_err());
    }

    #[test]
    fn a_settings_entry_without_sizes_is_its_preset() {
        let profile = from_settings(&ProfileSettings::preset("P360p30fps16x9")).unwrap();
        assert_eq!((profile.width, profile.height), (640, 360));
        let unknown = from_settings(&ProfileSettings::preset("P1p"));
        assert_eq!(unknown, Err(ProfileError::UnknownPreset("P1p".to_owned())));
    }

    #[test]
    fn a_settings_entry_with_sizes_is_taken_as_written() {
        let mut settings = ProfileSettings::preset("mine");
        settings.width = Some(320);
        settings.height = Some(180);
        settings.bitrate = Some(300_000);
        settings.gop = Some("2.5".to_owned());
        let profile = from_settings(&settings).unwrap();
        assert_eq!((profile.name.as_str(), profile.bitrate), ("mine", 300_000));
        assert_eq!(profile.gop, Gop::Every(Duration::from_millis(2500)));
    }

    // server/mediaserver_test.go, webhook profile cases
    #[test]
    fn a_json_entry_gets_the_defaults_of_go_livepeer() {
        let profile =
            json(r#"{"width":123,"height":456,"bitrate":432000,"colorDepth":2}"#).unwrap();
        assert_eq!(profile.name, "custom_123x456_432000");
        assert_eq!((profile.fps, profile.fps_den), (0, 1));
        assert_eq!(profile.h264_profile, H264Profile::Default);
    }

    #[test]
    fn encoder_profile_ignores_case_and_encoder_does_not() {
        let profile = json(r#"{"profile":"H264Main","encoder":"HEVC","gop":"intra"}"#).unwrap();
        assert_eq!(profile.h264_profile, H264Profile::Main);
        assert_eq!((profile.codec, profile.gop), (Codec::H265, Gop::Intra));
        assert!(json(r#"{"encoder":"hevc"}"#).is_err());
        assert!(json(r#"{"profile":"h265main"}"#).is_err());
    }

    #[test]
    fn a_bad_gop_or_a_name_that_leaves_its_folder_is_refused() {
        for gop in ["-1", " 2", "2 ", "NaN", "inf", "x"] {
            let text = format!(r#"{{"gop":"{gop}"}}"#);
            assert_eq!(json(&text), Err(ProfileError::Gop(gop.to_owned())));
        }
        for name in ["../a", "source", "..", "a b", "é"] {
            let text = format!(r#"{{"name":"{name}"}}"#);
            assert_eq!(json(&text), Err(ProfileError::Name(name.to_owned())));
        }
        assert_eq!(json(r#"{"width":-1}"#), Err(ProfileError::Negative));
    }
}
