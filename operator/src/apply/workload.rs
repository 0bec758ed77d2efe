//! Applies a resource's children, then looks at its pods and has them notice changed
//! files. The order matters: a pod that is touched must find the new files. Where not all
//! children could be applied, these may be Secrets alone.

use serde_json::json;

use super::child::{Child, hash};
use super::{Applied, ApplyError, Owner, apply, apply_drawn, older};
use crate::build::Built;
use crate::context::Context;
use crate::kind::ReconcileError;
use crate::names::Component;
use crate::observe::{self, PodReport, refusal};
use crate::touch;

/// What became of a resource's children.
pub struct Workload {
    pub applied: Applied,
    /// The pods as they are after it.
    pub pods: Vec<PodReport>,
    /// What the API server said to whoever was to make a pod that is not there.
    pub refused: Option<String>,
}

/// Makes the children true and looks at the pods.
pub async fn apply_workload(
    context: &Context,
    owner: &Owner,
    component: Component,
    built: Built,
) -> Result<Workload, ReconcileError> {
    let Built {
        mut children,
        settings,
        template_hash,
        mounted_hash,
    } = built;
    older::keep(context, owner, component, &settings, &mut children).await?;
    let wanted = replicas(&children);
    let (client, verified) = (&context.client, &context.verified);
    let drawn = apply_drawn(client, verified, owner, &children).await?;
    let (applied, mounted_hash) = match apply(client, verified, owner, children).await {
        Ok(mut applied) => {
            applied.written.splice(0..0, drawn.written);
            (Ok(applied), mounted_hash)
        }
        Err(error @ (ApplyError::NamespaceTerminating | ApplyError::Kube(_))) => {
            return Err(error.into());
        }
        // Secrets may have been written, and what else is mounted is to be noticed later
        Err(error) => (Err(error), hash(&json!([mounted_hash, "Secrets"]))),
    };
    let name = &owner.reference.name;
    let pods = observe::pods(
        client,
        &context.http,
        &owner.namespace,
        component,
        name,
        &template_hash,
    )
    .await?;
    touch::pods(client, &owner.namespace, &pods, &mounted_hash).await?;
    let applied = applied?;
    let refused = refusal::fetch(client, owner, component, wanted, &pods).await?;
    Ok(Workload {
        applied,
        pods,
        refused,
    })
}

/// Pods that the workload among these children wants.
fn replicas(children: &[Child]) -> usize {
    let workload = children.iter().find(|child| child.kind.makes_pods());
    let replicas = workload.and_then(|child| child.object["spec"]["replicas"].as_u64());
    replicas.map_or(0, |replicas| {
        usize::try_from(replicas).unwrap_or(usize::MAX)
    })
}
