//! What the operator makes of resources. What people do to their children is in `drift.rs`.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Api;
use kube::api::ListParams;
use livepeer_e2e::cluster::{Daemon, health};
use livepeer_e2e::install;
use livepeer_e2e::network::{Network, REACTS, STARTS, gateway};
use livepeer_e2e::stream::{Pusher, clip};
use serde_json::json;
use tokio::time::Instant;

use crate::support::{
    OPERATOR, clip as the_clip, network, network_alone, network_with_outage, nothing_was_forbidden,
    rolled_out,
};

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
            // usual where resources are applied together, so no warning
            let told = ("Normal", "OrchestratorNotFound");
            let note = network.event((kind, "early"), told, REACTS).await?;
            ensure!(note.contains("late"), "{note}");
        }
        network.apply("Orchestrator", "late", json!({})).await?;
        install::ready(&network.cluster, &network.namespace, STARTS).await?;
        for kind in ["TranscoderPool", "Gateway"] {
            let told = ("Normal", "Serving");
            network.event((kind, "early"), told, REACTS).await?;
        }
        Ok(())
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
async fn pods_outlive_the_operator_and_the_api_server() -> Result<()> {
    network_with_outage("outlive", |network| async move {
        let mark = network.cluster.audit_mark()?;
        network.smallest("a", 1).await?;
        let before = network.pod_identities().await?;
        let (pusher, _forward) = network.pusher("a").await?;
        let operators: Api<Pod> = Api::namespaced(network.cluster.client(), OPERATOR);
        for pod in operators.list(&ListParams::default()).await? {
            let name = pod.metadata.name.context("a pod without a name")?;
            operators
                .delete(&name, &kube::api::DeleteParams::default().grace_period(0))
                .await?;
        }
        stream(&pusher, 0, Duration::ZERO).await?;
        rolled_out(&network.cluster).await?;
        let operator = Network {
            cluster: network.cluster.clone(),
            namespace: OPERATOR.to_owned(),
        };
        let operators = operator.pod_identities().await?;

        nothing_was_forbidden(&network.cluster, mark)?;
        network.cluster.kill_daemon(Daemon::KubeApiserver).await?;
        let streamed = stream(&pusher, 1, AWAY).await;
        network.cluster.start_daemon(Daemon::KubeApiserver).await?;
        streamed?;
        let client = network.cluster.client();
        health::until(Instant::now() + STARTS, "the API server", || {
            health::api_server(&client)
        })
        .await?;
        let mark = network.cluster.audit_mark()?;
        network
            .edit("TranscoderPool", "a", json!({"replicas": 2}))
            .await?;
        install::ready(&network.cluster, &network.namespace, STARTS).await?;
        let after = network.pod_identities().await?;
        ensure!(
            before.iter().all(|pod| after.contains(pod)),
            "{before:?} became {after:?}"
        );
        let after = operator.pod_identities().await?;
        ensure!(operators == after, "{operators:?} became {after:?}");
        nothing_was_forbidden(&network.cluster, mark)
    })
    .await
}

/// How long the API server is away.
const AWAY: Duration = Duration::from_secs(60);
/// Between two segments meanwhile.
const EACH: Duration = Duration::from_secs(10);

/// Pushes segments of one stream from `first` on, now and then for this long; each must
/// come back whole.
async fn stream(pusher: &Pusher, first: usize, long: Duration) -> Result<()> {
    let clip = the_clip().await?;
    let began = Instant::now();
    for seq in first.. {
        let segment = clip.segment(seq);
        let reply = pusher.push("away", seq, segment, clip::SEGMENT).await;
        ensure!(
            reply.is_complete(2),
            "segment {seq}: {} {:?}",
            reply.status,
            reply.error
        );
        if began.elapsed() >= long {
            break;
        }
        tokio::time::sleep(EACH).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn resources_that_are_applied_together_start_without_a_warning() -> Result<()> {
    // alone: a start that takes long may be told as one
    network_alone("calm", |network| async move {
        network.smallest("a", 1).await?;
        let shown = "custom-columns=BY:.reportingComponent,WHY:.reason,NOTE:.message";
        let mut args = vec!["-n", &network.namespace, "get", "events"];
        args.extend(["--field-selector=type=Warning", "-o", shown]);
        let warnings = network.cluster.kubectl(&args).await?;
        let ours_or_probes: Vec<_> = warnings
            .lines()
            .filter(|line| line.starts_with("livepeer-operator") || line.contains("Unhealthy"))
            .collect();
        ensure!(ours_or_probes.is_empty(), "{ours_or_probes:#?}");
        Ok(())
    })
    .await
}
