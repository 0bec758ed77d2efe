//! Why a job failed. The display text crosses the wire, so it is go-livepeer's where go-livepeer
//! has one: peers decide by exact text whether to try again elsewhere.

use serde::{Deserialize, Serialize};

/// Texts after which go-livepeer's gateway does not retry and answers 422
/// (`common.NonRetryableErrMap`, lpms `ffmpeg.NonRetryableErrs`, compared exactly): the segment or
/// the request is at fault, not the orchestrator.
const NON_RETRYABLE: &[&str] = &[
    "Unsupported input pixel format",
    "Error initializing filtergraph",
    "Too many outputs",
    "Unsupported input codec",
    "No keyframes in input",
    "Unrecoverable state, restart process",
    "Encoded frames runaway",
    "Decoder not found",
    "Demuxer not found",
    "Encoder not found",
    "Muxer not found",
    "Option not found",
    "Invalid argument",
    "TranscoderInvalidResolution",
    "TranscoderInvalidVideo",
    "TranscoderUnrecognizedFormat",
    "TranscoderUnrecognizedProfile",
    "TranscoderInvalidGOP",
    "TranscoderIncompatibleDevices",
];

/// Longest error text kept: it goes into replies, logs and messages.
pub const MAX_TEXT_BYTES: usize = 512;

/// Whether a text received from a peer says that the input is at fault.
pub fn is_non_retryable(text: &str) -> bool {
    NON_RETRYABLE.contains(&text)
}

/// A failed job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct JobError {
    kind: Kind,
    text: String,
}

/// Who is at fault, which decides what the caller may do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The segment or the request: fails the same everywhere.
    Input,
    /// libav failed in a way that may not repeat.
    Transcode,
    /// The worker process died of the job, and the retry's too.
    WorkerDied,
    /// Something else ended or stopped the worker, at the second attempt too: it says nothing
    /// about the job.
    WorkerLost,
    /// Workers died of this stream before; it is not tried again for a while.
    Quarantined,
    /// The deadline passed, or no progress was seen for too long.
    Deadline,
    /// More jobs wait than the queue holds, or the machine has nothing left for one more.
    Busy,
    /// The engine is stopping, or the caller cancelled.
    Stopped,
}

impl JobError {
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        let mut text = text.into();
        if text.len() > MAX_TEXT_BYTES {
            let cut = (0..=MAX_TEXT_BYTES)
                .rev()
                .find(|&at| text.is_char_boundary(at))
                .unwrap_or(0);
            text.truncate(cut);
        }
        Self { kind, text }
    }

    /// The segment or the request is at fault.
    pub fn input(text: impl Into<String>) -> Self {
        Self::new(Kind::Input, text)
    }

    /// A failure reported by text alone, as a peer or a worker does.
    pub fn from_text(text: impl Into<String>) -> Self {
        let text = text.into();
        if is_non_retryable(&text) {
            Self::new(Kind::Input, text)
        } else {
            Self::new(Kind::Transcode, text)
        }
    }

    /// The engine is stopping, or nobody wants the result any more.
    pub fn stopped() -> Self {
        Self::new(Kind::Stopped, "TranscoderStopped")
    }

    /// The deadline passed, which says nothing about the segment: the text is go-livepeer's for
    /// a transcoder that is too slow (`core/orchestrator.go`).
    pub fn late() -> Self {
        Self::new(Kind::Deadline, "Remote transcoder took too long")
    }

    /// There is no room now.
    pub fn busy() -> Self {
        Self::new(Kind::Busy, "TranscoderBusy")
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// True when the segment would fail the same anywhere: answer 422, suspend nobody.
    pub fn is_input_fault(&self) -> bool {
        match self.kind {
            Kind::Input | Kind::Quarantined => true,
            Kind::Transcode
            | Kind::WorkerDied
            | Kind::WorkerLost
            | Kind::Deadline
            | Kind::Busy
            | Kind::Stopped => false,
        }
    }

    /// True when worker processes died of this job.
    pub fn worker_died(&self) -> bool {
        self.kind == Kind::WorkerDied
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_texts_of_go_livepeer_are_the_inputs_fault() {
        assert!(JobError::from_text("No keyframes in input").is_input_fault());
        assert!(!JobError::from_text("no keyframes in input").is_input_fault());
        assert!(!JobError::from_text("Invalid data found when processing input").is_input_fault());
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let error = JobError::from_text("é".repeat(MAX_TEXT_BYTES));
        assert!(error.to_string().len() <= MAX_TEXT_BYTES);
        assert!(error.to_string().ends_with('é'));
    }
}
