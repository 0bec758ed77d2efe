//! An orchestrator has one pod, and the old one goes before the new one comes: what would
//! leave nobody is found out before, and what is good rolls.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt as _};
use livepeer_e2e::cluster::faults::Signal;
use livepeer_e2e::cluster::health;
use livepeer_e2e::install;
use livepeer_e2e::network::{Network, STARTS};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::problems::{Bad, fits_nowhere, other_program, serves};
use crate::support::{network, network_with_refusals};

/// Nobody listens there.
const NO_IMAGE: &str = "127.0.0.1:9/nope:1";
const REHEARSAL: &str = "a-orchestrator-rehearsal";

fn bad_edits() -> [Bad; 5] {
    let undo = json!({"image": null, "podTemplate": null});
    [
        Bad {
            edit: json!({ "image": NO_IMAGE }),
            reason: "ImagePullFailed",
            says: NO_IMAGE,
            undo: undo.clone(),
        },
        fits_nowhere(&undo),
        Bad {
            // fits nowhere, and not because the pod that serves is there
            edit: json!({"podTemplate": {"resources": {"requests": {"cpu": "1000"}}}}),
            reason: "Unschedulable",
            says: "Insufficient cpu",
            undo: undo.clone(),
        },
        Bad {
            // the schema knows no better, and no pod can be made of it
            edit: json!({"podTemplate": {"tolerations": [{"key": "k", "operator": "Maybe"}]}}),
            reason: "InvalidSpec",
            says: "tolerations",
            undo: undo.clone(),
        },
        other_program(&undo),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_edit_of_an_orchestrator_says_why_and_its_pod_serves_on() -> Result<()> {
    network("rehearse", |network| async move {
        network.smallest("a", 1).await?;
        let before = (network.pod_identities().await?, generation(&network).await?);
        let old = orchestrator(&network).await?;
        for (seq, bad) in bad_edits().into_iter().enumerate() {
            bad.try_on(&network, "Orchestrator", &old, seq).await?;
        }
        health::until(Instant::now() + STARTS, "all as it was", || async {
            let after = (network.pod_identities().await?, generation(&network).await?);
            ensure!(after == before, "{before:?} became {after:?}");
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_lost_after_a_bad_edit_comes_back_as_it_was() -> Result<()> {
    network("comesback", |network| async move {
        network.smallest("a", 1).await?;
        let old = orchestrator(&network).await?;
        network
            .edit("Orchestrator", "a", json!({ "image": NO_IMAGE }))
            .await?;
        let failed = ("Ready", "False", "ImagePullFailed");
        network
            .condition(("Orchestrator", "a"), failed, STARTS)
            .await?;
        let pods: Api<Pod> = Api::namespaced(network.cluster.client(), &network.namespace);
        pods.delete(&old.name_any(), &DeleteParams::default())
            .await?;
        let new = replaced(&network, &old).await?;
        ensure!(image(&new) == image(&old), "{:?}", image(&new));

        network
            .edit("Orchestrator", "a", json!({"image": null}))
            .await?;
        serving(&network).await?;
        serves(&network, &new, 0).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn while_an_edit_is_held_the_pod_keeps_its_settings_but_for_what_is_live() -> Result<()> {
    network("keeps", |network| async move {
        network.smallest("a", 1).await?;
        let old = orchestrator(&network).await?;
        let before = settings(&network).await?;
        ensure!(!before.contains("log_level"), "{before}");
        // the budget for bodies follows the limit, and fits no other container
        let memory = json!({"memory": "1000Gi"});
        let resources = json!({"requests": memory, "limits": memory});
        let edit = json!({"podTemplate": {"resources": resources}});
        network.edit("Orchestrator", "a", edit).await?;
        let nowhere = ("Ready", "False", "Unschedulable");
        network
            .condition(("Orchestrator", "a"), nowhere, STARTS)
            .await?;
        let live = json!({"logLevel": "debug"});
        network.edit("Orchestrator", "a", live).await?;
        health::until(Instant::now() + STARTS, "the live field", || async {
            is_but_for_the_level(&settings(&network).await?, &before)
        })
        .await?;

        let (name, pods) = (old.name_any(), network.child("Pod", "v1"));
        network
            .cluster
            .signal(&network.namespace, &name, "node", Signal::KILL)
            .await?;
        health::until(Instant::now() + STARTS, "the container again", || async {
            let pod = pods.get(&name).await?;
            let container = &pod.data["status"]["containerStatuses"][0];
            let again = container["restartCount"] == 1 && container["ready"] == true;
            ensure!(pod.uid() == old.uid() && again, "{container}");
            Ok(())
        })
        .await?;
        is_but_for_the_level(&settings(&network).await?, &before)?;
        pods.delete(&name, &DeleteParams::default()).await?;
        replaced(&network, &old).await?;
        is_but_for_the_level(&settings(&network).await?, &before)?;

        let undo = json!({"podTemplate": null, "logLevel": null});
        network.edit("Orchestrator", "a", undo).await?;
        serving(&network).await?;
        let maps = network.child("ConfigMap", "v1");
        health::until(Instant::now() + STARTS, "one file", || async {
            let map = maps.get("a-orchestrator-settings").await?;
            let files = map.data["data"].as_object().context("no data")?;
            ensure!(files.len() == 1, "{files:?}");
            Ok(())
        })
        .await
    })
    .await
}

/// The settings file in the orchestrator's pod, as its node reads it.
async fn settings(network: &Network) -> Result<String> {
    let (cluster, pod) = (&network.cluster, "a-orchestrator-0");
    let pids = cluster.pids(&network.namespace, pod, "node").await?;
    let first = pids.first().context("the node has no process")?;
    let root = format!("/proc/{}/root", first.as_raw_nonzero());
    let file = format!("{root}/etc/livepeer/settings/settings.toml");
    Ok(tokio::fs::read_to_string(file).await?)
}

/// Settings that are those of `before`, with another level.
fn is_but_for_the_level(settings: &str, before: &str) -> Result<()> {
    let rest = settings.replace("log_level = \"debug\"\n", "");
    ensure!(rest != settings && rest == before, "{settings}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_edit_of_an_orchestrator_replaces_its_pod_and_leaves_no_rehearsal() -> Result<()> {
    network("rolls", |network| async move {
        network.smallest("a", 1).await?;
        let new = relabelled(&network).await?;
        install::ready(&network.cluster, &network.namespace, STARTS).await?;
        serves(&network, &new, 0).await?;
        let pods: Api<Pod> = Api::namespaced(network.cluster.client(), &network.namespace);
        health::until(Instant::now() + STARTS, "no rehearsal", || async {
            let left = pods.get_opt(REHEARSAL).await?;
            ensure!(left.is_none(), "still there");
            Ok(())
        })
        .await
    })
    .await
}

/// Alone: what the operator is refused here, other tests would take for a right that it lacks.
#[tokio::test(flavor = "multi_thread")]
async fn where_a_quota_has_no_room_for_a_rehearsal_an_orchestrator_rolls_without() -> Result<()> {
    network_with_refusals("quota", |network| async move {
        network.smallest("a", 1).await?;
        let quotas: Api<ResourceQuota> =
            Api::namespaced(network.cluster.client(), &network.namespace);
        let all = json!({"metadata": {"name": "all"}, "spec": {"hard": {"pods": "3"}}});
        quotas
            .create(&PostParams::default(), &serde_json::from_value(all)?)
            .await?;
        // until it has counted it refuses nothing
        health::until(Instant::now() + STARTS, "a full quota", || async {
            let status = serde_json::to_value(quotas.get("all").await?.status)?;
            ensure!(status["used"]["pods"] == "3", "{status}");
            Ok(())
        })
        .await?;
        relabelled(&network).await?;
        serving(&network).await
    })
    .await
}

/// Gives the orchestrator's pods a label, and waits for the one that has it.
async fn relabelled(network: &Network) -> Result<Pod> {
    let old = orchestrator(network).await?;
    let label = json!({"metadata": {"labels": {"team": "video"}}});
    let edit = json!({ "podTemplate": label });
    network.edit("Orchestrator", "a", edit).await?;
    let new = replaced(network, &old).await?;
    ensure!(new.labels()["team"] == "video", "{:?}", new.labels());
    Ok(new)
}

async fn orchestrator(network: &Network) -> Result<Pod> {
    let pods = network.pods("orchestrator", "a").await?;
    let pod = pods.into_iter().next();
    pod.context("no pod of the orchestrator")
}

/// Times that somebody changed what the StatefulSet wants.
async fn generation(network: &Network) -> Result<Option<i64>> {
    let sets = network.child("StatefulSet", "apps/v1");
    Ok(sets.get("a-orchestrator").await?.metadata.generation)
}

async fn serving(network: &Network) -> Result<()> {
    let serves = ("Ready", "True", "Serving");
    network
        .condition(("Orchestrator", "a"), serves, STARTS)
        .await
        .map(drop)
}

/// Waits until another pod is there in place of `old`, and ready.
async fn replaced(network: &Network, old: &Pod) -> Result<Pod> {
    health::until(Instant::now() + STARTS, "another pod", || async {
        let new = orchestrator(network).await?;
        ensure!(new.uid() != old.uid(), "the old one is there");
        let status = serde_json::to_value(&new.status)?;
        let conditions = status["conditions"].as_array().into_iter().flatten();
        let ready = |condition: &&Value| condition["type"] == "Ready";
        let ready = conditions.into_iter().find(ready);
        ensure!(
            ready.is_some_and(|ready| ready["status"] == "True"),
            "{status}"
        );
        Ok(new)
    })
    .await
}

fn image(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.containers.first()?.image.as_deref()
}
