//! What a gateway counts. Labels come from fixed lists only.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::EncodeLabelValue;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Seconds; fine around the 2 s of a usual segment.
const SECONDS: [f64; 11] = [0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 16.0];

/// How a pushed segment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum Outcome {
    /// Every rendition came back.
    Complete,
    /// Its own fault.
    Refused,
    /// Good, and yet without renditions: nobody took it, or time ran out.
    Lost,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OutcomeLabel {
    outcome: Outcome,
}

/// The gateway's metrics; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    /// Segments whose body was read.
    pub(super) received: Counter,
    pub(super) received_bytes: Counter,
    pub(super) rendition_bytes: Counter,
    /// Further attempts after a failed one.
    pub(super) retried: Counter,
    /// Requests refused for want of memory budget.
    pub(super) over_budget: Counter,
    over_share: Counter,
    pub(super) streams: Gauge,
    pub(super) buffered_bytes: Gauge,
    pub(super) probe_seconds: Histogram,
    pub(super) transcode_seconds: Histogram,
    outcomes: Family<OutcomeLabel, Counter>,
}

impl Metrics {
    /// Registers them all.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("gateway");
        let metrics = Self {
            received: Counter::default(),
            received_bytes: Counter::default(),
            rendition_bytes: Counter::default(),
            retried: Counter::default(),
            over_budget: Counter::default(),
            over_share: Counter::default(),
            streams: Gauge::default(),
            buffered_bytes: Gauge::default(),
            probe_seconds: Histogram::new(SECONDS),
            transcode_seconds: Histogram::new(SECONDS),
            outcomes: Family::default(),
        };
        let m = metrics.clone();
        registry.register("segments_received", "Segments pushed", m.received);
        registry.register(
            "received_bytes",
            "Bytes of segments pushed",
            m.received_bytes,
        );
        registry.register(
            "rendition_bytes",
            "Bytes of renditions fetched",
            m.rendition_bytes,
        );
        registry.register("attempts_retried", "Attempts after a failed one", m.retried);
        registry.register(
            "over_budget",
            "Requests refused for want of memory",
            m.over_budget,
        );
        registry.register(
            "over_share",
            "Times that a stream had its whole share of the memory",
            m.over_share,
        );
        registry.register("streams", "Streams that are transcoded now", m.streams);
        registry.register(
            "buffered_bytes",
            "Bytes of the budget in use",
            m.buffered_bytes,
        );
        registry.register("segments", "Segments by how they ended", m.outcomes);
        let seconds = "Time to probe a segment";
        registry.register("probe_seconds", seconds, m.probe_seconds);
        let seconds = "Time from the first attempt to the last rendition";
        registry.register("transcode_seconds", seconds, m.transcode_seconds);
        metrics
    }

    /// Notes how often so far a stream was refused for having its share.
    pub(super) fn over_share(&self, times: u64) {
        self.over_share
            .inc_by(times.saturating_sub(self.over_share.get()));
    }

    /// Counts how a segment ended.
    pub(super) fn ended(&self, outcome: Outcome) {
        self.outcomes.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Notes how long transcoding took.
    pub(super) fn transcoded(&self, took: Duration) {
        self.transcode_seconds.observe(took.as_secs_f64());
    }
}
