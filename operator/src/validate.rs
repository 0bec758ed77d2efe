//! Checks that the kinds share. Pure.

use livepeer_settings::Settings;
use url::Url;

use crate::build::settings;
use crate::kind::ReconcileError;
use crate::reason::Reason;

/// The node's own check of its settings, before a pod has to fail it.
pub fn check(settings: &Settings) -> Result<(), ReconcileError> {
    livepeer_settings::parse("settings", &settings::render(settings))
        .map(drop)
        .map_err(|error| invalid(error.to_string()))
}

/// `https://` and an authority.
pub fn https(authority: &str) -> Result<Url, ReconcileError> {
    url("address", &format!("https://{authority}"))
}

/// The URL in the field called `field`.
pub fn url(field: &str, text: &str) -> Result<Url, ReconcileError> {
    Url::parse(text).map_err(|error| invalid(format!("{field} `{text}`: {error}")))
}

/// An error that a person must mend in the spec.
pub fn invalid(message: impl Into<String>) -> ReconcileError {
    ReconcileError::told(Reason::InvalidSpec, message)
}
