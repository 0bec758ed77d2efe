//! Making children true: read, compare, apply; then remove orphans.
//!
//! One server-side apply a child that differs, with one field manager, and nothing for
//! a child that does not: an unchanged resource causes no mutating request. An object
//! that is not ours is never touched.

pub mod child;
pub mod compare;
pub mod verified;
pub mod workload;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use serde_json::Value;

use crate::names::FIELD_MANAGER;
use child::{Child, ChildKind};
use verified::{Key, Verified};

/// Why children could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("{kind:?} {name} exists and does not belong to this resource")]
    NameConflict { kind: ChildKind, name: String },
    #[error("{kind:?} {name} of a deleted namesake is still there")]
    StillThere { kind: ChildKind, name: String },
    #[error("namespace is being deleted")]
    NamespaceTerminating,
    #[error("{kind:?} {name} was refused: {message}")]
    Refused {
        kind: ChildKind,
        name: String,
        message: String,
    },
    #[error("kubernetes request failed")]
    Kube(#[from] kube::Error),
}

/// Whose children they are, and where.
#[derive(Debug, Clone)]
pub struct Owner {
    pub namespace: String,
    pub reference: OwnerReference,
    /// Labels that all children of this owner have.
    pub selector: String,
}

/// What an apply changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Children that were written, as `Kind name`, for the log.
    pub written: Vec<String>,
}

/// Applies `children` in order, then removes what `owner` owned and no longer wants.
pub async fn apply(
    client: &Client,
    verified: &Verified,
    owner: &Owner,
    mut children: Vec<Child>,
) -> Result<Applied, ApplyError> {
    children.sort_by_key(|child| child.kind);
    let mut applied = Applied::default();
    for child in &children {
        if apply_child(client, verified, owner, child, applied.written.is_empty()).await? {
            applied
                .written
                .push(format!("{:?} {}", child.kind, child.name));
        }
    }
    remove_orphans(client, verified, owner, &children).await?;
    Ok(applied)
}

/// True when the child was written. `first` asks once whether the namespace still lives.
async fn apply_child(
    client: &Client,
    verified: &Verified,
    owner: &Owner,
    child: &Child,
    first: bool,
) -> Result<bool, ApplyError> {
    let key = Key {
        kind: child.kind,
        namespace: owner.namespace.clone(),
        name: child.name.clone(),
    };
    if verified.is_right(&key, &child.hash) {
        return Ok(false);
    }
    let api: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), &owner.namespace, &child.kind.api_resource());
    let live = api.get_opt(&child.name).await?;
    if let Some(live) = &live {
        check_owner(owner, child, live)?;
        let object = to_value(live);
        if compare::difference(&child.object, &object).is_none() {
            remember(verified, key, live, &child.hash);
            return Ok(false);
        }
    }
    if first {
        check_namespace(client, &owner.namespace).await?;
    }
    let written = write(&api, child, live.as_ref()).await?;
    remember(verified, key, &written, &child.hash);
    Ok(true)
}

/// Server-side apply; where entries of others stand in the way, they are pruned first.
async fn write(
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
        None => first.map_err(|error| refused(child, error))?,
        Some(prune) => {
            let merge = PatchParams {
                field_manager: Some(FIELD_MANAGER.to_owned()),
                ..PatchParams::default()
            };
            api.patch(&child.name, &merge, &Patch::Merge(&prune))
                .await
                .map_err(|error| refused(child, error))?;
            api.patch(&child.name, &parameters, &patch)
                .await
                .map_err(|error| refused(child, error))?
        }
    };
    if let Some(path) = compare::difference(&child.object, &to_value(&written)) {
        tracing::warn!(kind = ?child.kind, name = child.name, path, "child differs after it was applied");
    }
    Ok(written)
}

/// A refusal that will not change by itself carries the API server's words.
fn refused(child: &Child, error: kube::Error) -> ApplyError {
    match error {
        kube::Error::Api(status) if matches!(status.code, 400 | 403 | 422) => ApplyError::Refused {
            kind: child.kind,
            name: child.name.clone(),
            message: status.message.clone(),
        },
        other => ApplyError::Kube(other),
    }
}

fn check_owner(owner: &Owner, child: &Child, live: &DynamicObject) -> Result<(), ApplyError> {
    let owners = live.owner_references();
    if owners
        .iter()
        .any(|reference| reference.uid == owner.reference.uid)
    {
        return Ok(());
    }
    let (kind, name) = (child.kind, child.name.clone());
    let namesake = owners.iter().any(|reference| {
        reference.kind == owner.reference.kind && reference.name == owner.reference.name
    });
    Err(if namesake {
        ApplyError::StillThere { kind, name }
    } else {
        ApplyError::NameConflict { kind, name }
    })
}

/// The API server forbids creating in a namespace that is going away; asking first
/// keeps that refusal out of the audit log.
async fn check_namespace(client: &Client, name: &str) -> Result<(), ApplyError> {
    let namespace = Api::<Namespace>::all(client.clone()).get_opt(name).await?;
    match namespace {
        Some(namespace) if namespace.metadata.deletion_timestamp.is_none() => Ok(()),
        _ => Err(ApplyError::NamespaceTerminating),
    }
}

/// Deletes children of `owner` that are not in `wanted`. Looks once for each set of
/// children; an orphan appears only when the set changes.
async fn remove_orphans(
    client: &Client,
    verified: &Verified,
    owner: &Owner,
    wanted: &[Child],
) -> Result<(), ApplyError> {
    let names: Vec<_> = wanted
        .iter()
        .map(|child| format!("{:?}/{}", child.kind, child.name))
        .collect();
    let set = child::hash(&Value::from(names));
    if verified.is_swept(&owner.reference.uid, &set) {
        return Ok(());
    }
    for kind in ChildKind::ALL {
        let api: Api<DynamicObject> =
            Api::namespaced_with(client.clone(), &owner.namespace, &kind.api_resource());
        let ours = api
            .list_metadata(&ListParams::default().labels(&owner.selector))
            .await?;
        for object in ours {
            let owned = object
                .owner_references()
                .iter()
                .any(|reference| reference.uid == owner.reference.uid);
            let name = object.name_any();
            if !owned
                || wanted
                    .iter()
                    .any(|child| child.kind == kind && child.name == name)
            {
                continue;
            }
            let only_this = DeleteParams::background().preconditions(Preconditions {
                uid: object.uid(),
                resource_version: None,
            });
            match api.delete(&name, &only_this).await {
                Ok(_) => tracing::info!(?kind, name, "orphan removed"),
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    verified.found_swept(&owner.reference.uid, set);
    Ok(())
}

fn remember(verified: &Verified, key: Key, live: &DynamicObject, hash: &str) {
    if let Some(version) = live.resource_version() {
        verified.found_right(key, version, hash);
    }
}

fn to_value(object: &DynamicObject) -> Value {
    serde_json::to_value(object).expect("an object that was read is plain JSON")
}
