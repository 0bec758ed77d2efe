//! Every field of the custom resources, changed, and its effect seen: in the child that
//! the operator makes of it, as the API server stored it. [`nodes`] sees what the nodes
//! make of fields, `reconcile.rs` the capacity and the replicas; [`complete`] that no field
//! is forgotten.

mod complete;
mod nodes;
mod table;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use livepeer_e2e::cluster::health;
use livepeer_e2e::install;
use livepeer_e2e::network::{Network, REACTS, gateway};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::network;
use table::{Effect, Field};

/// Makes the edits one after another; each effect must follow.
async fn check(network: &Network, kind: &str, fields: Vec<Field>) -> Result<()> {
    for Field {
        edit,
        child: (child_kind, version, name),
        at,
        effect,
    } in fields
    {
        let api = network.child(child_kind, version);
        let before = api.get(name).await.ok();
        network
            .edit(kind, "a", edit.clone())
            .await
            .with_context(|| format!("{kind}: {edit}"))?;
        let what = format!("{kind} {edit} at {at}");
        health::until(Instant::now() + REACTS, &what, || async {
            let child = serde_json::to_value(api.get(name).await?)?;
            let found = child.pointer(at).unwrap_or(&Value::Null);
            match &effect {
                Effect::Paused => seen_paused(network, kind).await?,
                Effect::Is(value) => ensure!(found == value, "{found}"),
                Effect::Holds(texts) => {
                    let files = found.as_object().into_iter().flatten();
                    let mut files = files.filter_map(|(_, file)| file.as_str());
                    let holds = |file: &str| texts.iter().all(|text| file.contains(text));
                    ensure!(files.any(holds), "no {texts:?} in {found}");
                }
            }
            Ok(())
        })
        .await?;
        if matches!(effect, Effect::Paused) {
            let before = before.context("no child to leave alone")?;
            untouched(network, kind, &api, &before).await?;
        }
    }
    Ok(())
}

/// The operator has looked at the newest spec, and says that it is paused.
async fn seen_paused(network: &Network, kind: &str) -> Result<()> {
    let object = network.api(kind).get("a").await?;
    let ready = install::condition(&object, "Ready");
    let newest = ready["observedGeneration"].as_i64() == object.metadata.generation;
    let paused = ready["status"] == "Unknown" && ready["reason"] == "Paused";
    ensure!(newest && paused, "{ready}");
    Ok(())
}

/// The settings of a paused resource are as they were `before` the last edit, and stay what a
/// hand makes of a file, also when the operator has looked again.
async fn untouched(
    network: &Network,
    kind: &str,
    children: &Api<DynamicObject>,
    before: &DynamicObject,
) -> Result<()> {
    let name = before.name_any();
    let now = children.get(&name).await?;
    ensure!(
        now.resource_version() == before.resource_version(),
        "{now:?}"
    );
    let mut files = now.data["data"].as_object().into_iter().flatten();
    let (key, file) = files.next().context("no file there")?;
    let changed = format!("{}# by hand\n", file.as_str().context("no text")?);
    let patch = Patch::Merge(json!({"data": {key: changed}}));
    let by_hand = children
        .patch(&name, &PatchParams::default(), &patch)
        .await?;
    network
        .edit(kind, "a", json!({"logLevel": "error"}))
        .await?;
    health::until(Instant::now() + REACTS, "a look while paused", || {
        seen_paused(network, kind)
    })
    .await?;
    let after = children.get(&name).await?;
    ensure!(
        after.resource_version() == by_hand.resource_version(),
        "{after:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_of_an_orchestrator_has_its_effect() -> Result<()> {
    network("fields-o", |network| async move {
        a_runtime_class_is_there(&network).await?;
        // of a class that nobody provides: its pod fits nowhere, so every edit comes at once
        let storage = json!({"storage": {"size": "2Gi", "storageClassName": "quick"}});
        network.apply("Orchestrator", "a", storage).await?;
        claimed_as_said_and_never_changed(&network).await?;
        check(&network, "Orchestrator", table::orchestrator()).await
    })
    .await
}

/// A rehearsal of one that is not there would be refused, and a refusal fails the test.
async fn a_runtime_class_is_there(network: &Network) -> Result<()> {
    let classes: Api<RuntimeClass> = Api::all(network.cluster.client());
    let class = json!({"metadata": {"name": "nvidia"}, "handler": "runc"});
    let made = classes
        .create(&Default::default(), &serde_json::from_value(class)?)
        .await;
    match made {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        other => Ok(other.map(drop)?),
    }
}

/// `storage` is fixed: its effect is the claim, and an edit is refused.
async fn claimed_as_said_and_never_changed(network: &Network) -> Result<()> {
    let claims = network.child("PersistentVolumeClaim", "v1");
    health::until(Instant::now() + REACTS, "the claim", || async {
        let spec = claims.get("data-a-orchestrator-0").await?.data["spec"].clone();
        let size = &spec["resources"]["requests"]["storage"];
        ensure!(
            size == "2Gi" && spec["storageClassName"] == "quick",
            "{spec}"
        );
        Ok(())
    })
    .await?;
    for change in [json!({"size": "3Gi"}), json!({"storageClassName": null})] {
        let edit = json!({ "storage": change });
        let edited = network.edit("Orchestrator", "a", edit.clone()).await;
        let refusal = edited.err().with_context(|| format!("{edit} was taken"))?;
        ensure!(
            format!("{refusal:#}").contains("cannot be changed"),
            "{refusal:#}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_of_a_pool_has_its_effect() -> Result<()> {
    network("fields-p", |network| async move {
        for name in ["o", "p"] {
            network.apply("Orchestrator", name, json!({})).await?;
        }
        network
            .apply(
                "TranscoderPool",
                "a",
                json!({"orchestrator": {"ref": {"name": "o"}}}),
            )
            .await?;
        let secrets: Api<k8s_openapi::api::core::v1::Secret> =
            Api::namespaced(network.cluster.client(), &network.namespace);
        for name in ["theirs", "others"] {
            let secret = json!({"metadata": {"name": name}, "stringData": {"k": "x", "l": "y"}});
            secrets
                .create(&Default::default(), &serde_json::from_value(secret)?)
                .await?;
        }
        check(&network, "TranscoderPool", table::pool()).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_of_a_gateway_has_its_effect() -> Result<()> {
    network("fields-g", |network| async move {
        for name in ["o", "p"] {
            network.apply("Orchestrator", name, json!({})).await?;
        }
        network.apply("Gateway", "a", gateway(&["o"])).await?;
        check(&network, "Gateway", table::gateway()).await
    })
    .await
}
