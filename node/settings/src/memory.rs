//! How a container's memory is divided among the process, the bodies of segments that it
//! holds, the memory files of its engine's jobs, and the engine's workers. The operator writes
//! the budget of bodies, from which that of the files follows; the workers get what these leave
//! of four fifths of the limit.
//!
//! On cgroup v2 one process over the limit takes the whole container with it.

use crate::roles::DEFAULT_MAX_BUFFERED_BYTES;

/// What a role's process may need beside bodies: connections, TLS, what the allocator holds.
pub const PROCESS_BYTES: u64 = 128 << 20;

/// Workers that only look into segments, one set for each gateway: that takes milliseconds,
/// but one that hangs takes its worker for seconds.
pub const PROBE_WORKERS: u32 = 2;

/// Memory of such a worker, which decodes no more than a picture or two.
pub const PROBE_WORKER_BYTES: u64 = 240 << 20;

/// Of what bodies may take, the part of the limit where nobody transcodes.
const RELAY_DIVISOR: u64 = 2;

/// The same beside workers that transcode, which want the memory more: a segment of the
/// largest size still fits at the usual limit.
const ENGINE_DIVISOR: u64 = 8;

/// What a role's container has beside the process and the bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workers {
    /// An orchestrator of pools.
    None,
    /// A gateway.
    Probing,
    /// A transcoder, or an orchestrator with an engine.
    Transcoding,
}

impl Workers {
    /// Memory limit of a pod for which nobody has set one.
    #[must_use]
    pub fn usual_memory_limit(self) -> u64 {
        match self {
            Self::None | Self::Probing => 2 << 30,
            Self::Transcoding => 4 << 30,
        }
    }

    /// Bytes that bodies may take in a container with this limit.
    #[must_use]
    pub fn bodies(self, memory_limit: u64) -> u64 {
        let share = match self {
            Self::None => memory_limit / RELAY_DIVISOR,
            // a small container would be full of the workers alone
            Self::Probing => {
                ((memory_limit / 5 * 4).saturating_sub(PROCESS_BYTES + probe_bytes()) / 3 * 2)
                    .clamp(memory_limit / ENGINE_DIVISOR, memory_limit / RELAY_DIVISOR)
            }
            Self::Transcoding => memory_limit / ENGINE_DIVISOR,
        };
        share.min(DEFAULT_MAX_BUFFERED_BYTES)
    }

    /// Bytes that the memory files of the engine's jobs may take beside that many of bodies:
    /// sealed copies of sources, and renditions.
    #[must_use]
    pub fn files(self, bodies: u64) -> u64 {
        match self {
            Self::None => 0,
            // sources alone, one for each of two workers; of 2Gi one of the largest size fits
            Self::Probing => bodies / 2,
            // renditions too, which together are about as large as their source
            Self::Transcoding => bodies,
        }
    }
}

/// Memory of all workers that look into segments.
#[must_use]
pub fn probe_bytes() -> u64 {
    u64::from(PROBE_WORKERS) * PROBE_WORKER_BYTES
}

#[cfg(test)]
mod tests {
    use super::Workers;

    #[test]
    fn bodies_take_half_of_a_relay_and_an_eighth_beside_an_engine() {
        assert_eq!(Workers::None.bodies(512 << 20), 256 << 20);
        assert_eq!(Workers::Transcoding.bodies(4 << 30), 512 << 20);
        assert_eq!(Workers::Transcoding.bodies(1 << 40), 1_200_000_000);
    }

    #[test]
    fn a_usual_gateway_holds_two_of_the_largest_segments_and_looks_into_one() {
        const LARGEST: u64 = 300_000_000;
        let bodies = Workers::Probing.bodies(Workers::Probing.usual_memory_limit());
        assert!(bodies >= 2 * LARGEST, "{bodies}");
        assert!(Workers::Probing.files(bodies) >= LARGEST);
    }

    #[test]
    fn a_small_gateway_holds_fewer_bodies_rather_than_none() {
        assert!(Workers::Probing.bodies(1 << 30) < 256 << 20);
        assert_eq!(Workers::Probing.bodies(512 << 20), 64 << 20);
    }
}
