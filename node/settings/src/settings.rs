//! The one typed file of a node. See [`crate::load()`] for reading it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::roles::{GatewaySettings, OrchestratorSettings, TranscoderSettings};
use crate::{address, duration};

/// The version of this shape. A node refuses a file of another version.
pub const VERSION: u32 = 1;

/// What a process runs as; one subcommand each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Gateway,
    Orchestrator,
    Transcoder,
    /// All three in one process, over the real wire on loopback.
    All,
}

impl Role {
    /// The word on the command line and in logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Orchestrator => "orchestrator",
            Self::Transcoder => "transcoder",
            Self::All => "all",
        }
    }

    /// Port of the probe listener: go-livepeer's admin port of the role, plus one.
    #[must_use]
    pub fn probe_port(self) -> u16 {
        match self {
            Self::Gateway => 5936,
            Self::Orchestrator | Self::All => 7936,
            Self::Transcoder => 6936,
        }
    }
}

/// Everything a node can be told. Fields marked *live* take effect without a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Version of this shape; always [`VERSION`].
    pub version: u32,
    /// Live.
    pub log_level: LogLevel,
    /// `/livez /readyz /servingz /startupz /metrics /status`; absent: loopback, the role's port.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "address::deserialize_some"
    )]
    pub probe_addr: Option<SocketAddr>,
    pub drain: Drain,
    pub engine: EngineSettings,
    pub gateway: GatewaySettings,
    pub orchestrator: OrchestratorSettings,
    pub transcoder: TranscoderSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            version: VERSION,
            log_level: LogLevel::default(),
            probe_addr: None,
            drain: Drain::default(),
            engine: EngineSettings::default(),
            gateway: GatewaySettings::default(),
            orchestrator: OrchestratorSettings::default(),
            transcoder: TranscoderSettings::default(),
        }
    }
}

impl Settings {
    /// Where the probe listener of `role` stands.
    #[must_use]
    pub fn probe_addr(&self, role: Role) -> SocketAddr {
        self.probe_addr
            .unwrap_or_else(|| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), role.probe_port()))
    }

    /// This file with every *live* field at its default: two settings whose rest is
    /// equal differ in nothing that needs a new process.
    #[must_use]
    pub fn without_live_fields(&self) -> Self {
        self.with_live_fields(&Self::default())
    }

    /// This file with the *live* fields of another.
    #[must_use]
    pub fn with_live_fields(&self, of: &Self) -> Self {
        let mut merged = self.clone();
        merged.log_level = of.log_level;
        let (gateway, of_gateway) = (&mut merged.gateway, &of.gateway);
        gateway.orchestrators.clone_from(&of_gateway.orchestrators);
        gateway.profiles.clone_from(&of_gateway.profiles);
        gateway.max_streams = of_gateway.max_streams;
        merged.orchestrator.max_sessions = of.orchestrator.max_sessions;
        merged.transcoder.max_sessions = of.transcoder.max_sessions;
        merged
    }
}

/// How much is logged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// The level's word, as `tracing` filters take it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// How a process stops (design §4): not ready, a lame-duck time, then the sessions' end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Drain {
    /// How long new work is still taken after SIGTERM, because endpoints lag.
    #[serde(with = "duration")]
    pub lame_duck: Duration,
    /// How long sessions may go on after that.
    #[serde(with = "duration")]
    pub deadline: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            lame_duck: Duration::from_secs(5),
            deadline: Duration::from_secs(300),
        }
    }
}

/// What the engine's workers run on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    #[default]
    Cpu,
    /// An NVIDIA card; never silently replaced by the CPU.
    Nvidia,
}

/// `[engine]`: the worker processes that decode and encode.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineSettings {
    /// The worker program. Absent: `livepeer-engine` beside this program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<PathBuf>,
    pub device: DeviceKind,
    /// Worker processes; absent: from the threads this process may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<u32>,
    /// Memory that one worker may use, bytes; absent: from what bodies leave of the
    /// container's limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_memory_bytes: Option<u64>,
    /// A folder of this machine that keeps what the self-test measured on the CPU, so that
    /// a restart need not measure again. Absent: each start measures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_dir: Option<PathBuf>,
}
