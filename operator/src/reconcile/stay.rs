//! What is said of a resource whose children cannot be made true now: they stay, and their
//! pods may serve on.

use kube::ResourceExt as _;

use super::is_new;
use super::status::write_status;
use crate::apply::ApplyError;
use crate::conditions::{Verdict, Verdicts};
use crate::context::Context;
use crate::kind::{Facts, Kind, PoolFacts, ReconcileError};
use crate::observe::{self, PodReport, rollout};
use crate::reason::Reason;

/// The children cannot be made true now: they stay, and their pods may serve on, so facts and
/// conditions are what the pods say. A new resource has no pods: the API server takes up to
/// 100 ms to say so, in which what it waits for may come.
pub(super) async fn stay<K: Kind>(
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
pub(super) fn seen(stored: Facts, pods: &[PodReport], registered: u32) -> Facts {
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
pub(super) fn is_refused(error: &ReconcileError) -> bool {
    matches!(
        error,
        ReconcileError::Apply(ApplyError::Refused { .. } | ApplyError::Invalid { .. })
    )
}

/// The verdicts on children that are as they were. What may be taken another time is on its
/// way for those that wait for it; what is invalid waits for a person.
pub(super) fn kept(ready: Verdict, gpu: Option<Verdict>, draining: Option<String>) -> Verdicts {
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
pub(super) fn told(error: ReconcileError) -> Result<Verdict, ReconcileError> {
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
