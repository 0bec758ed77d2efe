//! A push that is not served: status and text, as go-livepeer's
//! `server/mediaserver.go` has them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use tokio::time::Instant;

use super::attempts::TranscodeError;
use super::body::BodyError;
use super::config_header::ConfigError;
use super::hls::playlist;
use super::path::{self, PathError};
use super::streams::Full;
use super::tally::Tally;
use super::token::Denied;

/// Status and text of a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) text: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
        }
    }

    /// `path` is what follows `/live/`: who wants to read there has mistaken it for the
    /// way to the stream.
    pub(super) fn method(path: &str) -> Self {
        let mut text = "http push request wrong method: use PUT or POST".to_owned();
        let name = match path.rsplit_once('.') {
            Some((name, _)) if !path.contains('/') => name,
            Some(_) | None => path,
        };
        let manifest_id = path::manifest_id(name);
        if path::is_valid_manifest_id(&manifest_id) {
            let file = playlist::file_name(&manifest_id);
            text.push_str("\nthe playlist of this stream is /stream/");
            text.push_str(&file);
        }
        Self::new(StatusCode::METHOD_NOT_ALLOWED, text)
    }

    /// A segment that nobody took: go-livepeer's text first, and then what there is to do
    /// about it, as to wait or to add to them.
    fn no_sessions(reason: &str) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("No sessions available\n{reason}"),
        )
    }

    /// A segment that nobody can transcode: the words of the wire in the first line, and
    /// where those say little to a person, what they mean in the second.
    pub(super) fn untranscodable(words: &str) -> Self {
        let meaning = match words {
            "TranscoderInvalidVideo" => "\nno video that can be decoded was found in the segment",
            "No keyframes in input" => "\na segment must begin with a keyframe",
            "Unsupported input codec" => "\nits video has a codec that is not transcoded",
            _ => "",
        };
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("{words}{meaning}"),
        )
    }
}

/// Tells of refused pushes. A client that was set up wrongly pushes on every few seconds, and
/// ffmpeg reads no reply: the first one of each status is told, and now and then how many there
/// were since.
#[derive(Debug, Default)]
pub(super) struct Refused(Mutex<BTreeMap<StatusCode, Tally>>);

impl Refused {
    pub(super) fn log(&self, path: &str, client_ip: IpAddr, refusal: &Refusal) {
        let Refusal { status, text } = refusal;
        let pushes = {
            let mut tallies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            tallies.entry(*status).or_default().add(Instant::now())
        };
        let status = status.as_u16();
        if let Some(pushes) = pushes {
            tracing::info!(path, %client_ip, status, reason = text, pushes, "push refused");
        } else {
            tracing::debug!(path, %client_ip, status, reason = text, "push refused");
        }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Missing => Self::new(StatusCode::UNAUTHORIZED, "ingest token required"),
            Denied::Wrong => Self::new(StatusCode::FORBIDDEN, "wrong ingest token"),
        }
    }
}

impl From<ConfigError> for Refusal {
    fn from(error: ConfigError) -> Self {
        match &error {
            ConfigError::Json(_) => Self::new(StatusCode::BAD_REQUEST, error.to_string()),
            ConfigError::Profile(cause) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("{error}: {cause}"),
            ),
        }
    }
}

impl From<PathError> for Refusal {
    fn from(error: PathError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.to_string())
    }
}

impl From<Full> for Refusal {
    fn from(full: Full) -> Self {
        let status = match full {
            Full::Streams => StatusCode::INTERNAL_SERVER_ERROR,
            Full::Segments | Full::Draining => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, full.to_string())
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        let status = match &error {
            BodyError::Budget => StatusCode::SERVICE_UNAVAILABLE,
            BodyError::Slow => StatusCode::REQUEST_TIMEOUT,
            BodyError::TooLarge | BodyError::Broken(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

impl From<TranscodeError> for Refusal {
    fn from(error: TranscodeError) -> Self {
        match &error {
            TranscodeError::Segment(words) => Self::untranscodable(words),
            TranscodeError::MaxAttempts(_) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
            }
            TranscodeError::NoSession(untaken) => Self::no_sessions(untaken.why),
            TranscodeError::NoRoom(reason) => Self::no_sessions(reason),
            TranscodeError::Budget => Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let text = self.text + "\n";
        let mut response = (self.status, text).into_response();
        let headers = response.headers_mut();
        let challenge = match self.status {
            StatusCode::UNAUTHORIZED => Some((header::WWW_AUTHENTICATE, "Bearer")),
            StatusCode::METHOD_NOT_ALLOWED => Some((header::ALLOW, "PUT, POST")),
            StatusCode::SERVICE_UNAVAILABLE => Some((header::RETRY_AFTER, "1")),
            _ => None,
        };
        if let Some((name, value)) = challenge {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::Refusal;

    #[test]
    fn who_looks_for_a_stream_where_it_is_pushed_is_told_where_it_is() {
        for (path, hint) in [
            ("x.m3u8", "/stream/x.m3u8"),
            ("x/index.m3u8", "/stream/x.m3u8"),
            ("x/0.ts", "/stream/x.m3u8"),
            ("a.b/0", "/stream/a.b.m3u8"),
            ("a b/0.ts", "/stream/a%20b.m3u8"),
        ] {
            let refusal = Refusal::method(path);
            assert_eq!(refusal.status, 405);
            let end = format!("\nthe playlist of this stream is {hint}");
            assert!(refusal.text.ends_with(&end), "{}", refusal.text);
        }
        let nowhere = Refusal::method("..ts").text;
        assert_eq!(nowhere, "http push request wrong method: use PUT or POST");
    }

    #[test]
    fn words_of_the_wire_stay_a_line_of_their_own() {
        let text = |words| Refusal::untranscodable(words).text;
        let (words, meaning) = ("TranscoderInvalidVideo", "no video that can be decoded");
        assert!(text(words).starts_with(&format!("{words}\n{meaning}")));
        assert_eq!(text("words of its own"), "words of its own");
    }
}
