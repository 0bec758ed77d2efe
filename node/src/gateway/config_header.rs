//! The `Livepeer-Transcode-Configuration` header of a push: what this stream wants,
//! in the JSON shape of go-livepeer's authentication webhook (`server/auth.go`).
//!
//! Taken: `manifestID`, `presets`, `profiles`, `timeoutMultiplier`,
//! `forceSessionReinit`. Keys about storage and recording are read over, as unknown
//! keys are: nothing of them is built. As Go's JSON has it, keys come in any case, and
//! `null` says nothing.

use livepeer_media::Profile;
use serde::Deserialize;
use serde_json::Value;

use super::profiles::{self, JsonProfile, ProfileError};

pub(super) const HEADER: &str = "livepeer-transcode-configuration";

/// Largest factor on the timeouts of a segment; more would only hide a dead peer.
const MAX_TIMEOUT_MULTIPLIER: u32 = 10;

/// What a push asks for beyond the settings.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct StreamConfig {
    /// Wins over the path's.
    pub(super) manifest_id: Option<String>,
    /// Presets, then profiles; `None` when the header names neither.
    pub(super) profiles: Option<Vec<Profile>>,
    /// Factor on header and body timeouts; at least 1. First segment only.
    pub(super) timeout_multiplier: u32,
    pub(super) force_session_reinit: bool,
}

/// Why the header was refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConfigError {
    /// Not JSON, or not of this shape: 400.
    #[error("invalid transcode configuration: {0}")]
    Json(String),
    /// JSON of the right shape with a profile that cannot be: 500, as on the wire.
    #[error("invalid transcode configuration")]
    Profile(#[from] ProfileError),
}

/// The keys in small letters.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Json {
    #[serde(rename = "manifestid")]
    manifest_id: String,
    presets: Option<Vec<String>>,
    profiles: Option<Vec<JsonProfile>>,
    #[serde(rename = "timeoutmultiplier")]
    timeout_multiplier: u32,
    #[serde(rename = "forcesessionreinit")]
    force_session_reinit: bool,
}

/// Reads the header's text.
pub(super) fn parse(text: &[u8]) -> Result<StreamConfig, ConfigError> {
    let json: Option<Json> = serde_json::from_slice(text)
        .and_then(|value| serde_json::from_value(in_small_letters(value)))
        .map_err(|error| ConfigError::Json(error.to_string()))?;
    let json = json.unwrap_or_default();
    let profiles = match (json.presets, json.profiles) {
        (None, None) => None,
        (presets, spelled_out) => {
            // presets that nobody knows are skipped, as go-livepeer does
            let mut all: Vec<Profile> = presets
                .unwrap_or_default()
                .iter()
                .filter_map(|name| Profile::preset(name))
                .collect();
            for entry in spelled_out.unwrap_or_default() {
                all.push(profiles::from_json(&entry)?);
            }
            Some(all)
        }
    };
    Ok(StreamConfig {
        manifest_id: Some(json.manifest_id).filter(|id| !id.is_empty()),
        profiles,
        timeout_multiplier: json.timeout_multiplier.clamp(1, MAX_TIMEOUT_MULTIPLIER),
        force_session_reinit: json.force_session_reinit,
    })
}

/// Every key in small letters, and none that says nothing. The parser bounds the depth.
fn in_small_letters(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.to_ascii_lowercase(), in_small_letters(value)))
            .collect(),
        Value::Array(values) => values.into_iter().map(in_small_letters).collect(),
        value @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::{ConfigError, parse};

    #[test]
    fn presets_come_before_profiles_and_unknown_ones_are_skipped() {
        let text = br#"{"manifestID":"m","presets":["P240p30fps16x9","nope"],
            "profiles":[{"name":"p","width":1,"height":2,"bitrate":3}],"timeoutMultiplier":3}"#;
        let config = parse(text).unwrap();
        let names: Vec<_> = config
            .profiles
            .unwrap()
            .into_iter()
            .map(|p| p.name)
            .collect();
        assert_eq!(names, ["P240p30fps16x9", "p"]);
        assert_eq!(config.manifest_id.as_deref(), Some("m"));
        assert_eq!(config.timeout_multiplier, 3);
    }

    #[test]
    fn keys_come_in_any_case_and_null_says_nothing() {
        let one = parse(
            br#"{"manifestID":"m","timeoutMultiplier":3,"forceSessionReinit":true,
            "profiles":[{"name":"p","width":16,"height":32,"bitrate":3000,"fps":30000,
            "fpsDen":1001,"profile":"H264Main","gop":"2.0","encoder":"HEVC","quality":5}]}"#,
        );
        let other = parse(
            br#"{"ManifestId":"m","TIMEOUTMULTIPLIER":3,"forcesessionreinit":true,"presets":null,
            "Profiles":[{"Name":"p","WIDTH":16,"Height":32,"bitRate":3000,"FPS":30000,
            "fpsden":1001,"Profile":"H264Main","GOP":"2.0","Encoder":"HEVC","Quality":5}]}"#,
        );
        assert_eq!(one.unwrap(), other.unwrap());
        let nothing = br#"{"manifestID":null,"profiles":[{"name":null,"gop":null}]}"#;
        let nothing = parse(nothing).unwrap();
        assert_eq!(nothing.manifest_id, None);
        assert_eq!(nothing.profiles.unwrap()[0].name, "custom_0x0_0");
        assert_eq!(parse(b"null").unwrap(), parse(b"{}").unwrap());
    }

    #[test]
    fn naming_neither_key_leaves_the_choice_to_the_settings() {
        assert_eq!(parse(b"{}").unwrap().profiles, None);
        assert_eq!(
            parse(br#"{"profiles":[]}"#).unwrap().profiles,
            Some(Vec::new())
        );
    }

    #[test]
    fn bad_json_and_bad_profiles_are_told_apart() {
        for text in ["", "{", "[]x", r#"{"profiles":{}}"#, r#"{"presets":[1]}"#] {
            assert!(
                matches!(parse(text.as_bytes()), Err(ConfigError::Json(_))),
                "{text}"
            );
        }
        let bad = parse(br#"{"profiles":[{"gop":"x"}]}"#);
        assert!(matches!(bad, Err(ConfigError::Profile(_))));
    }
}
