//! One turn of the loop, the same for every kind: guard, reconcile, status, event.
//!
//! The kind makes its children true and judges; here the judgement becomes the status,
//! and the outcome becomes the time of the next look. A status that would not change is
//! not written.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::runtime::events::{Event, EventType};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::apply::{self, ApplyError, compare};
use crate::conditions::{self, READY, Truth, Verdict, Verdicts};
use crate::context::Context;
use crate::kind::{Facts, Kind, Outcome, PoolFacts, ReconcileError};
use crate::names::FIELD_MANAGER;
use crate::observe::{self, PodReport, rollout};
use crate::reason::Reason;

/// Longest reconcile: a handful of requests, and questions of 2 s each.
const RECONCILE_LIMIT: Duration = Duration::from_secs(30);
/// Nodes do not call us: a ready resource is looked at this often.
const LOOK_AGAIN_READY: Duration = Duration::from_secs(10);
/// One that is on its way more often, so that `kubectl wait` returns when it is there.
const LOOK_AGAIN_NOT_READY: Duration = Duration::from_secs(2);

/// Reconciles `object`, for kube's applier.
pub async fn reconcile<K: Kind>(
    object: Arc<DeserializeGuard<K>>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    let kind = K::COMPONENT.word();
    let object = match &object.0 {
        Ok(object) => object,
        Err(invalid) => {
            context.metrics.saw_malformed(kind);
            let name = invalid.metadata.name.as_deref().unwrap_or("");
            tracing::warn!(
                kind,
                name,
                error = invalid.error,
                "object cannot be read and is left alone"
            );
            return Ok(Action::await_change());
        }
    };
    if object.meta().deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let started = Instant::now();
    let result = contained(turn(object, &context)).await;
    let outcome = if result.is_ok() { "ok" } else { "error" };
    context.metrics.reconciled(kind, outcome, started.elapsed());
    result
}

/// Runs a turn that may take too long or panic. All resources share one task.
async fn contained(
    turn: impl Future<Output = Result<Action, ReconcileError>>,
) -> Result<Action, ReconcileError> {
    let caught = AssertUnwindSafe(turn).catch_unwind();
    match tokio::time::timeout(RECONCILE_LIMIT, caught).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(ReconcileError::Panicked),
        Err(_) => Err(ReconcileError::TimedOut(RECONCILE_LIMIT)),
    }
}

/// What to do after an error, for kube's applier.
pub fn after_error<K: Kind>(
    object: Arc<DeserializeGuard<K>>,
    error: &ReconcileError,
    context: Arc<Context>,
) -> Action {
    let namespace = object.namespace().unwrap_or_default();
    let name = object.name_any();
    let key = (K::COMPONENT, namespace.clone(), name.clone());
    let wait = context.backoff.failed(key, rand::random::<f64>());
    let (kind, cause) = (K::COMPONENT.word(), chain(error));
    tracing::warn!(
        kind,
        namespace,
        name,
        error = cause,
        ?wait,
        "reconcile failed"
    );
    Action::requeue(wait)
}

fn key<K: Kind>(object: &K) -> crate::backoff::Key {
    (
        K::COMPONENT,
        object.namespace().unwrap_or_default(),
        object.name_any(),
    )
}

