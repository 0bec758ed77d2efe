//! How an attempt fails, and whose fault that is, which decides what happens next. Pure.

use std::time::Duration;

use livepeer_media::error::is_non_retryable;
use livepeer_proto::errors;

/// Why nothing usable came back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum SubmitError {
    /// Refused, reset, or no HTTP/2 ping answered.
    #[error("connection lost: {0}")]
    Connection(String),
    #[error("header timeout: no answer within {0:?}")]
    HeaderTimeout(Duration),
    #[error("body timeout: not done within {0:?}")]
    ReplyTimeout(Duration),
    #[error("status {status}: {text}")]
    Status { status: u16, text: String },
    /// The orchestrator's own error text.
    #[error("{0}")]
    Transcode(String),
    #[error("unusable reply: {0}")]
    Reply(String),
    #[error("cannot fetch a rendition: {0}")]
    Rendition(String),
    /// Our own limit, not the orchestrator's fault.
    #[error("no memory left for the renditions")]
    Budget,
}

/// A failed attempt, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// The segment's own: it would fail anywhere. No retry, nobody is suspended.
    Segment(String),
    /// It failed at the work. Elsewhere it may not; if it fails there in the same
    /// words, the segment is to blame.
    Work(String),
    /// The orchestrator is broken: elsewhere, at once.
    Orchestrator(String),
    /// The connection is gone, and maybe the orchestrator: elsewhere, at once. Its
    /// session is as good as before if it is still there.
    Connection(String),
    /// The orchestrator has no room now: elsewhere, or here a little later. A session
    /// that it knows keeps its place.
    Busy(String),
    /// It opens no session: every one is taken, or it drains. Elsewhere, or here when one has
    /// ended.
    Capped(String),
    /// It cannot do this job, now or a little later: elsewhere.
    Unfit(String),
    /// The session is not known any more: a new one, at the same place.
    Session(String),
    /// Our own limit.
    Budget,
}

impl Fault {
    /// The session there is not known any more, was never begun, or is of no use.
    pub(super) fn ends_session(&self) -> bool {
        match self {
            Self::Session(_) | Self::Capped(_) | Self::Orchestrator(_) | Self::Unfit(_) => true,
            Self::Segment(_)
            | Self::Work(_)
            | Self::Connection(_)
            | Self::Busy(_)
            | Self::Budget => false,
        }
    }
}

/// Texts about an orchestrator's own state: that two of them say the same tells
/// nothing about the segment.
const NO_ROOM: [&str; 7] = [
    errors::ORCHESTRATOR_BUSY,
    errors::NO_TRANSCODERS,
    errors::NO_CAPABLE_TRANSCODERS,
    errors::TRANSCODER_TIMEOUT,
    errors::TRANSCODER_UNAVAILABLE,
    errors::TRANSCODER_BUSY,
    errors::TRANSCODER_STOPPED,
];

/// Texts about what is broken at an orchestrator or between it and its transcoder. Every
/// other text may be about the segment: those of FFmpeg have no end.
const BROKEN: [&str; 5] = [
    errors::EMPTY_SEG_DATA,
    errors::INCOMPATIBLE_CAPABILITIES,
    errors::MISSING_LOCAL_STORAGE,
    // Go's, when a peer took too long or went
    "context deadline exceeded",
    "context canceled",
];

/// Refusals of an auth token (`server/segment_rpc.go`): after a restart an
/// orchestrator knows none of the tokens that it gave.
const TOKEN_REFUSALS: [&str; 3] = [
    "missing auth token",
    "invalid auth token",
    "expired auth token",
];

/// Judges a failed attempt.
pub(super) fn judge(error: &SubmitError) -> Fault {
    let text = error.to_string();
    match error {
        SubmitError::Transcode(text) if is_non_retryable(text) => Fault::Segment(text.clone()),
        SubmitError::Transcode(body) | SubmitError::Status { text: body, .. }
            if body == errors::ORCHESTRATOR_CAPPED =>
        {
            Fault::Capped(text)
        }
        SubmitError::Transcode(text) if NO_ROOM.contains(&text.as_str()) => {
            Fault::Busy(text.clone())
        }
        SubmitError::Transcode(text) if BROKEN.contains(&text.as_str()) => {
            Fault::Orchestrator(text.clone())
        }
        SubmitError::Transcode(text) => Fault::Work(text.clone()),
        SubmitError::Status { text: body, .. } if TOKEN_REFUSALS.contains(&body.as_str()) => {
            Fault::Session(text)
        }
        SubmitError::Status { text: body, .. } if NO_ROOM.contains(&body.as_str()) => {
            Fault::Busy(text)
        }
        SubmitError::Status { status: 503, .. } => Fault::Busy(text),
        SubmitError::Budget => Fault::Budget,
        SubmitError::Connection(_) => Fault::Connection(text),
        SubmitError::HeaderTimeout(_)
        | SubmitError::ReplyTimeout(_)
        | SubmitError::Status { .. }
        | SubmitError::Reply(_)
        | SubmitError::Rendition(_) => Fault::Orchestrator(text),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Fault, SubmitError, judge};

    fn transcode(text: &str) -> Fault {
        judge(&SubmitError::Transcode(text.to_owned()))
    }

    fn status(status: u16, text: &str) -> Fault {
        judge(&SubmitError::Status {
            status,
            text: text.to_owned(),
        })
    }

    #[test]
    fn the_texts_of_the_wire_say_whose_fault_it_is() {
        assert!(matches!(
            transcode("No keyframes in input"),
            Fault::Segment(_)
        ));
        assert!(matches!(
            transcode("TranscoderInvalidVideo"),
            Fault::Segment(_)
        ));
        assert!(matches!(transcode("OrchestratorBusy"), Fault::Busy(_)));
        assert!(matches!(
            transcode("no transcoders available"),
            Fault::Busy(_)
        ));
        assert!(matches!(transcode("Invalid data found"), Fault::Work(_)));
    }

    #[test]
    fn what_befell_a_transcoder_is_never_the_segments_fault() {
        for text in [
            "TranscoderStopped",
            "ErrTranscoderUnavailable",
            "Remote transcoder took too long",
        ] {
            assert!(matches!(transcode(text), Fault::Busy(_)), "{text}");
        }
        for text in ["empty seg data", "context canceled"] {
            assert!(matches!(transcode(text), Fault::Orchestrator(_)), "{text}");
        }
    }

    #[test]
    fn a_refused_token_asks_for_a_new_session_and_not_for_another_orchestrator() {
        assert!(matches!(
            status(403, "invalid auth token"),
            Fault::Session(_)
        ));
        assert!(matches!(
            status(403, "expired auth token"),
            Fault::Session(_)
        ));
        let capped = status(403, "OrchestratorCapped");
        assert!(matches!(capped, Fault::Capped(_)));
        assert!(matches!(status(403, "Forbidden"), Fault::Orchestrator(_)));
        assert!(matches!(status(503, ""), Fault::Busy(_)));
    }

    #[test]
    fn a_broken_connection_is_told_from_a_broken_orchestrator() {
        let lost = judge(&SubmitError::Connection("reset".into()));
        assert!(matches!(lost, Fault::Connection(_)));
        let late = judge(&SubmitError::HeaderTimeout(Duration::from_secs(2)));
        assert!(matches!(late, Fault::Orchestrator(_)));
        assert_eq!(judge(&SubmitError::Budget), Fault::Budget);
    }
}
