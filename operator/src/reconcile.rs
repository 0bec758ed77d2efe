//! One turn of the loop, the same for every kind: guard, reconcile, status, event.
//!
//! The kind makes its children true and judges; here the judgement becomes the status
//! ([`status`]), or that of children that stay as they are ([`mod@stay`]), and the outcome
//! becomes the time of the next look.

mod status;
mod stay;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use kube::ResourceExt as _;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use tokio::time::Instant;

use self::status::write_status;
use self::stay::{is_refused, stay, told};
use crate::conditions::{Truth, Verdict, Verdicts};
use crate::context::Context;
use crate::kind::{Kind, Outcome, ReconcileError};
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
    let now = Instant::now();
    let read = object.0.as_ref().ok();
    let wait = no_later(wait, read.and_then(|read| read.ends_at(&context, now)), now);
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
    let ends_at = object.ends_at(context, Instant::now());
    let outcome = match object.reconcile(context).await {
        Ok(outcome) => outcome,
        Err(error) => {
            let refused = is_refused(&error);
            stay(object, context, told(error)?).await?;
            return Ok(if refused {
                // each try is a request that changes nothing
                let wait = context.backoff.failed(key(object), rand::random::<f64>());
                Action::requeue(no_later(wait, ends_at, Instant::now()))
            } else {
                context.backoff.succeeded(&key(object));
                look_again(LOOK_AGAIN_NOT_READY, ends_at)
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
    Ok(look_again(wait, ends_at))
}

/// Up to a fifth earlier, so that looks at many resources spread out.
fn look_again(wait: Duration, ends_at: Option<Instant>) -> Action {
    let wait = wait.mul_f64(1.0 - rand::random::<f64>() / 5.0);
    Action::requeue(no_later(wait, ends_at, Instant::now()))
}

/// Shortened to what ends, if that is sooner, and by no more: it must have ended by then.
fn no_later(wait: Duration, ends_at: Option<Instant>, now: Instant) -> Duration {
    ends_at.map_or(wait, |ends| wait.min(ends.saturating_duration_since(now)))
}

/// No turn has said anything of it yet.
fn is_new<K: Kind>(object: &K) -> bool {
    object.stored_conditions().is_empty()
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
