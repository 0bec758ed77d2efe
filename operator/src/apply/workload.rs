//! Applies a resource's children, then looks at its pods and has them notice changed
//! files. The order matters: a pod that is touched must find the new files.

use super::{Applied, Owner, apply};
use crate::build::Built;
use crate::context::Context;
use crate::kind::ReconcileError;
use crate::names::Component;
use crate::observe::{self, PodReport};
use crate::touch;

/// What was written, and the pods as they are after it.
pub async fn apply_workload(
    context: &Context,
    owner: &Owner,
    component: Component,
    built: Built,
) -> Result<(Applied, Vec<PodReport>), ReconcileError> {
    let Built {
        children,
        template_hash,
        mounted_hash,
    } = built;
    let applied = apply(&context.client, &context.verified, owner, children).await?;
    let name = &owner.reference.name;
    let pods = observe::pods(
        &context.client,
        &context.http,
        &owner.namespace,
        component,
        name,
        &template_hash,
    )
    .await?;
    touch::pods(&context.client, &owner.namespace, &pods, &mounted_hash).await?;
    Ok((applied, pods))
}
