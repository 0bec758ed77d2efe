//! The provisioner behind the default StorageClass: a directory of the node for a claim.
//!
//! Volumes are of the type `local`, so that the kubelet mounts them and applies `fsGroup`, as
//! with a real disk. Capacity is recorded, not enforced.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{
    LocalVolumeSource, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, ObjectReference,
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeSpec, VolumeNodeAffinity,
};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use tokio_util::sync::CancellationToken;

use super::config::NODE_NAME;
use super::paths;

/// The provisioner's name, in the StorageClass and on every volume.
pub(crate) const NAME: &str = "livepeer.org/e2e-local";
const CLASS: &str = "standard";
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// Set by the scheduler once a pod that uses the claim has a node.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// A pass at least this often, should a watch event be lost.
const RESYNC: Duration = Duration::from_secs(10);

/// Makes and removes volumes until cancelled.
pub(crate) async fn run(client: Client, cancel: CancellationToken) {
    let claims: Api<PersistentVolumeClaim> = Api::all(client.clone());
    let volumes: Api<PersistentVolume> = Api::all(client);
    let changes = futures::stream::select(
        watcher(claims.clone(), watcher::Config::default())
            .default_backoff()
            .map(|_| ()),
        watcher(volumes.clone(), watcher::Config::default())
            .default_backoff()
            .map(|_| ()),
    );
    let mut changes = std::pin::pin!(changes);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = tokio::time::timeout(RESYNC, changes.next()) => {}
        }
        if let Err(error) = pass(&claims, &volumes).await {
            tracing::debug!(%error, "provisioning pass failed");
        }
    }
}

async fn pass(claims: &Api<PersistentVolumeClaim>, volumes: &Api<PersistentVolume>) -> Result<()> {
    for claim in claims.list(&ListParams::default()).await? {
        let Some(volume) = build(&claim) else {
            continue;
        };
        fs::create_dir_all(folder(&volume.name_any()))?;
        match volumes.create(&PostParams::default(), &volume).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(error.into()),
        }
    }
    for volume in volumes.list(&ListParams::default()).await? {
        if is_to_remove(&volume) {
            let name = volume.name_any();
            fs::remove_dir_all(folder(&name)).ok();
            volumes.delete(&name, &DeleteParams::default()).await?;
        }
    }
    Ok(())
}

fn folder(volume: &str) -> PathBuf {
    paths::state("volumes").join(volume)
}

/// The volume that a claim waits for, if it waits for one of ours.
fn build(claim: &PersistentVolumeClaim) -> Option<PersistentVolume> {
    let spec = claim.spec.as_ref()?;
    let selected = claim.annotations().contains_key(SELECTED_NODE);
    if spec.storage_class_name.as_deref() != Some(CLASS) || spec.volume_name.is_some() || !selected
    {
        return None;
    }
    let uid = claim.uid()?;
    let name = format!("pvc-{uid}");
    let mut volume = PersistentVolume {
        spec: Some(PersistentVolumeSpec {
            access_modes: spec.access_modes.clone(),
            capacity: spec.resources.as_ref()?.requests.clone(),
            claim_ref: Some(ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("PersistentVolumeClaim".to_owned()),
                namespace: claim.namespace(),
                name: claim.metadata.name.clone(),
                uid: Some(uid),
                ..ObjectReference::default()
            }),
            local: Some(LocalVolumeSource {
                path: folder(&name).display().to_string(),
                fs_type: None,
            }),
            node_affinity: Some(this_node()),
            persistent_volume_reclaim_policy: Some("Delete".to_owned()),
            storage_class_name: Some(CLASS.to_owned()),
            ..PersistentVolumeSpec::default()
        }),
        ..PersistentVolume::default()
    };
    volume.metadata.name = Some(name);
    volume.metadata.annotations = Some(BTreeMap::from([(
        PROVISIONED_BY.to_owned(),
        NAME.to_owned(),
    )]));
    Some(volume)
}

fn this_node() -> VolumeNodeAffinity {
    VolumeNodeAffinity {
        required: Some(NodeSelector {
            node_selector_terms: vec![NodeSelectorTerm {
                match_expressions: Some(vec![NodeSelectorRequirement {
                    key: "kubernetes.io/hostname".to_owned(),
                    operator: "In".to_owned(),
                    values: Some(vec![NODE_NAME.to_owned()]),
                }]),
                match_fields: None,
            }],
        }),
    }
}

/// Ours, given up by its claim, and not to be kept.
fn is_to_remove(volume: &PersistentVolume) -> bool {
    let ours = volume.annotations().get(PROVISIONED_BY).map(String::as_str) == Some(NAME);
    let phase = volume
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    let policy = volume
        .spec
        .as_ref()
        .and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    ours && phase == Some("Released")
        && policy == Some("Delete")
        && volume.metadata.deletion_timestamp.is_none()
}

#[cfg(test)]
mod tests {
    use super::{SELECTED_NODE, build};
    use k8s_openapi::api::core::v1::PersistentVolumeClaim;
    use serde_json::{Value, json};

    fn claim(annotations: &Value, class: &str) -> PersistentVolumeClaim {
        serde_json::from_value(json!({
            "metadata": {"name": "data", "namespace": "a", "uid": "1", "annotations": annotations},
            "spec": {
                "storageClassName": class, "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}}
            }
        }))
        .unwrap()
    }

    #[test]
    fn a_claim_gets_its_volume_once_its_pod_has_a_node() {
        assert!(build(&claim(&json!({}), "standard")).is_none());
        let volume = build(&claim(&json!({SELECTED_NODE: "n"}), "standard")).unwrap();
        assert_eq!(volume.metadata.name.as_deref(), Some("pvc-1"));
    }

    #[test]
    fn claims_of_other_classes_are_left_alone() {
        assert!(build(&claim(&json!({SELECTED_NODE: "n"}), "other")).is_none());
    }
}
