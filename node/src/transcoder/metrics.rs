//! Metrics of a transcoder. Labels come from fixed lists only.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use livepeer_settings::Role;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use crate::health::Health;

/// What became of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Outcome {
    Done,
    /// The segment's own fault.
    InputFault,
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: Outcome,
}

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics {
    tasks: Family<OutcomeLabel, Counter>,
    seconds: Histogram,
    undelivered: Counter,
    registrations: Counter,
    pub(crate) registered: Gauge<u64, AtomicU64>,
}

impl Metrics {
    /// Registers them.
    pub(crate) fn new(health: &Health) -> Self {
        let new = Self {
            tasks: Family::default(),
            seconds: Histogram::new([0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0]),
            undelivered: Counter::default(),
            registrations: Counter::default(),
            registered: Gauge::default(),
        };
        health.metrics(|registry| {
            let registry = registry.sub_registry_with_prefix(Role::Transcoder.name());
            registry.register("tasks", "Segments by outcome", new.tasks.clone());
            registry.register(
                "task_seconds",
                "From a notice to its result",
                new.seconds.clone(),
            );
            registry.register(
                "undelivered_results",
                "Results that the orchestrator did not take",
                new.undelivered.clone(),
            );
            registry.register("registrations", "Registrations", new.registrations.clone());
            registry.register("registered", "1 while registered", new.registered.clone());
        });
        new
    }

    pub(crate) fn task(&self, outcome: Outcome, time: Duration) {
        self.tasks.get_or_create(&OutcomeLabel { outcome }).inc();
        self.seconds.observe(time.as_secs_f64());
    }

    pub(crate) fn undelivered(&self) {
        self.undelivered.inc();
    }

    pub(crate) fn registered(&self) {
        self.registrations.inc();
        self.registered.set(1);
    }

    pub(crate) fn unregistered(&self) {
        self.registered.set(0);
    }
}
