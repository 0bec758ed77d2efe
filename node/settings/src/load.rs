//! Reading the settings file: parse, then check the whole before anything starts.
//!
//! Every message names the file, the key, the value and what would be right, since
//! it is all that a person sees in `kubectl describe`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use url::Url;

use crate::place;
use crate::settings::{Settings, VERSION};

/// Largest file that is read; a rendered one is a few kilobytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Why settings were refused.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("settings file {path} cannot be read")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("settings file {path} has {bytes} bytes; at most {MAX_FILE_BYTES} are read")]
    TooLarge { path: PathBuf, bytes: u64 },
    #[error("{origin}: this is not TOML: {reason}")]
    NotToml { origin: String, reason: String },
    #[error("{origin}: key `{key}`: {reason}")]
    Syntax {
        origin: String,
        key: String,
        reason: String,
    },
    #[error("{origin}: key `{key}`: {reason}")]
    Value {
        origin: String,
        key: String,
        reason: String,
    },
}

/// Reads and checks the file at `path`.
pub fn load(path: &Path) -> Result<Settings, LoadError> {
    let read = |source| LoadError::Read {
        path: path.to_owned(),
        source,
    };
    let bytes = std::fs::metadata(path).map_err(read)?.len();
    if bytes > MAX_FILE_BYTES {
        return Err(LoadError::TooLarge {
            path: path.to_owned(),
            bytes,
        });
    }
    let text = std::fs::read_to_string(path).map_err(read)?;
    parse(&path.display().to_string(), &text)
}

/// Parses and checks `text`; `origin` names it in messages.
pub fn parse(origin: &str, text: &str) -> Result<Settings, LoadError> {
    let origin_of = |error: &toml::de::Error| {
        place::name(origin, error.span().map(|at| place::line(text, at.start)))
    };
    let reason = |error: &toml::de::Error| error.message().trim().replace('\n', "; ");
    let document = toml::Deserializer::parse(text).map_err(|error| LoadError::NotToml {
        origin: origin_of(&error),
        reason: reason(&error),
    })?;
    let settings: Settings =
        serde_path_to_error::deserialize(document).map_err(|error| LoadError::Syntax {
            origin: origin_of(error.inner()),
            key: error.path().to_string(),
            reason: reason(error.inner()),
        })?;
    check(&settings).map_err(|(key, reason)| LoadError::Value {
        origin: place::name(origin, place::line_of_key(text, &key)),
        key,
        reason,
    })?;
    Ok(settings)
}

/// The key, and what is wrong with its value.
type Refusal = (String, String);

/// What types cannot say: versions, ranges, schemes.
fn check(settings: &Settings) -> Result<(), Refusal> {
    if settings.version != VERSION {
        return refuse(
            "version",
            format!(
                "{} is not known here; this program reads version {VERSION}",
                settings.version
            ),
        );
    }
    check_drain(settings)?;
    check_gateway(settings)?;
    check_sessions(settings)?;
    let uris = [
        (
            "transcoder.orchestrator",
            Some(&settings.transcoder.orchestrator),
        ),
        (
            "orchestrator.service_uri",
            settings.orchestrator.service_uri.as_ref(),
        ),
        (
            "orchestrator.transcoder_uri",
            settings.orchestrator.transcoder_uri.as_ref(),
        ),
    ];
    for (key, uri) in uris {
        if let Some(uri) = uri {
            check_orchestrator_uri(key, uri)?;
        }
    }
    Ok(())
}

fn refuse(key: &str, reason: String) -> Result<(), Refusal> {
    Err((key.to_owned(), reason))
}

fn check_drain(settings: &Settings) -> Result<(), Refusal> {
    let deadline = settings.drain.deadline.as_secs();
    if deadline > 24 * 3600 {
        return refuse("drain.deadline", format!("{deadline}s is over 24h"));
    }
    let lame_duck = settings.drain.lame_duck.as_secs();
    if lame_duck > 600 {
        return refuse("drain.lame_duck", format!("{lame_duck}s is over 10m"));
    }
    Ok(())
}

fn check_gateway(settings: &Settings) -> Result<(), Refusal> {
    let mut names = HashSet::new();
    for (at, profile) in settings.gateway.profiles.iter().enumerate() {
        let key = |key: &str| format!("gateway.profiles[{at}].{key}");
        profile
            .check()
            .map_err(|error| (key(error.key), error.reason))?;
        if !names.insert(&profile.name) {
            return refuse(&key("name"), format!("`{}` is there twice", profile.name));
        }
    }
    // lpms refuses more than ten outputs of one job (`Too many outputs`)
    if names.len() > 10 {
        let reason = format!("{} profiles; at most 10", names.len());
        return refuse("gateway.profiles", reason);
    }
    for (at, uri) in settings.gateway.orchestrators.iter().enumerate() {
        check_orchestrator_uri(&format!("gateway.orchestrators[{at}]"), uri)?;
    }
    if settings.gateway.max_streams == 0 {
        let reason = "0 would refuse every stream; at least 1".to_owned();
        return refuse("gateway.max_streams", reason);
    }
    Ok(())
}