async fn turn<K: Kind>(object: &K, context: &Context) -> Result<Action, ReconcileError> {
    if object.node().paused {
        let message = "spec.paused is true: children are left as they are";
        let ready = Verdict::new(Truth::Unknown, Reason::Paused, message);
        write_status(
            object,
            context,
            Verdicts::only(ready),
            object.stored_facts(),
        )
        .await?;
        context.backoff.succeeded(&key(object));
        return Ok(Action::await_change());
    }
    if is_new(object) {
        let ready = Verdict::new(Truth::Unknown, Reason::Starting, "seen by the operator");
        let mut verdicts = Verdicts::only(ready);
        verdicts.reconciling = Some((Reason::Starting, "children are being made".to_owned()));
        write_status(object, context, verdicts, object.stored_facts()).await?;
    }
    // asked before: what ends during this turn may have been there when it was read
    let ends_in = object.ends_in(context);
    let outcome = match object.reconcile(context).await {
        Ok(outcome) => outcome,
        Err(error) => {
            let refused = is_refused(&error);
            stay(object, context, told(error)?).await?;
            return Ok(if refused {
                // each try is a request that changes nothing
                let wait = context.backoff.failed(key(object), rand::random::<f64>());
                Action::requeue(no_later(wait, ends_in))
            } else {
                context.backoff.succeeded(&key(object));
                look_again(LOOK_AGAIN_NOT_READY, ends_in)
            });
        }
    };
    context.backoff.succeeded(&key(object));
    let Outcome {
        verdicts,
        facts,
        written,
    } = outcome;
    if !written.is_empty() {
        context
            .metrics
            .wrote_children(K::COMPONENT.word(), written.len());
        let (kind, name) = (K::COMPONENT.word(), object.name_any());
        tracing::info!(
            kind,
            namespace = object.namespace(),
            name,
            ?written,
            "children written"
        );
    }
    // what was written has its effect in seconds, and that is to be seen
    let settled =
        verdicts.ready.truth == Truth::True && verdicts.reconciling.is_none() && written.is_empty();
    write_status(object, context, verdicts, facts).await?;
    let wait = if settled {
        LOOK_AGAIN_READY
    } else {
        LOOK_AGAIN_NOT_READY
    };
    Ok(look_again(wait, ends_in))
}

/// Up to a fifth earlier, so that looks at many resources spread out.
fn look_again(wait: Duration, ends_in: Option<Duration>) -> Action {
    let wait = wait.mul_f64(1.0 - rand::random::<f64>() / 5.0);
    Action::requeue(no_later(wait, ends_in))
}

/// Shortened to what ends, if that is sooner, and by no more: it must have ended by then.
fn no_later(wait: Duration, ends_in: Option<Duration>) -> Duration {
    ends_in.map_or(wait, |ends_in| ends_in.min(wait))
}

/// The children cannot be made true now: they stay, and their pods may serve on, so facts and
/// conditions are what the pods say. A new resource has no pods: the API server takes up to
/// 100 ms to say so, in which what it waits for may come.
async fn stay<K: Kind>(
    object: &K,
    context: &Context,
    ready: Verdict,
) -> Result<(), ReconcileError> {
    let (pods, registered) = if is_new(object) {
        (Vec::new(), 0)
    } else {
        let pods = pods(object, context).await?;
        (pods, object.registered(context).await?)
    };
    let facts = seen(object.stored_facts(), &pods, registered);
    let gpu = object.gpu().map(|_| rollout::gpu(&pods));
    let verdicts = kept(ready, gpu, rollout::draining(&pods));
    write_status(object, context, verdicts, facts).await
}

/// No turn has said anything of it yet.
fn is_new<K: Kind>(object: &K) -> bool {
    object.stored_conditions().is_empty()
}

/// The pods of a resource whose children stay: there is no newer template than theirs.
async fn pods<K: Kind>(object: &K, context: &Context) -> Result<Vec<PodReport>, kube::Error> {
    let mut pods = observe::pods(
        &context.client,
        &context.http,
        &object.namespace().unwrap_or_default(),
        K::COMPONENT,
        &object.name_any(),
        "",
    )
    .await?;
    for pod in &mut pods {
        pod.current = true;
    }
    Ok(pods)
}

/// The stored facts, with what its pods and its orchestrator say now.
fn seen(stored: Facts, pods: &[PodReport], registered: u32) -> Facts {
    let (sessions, capacity) = rollout::load(pods);
    Facts {
        sessions: Some(sessions),
        capacity: Some(capacity),
        endpoint: stored.endpoint,
        devices: rollout::devices(pods),
        pool: stored.pool.map(|pool| PoolFacts {
            replicas: rollout::running(pods),
            registered,
            ..pool
        }),
    }
}

/// What the API server said no to, which costs it a request each time.
fn is_refused(error: &ReconcileError) -> bool {
    matches!(
        error,
        ReconcileError::Apply(ApplyError::Refused { .. } | ApplyError::Invalid { .. })
    )
}

