//! What an engine counts: workers that it lost, jobs that it refused. Labels come from fixed
//! lists only.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Why a worker process was lost or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum Loss {
    /// Its job crashed it, hung in it, or outgrew its memory: three of a stream quarantine it.
    Job,
    /// Something else killed or stopped it during a job.
    Outside,
    /// It ended without a job.
    Idle,
    /// It was not done at its job's deadline.
    Late,
    /// It did not give a cancelled job up in time.
    Cancelled,
    /// It did not start.
    Start,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LossLabel {
    cause: Loss,
}

/// Why a job was refused that no worker is to blame for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum Refused {
    /// As many jobs wait as may.
    QueueFull,
    /// It waited for a worker until its deadline.
    Waited,
    /// Its stream killed too many workers.
    Quarantined,
    /// The memory files of all jobs would be more than they may be.
    NoMemory,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabel {
    reason: Refused,
}

/// Clones share the counters.
#[derive(Debug, Clone, Default)]
pub(super) struct Metrics {
    lost: Family<LossLabel, Counter>,
    refused: Family<RefusedLabel, Counter>,
}

impl Metrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("engine");
        registry.register(
            "workers_lost",
            "Worker processes that ended before their time, or did not start",
            self.lost.clone(),
        );
        registry.register(
            "jobs_refused",
            "Jobs that got no worker, or no memory for what they read and write",
            self.refused.clone(),
        );
    }

    pub(super) fn lost(&self, cause: Loss) {
        self.lost.get_or_create(&LossLabel { cause }).inc();
    }

    pub(super) fn refused(&self, reason: Refused) {
        self.refused.get_or_create(&RefusedLabel { reason }).inc();
    }
}