fn check_sessions(settings: &Settings) -> Result<(), Refusal> {
    let settings = [
        (
            "orchestrator.max_sessions",
            settings.orchestrator.max_sessions,
        ),
        ("transcoder.max_sessions", settings.transcoder.max_sessions),
        ("engine.workers", settings.engine.workers),
    ];
    for (key, value) in settings {
        if value.is_some_and(|value| value == 0 || value > 10_000) {
            let reason = format!("{} must be from 1 to 10000", value.unwrap_or(0));
            return refuse(key, reason);
        }
    }
    Ok(())
}

/// Peers append `/segment` to this and dial TLS: no path, no query, a host.
fn check_orchestrator_uri(key: &str, uri: &Url) -> Result<(), Refusal> {
    let bare = uri.path() == "/" && uri.query().is_none() && uri.fragment().is_none();
    if uri.scheme() == "https" && uri.host_str().is_some() && bare && uri.username().is_empty() {
        return Ok(());
    }
    refuse(
        key,
        format!("`{uri}` must be `https://host:port`, with no path or query"),
    )
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::settings::Settings;

    fn refused(text: &str) -> String {
        parse("node.toml", text).unwrap_err().to_string()
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        assert_eq!(parse("f", "").unwrap(), Settings::default());
    }

    #[test]
    fn what_is_printed_reads_back_the_same() {
        let printed = toml::to_string(&Settings::default()).unwrap();
        assert_eq!(parse("f", &printed).unwrap(), Settings::default());
    }

    #[test]
    fn an_unknown_key_is_named_with_its_file_and_the_right_ones() {
        let message = refused("[gateway]\nhtpp_addr = \"127.0.0.1:1\"\n");
        assert!(
            message.starts_with("node.toml:2: key `gateway.htpp_addr`"),
            "{message}"
        );
        assert!(message.contains("http_addr"), "{message}");
    }

    #[test]
    fn a_wrong_type_names_key_and_what_was_expected() {
        let message = refused("[orchestrator]\nmax_sessions = \"ten\"\n");
        assert!(message.contains("`orchestrator.max_sessions`"), "{message}");
        assert!(message.contains("expected u32"), "{message}");
    }

    #[test]
    fn another_version_is_refused() {
        assert!(refused("version = 2").contains("reads version 1"));
    }

    #[test]
    fn a_bad_duration_says_what_would_be_right() {
        let message = refused("[drain]\ndeadline = \"soon\"\n");
        assert!(
            message.contains("`drain.deadline`") && message.contains("`5m`"),
            "{message}"
        );
    }

    #[test]
    fn an_orchestrator_with_a_path_or_another_scheme_is_refused() {
        for uri in [
            "http://o:8935",
            "https://o:8935/x",
            "https://u@o:8935",
            "ftp://o",
        ] {
            let text = format!("[gateway]\norchestrators = [\"{uri}\"]");
            assert!(refused(&text).contains("https://host:port"), "{uri}");
        }
    }

    #[test]
    fn two_profiles_of_one_name_are_refused() {
        let text =
            "[gateway]\nprofiles = [{name = \"P240p30fps16x9\"}, {name = \"P240p30fps16x9\"}]";
        assert!(refused(text).contains("there twice"));
    }

    #[test]
    fn a_preset_that_does_not_exist_is_named_with_its_line() {
        let message = refused(
            "[gateway]\nmax_streams = 3\n\n[[gateway.profiles]]\nname = \"P240p30fps16x9\"\n\n\
             [[gateway.profiles]]\nname = \"P240p30fps16x10\"\n",
        );
        let start = "node.toml:8: key `gateway.profiles[1].name`: there is no preset `P240p30fps16x10`, expected one of P720p60fps16x9, ";
        assert!(message.starts_with(start), "{message}");
    }

    #[test]
    fn broken_toml_names_the_line_and_no_key() {
        let message = refused("a = 1\nb = [");
        assert!(
            message.starts_with("node.toml:2: this is not TOML: "),
            "{message}"
        );
    }

    #[test]
    fn a_name_or_an_address_without_a_port_says_what_would_be_right() {
        for (file, key) in [
            ("[gateway]\nhttp_addr = \"localhost\"", "gateway.http_addr"),
            ("[orchestrator]\naddr = \"localhost\"", "orchestrator.addr"),
            ("\nprobe_addr = \"localhost\"", "probe_addr"),
        ] {
            let message = refused(file);
            let start = format!("node.toml:2: key `{key}`: ");
            assert!(message.starts_with(&start), "{message}");
            assert!(message.contains("localhost"), "{message}");
            assert!(message.contains("such as `127.0.0.1:8935`"), "{message}");
        }
    }

    #[test]
    fn live_fields_are_taken_and_the_rest_is_kept() {
        let mut new = Settings {
            log_level: crate::LogLevel::Trace,
            ..Settings::default()
        };
        new.gateway.orchestrators.clear();
        new.gateway.profiles.clear();
        new.gateway.max_streams = 1;
        new.orchestrator.max_sessions = Some(1);
        new.transcoder.max_sessions = Some(1);
        assert_eq!(new.without_live_fields(), Settings::default());
        assert_eq!(Settings::default().with_live_fields(&new), new);
        let live = new.clone();
        new.gateway.http_addr.set_port(1);
        assert_ne!(new.without_live_fields(), Settings::default());
        assert_eq!(Settings::default().with_live_fields(&new), live);
    }
}