/// The verdicts on children that are as they were. What may be taken another time is on its
/// way for those that wait for it; what is invalid waits for a person.
fn kept(ready: Verdict, gpu: Option<Verdict>, draining: Option<String>) -> Verdicts {
    let mut verdicts = Verdicts {
        gpu,
        draining,
        ..Verdicts::only(ready)
    };
    if verdicts.ready.reason == Reason::ApplyRefused {
        let message = verdicts.ready.message.clone();
        verdicts.reconciling = Some((Reason::ApplyRefused, message));
    }
    verdicts
}

/// Turns an error that its owner must know into the verdict; returns the others.
fn told(error: ReconcileError) -> Result<Verdict, ReconcileError> {
    let (reason, message) = match error {
        ReconcileError::Told { reason, message } => (reason, message),
        ReconcileError::Apply(error @ ApplyError::NameConflict { .. }) => {
            (Reason::NameConflict, error.to_string())
        }
        ReconcileError::Apply(error @ ApplyError::Refused { .. }) => {
            (Reason::ApplyRefused, error.to_string())
        }
        ReconcileError::Apply(error @ ApplyError::Invalid { .. }) => {
            (Reason::InvalidSpec, error.to_string())
        }
        other => return Err(other),
    };
    Ok(Verdict::not_ready(reason, message))
}

/// Writes the status if it differs from the stored one, and an Event when `Ready` moved.
async fn write_status<K: Kind>(
    object: &K,
    context: &Context,
    verdicts: Verdicts,
    facts: Facts,
) -> Result<(), ReconcileError> {
    let generation = object.meta().generation.unwrap_or(0);
    let old = object.stored_conditions();
    let now = Time(Timestamp::now());
    let new = conditions::build(&verdicts, generation, old, &now);
    let status = facts.status(generation, new.clone());
    if same(&object.stored_status(), &status) {
        return Ok(());
    }
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<K> = Api::namespaced(context.client.clone(), &namespace);
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        // the UID keeps the status off a namesake that was made meanwhile
        "metadata": {"name": object.name_any(), "uid": object.uid()},
        "status": status,
    });
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    match api
        .patch_status(&object.name_any(), &parameters, &Patch::Apply(&patch))
        .await
    {
        Ok(_) => {}
        // deleted, or made anew, since it was read
        Err(kube::Error::Api(error)) if matches!(error.code, 404 | 409) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    context.metrics.wrote_status(K::COMPONENT.word());
    tell(object, context, old, &new).await;
    Ok(())
}

fn same(stored: &Value, wanted: &Value) -> bool {
    compare::difference(wanted, stored).is_none() && compare::difference(stored, wanted).is_none()
}

/// An Event when the reason of `Ready` changes. One that is not taken is no failure.
async fn tell<K: Kind>(object: &K, context: &Context, old: &[Condition], new: &[Condition]) {
    let ready = |conditions: &[Condition]| {
        conditions
            .iter()
            .find(|condition| condition.type_ == READY)
            .cloned()
    };
    let Some(condition) = ready(new) else {
        return;
    };
    let old = ready(old);
    if old
        .as_ref()
        .is_some_and(|old| old.reason == condition.reason && old.status == condition.status)
    {
        return;
    }
    let namespace = object.namespace().unwrap_or_default();
    // in a namespace that is going away an Event would be refused
    if !matches!(apply::is_alive(&context.client, &namespace).await, Ok(true)) {
        return;
    }
    let event = Event {
        type_: weight(old.as_ref(), &condition),
        reason: condition.reason,
        note: Some(condition.message),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    let published = context
        .recorder
        .publish(&event, &object.object_ref(&()))
        .await;
    if let Err(error) = published {
        tracing::warn!(%error, name = object.name_any(), "event was not taken");
    }
}

/// What is usual on the way is normal; for one that was ready, only a roll-out is.
fn weight(old: Option<&Condition>, new: &Condition) -> EventType {
    let reason = Reason::ALL
        .into_iter()
        .find(|reason| reason.word() == new.reason);
    let was_ready = old.is_some_and(|old| old.status == "True");
    let normal = match reason {
        Some(Reason::Starting | Reason::RollingOut) => true,
        Some(reason) => !was_ready && reason.is_usual_at_first(),
        None => false,
    };
    if new.status == "False" && !normal {
        EventType::Warning
    } else {
        EventType::Normal
    }
}

/// An error with its causes, for one field of the log.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
