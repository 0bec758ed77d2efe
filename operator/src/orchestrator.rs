//! The reconciler of `Orchestrator`: fetch, validate, build, apply, status.
//!
//! Applying is the same for every kind: [`crate::apply`]. Only here a new template is tried
//! first: [`rehearsal`].

pub mod build;
pub mod fetch;
pub mod rehearsal;
pub mod status;
pub mod validate;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use serde_json::Value;
use tokio::time::Instant;

use crate::api::Orchestrator;
use crate::api::gpu::Gpu;
use crate::api::node::NodeSpec;
use crate::apply::workload::{Workload, apply_workload};
use crate::context::Context;
use crate::kind::{Facts, Kind, Outcome, ReconcileError};
use crate::names::Component;
use crate::owner;

/// gRPC and HTTPS, go-livepeer's port.
pub const PORT: u16 = 8935;
/// Name of that port in Services and pods.
pub const PORT_NAME: &str = "https";

impl Kind for Orchestrator {
    const COMPONENT: Component = Component::Orchestrator;

    fn node(&self) -> &NodeSpec {
        &self.spec.node
    }

    fn gpu(&self) -> Option<&Gpu> {
        self.spec.gpu.as_ref()
    }

    fn stored_status(&self) -> Value {
        serde_json::to_value(&self.status).expect("a status is plain JSON")
    }

    fn stored_conditions(&self) -> &[Condition] {
        self.status
            .as_ref()
            .map_or(&[], |status| &status.conditions)
    }

    fn stored_facts(&self) -> Facts {
        self.status.as_ref().map(Facts::stored).unwrap_or_default()
    }

    /// The credential of a pool that left is to be revoked then.
    fn ends_at(&self, context: &Context, now: Instant) -> Option<Instant> {
        let (namespace, name) = (self.namespace()?, self.name_any());
        let departed = context.departed.of(&namespace, &name, now);
        departed.into_iter().map(|(_, ends)| ends).min()
    }

    async fn reconcile(&self, context: &Context) -> Result<Outcome, ReconcileError> {
        let owner = owner::of(self)?;
        let fetched = fetch::fetch(context, &owner, self).await?;
        let valid = validate::validate(self, &owner, &fetched)?;
        let mut built = build::build(&owner, &valid, &fetched, &context.surroundings);
        let rehearsal = rehearsal::fetch(context, &owner, &mut built).await?;
        let Workload {
            applied,
            mut pods,
            refused,
        } = apply_workload(context, &owner, Self::COMPONENT, built).await?;
        pods.extend(rehearsal::apply(context, &owner, rehearsal).await?);
        let observed = status::observe(&owner, fetched.service, pods, refused).await;
        let (verdicts, facts) = status::status(self, &observed);
        Ok(Outcome {
            verdicts,
            facts,
            written: applied.written,
        })
    }
}
