//! Error texts that peers compare letter by letter. Those of the work itself, which say whether
//! another orchestrator would do better, are in `livepeer_media::error`.

/// All sessions of the orchestrator are taken (`server/rpc.go`).
pub const ORCHESTRATOR_CAPPED: &str = "OrchestratorCapped";
/// The queue of a session is full (`core/orchestrator.go`).
pub const ORCHESTRATOR_BUSY: &str = "OrchestratorBusy";
/// A transcoder showed a secret that is not accepted (`server/ot_rpc.go`). A
/// go-livepeer transcoder exits on exactly this text.
pub const INVALID_SECRET: &str = "invalid secret";
/// A transcoder offered no session (`server/ot_rpc.go`); fatal for go-livepeer's too.
pub const ZERO_CAPACITY: &str = "zero capacity";
/// No transcoder is registered, or all are full (`core/orchestrator.go`).
pub const NO_TRANSCODERS: &str = "no transcoders available";
/// No registered transcoder covers the job (`core/orchestrator.go`).
pub const NO_CAPABLE_TRANSCODERS: &str = "no transcoders can provide requested capabilities";
/// A transcoder did not answer in time (`core/orchestrator.go`).
pub const TRANSCODER_TIMEOUT: &str = "Remote transcoder took too long";
/// A transcoder cannot work at all (`core/livepeernode.go`).
pub const TRANSCODER_UNAVAILABLE: &str = "ErrTranscoderUnavailable";
/// A transcoder has too much to do (`core/lb.go`).
pub const TRANSCODER_BUSY: &str = "TranscoderBusy";
/// A transcoder stopped in the middle (`core/lb.go`).
pub const TRANSCODER_STOPPED: &str = "TranscoderStopped";
/// An orchestrator without a place for its sources (`core/orchestrator.go`).
pub const MISSING_LOCAL_STORAGE: &str = "Missing local storage";
/// A task came without its segment data (`server/ot_rpc.go`).
pub const EMPTY_SEG_DATA: &str = "empty seg data";
/// A task needs what this transcoder cannot do (`server/ot_rpc.go`).
pub const INCOMPATIBLE_CAPABILITIES: &str = "incompatible segment capabilities";
/// The engine made another number of renditions than asked for (`server/ot_rpc.go`).
pub const PROFILE_MISMATCH: &str = "segment / profile mismatch";
/// As above, on the orchestrator's side (`core/orchestrator.go`).
pub const MISMATCHED_SEGMENTS: &str = "MismatchedSegments";
/// A rendition has fewer than 25 bytes (`core/orchestrator.go`).
pub const ZERO_SEGMENTS: &str = "ZeroSegments";
