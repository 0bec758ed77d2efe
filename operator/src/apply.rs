//! Making children true: read all, compare, write what differs; then remove orphans.
//!
//! One server-side apply a child that differs, with one field manager, and nothing for
//! a child that does not: an unchanged resource causes no mutating request. An object
//! that is not ours is never touched, and keeps the other children as they are; but not
//! Secrets, since a credential that is revoked waits for nobody.

pub mod child;
pub mod compare;
pub mod older;
pub mod verified;
pub mod workload;
mod write;

use std::fmt::Debug;

use futures::future::{join_all, try_join_all};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, DynamicObject, ListParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::Value;

use child::{Child, ChildKind};
use verified::{Key, Verified};
pub use write::refused;
use write::{is_immutable, to_value, write};

/// Why children could not be applied. `object` is kind and name.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("{object} exists and is not ours; delete or rename one of the two")]
    NameConflict { object: String },
    #[error("{object} of a deleted namesake is still there")]
    StillThere { object: String },
    #[error("namespace is being deleted")]
    NamespaceTerminating,
    #[error("{object} was refused: {message}")]
    Refused { object: String, message: String },
    /// As it is wanted it can never be applied.
    #[error("{object} is refused as invalid: {message}")]
    Invalid { object: String, message: String },
    #[error("kubernetes request failed")]
    Kube(#[from] kube::Error),
    /// Others beside it may have been written.
    #[error("{object} could not be written")]
    NotWritten { object: String, source: kube::Error },
}

/// Whose children they are, and where.
#[derive(Debug, Clone)]
pub struct Owner {
    pub namespace: String,
    pub reference: OwnerReference,
    /// Labels that all children of this owner have.
    pub selector: String,
}

impl Owner {
    /// Whether the object is a child of this very resource, and not of a namesake.
    #[must_use]
    pub fn owns(&self, object: &impl ResourceExt) -> bool {
        let mut owners = object.owner_references().iter();
        owners.any(|reference| reference.uid == self.reference.uid)
    }
}

/// What an apply changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Children that were written, as `Kind name`, for the log.
    pub written: Vec<String>,
}

/// Makes those true whose content was drawn now, before anything else is: what follows from a
/// key that could not be written down must not be written either.
pub async fn apply_drawn(
    client: &Client,
    verified: &Verified,
    owner: &Owner,
    children: &[Child],
) -> Result<Applied, ApplyError> {
    let drawn = children.iter().filter(|child| child.drawn);
    make_true(client, verified, owner, drawn).await
}

/// Makes `children` true, then removes what `owner` owned and no longer wants. All are
/// read before any is written: where one is not ours, only Secrets that are there are written.
pub async fn apply(
    client: &Client,
    verified: &Verified,
    owner: &Owner,
    children: Vec<Child>,
) -> Result<Applied, ApplyError> {
    let applied = make_true(client, verified, owner, &children).await?;
    // the pods of one that is held may mount what nobody else wants any more
    if !children.iter().any(|child| child.held) {
        remove_orphans(client, verified, owner, &children).await?;
    }
    Ok(applied)
}

async fn make_true<'a>(
    client: &Client,
    verified: &Verified,
    owner: &Owner,
    children: impl IntoIterator<Item = &'a Child>,
) -> Result<Applied, ApplyError> {
    let doubtful: Vec<_> = children
        .into_iter()
        .filter(|child| !child.held)
        .map(|child| (child, key(owner, child)))
        .filter(|(child, key)| !verified.is_right(key, &child.hash))
        .collect();
    let read = doubtful
        .into_iter()
        .map(|(child, key)| read(client, &owner.namespace, child, key));
    let found = try_join_all(read).await?;
    let conflict = found
        .iter()
        .find_map(|found| check_owner(owner, found).err());
    let mut due = Vec::new();
    for found in found {
        match &found.live {
            Some(live) if is_right(found.child, live) => {
                remember(verified, found.key, live, &found.child.hash);
            }
            Some(_) | None => due.push(found),
        }
    }
    if conflict.is_some() {
        due.retain(|found| found.live.is_some() && found.child.kind == ChildKind::Secret);
        due.retain(|found| check_owner(owner, found).is_ok());
    }
    if !due.is_empty() && !is_alive(client, &owner.namespace).await? {
        return Err(ApplyError::NamespaceTerminating);
    }
    let mut applied = Applied::default();
    // what a pod mounts comes before the pod
    let (workloads, parts): (Vec<_>, Vec<_>) = due
        .into_iter()
        .partition(|found| found.child.kind.makes_pods());
    for stage in [parts, workloads] {
        let writes = stage.into_iter().map(|found| put(verified, found));
        // each is tried: one that is refused does not keep another from being revoked
        for written in join_all(writes).await {
            applied.written.push(written?);
        }
    }
    conflict.map_or(Ok(applied), Err)
}

