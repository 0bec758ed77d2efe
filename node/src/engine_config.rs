//! How this process sets its engine up: the `[engine]` settings as the engine's own type.

use std::path::PathBuf;

use livepeer_media::{Device, EngineConfig};
use livepeer_settings::{DeviceKind, EngineSettings};

/// The worker program's file name.
const PROGRAM: &str = "livepeer-engine";

/// The configuration that `settings` ask for. `capacity` wins over the self-test.
#[must_use]
pub fn build(settings: &EngineSettings, capacity: Option<u32>) -> EngineConfig {
    let mut config =
        EngineConfig::new(settings.program.clone().unwrap_or_else(beside_this_program));
    config.device = match settings.device {
        DeviceKind::Cpu => Device::Cpu,
        DeviceKind::Nvidia => Device::Nvidia,
    };
    config.workers = settings.workers.map(|workers| workers as usize);
    config.memory_limit = settings.worker_memory_bytes;
    config.capacity = capacity.map(|capacity| capacity as usize);
    config
}

/// `livepeer-engine` in the folder of the running program.
fn beside_this_program() -> PathBuf {
    std::env::current_exe()
        .ok()
        .and_then(|program| program.parent().map(|folder| folder.join(PROGRAM)))
        .unwrap_or_else(|| PathBuf::from(PROGRAM))
}
