//! The reconciler of `TranscoderPool`: fetch, validate, build, apply, status.
//!
//! Applying is the same for every kind: [`crate::apply`].

pub mod build;
pub mod fetch;
pub mod status;
pub mod validate;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use serde_json::Value;

use crate::api::TranscoderPool;
use crate::api::gpu::Gpu;
use crate::api::node::NodeSpec;
use crate::apply::workload::{Workload, apply_workload};
use crate::context::Context;
use crate::kind::{Facts, Kind, Outcome, PoolFacts, ReconcileError};
use crate::names::Component;
use crate::observe;
use crate::owner;

impl Kind for TranscoderPool {
    const COMPONENT: Component = Component::Pool;

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
            .map_or(&[], |status| &status.node.conditions)
    }

    /// The selector is there from the first status on: autoscalers refuse a scale
    /// without one.
    fn stored_facts(&self) -> Facts {
        let status = self.status.clone().unwrap_or_default();
        Facts {
            pool: Some(PoolFacts {
                replicas: status.replicas,
                registered: status.registered,
                orchestrators: status.orchestrators,
                selector: observe::selector(Self::COMPONENT, &self.name_any()),
            }),
            ..Facts::stored(&status.node)
        }
    }

    async fn registered(&self, context: &Context) -> Result<u32, kube::Error> {
        let namespace = self.namespace().unwrap_or_default();
        let registered = status::registered(context, &namespace, self).await?;
        Ok(registered.unwrap_or(0))
    }

    async fn reconcile(&self, context: &Context) -> Result<Outcome, ReconcileError> {
        let owner = owner::of(self)?;
        let fetched = fetch::fetch(context, &owner, self).await?;
        let valid = validate::validate(self, &owner)?;
        let built = build::build(&owner, &valid, &fetched, &context.surroundings);
        let workload = apply_workload(context, &owner, Self::COMPONENT, built).await?;
        let Workload {
            applied,
            pods,
            refused,
        } = workload;
        let observed = status::observe(context, &owner, self, pods, refused).await?;
        let (verdicts, facts) = status::status(self, &owner, &observed);
        Ok(Outcome {
            verdicts,
            facts,
            written: applied.written,
        })
    }
}
