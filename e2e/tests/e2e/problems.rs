//! Pods that cannot run: the reason stands in the resource's own condition, and the pods
//! that ran before run on.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::PostParams;
use kube::{Api, ResourceExt as _};
use livepeer_e2e::network::{Network, STARTS, gateway};
use livepeer_e2e::stream::clip;
use serde_json::{Value, json};

use crate::support::{clip as the_clip, network, network_with_refusals};

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_a_pod_from_starting_is_in_the_condition() -> Result<()> {
    network("problems", |network| async move {
        let nowhere = json!({"podTemplate": {"nodeSelector": {"no": "such"}}});
        network.apply("Orchestrator", "nowhere", nowhere).await?;
        let no_image = json!({"image": "livepeer.local/none:1", "imagePullPolicy": "Never"});
        network.apply("Orchestrator", "noimage", no_image).await?;
        for (name, reason) in [("nowhere", "Unschedulable"), ("noimage", "ImagePullFailed")] {
            let resource = ("Orchestrator", name);
            network
                .condition(resource, ("Ready", "False", reason), STARTS)
                .await?;
        }
        // the schema knows no better, and no pod can be made of it
        let never = json!({"podTemplate": {"tolerations": [{"key": "k", "operator": "Maybe"}]}});
        network.apply("Orchestrator", "never", never).await?;
        let stalled = ("Stalled", "True", "InvalidSpec");
        let never = ("Orchestrator", "never");
        let message = network.condition(never, stalled, STARTS).await?;
        ensure!(message.contains("operator"), "{message}");
        // nobody is served by a pod that is broken: what heals it comes at once
        let undo = json!({"image": null, "imagePullPolicy": null});
        network.edit("Orchestrator", "noimage", undo).await?;
        let runs = ("Ready", "False", "NoTranscoders");
        let resource = ("Orchestrator", "noimage");
        network.condition(resource, runs, STARTS).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_on_gpus_whose_next_pod_is_refused_says_why() -> Result<()> {
    network("refused", |network| async move {
        network.apply("Orchestrator", "a", json!({})).await?;
        let pool = json!({"orchestrator": {"ref": {"name": "a"}}, "gpu": {"count": 1}});
        network.apply("TranscoderPool", "a", pool).await?;
        let pool = ("TranscoderPool", "a");
        let no_device = ("GpuReady", "False", "NoUsableDevice");
        network.condition(pool, no_device, STARTS).await?;
        // the old one frees its card, and then there is none
        let class = |name: Value| json!({"gpu": {"runtimeClassName": name}});
        network.edit(pool.0, pool.1, class(NO_CLASS.into())).await?;
        let refused = ("Ready", "False", "ApplyRefused");
        let message = network.condition(pool, refused, STARTS).await?;
        ensure!(message.contains(NO_CLASS), "{message}");
        network.edit(pool.0, pool.1, class(Value::Null)).await?;
        network.condition(pool, no_device, STARTS).await?;
        Ok(())
    })
    .await
}

/// Alone: what the operator is refused here, other tests would take for a right that it lacks.
#[tokio::test(flavor = "multi_thread")]
async fn an_orchestrator_whose_pod_is_refused_says_why_and_starts_when_it_is_not() -> Result<()> {
    network_with_refusals("refusedo", |network| async move {
        let class = |name: Value| json!({"podTemplate": {"priorityClassName": name}});
        let orchestrator = ("Orchestrator", "a");
        network
            .apply("Orchestrator", "a", class(NO_CLASS.into()))
            .await?;
        let refused = ("Ready", "False", "ApplyRefused");
        let message = network.condition(orchestrator, refused, STARTS).await?;
        ensure!(message.contains(NO_CLASS), "{message}");
        network
            .edit("Orchestrator", "a", class(Value::Null))
            .await?;
        let runs = ("Ready", "False", "NoTranscoders");
        network.condition(orchestrator, runs, STARTS).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_is_not_ready_while_nobody_transcodes_for_its_orchestrator() -> Result<()> {
    network("nobody", |network| async move {
        network.apply("Orchestrator", "a", json!({})).await?;
        network.apply("Gateway", "a", gateway(&["a"])).await?;
        let none = ("Ready", "False", "NoUsableOrchestrator");
        let message = network.condition(("Gateway", "a"), none, STARTS).await?;
        let says = "a-orchestrator";
        ensure!(message.contains(says), "{message}");
        let says = "has no transcoder connected";
        ensure!(message.contains(says), "{message}");
        let none = ("Ready", "False", "NoTranscoders");
        network
            .condition(("Orchestrator", "a"), none, STARTS)
            .await?;
        let before = network.pod_identities().await?;

        let pool = json!({"orchestrator": {"ref": {"name": "a"}}});
        network.apply("TranscoderPool", "a", pool).await?;
        let serves = ("Ready", "True", "Serving");
        network.condition(("Gateway", "a"), serves, STARTS).await?;
        let after = network.pod_identities().await?;
        let stayed = before.iter().all(|pod| after.contains(pod));
        ensure!(stayed, "{before:?} became {after:?}");
        Ok(())
    })
    .await
}

/// An edit that a resource's next pod does not survive, and what is told of it.
pub(crate) struct Bad {
    pub(crate) edit: Value,
    pub(crate) reason: &'static str,
    /// In the condition's message.
    pub(crate) says: &'static str,
    /// Undoes the edit.
    pub(crate) undo: Value,
}

/// A class of priority, and of runtimes, that does not exist.
const NO_CLASS: &str = "no-such-class";

/// What makes a pod that cannot run, whatever role it has.
fn bad_pods() -> [Bad; 5] {
    let undo = json!({"image": null, "imagePullPolicy": null, "podTemplate": null});
    [
        Bad {
            edit: json!({"image": "livepeer.local/none:1", "imagePullPolicy": "Never"}),
            reason: "ImagePullFailed",
            says: "livepeer.local/none:1",
            undo: undo.clone(),
        },
        Bad {
            // refused where the pod would be made, so there is none
            edit: json!({"podTemplate": {"priorityClassName": NO_CLASS}}),
            reason: "ApplyRefused",
            says: NO_CLASS,
            undo: undo.clone(),
        },
        fits_nowhere(&undo),
        other_program(&undo),
        Bad {
            edit: json!({"podTemplate": {"resources": {"limits": {"memory": "5Mi"}}}}),
            reason: "OutOfMemory",
            says: "memory",
            undo,
        },
    ]
}

/// No node has such a label.
pub(crate) fn fits_nowhere(undo: &Value) -> Bad {
    Bad {
        edit: json!({"podTemplate": {"nodeSelector": {"no": "such"}}}),
        reason: "Unschedulable",
        says: "selector",
        undo: undo.clone(),
    }
}

/// A program that does not know the node's arguments.
pub(crate) fn other_program(undo: &Value) -> Bad {
    Bad {
        edit: json!({"image": "livepeer.local/operator:dev"}),
        reason: "CrashLoop",
        says: "exit status 2",
        undo: undo.clone(),
    }
}

/// Settings that a gateway refuses.
fn empty_token() -> Bad {
    let token =
        json!({"allowUnauthenticated": null, "tokenSecretRef": {"name": "empty", "key": "key"}});
    Bad {
        edit: json!({"ingest": {"http": token}}),
        reason: "SettingsRefused",
        says: "gateway.ingest_token_file",
        undo: json!({"ingest": {"http": {"allowUnauthenticated": true, "tokenSecretRef": null}}}),
    }
}

/// Settings that a transcoder refuses.
fn empty_credential() -> Bad {
    let external = json!({"address": "https://192.0.2.1:1", "credentialSecretRef": {"name": "empty", "key": "key"}});
    Bad {
        edit: json!({"orchestrator": {"ref": null, "external": external}}),
        reason: "SettingsRefused",
        says: "transcoder.credential_file",
        undo: json!({"orchestrator": {"ref": {"name": "a"}, "external": null}}),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_edit_says_why_and_the_old_pod_serves_on() -> Result<()> {
    network("badedit", |network| async move {
        network.smallest("a", 1).await?;
        let secrets: Api<Secret> = Api::namespaced(network.cluster.client(), &network.namespace);
        let empty = json!({"metadata": {"name": "empty"}, "stringData": {"key": ""}});
        secrets
            .create(&PostParams::default(), &serde_json::from_value(empty)?)
            .await?;
        let mut seq = 0;
        for (kind, component, refused) in [
            ("Gateway", "gateway", empty_token()),
            ("TranscoderPool", "pool", empty_credential()),
        ] {
            let old = network.pods(component, "a").await?.remove(0);
            for bad in bad_pods().into_iter().chain([refused]) {
                bad.try_on(&network, kind, &old, seq).await?;
                seq += 1;
            }
        }
        Ok(())
    })
    .await
}

impl Bad {
    /// Edits the `kind` called `a`: the condition says why, `old` serves the stream's segment
    /// `seq`, and undoing it mends all.
    pub(crate) async fn try_on(
        self,
        network: &Network,
        kind: &'static str,
        old: &Pod,
        seq: usize,
    ) -> Result<()> {
        let Self {
            edit,
            reason,
            says,
            undo,
        } = self;
        network.edit(kind, "a", edit).await?;
        let failed = ("Ready", "False", reason);
        let message = network.condition((kind, "a"), failed, STARTS).await?;
        ensure!(message.contains(says), "{reason}: {message}");
        serves(network, old, seq).await.context(reason)?;
        network.edit(kind, "a", undo).await?;
        let serving = ("Ready", "True", "Serving");
        network.condition((kind, "a"), serving, STARTS).await?;
        Ok(())
    }
}

/// The pod is the one that it was, and the stream's next segment comes back through it.
pub(crate) async fn serves(network: &Network, pod: &Pod, seq: usize) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(network.cluster.client(), &network.namespace);
    let name = pod.name_any();
    let found = pods.get(&name).await?;
    ensure!(found.uid() == pod.uid(), "{name} was replaced");
    ensure!(
        found.metadata.deletion_timestamp.is_none(),
        "{name} was told to stop"
    );
    let (pusher, _forward) = network.pusher("a").await?;
    let small = json!([{"name": "small", "width": 320, "height": 180, "bitrate": 200_000}]);
    let pusher = pusher.with_profiles(&small);
    let segment = the_clip().await?.segment(seq);
    let reply = pusher.push("on", seq, segment, clip::SEGMENT).await;
    ensure!(reply.is_complete(1), "{} {:?}", reply.status, reply.error);
    Ok(())
}
