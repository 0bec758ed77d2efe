//! A rehearsal: before the only pod of an orchestrator is replaced, another one shows that
//! its successor can be scheduled, pulled and started, and takes its settings.
//!
//! A Deployment has the new pod ready before the old one goes. Here the claim binds the one
//! pod, so the old one goes first, and a mistake would leave nobody. Until the rehearsal has
//! succeeded the StatefulSet is held as it is, and so are its settings
//! ([`crate::apply::older`]): whatever happens to its pod meanwhile, it comes back as it was,
//! and an undone edit has changed nothing. What only shows while the node serves is not
//! rehearsed.
//!
//! All state is in the cluster: the template that the StatefulSet has, and the rehearsal's
//! own pod.

pub mod pod;

use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, ResourceExt};
use serde_json::Value;

use crate::apply::child::ChildKind;
use crate::apply::verified::Key;
use crate::apply::{self, ApplyError, Owner};
use crate::build::Built;
use crate::build::pod::CONTAINER;
use crate::context::Context;
use crate::kind::ReconcileError;
use crate::names::{ANNOTATION_TEMPLATE, Component, FIELD_MANAGER};
use crate::observe::{self, PodReport};
use crate::pod_problems;

/// A rehearsal that a node turned away or evicted is made again, not more often than this.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// What is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The StatefulSet may have the new template, or has it.
    Roll,
    /// The rehearsal is to be made.
    Make,
    /// The rehearsal is under way, or cannot get on.
    Wait,
    /// The rehearsal is one of another template, or over, and is to be removed.
    Remove,
}

/// What was found before the children are applied, and what follows.
pub struct Rehearsal {
    step: Step,
    /// Its pod.
    pod: Option<Pod>,
    /// What is to be made.
    wanted: Value,
    /// The StatefulSet.
    set: Key,
}

/// Looks whether a rehearsal is needed and how it stands; if it has not succeeded, holds
/// the StatefulSet in `built`.
pub async fn fetch(
    context: &Context,
    owner: &Owner,
    built: &mut Built,
) -> Result<Option<Rehearsal>, ReconcileError> {
    let template = &built.template_hash;
    let mut children = built.children.iter_mut();
    let Some(child) = children.find(|child| child.kind == ChildKind::StatefulSet) else {
        return Ok(None);
    };
    let key = apply::key(owner, child);
    if context.verified.is_right(&key, &child.hash) {
        return Ok(None);
    }
    let sets: Api<StatefulSet> = Api::namespaced(context.client.clone(), &owner.namespace);
    let Some(set) = sets
        .get_opt(&child.name)
        .await?
        .filter(|set| owner.owns(set))
    else {
        return Ok(None);
    };
    let api = pods(context, owner);
    let pod = api.get_opt(&pod::name(owner)).await?;
    let pod = pod.filter(|pod| owner.owns(pod));
    let (mut step, mut wanted) = (Step::Roll, Value::Null);
    if template_of(&set) != Some(template) {
        let (namespace, name) = (&owner.namespace, &owner.reference.name);
        let there =
            observe::list(&context.client, namespace, Component::Orchestrator, name).await?;
        step = decide(&there, pod.as_ref(), template, Timestamp::now());
        let running = there.iter().find(|pod| runs(pod));
        wanted = pod::build(owner, &child.object, running);
        let fits = pod::wants_no_more(&child.object, running);
        if step == Step::Make && fits && is_over_quota(&api, &wanted).await? {
            let (namespace, name) = (&owner.namespace, pod::name(owner));
            tracing::warn!(
                namespace,
                name,
                "no room in a quota: rolls without rehearsal"
            );
            step = Step::Roll;
        }
    }
    child.held = step != Step::Roll;
    Ok(Some(Rehearsal {
        step,
        pod,
        wanted,
        set: key,
    }))
}

/// Makes or removes the rehearsal's pod, now that what it mounts is there. Gives the pod
/// while the condition is about it.
pub async fn apply(
    context: &Context,
    owner: &Owner,
    rehearsal: Option<Rehearsal>,
) -> Result<Option<PodReport>, ReconcileError> {
    let Some(Rehearsal {
        step,
        pod,
        wanted,
        set,
    }) = rehearsal
    else {
        return Ok(None);
    };
    if step != Step::Roll || pod.is_some() {
        // an undone edit leaves a StatefulSet that is right, and a rehearsal to remove
        context.verified.doubt(&set);
    }
    let api = pods(context, owner);
    match (step, pod) {
        (Step::Roll | Step::Remove, None) => Ok(None),
        (Step::Roll | Step::Remove, Some(pod)) => {
            apply::delete(&api, &pod.name_any(), pod.uid()).await?;
            Ok(None)
        }
        (Step::Wait, pod) => Ok(pod.map(report)),
        (Step::Make, _) => {
            make(context, owner, &api, &wanted).await?;
            Ok(None)
        }
    }
}

