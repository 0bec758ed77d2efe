//! Metrics of an orchestrator. Labels come from fixed lists only.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use livepeer_settings::Role;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use crate::health::Health;

/// What became of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Outcome {
    Done,
    /// The segment's own fault.
    InputFault,
    Failed,
    /// Refused before the work.
    Refused,
}

/// Why a task was given to a transcoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Attempt {
    First,
    Lost,
    Failed,
    Slow,
}

/// What a transcoder brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum ResultKind {
    Done,
    Failed,
    Unusable,
    /// Nobody waits for it (any more).
    Late,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttemptLabel {
    reason: Attempt,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: ResultKind,
}

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics {
    segments: Family<OutcomeLabel, Counter>,
    attempts: Family<AttemptLabel, Counter>,
    results: Family<ResultLabel, Counter>,
    refused_credentials: Counter,
    seconds: Histogram,
    decoded_pixels: Counter,
    encoded_pixels: Counter,
    pub(crate) sessions: Gauge<u64, AtomicU64>,
    pub(crate) capacity: Gauge<u64, AtomicU64>,
    pub(crate) transcoders: Gauge<u64, AtomicU64>,
    pub(crate) bytes_in_flight: Gauge<u64, AtomicU64>,
    pub(crate) bytes_stored: Gauge<u64, AtomicU64>,
    pub(crate) connections: Gauge<u64, AtomicU64>,
}

impl Metrics {
    /// Registers them.
    pub(crate) fn new(health: &Health) -> Self {
        let new = Self {
            segments: Family::default(),
            attempts: Family::default(),
            results: Family::default(),
            refused_credentials: Counter::default(),
            seconds: Histogram::new([0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0]),
            decoded_pixels: Counter::default(),
            encoded_pixels: Counter::default(),
            sessions: Gauge::default(),
            capacity: Gauge::default(),
            transcoders: Gauge::default(),
            bytes_in_flight: Gauge::default(),
            bytes_stored: Gauge::default(),
            connections: Gauge::default(),
        };
        new.register(health);
        new
    }

    fn register(&self, health: &Health) {
        health.metrics(|registry| {
            let registry = registry.sub_registry_with_prefix(Role::Orchestrator.name());
            registry.register("segments", "Segments by outcome", self.segments.clone());
            registry.register(
                "attempts",
                "Tasks given to transcoders, by what became of the one before",
                self.attempts.clone(),
            );
            registry.register("results", "What transcoders brought", self.results.clone());
            registry.register(
                "refused_credentials",
                "Registrations and results with a wrong credential",
                self.refused_credentials.clone(),
            );
            registry.register(
                "segment_seconds",
                "From a segment's turn to its renditions",
                self.seconds.clone(),
            );
            registry.register(
                "decoded_pixels",
                "Pixels decoded",
                self.decoded_pixels.clone(),
            );
            registry.register(
                "encoded_pixels",
                "Pixels encoded",
                self.encoded_pixels.clone(),
            );
            registry.register("sessions", "Sessions now", self.sessions.clone());
            registry.register("capacity", "Sessions at most", self.capacity.clone());
            registry.register(
                "transcoders",
                "Transcoders registered",
                self.transcoders.clone(),
            );
            registry.register(
                "in_flight_bytes",
                "Bytes of bodies in flight",
                self.bytes_in_flight.clone(),
            );
            registry.register(
                "stored_bytes",
                "Bytes of results kept",
                self.bytes_stored.clone(),
            );
            registry.register("connections", "Connections open", self.connections.clone());
        });
    }

    pub(crate) fn segment(&self, outcome: Outcome) {
        self.segments.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    pub(crate) fn done(&self, time: Duration, decoded_pixels: u64, encoded_pixels: u64) {
        self.segment(Outcome::Done);
        self.seconds.observe(time.as_secs_f64());
        self.decoded_pixels.inc_by(decoded_pixels);
        self.encoded_pixels.inc_by(encoded_pixels);
    }

    pub(crate) fn attempt(&self, reason: Attempt) {
        self.attempts.get_or_create(&AttemptLabel { reason }).inc();
    }

    pub(crate) fn result(&self, result: ResultKind) {
        self.results.get_or_create(&ResultLabel { result }).inc();
    }

    pub(crate) fn refused_credential(&self) {
        self.refused_credentials.inc();
    }
}
