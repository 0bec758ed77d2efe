//! One server-side apply: what stands in its way, and what its refusal means.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::child::Child;
use super::{ApplyError, compare};
use crate::names::FIELD_MANAGER;

/// Server-side apply; where entries of others stand in the way, they are pruned first.
pub(super) async fn write(
    api: &Api<DynamicObject>,
    child: &Child,
    live: Option<&DynamicObject>,
) -> Result<DynamicObject, ApplyError> {
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let patch = Patch::Apply(&child.object);
    let first = api.patch(&child.name, &parameters, &patch).await;
    let stands_in_the_way = match (&first, live) {
        (Ok(written), _) => compare::prune(&child.object, &to_value(written)),
        (Err(kube::Error::Api(status)), Some(live)) if status.code == 422 => {
            compare::prune(&child.object, &to_value(live))
        }
        (Err(_), _) => None,
    };
    let written = match stands_in_the_way {
        None => first.map_err(|error| not_changed(child, live, error))?,
        Some(prune) => {
            let merge = PatchParams {
                field_manager: Some(FIELD_MANAGER.to_owned()),
                ..PatchParams::default()
            };
            api.patch(&child.name, &merge, &Patch::Merge(&prune))
                .await
                .map_err(|error| not_changed(child, live, error))?;
            let written = api
                .patch(&child.name, &parameters, &patch)
                .await
                .map_err(|error| not_changed(child, live, error))?;
            let object = child.to_string();
            let given_up = give_up_updates(api, written).await;
            given_up.map_err(|source| ApplyError::NotWritten { object, source })?
        }
    };
    if let Some(path) = compare::difference(&child.object, &to_value(&written)) {
        tracing::warn!(kind = ?child.kind, name = child.name, path, "child differs after it was applied");
    }
    Ok(written)
}

/// A workload's controller writes its status just after a change, which is no reason to leave
/// an owner too many.
const GIVE_UP_TRIES: u32 = 5;

/// A field that pruning wrote has two owners, both of our name: the operations apply and update.
/// The second would keep it when it is no longer wanted, so it is given up.
async fn give_up_updates(
    api: &Api<DynamicObject>,
    mut written: DynamicObject,
) -> Result<DynamicObject, kube::Error> {
    for _ in 0..GIVE_UP_TRIES {
        let managed = written.metadata.managed_fields.clone().unwrap_or_default();
        let (updates, kept): (Vec<_>, Vec<_>) = managed.into_iter().partition(is_our_update);
        if updates.is_empty() {
            break;
        }
        let metadata = json!({
            "resourceVersion": written.metadata.resource_version, "managedFields": kept,
        });
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        let (name, parameters) = (written.name_any(), PatchParams::default());
        written = match api.patch(&name, &parameters, &patch).await {
            Err(kube::Error::Api(status)) if status.code == 409 => api.get(&name).await?,
            other => return other,
        };
    }
    Ok(written)
}

fn is_our_update(entry: &ManagedFieldsEntry) -> bool {
    entry.manager.as_deref() == Some(FIELD_MANAGER) && entry.operation.as_deref() == Some("Update")
}

/// What to do about the one immutable child that is not made again.
const IMMUTABLE: &str = "it was made immutable by hand, holds something else than it must, and is \
    not deleted, since what is in it stands nowhere else; delete it to have another key made";

/// A refusal carries the API server's words: of what is wrong in itself, or of what a quota,
/// a right or an admission policy says today.
pub fn refused(object: String, error: kube::Error) -> ApplyError {
    match error {
        kube::Error::Api(status) if status.code == 422 => ApplyError::Invalid {
            object,
            message: status.message.clone(),
        },
        kube::Error::Api(status) if matches!(status.code, 400 | 403) => ApplyError::Refused {
            object,
            message: status.message.clone(),
        },
        source => ApplyError::NotWritten { object, source },
    }
}

/// A change of `live` that was refused.
fn not_changed(child: &Child, live: Option<&DynamicObject>, error: kube::Error) -> ApplyError {
    let immutable = live.is_some_and(is_immutable);
    match refused(child.to_string(), error) {
        ApplyError::Invalid { object, message } if immutable => ApplyError::Invalid {
            object,
            message: format!("{IMMUTABLE}: {message}"),
        },
        other => other,
    }
}

/// True for nothing but ConfigMaps and Secrets.
pub(super) fn is_immutable(live: &DynamicObject) -> bool {
    live.data["immutable"] == true
}

pub(super) fn to_value(object: &DynamicObject) -> Value {
    serde_json::to_value(object).expect("an object that was read is plain JSON")
}
