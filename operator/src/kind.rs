//! What the three kinds have in common for the loop that drives them.

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt::Debug;
use std::future::Future;
use tokio::time::Instant;

use crate::api::gpu::Gpu;
use crate::api::node::NodeSpec;
use crate::api::status::NodeStatusFields;
use crate::apply::ApplyError;
use crate::conditions::Verdicts;
use crate::context::Context;
use crate::names::Component;
use crate::reason::Reason;

/// A custom resource of ours.
pub trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    const COMPONENT: Component;

    /// The fields that all kinds share.
    fn node(&self) -> &NodeSpec;

    /// The status as it is stored.
    fn stored_status(&self) -> Value;

    /// The device that each of its pods asks for.
    fn gpu(&self) -> Option<&Gpu>;

    /// The conditions as they are stored.
    fn stored_conditions(&self) -> &[Condition];

    /// The facts as they are stored: those of the last look.
    fn stored_facts(&self) -> Facts;

    /// The pods of a pool that its orchestrator reports; only a pool has them.
    fn registered(
        &self,
        _context: &Context,
    ) -> impl Future<Output = Result<u32, kube::Error>> + Send {
        std::future::ready(Ok(0))
    }

    /// When something ends of which no watch tells, and it is to be looked at.
    fn ends_at(&self, _context: &Context, _now: Instant) -> Option<Instant> {
        None
    }

    /// Makes it true and says what is.
    fn reconcile(
        &self,
        context: &Context,
    ) -> impl Future<Output = Result<Outcome, ReconcileError>> + Send;
}

/// What a reconcile found.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub verdicts: Verdicts,
    pub facts: Facts,
    /// Children that were written.
    pub written: Vec<String>,
}

/// The typed part of a status.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    pub sessions: Option<u32>,
    pub capacity: Option<u32>,
    pub endpoint: Option<String>,
    pub devices: Vec<String>,
    pub pool: Option<PoolFacts>,
}

/// What `/scale` reads, how many transcoders are registered, and whom they work for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolFacts {
    pub replicas: u32,
    pub registered: u32,
    pub orchestrators: Vec<String>,
    pub selector: String,
}

impl Facts {
    /// Those that stand in a status of any kind.
    #[must_use]
    pub fn stored(status: &NodeStatusFields) -> Self {
        let NodeStatusFields {
            observed_generation: _,
            conditions: _,
            sessions,
            capacity,
            endpoint,
            devices,
        } = status.clone();
        Self {
            sessions,
            capacity,
            endpoint,
            devices,
            pool: None,
        }
    }

    /// The status object with these facts.
    #[must_use]
    pub fn status(self, generation: i64, conditions: Vec<Condition>) -> Value {
        let Self {
            sessions,
            capacity,
            endpoint,
            devices,
            pool,
        } = self;
        let common = NodeStatusFields {
            observed_generation: Some(generation),
            conditions,
            sessions,
            capacity,
            endpoint,
            devices,
        };
        let mut status = serde_json::to_value(common).expect("a status is plain JSON");
        if let Some(PoolFacts {
            replicas,
            registered,
            orchestrators,
            selector,
        }) = pool
        {
            status["replicas"] = replicas.into();
            status["registered"] = registered.into();
            status["selector"] = selector.into();
            if !orchestrators.is_empty() {
                status["orchestrators"] = orchestrators.into();
            }
        }
        status
    }
}

/// Why a reconcile ended early.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// Something that its owner must know: it becomes the condition.
    #[error("{}: {message}", .reason.word())]
    Told { reason: Reason, message: String },
    #[error("children cannot be applied")]
    Apply(#[from] ApplyError),
    #[error("kubernetes request failed")]
    Kube(#[from] kube::Error),
    #[error("reconcile took longer than {0:?}")]
    TimedOut(std::time::Duration),
    /// A bug of ours; it is in the log, and other resources do not notice.
    #[error("reconcile panicked")]
    Panicked,
}

impl ReconcileError {
    #[must_use]
    pub fn told(reason: Reason, message: impl Into<String>) -> Self {
        Self::Told {
            reason,
            message: message.into(),
        }
    }
}
