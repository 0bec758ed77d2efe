//! The operator's metrics. Labels come from fixed lists: kinds and outcomes.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Duration;

/// Kind of the resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KindLabel {
    pub kind: &'static str,
}

/// Kind and how it went.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabels {
    pub kind: &'static str,
    pub outcome: &'static str,
}

/// Reconciles take milliseconds, or seconds where a node does not answer.
const BUCKETS: [f64; 8] = [0.005, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

/// Every metric, registered.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconciles: Family<OutcomeLabels, Counter>,
    seconds: Family<KindLabel, Histogram, fn() -> Histogram>,
    children_written: Family<KindLabel, Counter>,
    status_written: Family<KindLabel, Counter>,
    malformed: Family<KindLabel, Counter>,
    pub leader: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("livepeer_operator");
        let reconciles = Family::default();
        registry.register(
            "reconciles",
            "Reconciles by kind and outcome",
            reconciles.clone(),
        );
        let histogram: fn() -> Histogram = || Histogram::new(BUCKETS);
        let seconds = Family::new_with_constructor(histogram);
        registry.register("reconcile_seconds", "Time of a reconcile", seconds.clone());
        let children_written = Family::default();
        registry.register(
            "children_written",
            "Children created or changed",
            children_written.clone(),
        );
        let status_written = Family::default();
        registry.register("status_written", "Status patches", status_written.clone());
        let malformed = Family::default();
        registry.register(
            "malformed",
            "Reconciles of objects that cannot be read",
            malformed.clone(),
        );
        let leader = Gauge::default();
        registry.register("leader", "1 while this replica leads", leader.clone());
        Self {
            registry,
            reconciles,
            seconds,
            children_written,
            status_written,
            malformed,
            leader,
        }
    }
}

impl Metrics {
    pub fn reconciled(&self, kind: &'static str, outcome: &'static str, took: Duration) {
        self.reconciles
            .get_or_create(&OutcomeLabels { kind, outcome })
            .inc();
        self.seconds
            .get_or_create(&KindLabel { kind })
            .observe(took.as_secs_f64());
    }

    pub fn wrote_children(&self, kind: &'static str, number: usize) {
        let number = u64::try_from(number).unwrap_or(u64::MAX);
        self.children_written
            .get_or_create(&KindLabel { kind })
            .inc_by(number);
    }

    pub fn wrote_status(&self, kind: &'static str) {
        self.status_written.get_or_create(&KindLabel { kind }).inc();
    }

    pub fn saw_malformed(&self, kind: &'static str) {
        self.malformed.get_or_create(&KindLabel { kind }).inc();
    }

    /// OpenMetrics text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string does not fail");
        text
    }
}
