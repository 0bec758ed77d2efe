//! Credentials of pools: taken at once, refused at once, and no pod replaced for it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use livepeer_e2e::cluster::health;
use livepeer_e2e::install;
use livepeer_e2e::network::{Network, REACTS, STARTS};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::network;

/// The contract: taken and refused within this.
const AT_ONCE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_is_taken_and_refused_at_once_and_replaces_no_pod() -> Result<()> {
    network("creds", |network| async move {
        network.smallest("a", 1).await?;
        let orchestrator = Orchestrator::of(&network, "a").await?;
        orchestrator.registered("a", 1, STARTS).await?;

        let secrets: Api<Secret> = Api::namespaced(network.cluster.client(), &network.namespace);
        steal(&network, &secrets).await?;
        orchestrator.registered("a", 2, STARTS).await?;
        let pods = network.pod_identities().await?;

        let raised = Instant::now();
        raise_epoch(&network, "1").await?;
        orchestrator.registered("a", 1, AT_ONCE).await?;
        println!(
            "raised epoch: refused after {:.1} s",
            raised.elapsed().as_secs_f32()
        );

        let copied = Instant::now();
        steal_again(&secrets).await?;
        orchestrator.registered("a", 2, AT_ONCE).await?;
        println!(
            "new credential: taken after {:.1} s",
            copied.elapsed().as_secs_f32()
        );
        ensure!(
            network.pod_identities().await? == pods,
            "a pod was replaced"
        );

        let deleted = Instant::now();
        network.delete("TranscoderPool", "a").await?;
        orchestrator.registered("a", 0, AT_ONCE).await?;
        println!(
            "deleted pool: refused after {:.1} s",
            deleted.elapsed().as_secs_f32()
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_is_refused_at_once_also_while_children_cannot_be_made_true() -> Result<()> {
    network("revoked", |network| async move {
        network.smallest("a", 1).await?;
        let orchestrator = Orchestrator::of(&network, "a").await?;
        let secrets: Api<Secret> = Api::namespaced(network.cluster.client(), &network.namespace);
        steal(&network, &secrets).await?;
        orchestrator.registered("a", 2, STARTS).await?;
        let pods = network.pod_identities().await?;

        let budgets = network.child("PodDisruptionBudget", "policy/v1");
        let disowned = Patch::Merge(json!({"metadata": {"ownerReferences": null}}));
        for name in ["a-orchestrator", "a-pool"] {
            budgets
                .patch(name, &PatchParams::default(), &disowned)
                .await?;
        }
        let conflict = ("Ready", "False", "NameConflict");
        for kind in ["Orchestrator", "TranscoderPool"] {
            network.condition((kind, "a"), conflict, REACTS).await?;
        }
        raise_epoch(&network, "1").await?;
        orchestrator.registered("a", 1, AT_ONCE).await?;
        for name in ["a-orchestrator", "a-pool"] {
            budgets.delete(name, &DeleteParams::default()).await?;
        }

        let nowhere = json!({"nodeSelector": {"no": "such"}});
        let engine = json!({"transcoding": "Embedded", "podTemplate": nowhere});
        network.edit("Orchestrator", "a", engine).await?;
        let held = ("Ready", "False", "Unschedulable");
        network
            .condition(("Orchestrator", "a"), held, STARTS)
            .await?;
        steal_again(&secrets).await?;
        orchestrator.registered("a", 2, AT_ONCE).await?;
        raise_epoch(&network, "2").await?;
        orchestrator.registered("a", 1, AT_ONCE).await?;
        let serves = ("Ready", "True", "Serving");
        network
            .condition(("TranscoderPool", "a"), serves, REACTS)
            .await?;
        let after = network.pod_identities().await?;
        let kept = pods.iter().all(|pod| after.contains(pod));
        ensure!(kept, "{pods:?} became {after:?}");
        network.delete("TranscoderPool", "a").await?;
        orchestrator.registered("a", 0, AT_ONCE).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_deleted_is_drawn_again_and_replaces_credentials_and_no_pod() -> Result<()> {
    network("key", |network| async move {
        network.smallest("a", 1).await?;
        let secrets: Api<Secret> = Api::namespaced(network.cluster.client(), &network.namespace);
        let before = credentials(&secrets).await?;
        let pods = network.pod_identities().await?;
        let key = "a-orchestrator-key";
        secrets.delete(key, &DeleteParams::default()).await?;
        health::until(Instant::now() + AT_ONCE, "another credential", || async {
            ensure!(credentials(&secrets).await? != before, "the same");
            Ok(())
        })
        .await?;
        let orchestrator = Orchestrator::of(&network, "a").await?;
        orchestrator.registered("a", 1, AT_ONCE).await?;
        install::ready(&network.cluster, &network.namespace, STARTS).await?;
        ensure!(
            network.pod_identities().await? == pods,
            "a pod was replaced"
        );
        Ok(())
    })
    .await
}

/// Transcoders of somebody else, who got hold of the credential.
async fn steal(network: &Network, secrets: &Api<Secret>) -> Result<()> {
    let stolen = json!({"metadata": {"name": "stolen"}, "data": credentials(secrets).await?});
    secrets
        .create(&PostParams::default(), &serde_json::from_value(stolen)?)
        .await?;
    let address = format!("https://a-orchestrator.{}.svc:8935", network.namespace);
    let reference = json!({"name": "stolen", "key": "a"});
    let external = json!({"address": address, "credentialSecretRef": reference});
    let thief = json!({"orchestrator": {"external": external}});
    network.apply("TranscoderPool", "thief", thief).await
}

/// The same with the credential of now.
async fn steal_again(secrets: &Api<Secret>) -> Result<()> {
    let data = json!({"data": credentials(secrets).await?});
    secrets
        .patch("stolen", &PatchParams::default(), &Patch::Merge(data))
        .await?;
    Ok(())
}

async fn raise_epoch(network: &Network, epoch: &str) -> Result<()> {
    let epoch = json!({"metadata": {"annotations": {"livepeer.org/credential-epoch": epoch}}});
    network
        .api("TranscoderPool")
        .patch("a", &PatchParams::default(), &Patch::Merge(epoch))
        .await?;
    Ok(())
}

/// The pool's, by orchestrator.
async fn credentials(secrets: &Api<Secret>) -> Result<Value> {
    let secret = secrets.get("a-pool-credentials").await?;
    let data = secret.data.context("a Secret without data")?;
    Ok(serde_json::to_value(data)?)
}

/// What an orchestrator's node says of itself.
struct Orchestrator {
    url: String,
    _forward: livepeer_e2e::cluster::Forward,
}

impl Orchestrator {
    async fn of(network: &Network, name: &str) -> Result<Self> {
        let pod = format!("pod/{name}-orchestrator-0");
        let forward = network
            .cluster
            .forward(&network.namespace, &pod, 7936)
            .await?;
        Ok(Self {
            url: format!("http://{}/status", forward.address),
            _forward: forward,
        })
    }

    /// Waits until this many transcoders showed the credential called `owner`.
    async fn registered(&self, owner: &str, wanted: usize, patience: Duration) -> Result<()> {
        let what = format!("{wanted} transcoders with the credential of {owner}");
        health::until(Instant::now() + patience, &what, || async {
            let status: Value = reqwest::get(&self.url).await?.json().await?;
            let transcoders = status["transcoders"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let found = transcoders
                .iter()
                .filter(|transcoder| transcoder["credential"] == owner)
                .count();
            ensure!(found == wanted, "{found}: {}", status["transcoders"]);
            Ok(())
        })
        .await
    }
}
