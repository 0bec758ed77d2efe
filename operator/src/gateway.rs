//! The reconciler of `Gateway`: fetch, validate, build, apply, status.
//!
//! Applying is the same for every kind: [`crate::apply`].

pub mod build;
pub mod fetch;
pub mod status;
pub mod validate;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::Value;

use crate::api::Gateway;
use crate::api::gpu::Gpu;
use crate::api::node::NodeSpec;
use crate::apply::workload::{Workload, apply_workload};
use crate::context::Context;
use crate::kind::{Facts, Kind, Outcome, ReconcileError};
use crate::names::Component;
use crate::owner;

/// HTTP push, playlists and the page, go-livepeer's port.
pub const PORT: u16 = 9935;
/// Name of that port in Services and pods.
pub const PORT_NAME: &str = "http";

impl Kind for Gateway {
    const COMPONENT: Component = Component::Gateway;

    fn node(&self) -> &NodeSpec {
        &self.spec.node
    }

    fn gpu(&self) -> Option<&Gpu> {
        None
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

    async fn reconcile(&self, context: &Context) -> Result<Outcome, ReconcileError> {
        let owner = owner::of(self)?;
        let fetched = fetch::fetch(context, &owner, self).await?;
        let valid = validate::validate(self, &owner, &fetched)?;
        let built = build::build(&owner, &valid, &fetched, &context.surroundings);
        let workload = apply_workload(context, &owner, Self::COMPONENT, built).await?;
        let Workload {
            applied,
            pods,
            refused,
        } = workload;
        let observed = status::observe(context, &owner, self, pods, refused).await?;
        let (verdicts, facts) = status::status(self, &fetched, &observed);
        Ok(Outcome {
            verdicts,
            facts,
            written: applied.written,
        })
    }
}
