//! What every reconcile needs beside its object.

use std::sync::Arc;

use kube::Client;
use kube::core::DeserializeGuard;
use kube::runtime::events::Recorder;
use kube::runtime::reflector::Store;

use crate::api::{Gateway, Orchestrator, TranscoderPool};
use crate::apply::verified::Verified;
use crate::backoff::Backoff;
use crate::build::Surroundings;
use crate::departed::Departed;
use crate::metrics::Metrics;

/// The resources of one scope (a namespace, or all), as their watches left them. A
/// malformed object is an `Err` inside: it is seen and stops nobody else.
#[derive(Clone)]
pub struct Stores {
    pub orchestrators: Store<DeserializeGuard<Orchestrator>>,
    pub pools: Store<DeserializeGuard<TranscoderPool>>,
    pub gateways: Store<DeserializeGuard<Gateway>>,
}

/// Shared by all reconciles of one scope.
pub struct Context {
    pub client: Client,
    /// For the nodes' status and the gateways' ingest.
    pub http: reqwest::Client,
    pub surroundings: Arc<Surroundings>,
    pub stores: Stores,
    pub verified: Arc<Verified>,
    pub backoff: Arc<Backoff>,
    pub departed: Arc<Departed>,
    pub recorder: Recorder,
    pub metrics: Arc<Metrics>,
}