/// A child, and what is there under its name.
struct Found<'a> {
    api: Api<DynamicObject>,
    child: &'a Child,
    key: Key,
    live: Option<DynamicObject>,
}

/// The child as the memory of what is right knows it.
#[must_use]
pub fn key(owner: &Owner, child: &Child) -> Key {
    Key {
        kind: child.kind,
        namespace: owner.namespace.clone(),
        name: child.name.clone(),
    }
}

async fn read<'a>(
    client: &Client,
    namespace: &str,
    child: &'a Child,
    key: Key,
) -> Result<Found<'a>, kube::Error> {
    let api: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), namespace, &child.kind.api_resource());
    let live = api.get_opt(&child.name).await?;
    Ok(Found {
        api,
        child,
        key,
        live,
    })
}

fn is_right(child: &Child, live: &DynamicObject) -> bool {
    compare::difference(&child.object, &to_value(live)).is_none()
        && !must_be_made_again(child, live)
}

/// A ConfigMap or Secret that a hand made immutable takes no change any more, and settings
/// and credentials would never reach a pod. The orchestrator's key is in a Secret and nowhere
/// else: that one stays.
fn must_be_made_again(child: &Child, live: &DynamicObject) -> bool {
    is_immutable(live) && !child.only_copy
}

/// Deletes this very object; false when it was gone, or another in its place, already.
pub async fn delete<K>(api: &Api<K>, name: &str, uid: Option<String>) -> Result<bool, kube::Error>
where
    K: Clone + Debug + DeserializeOwned,
{
    let only_this = DeleteParams::background().preconditions(Preconditions {
        uid,
        resource_version: None,
    });
    match api.delete(name, &only_this).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes a child; gives its kind and name for the log.
async fn put(verified: &Verified, found: Found<'_>) -> Result<String, ApplyError> {
    let Found {
        api,
        child,
        key,
        mut live,
    } = found;
    if let Some(closed) = live.take_if(|live| must_be_made_again(child, live)) {
        tracing::warn!(kind = ?child.kind, name = child.name, "immutable by hand, made again");
        delete(&api, &child.name, closed.uid()).await?;
    }
    let written = write(&api, child, live.as_ref()).await?;
    remember(verified, key, &written, &child.hash);
    Ok(child.to_string())
}

fn check_owner(owner: &Owner, found: &Found<'_>) -> Result<(), ApplyError> {
    let Some(live) = found.live.as_ref().filter(|live| !owner.owns(*live)) else {
        return Ok(());
    };
    let object = found.child.to_string();
    let namesake = live.owner_references().iter().any(|reference| {
        reference.kind == owner.reference.kind && reference.name == owner.reference.name
    });
    Err(if namesake {
        ApplyError::StillThere { object }
    } else {
        ApplyError::NameConflict { object }
    })
}

/// The API server forbids creating in a namespace that is going away; asking first
/// keeps that refusal out of the audit log.
pub async fn is_alive(client: &Client, namespace: &str) -> Result<bool, kube::Error> {
    let found = Api::<Namespace>::all(client.clone())
        .get_opt(namespace)
        .await?;
    Ok(found.is_some_and(|found| found.metadata.deletion_timestamp.is_none()))
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
            let name = object.name_any();
            if !owner.owns(&object)
                || wanted
                    .iter()
                    .any(|child| child.kind == kind && child.name == name)
            {
                continue;
            }
            if delete(&api, &name, object.uid()).await? {
                tracing::info!(?kind, name, "orphan removed");
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

#[cfg(test)]
pub(crate) mod tests;
