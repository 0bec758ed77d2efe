//! What the operator makes of resources, and of what people do to their children.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret, Service};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use livepeer_e2e::cluster::{Daemon, health};
use livepeer_e2e::install;
use livepeer_e2e::network::{REACTS, STARTS, gateway};
use serde_json::json;
use tokio::time::Instant;

use crate::support::{OPERATOR, network, network_alone};

/// What a hand changed is put back within this.
const PUT_BACK: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn what_a_hand_changed_is_put_back() -> Result<()> {
    network("drift", |network| async move {
        network.smallest("a", 1).await?;
        let client = network.cluster.client();
        let services: Api<Service> = Api::namespaced(client.clone(), &network.namespace);
        let patch = json!({"spec": {"ports": [{"port": 9935, "targetPort": 1}]}, "metadata": {"labels": {"app.kubernetes.io/instance": "b"}}});
        services.patch("a-gateway", &PatchParams::default(), &Patch::Strategic(patch)).await?;
        health::until(Instant::now() + PUT_BACK, "the Service as it was", || async {
            let service = services.get("a-gateway").await?;
            let labels = service.metadata.labels.unwrap_or_default();
            ensure!(labels.get("app.kubernetes.io/instance").is_some_and(|name| name == "a"));
            let ports = service.spec.and_then(|spec| spec.ports).unwrap_or_default();
            let port = serde_json::to_value(&ports)?;
            ensure!(port[0]["targetPort"] != 1, "{port}");
            Ok(())
        })
        .await?;

        let secrets: Api<Secret> = Api::namespaced(client, &network.namespace);
        let before = secrets.get("a-pool-credentials").await?.data;
        secrets.delete("a-pool-credentials", &Default::default()).await?;
        health::until(Instant::now() + PUT_BACK, "the Secret as it was", || async {
            let after = secrets.get("a-pool-credentials").await?.data;
            ensure!(after == before, "another credential");
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_without_its_orchestrator_says_so_and_heals() -> Result<()> {
    network("heals", |network| async move {
        let pool = json!({"orchestrator": {"ref": {"name": "late"}}});
        network.apply("TranscoderPool", "early", pool).await?;
        network
            .apply("Gateway", "early", gateway(&["late"]))
            .await?;
        for kind in ["TranscoderPool", "Gateway"] {
            let message = network
                .condition(
                    (kind, "early"),
                    ("Ready", "False", "OrchestratorNotFound"),
                    REACTS,
                )
                .await?;
            ensure!(message.contains("late"), "{message}");
        }
        network.apply("Orchestrator", "late", json!({})).await?;
        install::ready(&network.cluster, &network.namespace, STARTS).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_with_a_gpu_that_does_not_work_says_so() -> Result<()> {
    network("gpu", |network| async move {
        network.apply("Orchestrator", "o", json!({})).await?;
        let pool = json!({"orchestrator": {"ref": {"name": "o"}}, "gpu": {"count": 1}});
        network.apply("TranscoderPool", "cards", pool).await?;
        network
            .condition(
                ("TranscoderPool", "cards"),
                ("GpuReady", "False", "NoUsableDevice"),
                STARTS,
            )
            .await?;
        let pods: Api<Pod> = Api::namespaced(network.cluster.client(), &network.namespace);
        let pod = pods.get(&network.pod("pool", "cards").await?).await?;
        let limits =
            serde_json::to_value(&pod.spec)?["containers"][0]["resources"]["limits"].clone();
        ensure!(limits["nvidia.com/gpu"] == "1", "{limits}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_field_changes_without_a_new_pod() -> Result<()> {
    network("live", |network| async move {
        network.smallest("a", 1).await?;
        let before = network.pod_identities().await?;
        network
            .edit(
                "TranscoderPool",
                "a",
                json!({"maxSessions": 3, "logLevel": "debug"}),
            )
            .await?;
        network
            .edit("Orchestrator", "a", json!({"maxSessions": 2}))
            .await?;
        health::until(Instant::now() + REACTS, "the new capacity", || async {
            let pool = network.api("TranscoderPool").get("a").await?;
            ensure!(
                pool.data["status"]["capacity"] == 3,
                "{}",
                pool.data["status"]
            );
            let orchestrator = network.api("Orchestrator").get("a").await?;
            ensure!(
                orchestrator.data["status"]["capacity"] == 2,
                "{}",
                orchestrator.data["status"]
            );
            Ok(())
        })
        .await?;
        ensure!(
            network.pod_identities().await? == before,
            "a pod was replaced"
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn scale_adds_and_removes_registered_transcoders() -> Result<()> {
    network("scale", |network| async move {
        network.smallest("a", 1).await?;
        for replicas in ["2", "1"] {
            let scale = format!("--replicas={replicas}");
            network
                .cluster
                .kubectl(&["-n", &network.namespace, "scale", "lppool/a", &scale])
                .await?;
            install::ready(&network.cluster, &network.namespace, STARTS).await?;
            health::until(Instant::now() + STARTS, "the replicas", || async {
                let pool = network.api("TranscoderPool").get("a").await?;
                let registered = pool.data["status"]["replicas"].to_string();
                ensure!(registered == replicas, "{}", pool.data["status"]);
                Ok(())
            })
            .await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_resources_leaves_only_the_claim() -> Result<()> {
    network("delete", |network| async move {
        network.smallest("a", 1).await?;
        for kind in install::KINDS {
            network.delete(kind, "a").await?;
        }
        let client = network.cluster.client();
        health::until(Instant::now() + STARTS, "an empty namespace", || async {
            let list = "deployments,statefulsets,services,pods,configmaps,secrets,poddisruptionbudgets,networkpolicies";
            let left = network
                .cluster
                .kubectl(&["-n", &network.namespace, "get", list, "-o", "name", "-l", "app.kubernetes.io/name=livepeer"])
                .await?;
            ensure!(left.trim().is_empty(), "left: {left}");
            Ok(())
        })
        .await?;
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(client, &network.namespace);
        ensure!(claims.list(&ListParams::default()).await?.items.len() == 1, "the claim must stay");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_object_of_our_name_is_left_alone() -> Result<()> {
    network("foreign", |network| async move {
        let client = network.cluster.client();
        let services: Api<Service> = Api::namespaced(client, &network.namespace);
        let foreign = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "o-orchestrator"},
            "spec": {"ports": [{"port": 1}], "selector": {"app": "theirs"}},
        });
        let before = services
            .create(&Default::default(), &serde_json::from_value(foreign)?)
            .await?;
        network.apply("Orchestrator", "o", json!({})).await?;
        let message = network
            .condition(
                ("Orchestrator", "o"),
                ("Ready", "False", "NameConflict"),
                REACTS,
            )
            .await?;
        ensure!(message.contains("o-orchestrator"), "{message}");
        let after = services.get("o-orchestrator").await?;
        ensure!(
            after.metadata.resource_version == before.metadata.resource_version,
            "it was changed"
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_a_pod_from_starting_is_in_the_condition() -> Result<()> {
    network("problems", |network| async move {
        network
            .apply(
                "Orchestrator",
                "nowhere",
                json!({"podTemplate": {"nodeSelector": {"no": "such"}}}),
            )
            .await?;
        network
            .apply(
                "Orchestrator",
                "noimage",
                json!({"image": "livepeer.local/none:1", "imagePullPolicy": "Never"}),
            )
            .await?;
        network
            .condition(
                ("Orchestrator", "nowhere"),
                ("Ready", "False", "Unschedulable"),
                STARTS,
            )
            .await?;
        network
            .condition(
                ("Orchestrator", "noimage"),
                ("Ready", "False", "ImagePullFailed"),
                STARTS,
            )
            .await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_outlive_the_operator_and_the_api_server() -> Result<()> {
    network_alone("outlive", |network| async move {
        network.smallest("a", 1).await?;
        let before = network.pod_identities().await?;
        let client = network.cluster.client();
        let operators: Api<Pod> = Api::namespaced(client, OPERATOR);
        for pod in operators.list(&ListParams::default()).await? {
            let name = pod.metadata.name.context("a pod without a name")?;
            operators
                .delete(&name, &kube::api::DeleteParams::default().grace_period(0))
                .await?;
        }
        network.cluster.kill_daemon(Daemon::KubeApiserver).await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        network.cluster.start_daemon(Daemon::KubeApiserver).await?;
        health::until(Instant::now() + STARTS, "the API server", || async {
            network.pod_identities().await.map(drop)
        })
        .await?;
        network
            .edit("TranscoderPool", "a", json!({"replicas": 2}))
            .await?;
        install::ready(&network.cluster, &network.namespace, STARTS).await?;
        let after = network.pod_identities().await?;
        ensure!(
            before.iter().all(|pod| after.contains(pod)),
            "{before:?} became {after:?}"
        );
        Ok(())
    })
    .await
}
