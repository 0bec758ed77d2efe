//! Settings of pods that are older than the newest template.
//!
//! A container that starts again reads its file again, and a pod that is lost while its workload
//! is held, or its roll-out stuck, comes back as it was: both must find the settings that fit
//! them, not those of their successors. So each template reads a key of its own, and the
//! ConfigMap keeps a key for as long as a pod reads it or one that does may be made. What is
//! live reaches these pods too. All state is in the cluster.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Api;
use kube::api::DynamicObject;
use livepeer_settings::Settings;
use serde_json::Value;

use super::Owner;
use super::child::{Child, ChildKind};
use crate::build::settings;
use crate::context::Context;
use crate::names::Component;
use crate::observe::{self, written};

/// Older settings that are kept while a Deployment may make a pod of each again. Of more only
/// those that a pod reads now: a ConfigMap holds 1 MiB, and hardly anybody edits as often while
/// a roll-out is stuck.
const MAX_UNREAD: usize = 8;

/// Adds the settings of older pods to the ConfigMap in `children`, which has the newest.
pub async fn keep(
    context: &Context,
    owner: &Owner,
    component: Component,
    newest: &Settings,
    children: &mut [Child],
) -> Result<(), kube::Error> {
    let mut children = children.iter_mut();
    let Some(child) = children.find(|child| child.kind == ChildKind::ConfigMap) else {
        return Ok(());
    };
    // then there are no others in it
    if context
        .verified
        .is_right(&super::key(owner, child), &child.hash)
    {
        return Ok(());
    }
    let (client, namespace) = (&context.client, &owner.namespace);
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let live = maps.get_opt(&child.name).await?;
    let live = live.filter(|live| owner.owns(live));
    let mut older = live.and_then(|live| live.data).unwrap_or_default();
    older.remove(&settings::key(&settings::rolling_hash(newest)));
    if older.is_empty() {
        return Ok(());
    }
    let name = &owner.reference.name;
    let workload = written::workload(client, namespace, component, name).await?;
    let pods = observe::list(client, namespace, component, name).await?;
    let kept = kept(older, newest, workload.as_ref(), &pods);
    if !kept.is_empty() {
        child.add_data(&kept);
    }
    Ok(())
}

/// What is kept of `older`, and how it reads. Pure.
fn kept(
    mut older: BTreeMap<String, String>,
    newest: &Settings,
    workload: Option<&DynamicObject>,
    pods: &[Pod],
) -> BTreeMap<String, String> {
    if older.len() > MAX_UNREAD || !workload.is_some_and(rolls_out) {
        let specs = written::specs(workload, pods);
        let read: BTreeSet<_> = specs.iter().filter_map(settings::key_read).collect();
        older.retain(|key, _| read.contains(key.as_str()));
    }
    for text in older.values_mut() {
        *text = settings::with_live_fields(text, newest);
    }
    older
}

/// Whether pods of older templates may still be made, as a Deployment makes them while not as
/// many of the newest are available as it wants. A StatefulSet makes none, and is soon done.
fn rolls_out(workload: &DynamicObject) -> bool {
    let status = &workload.data["status"];
    let count = |count: &Value| count.as_i64().unwrap_or(0);
    let wanted = count(&workload.data["spec"]["replicas"]);
    let mut counts = ["replicas", "updatedReplicas", "availableReplicas"].into_iter();
    status["observedGeneration"].as_i64() != workload.metadata.generation
        || counts.any(|field| count(&status[field]) != wanted)
}

#[cfg(test)]
mod tests;
