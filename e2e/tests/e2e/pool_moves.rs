//! A pool that is pointed at another orchestrator, which is there or not: its pods work on
//! for the one that they have until their successors have taken over, and no segment of a
//! stream is lost.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use livepeer_e2e::cluster::health;
use livepeer_e2e::install;
use livepeer_e2e::network::{Network, REACTS, STARTS, gateway};
use livepeer_e2e::stream::Pusher;
use serde_json::json;
use tokio::time::Instant;

use crate::drain::{complete, push};
use crate::support::network;

/// Longer than the credential of a pool that left is taken, and the way of its revocation.
const REVOKED: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_pointed_at_an_orchestrator_that_is_not_there_works_on_and_is_revoked_when_deleted()
-> Result<()> {
    network("nowhere", |network| async move {
        network.smallest("a", 1).await?;
        let pods = network.pod_identities().await?;
        let (pusher, _forward) = network.pusher("a").await?;
        complete(&push(&pusher, "moves", 0).await?)?;

        let gone = json!({"orchestrator": {"ref": {"name": "gone"}}});
        network.edit("TranscoderPool", "a", gone).await?;
        let edited = Instant::now();
        let seq = push_until(&pusher, 1, async || Ok(edited.elapsed() > REVOKED)).await?;
        let missing = ("Ready", "False", "OrchestratorNotFound");
        let pool = ("TranscoderPool", "a");
        let message = network.condition(pool, missing, REACTS).await?;
        ensure!(message.ends_with("go on working for a"), "{message}");
        let told = ("Warning", "OrchestratorNotFound");
        let note = network.event(pool, told, REACTS).await?;
        ensure!(note.contains("gone"), "{note}");
        ensure!(
            network.pod_identities().await? == pods,
            "a pod was replaced"
        );
        ensure!(pools_of(&network, "a").await? == ["a"], "revoked");

        let back = json!({"orchestrator": {"ref": {"name": "a"}}});
        network.edit("TranscoderPool", "a", back).await?;
        install::ready(&network.cluster, &network.namespace, STARTS).await?;
        complete(&push(&pusher, "moves", seq).await?)?;
        ensure!(
            network.pod_identities().await? == pods,
            "a pod was replaced"
        );

        let gone = json!({"orchestrator": {"ref": {"name": "gone"}}});
        network.edit("TranscoderPool", "a", gone).await?;
        network.condition(pool, missing, REACTS).await?;
        network.delete("TranscoderPool", "a").await?;
        health::until(Instant::now() + REVOKED, "the revocation", || async {
            let pools = pools_of(&network, "a").await?;
            ensure!(pools.is_empty(), "{pools:?}");
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_moves_to_another_orchestrator_loses_no_segment() -> Result<()> {
    network("moves", |network| async move {
        network.smallest("a", 1).await?;
        network.apply("Orchestrator", "b", json!({})).await?;
        network.apply("Gateway", "a", gateway(&["a", "b"])).await?;
        let none = ("Ready", "False", "NoTranscoders");
        network
            .condition(("Orchestrator", "b"), none, STARTS)
            .await?;
        let (pusher, _forward) = network.pusher("a").await?;
        complete(&push(&pusher, "moves", 0).await?)?;

        let to_b = json!({"orchestrator": {"ref": {"name": "b"}}});
        network.edit("TranscoderPool", "a", to_b).await?;
        let deadline = Instant::now() + STARTS;
        push_until(&pusher, 1, async || {
            ensure!(Instant::now() < deadline, "the pool has not moved");
            Ok(pools_of(&network, "a").await?.is_empty())
        })
        .await?;
        ensure!(pools_of(&network, "b").await? == ["a"], "not taken");
        let serves = ("Ready", "True", "Serving");
        let message = network
            .condition(("TranscoderPool", "a"), serves, STARTS)
            .await?;
        ensure!(message.ends_with("registered with b"), "{message}");
        Ok(())
    })
    .await
}

/// Pushes segments from `seq` on, one after another; each must come back whole. Gives the
/// number of the next one.
async fn push_until(
    pusher: &Pusher,
    mut seq: usize,
    ends: impl AsyncFn() -> Result<bool>,
) -> Result<usize> {
    while !ends().await? {
        let reply = push(pusher, "moves", seq).await?;
        complete(&reply).with_context(|| format!("segment {seq}"))?;
        seq += 1;
    }
    Ok(seq)
}

/// The pools whose credentials an orchestrator takes.
async fn pools_of(network: &Network, orchestrator: &str) -> Result<Vec<String>> {
    let secrets: Api<Secret> = Api::namespaced(network.cluster.client(), &network.namespace);
    let secret = secrets
        .get(&format!("{orchestrator}-orchestrator-credentials"))
        .await?;
    Ok(secret.data.unwrap_or_default().into_keys().collect())
}
