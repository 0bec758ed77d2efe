//! How a container's memory is divided among the process, the bodies of segments that it
//! holds and the workers of its engine. The operator writes the budget of bodies; the node's
//! engine gets what that leaves of four fifths of the limit.
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
            Self::Probing => (memory_limit / 5 * 4)
                .saturating_sub(PROCESS_BYTES + probe_bytes())
                .clamp(memory_limit / ENGINE_DIVISOR, memory_limit / RELAY_DIVISOR),
            Self::Transcoding => memory_limit / ENGINE_DIVISOR,
        };
        share.min(DEFAULT_MAX_BUFFERED_BYTES)
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
        assert_eq!(Workers::Probing.bodies(2 << 30), 1 << 30);
        assert_eq!(Workers::Transcoding.bodies(4 << 30), 512 << 20);
        assert_eq!(Workers::Transcoding.bodies(1 << 40), 1_200_000_000);
    }

    #[test]
    fn a_small_gateway_holds_fewer_bodies_rather_than_none() {
        assert!(Workers::Probing.bodies(1 << 30) < 256 << 20);
        assert_eq!(Workers::Probing.bodies(512 << 20), 64 << 20);
    }
}
