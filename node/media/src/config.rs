//! How an engine is set up, and what became of its device.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What the engine works on. A device that was asked for is never replaced by the CPU silently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    #[default]
    Cpu,
    Nvidia,
}

/// What the self-test found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceStatus {
    Cpu,
    Ready { name: String },
    Unusable { reason: String },
}

impl DeviceStatus {
    pub fn is_usable(&self) -> bool {
        match self {
            Self::Cpu | Self::Ready { .. } => true,
            Self::Unusable { .. } => false,
        }
    }
}

/// Settings of an engine. Everything but the program has a default that fits the container.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Path of `livepeer-engine`.
    pub program: PathBuf,
    pub device: Device,
    /// Worker processes, so jobs at once. Default: from the thread budget.
    pub workers: Option<usize>,
    /// Bytes one worker may use. Default: the container's memory shared out.
    pub memory_limit: Option<u64>,
    /// Bytes that whatever is not a worker may use: this process, bodies that it holds.
    pub reserved: u64,
    /// Bytes that sources and renditions of jobs may take together, as memory files and until
    /// the caller has let go of them.
    pub files: u64,
    /// Sessions to advertise, instead of what the self-test finds.
    pub capacity: Option<usize>,
    /// Where the self-test's result is kept between starts on the same machine; not kept when
    /// absent, nor that of a card.
    pub cache_dir: Option<PathBuf>,
}

impl EngineConfig {
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            device: Device::default(),
            workers: None,
            memory_limit: None,
            reserved: 128 << 20,
            files: 512 << 20,
            capacity: None,
            cache_dir: None,
        }
    }
}
