//! A push that is not served: status and text, as go-livepeer's
//! `server/mediaserver.go` has them.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::attempts::TranscodeError;
use super::body::BodyError;
use super::config_header::ConfigError;
use super::path::PathError;
use super::streams::Full;
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

    pub(super) fn method() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "http push request wrong method: use PUT or POST",
        )
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
            TranscodeError::Segment(_) | TranscodeError::MaxAttempts(_) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
            }
            // exactly this text, which clients know; the reason, with addresses of ours in
            // it, is in the log
            TranscodeError::NoSession(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "No sessions available")
            }
            // that text first, and then what there is to do about it: wait, or add to them
            TranscodeError::NoRoom(reason) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("No sessions available\n{reason}"),
            ),
            TranscodeError::Budget | TranscodeError::ClientGone => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
            }
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
