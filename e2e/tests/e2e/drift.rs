//! What a hand does to the children of resources is put back.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use livepeer_e2e::cluster::health;
use livepeer_e2e::network::Network;
use livepeer_operator::names::FIELD_MANAGER;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::network;

/// What a hand changed is put back within this.
const PUT_BACK: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn what_a_hand_changed_is_put_back() -> Result<()> {
    network("drift", |network| async move {
        network.smallest("a", 1).await?;
        let pods = network.pod_identities().await?;
        for (kind, version, name, patch) in changes_by_hand() {
            let child = network.child(kind, version);
            let before = child.get(name).await?;
            child
                .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
                .await
                .with_context(|| format!("{kind} {name} {patch}"))?;
            let what = format!("{kind} {name} as it was before {patch}");
            health::until(Instant::now() + PUT_BACK, &what, || async {
                let after = child.get(name).await?;
                ensure!(lasting(&after) == lasting(&before), "{}", lasting(&after));
                // who updates owns beside who applies, and keeps what is no longer applied
                let managed = after.metadata.managed_fields.unwrap_or_default();
                let owns = |entry: &ManagedFieldsEntry| {
                    entry.manager.as_deref() == Some(FIELD_MANAGER)
                        && entry.operation.as_deref() == Some("Update")
                };
                ensure!(!managed.iter().any(owns), "{managed:#?}");
                Ok(())
            })
            .await?;
        }
        come_back(&network, &CHILDREN).await?;
        // an image that a hand changed made a pod, for a moment
        let after = network.pod_identities().await?;
        let kept = pods.iter().all(|pod| after.contains(pod));
        ensure!(kept, "{pods:?} became {after:?}");
        // at the end: with a workload its pods go, and nobody waits for new ones
        come_back(&network, &SERVING).await
    })
    .await
}

/// Deletes children, each of which must be there again in time.
async fn come_back(network: &Network, children: &[(&str, &str, &str)]) -> Result<()> {
    for &(kind, version, name) in children {
        let child = network.child(kind, version);
        let before = child.get(name).await?;
        child.delete(name, &DeleteParams::background()).await?;
        let what = format!("{kind} {name}, made again");
        health::until(Instant::now() + PUT_BACK, &what, || async {
            let after = child.get(name).await?;
            ensure!(after.metadata.uid != before.metadata.uid, "not deleted yet");
            // a Secret comes back with the credential that the transcoders have
            ensure!(after.data["data"] == before.data["data"], "other data");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// Children that streams go through: kind, API version, name.
const SERVING: [(&str, &str, &str); 5] = [
    ("Service", "v1", "a-gateway"),
    ("Service", "v1", "a-orchestrator"),
    ("Deployment", "apps/v1", "a-pool"),
    ("Deployment", "apps/v1", "a-gateway"),
    ("StatefulSet", "apps/v1", "a-orchestrator"),
];

/// Children whose deletion costs no pod: kind, API version, name.
const CHILDREN: [(&str, &str, &str); 6] = [
    ("Secret", "v1", "a-pool-credentials"),
    ("Secret", "v1", "a-orchestrator-credentials"),
    ("ConfigMap", "v1", "a-gateway-settings"),
    ("PodDisruptionBudget", "policy/v1", "a-orchestrator"),
    ("NetworkPolicy", "networking.k8s.io/v1", "a-pool"),
    ("Service", "v1", "a-orchestrator-peers"),
];

/// What a hand may do to children, one merge patch each.
fn changes_by_hand() -> Vec<(&'static str, &'static str, &'static str, Value)> {
    let label =
        |value: &str| json!({"metadata": {"labels": {"app.kubernetes.io/instance": value}}});
    let mut unlabelled = label("a");
    unlabelled["metadata"]["labels"] = json!({"app.kubernetes.io/name": null});
    let ports = json!([
        {"name": "http", "port": 9935, "targetPort": 1}, {"name": "spy", "port": 1},
    ]);
    let other_image = json!([{"name": "node", "image": "livepeer.local/node:other"}]);
    let open = json!([{}]);
    vec![
        (
            "Service",
            "v1",
            "a-gateway",
            json!({"spec": {"ports": ports}}),
        ),
        ("Service", "v1", "a-gateway", label("b")),
        ("Secret", "v1", "a-pool-credentials", unlabelled),
        (
            "Secret",
            "v1",
            "a-orchestrator-credentials",
            json!({"data": {"thief": "eA=="}}),
        ),
        (
            "ConfigMap",
            "v1",
            "a-pool-settings",
            json!({"data": {"settings.toml": "no = 1"}}),
        ),
        ("ConfigMap", "v1", "a-pool-settings", json!({"data": null})),
        (
            "ConfigMap",
            "v1",
            "a-orchestrator-settings",
            json!({"immutable": true}),
        ),
        (
            "Secret",
            "v1",
            "a-orchestrator-credentials",
            json!({"immutable": true}),
        ),
        (
            "PodDisruptionBudget",
            "policy/v1",
            "a-pool",
            json!({"spec": {"maxUnavailable": 0}}),
        ),
        (
            "NetworkPolicy",
            "networking.k8s.io/v1",
            "a-pool",
            json!({"spec": {"egress": open}}),
        ),
        (
            "Deployment",
            "apps/v1",
            "a-gateway",
            json!({"spec": {"template": {"spec": {"containers": other_image}}}}),
        ),
        (
            "Deployment",
            "apps/v1",
            "a-pool",
            json!({"spec": {"replicas": 3}}),
        ),
        (
            "StatefulSet",
            "apps/v1",
            "a-orchestrator",
            json!({"metadata": {"labels": {"app.kubernetes.io/component": "x"}}}),
        ),
    ]
}

/// What of an object only people and the operator change.
fn lasting(object: &DynamicObject) -> Value {
    let mut data = object.data.clone();
    if let Some(fields) = data.as_object_mut() {
        fields.remove("status");
    }
    json!({"labels": object.metadata.labels, "owners": object.metadata.owner_references, "rest": data})
}