/// Pure: `there` are the StatefulSet's pods, `pod` is the rehearsal, `template` the hash of
/// the newest one. Where every pod is broken there is nobody to lose, and what is to heal
/// them comes at once.
fn decide(there: &[Pod], pod: Option<&Pod>, template: &str, now: Timestamp) -> Step {
    // between two pods there is none for a moment, and then one without a word
    if !there.is_empty() && there.iter().all(is_broken) {
        return Step::Roll;
    }
    let Some(pod) = pod else {
        return Step::Make;
    };
    if pod.metadata.deletion_timestamp.is_some() {
        return Step::Wait;
    }
    let of = pod.annotations().get(ANNOTATION_TEMPLATE);
    if of.is_none_or(|of| of != template) {
        return Step::Remove;
    }
    if has_succeeded(pod) {
        return Step::Roll;
    }
    let status = pod.status.as_ref();
    let failed = status.and_then(|status| status.phase.as_deref()) == Some("Failed");
    if failed && is_older(pod, AGAIN_AFTER, now) {
        Step::Remove
    } else {
        Step::Wait
    }
}

/// Not the pod's word: a container that a mesh put beside the node's may run on.
fn has_succeeded(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let containers = status.and_then(|status| status.container_statuses.as_ref());
    containers.into_iter().flatten().any(|container| {
        let ended = container
            .state
            .as_ref()
            .and_then(|state| state.terminated.as_ref());
        container.name == CONTAINER && ended.is_some_and(|ended| ended.exit_code == 0)
    })
}

fn is_older(pod: &Pod, than: Duration, now: Timestamp) -> bool {
    let made = pod.metadata.creation_timestamp.as_ref();
    made.is_none_or(|made| now.duration_since(made.0).unsigned_abs() >= than)
}

fn is_broken(pod: &Pod) -> bool {
    pod_problems::find([pod]).is_some()
}

/// Whether it has what it requests.
fn runs(pod: &Pod) -> bool {
    let spec = pod.spec.as_ref();
    spec.is_some_and(|spec| spec.node_name.is_some())
}

/// The hash that the pods of a StatefulSet are given.
fn template_of(set: &StatefulSet) -> Option<&String> {
    let metadata = set.spec.as_ref()?.template.metadata.as_ref()?;
    metadata.annotations.as_ref()?.get(ANNOTATION_TEMPLATE)
}

fn pods(context: &Context, owner: &Owner) -> Api<Pod> {
    Api::namespaced(context.client.clone(), &owner.namespace)
}

/// As the newest pod, so that what keeps it is what keeps the resource.
pub(crate) fn report(pod: Pod) -> PodReport {
    PodReport {
        current: true,
        ready: false,
        terminating: pod.metadata.deletion_timestamp.is_some(),
        node: None,
        pod,
    }
}

/// Whether a quota has no room for the rehearsal beside what runs, for which it has: then one
/// would be refused for ever. Makes nothing.
async fn is_over_quota(api: &Api<Pod>, wanted: &Value) -> Result<bool, kube::Error> {
    let dry = PostParams {
        dry_run: true,
        field_manager: None,
    };
    match api.create(&dry, &typed(wanted)).await {
        // the words of the admission plugin (apiserver, resourcequota/controller.go)
        Err(kube::Error::Api(status)) => {
            Ok(status.code == 403 && status.message.contains("exceeded quota"))
        }
        answer => answer.map(|_| false),
    }
}

fn typed(wanted: &Value) -> Pod {
    serde_json::from_value(wanted.clone()).expect("made as a pod in `pod::build`")
}

async fn make(
    context: &Context,
    owner: &Owner,
    api: &Api<Pod>,
    wanted: &Value,
) -> Result<(), ReconcileError> {
    if !apply::is_alive(&context.client, &owner.namespace).await? {
        return Err(ApplyError::NamespaceTerminating.into());
    }
    let name = pod::name(owner);
    let parameters = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    match api.create(&parameters, &typed(wanted)).await {
        Ok(_) => {
            tracing::info!(
                namespace = owner.namespace,
                name,
                "rehearsal of a new template"
            );
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let object = format!("Pod {name}");
            Err(ApplyError::NameConflict { object }.into())
        }
        Err(error) => Err(apply::refused(format!("Pod {name}"), error).into()),
    }
}

#[cfg(test)]
mod tests;
