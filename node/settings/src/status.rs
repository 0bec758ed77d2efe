//! What a node says of itself: the JSON of `GET /status` on the probe listener.
//!
//! Facts, not verdicts: the operator turns them into conditions. No secret, no
//! stream name and no client address is in here.

use serde::{Deserialize, Serialize};

use crate::settings::Role;

/// One node process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    pub role: Role,
    /// As `/readyz` answers.
    pub ready: bool,
    /// Why it is not ready, one sentence a component.
    #[serde(default)]
    pub reasons: Vec<String>,
    /// It was told to stop and takes no new sessions.
    pub draining: bool,
    /// Sessions now (a gateway: streams that somebody transcodes).
    pub sessions: u32,
    /// Sessions that it could hold at once.
    pub capacity: u32,
    /// What its engine runs on; absent where a role has no engine for transcoding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceReport>,
    /// Transcoders registered with this orchestrator.
    #[serde(default)]
    pub transcoders: Vec<RegisteredTranscoder>,
    /// Orchestrators that this gateway knows.
    #[serde(default)]
    pub orchestrators: Vec<OrchestratorReport>,
}

impl NodeStatus {
    /// A process that has just started and reports nothing yet.
    #[must_use]
    pub fn starting(role: Role) -> Self {
        Self {
            role,
            ready: false,
            reasons: Vec::new(),
            draining: false,
            sessions: 0,
            capacity: 0,
            device: None,
            transcoders: Vec::new(),
            orchestrators: Vec::new(),
        }
    }
}

/// Result of the engine's self-test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceReport {
    /// `cpu`, or the card's name.
    pub name: String,
    pub usable: bool,
    /// Why it is not usable; empty when it is.
    #[serde(default)]
    pub reason: String,
}

/// A transcoder on an open register stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegisteredTranscoder {
    /// Whose credential it showed: the file's name in `credentials_dir`.
    pub credential: String,
    /// Its address, as seen from here.
    pub address: String,
    pub sessions: u32,
    pub capacity: u32,
}

/// An orchestrator as a gateway sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrchestratorReport {
    pub uri: String,
    /// It answers, somebody transcodes for it, and it does not drain. One whose every session
    /// is taken works for those who have them.
    pub usable: bool,
    /// Why it is not usable, or takes no new session; empty when all is well.
    #[serde(default)]
    pub reason: String,
}
