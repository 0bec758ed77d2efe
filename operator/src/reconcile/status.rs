//! The status, and the Event that tells of it. A status that would not change is not written.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::apply::{self, compare};
use crate::conditions::{self, READY, Verdicts};
use crate::context::Context;
use crate::kind::{Facts, Kind, ReconcileError};
use crate::names::FIELD_MANAGER;
use crate::reason::Reason;

/// Writes the status if it differs from the stored one, and an Event when `Ready` moved.
pub(super) async fn write_status<K: Kind>(
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

pub(super) fn same(stored: &Value, wanted: &Value) -> bool {
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
pub(super) fn weight(old: Option<&Condition>, new: &Condition) -> EventType {
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
