//! How this process sets its engine up: the `[engine]` settings as the engine's own type.

use std::path::PathBuf;

use livepeer_media::{Device, EngineConfig};
use livepeer_settings::memory::{self, Workers};
use livepeer_settings::{DeviceKind, EngineSettings};

/// The worker program's file name.
const PROGRAM: &str = "livepeer-engine";

/// The configuration that `settings` ask for. `capacity` wins over the self-test; `bodies` are
/// the bytes that segments may take, `beside` those of other roles in this process.
#[must_use]
pub fn build(
    settings: &EngineSettings,
    capacity: Option<u32>,
    bodies: u64,
    beside: u64,
) -> EngineConfig {
    let mut config =
        EngineConfig::new(settings.program.clone().unwrap_or_else(beside_this_program));
    config.device = match settings.device {
        DeviceKind::Cpu => Device::Cpu,
        DeviceKind::Nvidia => Device::Nvidia,
    };
    config.workers = settings.workers.map(|workers| workers as usize);
    config.memory_limit = settings.worker_memory_bytes;
    config.cache_dir.clone_from(&settings.cache_dir);
    config.reserved = memory::PROCESS_BYTES
        .saturating_add(bodies)
        .saturating_add(beside);
    config.files = Workers::Transcoding.files(bodies);
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

/// The configuration of a gateway's engine, which only looks into segments.
#[must_use]
pub fn probing(settings: &EngineSettings, bodies: u64) -> EngineConfig {
    let mut config = build(settings, Some(memory::PROBE_WORKERS), bodies, 0);
    config.files = Workers::Probing.files(bodies);
    config.workers = Some(memory::PROBE_WORKERS as usize);
    config
        .memory_limit
        .get_or_insert(memory::PROBE_WORKER_BYTES);
    config
}

#[cfg(test)]
mod tests {
    use super::{build, probing};
    use livepeer_media::engine::Limits;
    use livepeer_settings::EngineSettings;
    use livepeer_settings::memory::{PROCESS_BYTES, Workers};

    /// Design: the sum of worker limits and supervisor stays under 80 % of the container's
    /// memory.
    #[test]
    fn process_bodies_files_and_workers_of_every_role_stay_under_four_fifths_of_the_container() {
        let settings = EngineSettings::default();
        for role in [Workers::None, Workers::Probing, Workers::Transcoding] {
            let usual = role.usual_memory_limit();
            for memory in [usual / 2, usual, 2 * usual, 8 * usual] {
                let bodies = role.bodies(memory);
                for threads in [1, 2, 8, 64] {
                    let divide = |config| Limits::divide(threads, Some(memory), &config);
                    let workers = match role {
                        Workers::None => 0,
                        Workers::Probing => sum(divide(probing(&settings, bodies))),
                        Workers::Transcoding => sum(divide(build(&settings, None, bodies, 0))),
                    };
                    let used = PROCESS_BYTES + bodies + role.files(bodies) + workers;
                    assert!(used <= memory / 5 * 4, "{role:?} of {memory}: {used}");
                }
            }
        }
    }

    fn sum(limits: Limits) -> u64 {
        assert!(limits.fits, "{limits:?}");
        limits.memory_per_worker * limits.workers as u64
    }

    #[test]
    fn an_engine_of_the_usual_memory_has_workers_for_four_jobs() {
        let memory = Workers::Transcoding.usual_memory_limit();
        let bodies = Workers::Transcoding.bodies(memory);
        let config = build(&EngineSettings::default(), None, bodies, 0);
        assert_eq!(Limits::divide(2, Some(memory), &config).workers, 2);
        assert_eq!(Limits::divide(8, Some(memory), &config).workers, 4);
    }
}
