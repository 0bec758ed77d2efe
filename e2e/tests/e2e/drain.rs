//! What serves a stream is told to go: no segment in flight is lost, and who drains is
//! still found.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use livepeer_e2e::cluster::health;
use livepeer_e2e::faults::Work;
use livepeer_e2e::install;
use livepeer_e2e::network::{Network, REACTS, STARTS, gateway};
use livepeer_e2e::stream::{Pusher, Reply, clip};
use serde_json::json;
use tokio::time::Instant;

use crate::support::{clip as the_clip, network, network_alone};

/// Longer than it takes three failed readiness probes, two seconds apart, to be noticed.
const PROBED: Duration = Duration::from_secs(10);

/// Less than 5 s of lame duck and a drain of 20 s, by what a segment takes on a busy machine.
const DRAINS: Duration = Duration::from_secs(15);

/// What is left of an orchestrator `a` that is deleted.
const CLAIM: &str = "persistentvolumeclaim/data-a-orchestrator-0";

/// Two renditions: a second of work or two.
pub(crate) async fn push(pusher: &Pusher, stream: &str, seq: usize) -> Result<Reply> {
    let two = json!([
        {"name": "480p", "width": 854, "height": 480, "bitrate": 1_600_000},
        {"name": "240p", "width": 426, "height": 240, "bitrate": 600_000},
    ]);
    let pusher = pusher.clone().with_profiles(&two);
    let segment = the_clip().await?.segment(seq);
    Ok(pusher.push(stream, seq, segment, clip::SEGMENT).await)
}

pub(crate) fn complete(reply: &Reply) -> Result<()> {
    ensure!(reply.is_complete(2), "{} {:?}", reply.status, reply.error);
    Ok(())
}

/// Pushes a stream and does something to what serves it while segment `seq`, the first or
/// the second, is being transcoded. All come back.
async fn in_the_middle(
    network: &Network,
    seq: usize,
    what: impl AsyncFnOnce() -> Result<()>,
) -> Result<()> {
    let (pusher, _forward) = network.pusher("a").await?;
    for before in 0..seq {
        complete(&push(&pusher, "middle", before).await?)?;
    }
    let work = Work::watch(network, "a").await?;
    let strike = async {
        health::until(Instant::now() + REACTS, "a segment's work", || async {
            ensure!(work.is_under_way().await?, "none");
            Ok(())
        })
        .await?;
        what().await
    };
    let (reply, struck) = tokio::join!(push(&pusher, "middle", seq), strike);
    struck?;
    complete(&reply?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_node_lets_go_of_every_pod() -> Result<()> {
    network_alone("drain", |network| async move {
        network.smallest("a", 1).await?;
        // two that will never be ready: a budget that counts them would hold up the drain
        let broken = json!({"orchestrator": {"ref": {"name": "a"}}, "replicas": 2,
            "image": "livepeer.local/none:1", "imagePullPolicy": "Never"});
        network.apply("TranscoderPool", "broken", broken).await?;
        let failed = ("Ready", "False", "ImagePullFailed");
        network
            .condition(("TranscoderPool", "broken"), failed, STARTS)
            .await?;
        let nodes: Api<Node> = Api::all(network.cluster.client());
        let node = nodes.list(&ListParams::default()).await?.items.remove(0);
        let node = node.metadata.name.context("a node without a name")?;
        let selector = "--pod-selector=app.kubernetes.io/name=livepeer";
        let drain = [
            "drain",
            &node,
            selector,
            "--delete-emptydir-data",
            "--timeout=90s",
        ];
        let drained = in_the_middle(&network, 1, async || {
            let drained = network.cluster.kubectl(&drain).await.map(drop);
            drained.context("kubectl drain did not complete")
        })
        .await;
        network.cluster.kubectl(&["uncordon", &node]).await?;
        drained?;
        network.delete("TranscoderPool", "broken").await?;
        install::ready(&network.cluster, &network.namespace, STARTS).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_everything_ends_no_segment_and_leaves_only_the_claim() -> Result<()> {
    network("delete", |network| async move {
        network.smallest("a", 1).await?;
        in_the_middle(&network, 0, async || {
            for kind in install::KINDS {
                network.delete(kind, "a").await?;
            }
            Ok(())
        })
        .await?;
        left(&network, "", &[CLAIM]).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_deleted_finishes_its_segments_and_leaves_nothing() -> Result<()> {
    deleted_alone("lastpool", ("TranscoderPool", "pool"), &[], background()).await
}

/// As Argo CD prunes: it stays, on its way out, until its pods have gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_deleted_in_the_foreground_finishes_its_segments() -> Result<()> {
    let foreground = DeleteParams::foreground();
    deleted_alone("foreground", ("TranscoderPool", "pool"), &[], foreground).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orchestrator_that_is_deleted_finishes_its_segments_and_leaves_its_claim() -> Result<()>
{
    let orchestrator = ("Orchestrator", "orchestrator");
    deleted_alone("lastorch", orchestrator, &[CLAIM], background()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_deleted_finishes_its_segments_and_leaves_nothing() -> Result<()> {
    deleted_alone("lastgw", ("Gateway", "gateway"), &[], background()).await
}

fn background() -> DeleteParams {
    DeleteParams::background()
}

/// Deletes one resource of a network in the middle of a stream's segment: of its children
/// `stays` is left, and the resources beside it keep theirs.
async fn deleted_alone(
    prefix: &str,
    (kind, component): (&'static str, &'static str),
    stays: &'static [&'static str],
    how: DeleteParams,
) -> Result<()> {
    network(prefix, |network| async move {
        network.smallest("a", 1).await?;
        let delete = async || {
            network.api(kind).delete("a", &how).await?;
            Ok(())
        };
        in_the_middle(&network, 1, delete).await?;
        left(&network, component, stays).await?;
        for other in ["orchestrator", "pool", "gateway"] {
            let pods = network.pods(other, "a").await?.len();
            let wanted = usize::from(other != component);
            ensure!(pods == wanted, "{pods} pods of the {other}");
        }
        Ok(())
    })
    .await
}

/// Waits until of what the operator made for `component` (empty: for all) only `stays` is left.
async fn left(network: &Network, component: &str, stays: &[&str]) -> Result<()> {
    let kinds = "all,configmaps,secrets,poddisruptionbudgets,networkpolicies,pvc";
    let mut ours = "app.kubernetes.io/name=livepeer".to_owned();
    if !component.is_empty() {
        ours = format!("{ours},app.kubernetes.io/component={component}");
    }
    let args = [
        "-n",
        &network.namespace,
        "get",
        kinds,
        "-l",
        &ours,
        "-o",
        "name",
    ];
    let what = format!("the end of all but {stays:?}");
    health::until(Instant::now() + STARTS, &what, || async {
        let found = network.cluster.kubectl(&args).await?;
        let found: Vec<&str> = found.lines().collect();
        ensure!(found == stays, "left: {found:?}");
        Ok(())
    })
    .await
}

/// The smallest network, whose orchestrator has so long to drain.
async fn with_deadline(network: &Network, deadline: &str) -> Result<()> {
    let patient = json!({"drain": {"deadline": deadline}});
    network.apply("Orchestrator", "a", patient).await?;
    let pool = json!({"orchestrator": {"ref": {"name": "a"}}});
    network.apply("TranscoderPool", "a", pool).await?;
    network.apply("Gateway", "a", gateway(&["a"])).await?;
    install::ready(&network.cluster, &network.namespace, STARTS).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_outlives_a_mistyped_reference_and_its_orchestrator_until_that_has_drained()
-> Result<()> {
    network("refs", |network| async move {
        with_deadline(&network, "20s").await?;
        let pods = network.pod_identities().await?;
        let (pusher, _forward) = network.pusher("a").await?;
        let (resource, missing) = (("Gateway", "a"), ("Ready", "False", "OrchestratorNotFound"));
        let mut seq = 0;
        let mut goes_on = async |time| {
            let began = Instant::now();
            while seq == 0 || began.elapsed() < time {
                let reply = push(&pusher, "refs", seq).await?;
                complete(&reply).with_context(|| format!("segment {seq}"))?;
                seq += 1;
            }
            Ok::<_, anyhow::Error>(())
        };
        goes_on(Duration::ZERO).await?;

        let refs = |name| json!({"orchestrators": {"refs": [{ "name": name }]}});
        network.edit("Gateway", "a", refs("typo")).await?;
        goes_on(PROBED).await?;
        let message = network.condition(resource, missing, REACTS).await?;
        let names = ["typo", "keeps https://a-orchestrator."];
        let named = names.iter().all(|name| message.contains(name));
        ensure!(named, "{message}");
        network.edit("Gateway", "a", refs("a")).await?;
        install::ready(&network.cluster, &network.namespace, REACTS).await?;
        let now = network.pod_identities().await?;
        ensure!(now == pods, "a pod was replaced");

        network.delete("Orchestrator", "a").await?;
        goes_on(DRAINS).await?;
        let message = network.condition(resource, missing, REACTS).await?;
        ensure!(message.contains("Orchestrator a "), "{message}");
        let pods: Api<Pod> = Api::namespaced(network.cluster.client(), &network.namespace);
        let pod = pods.get("a-orchestrator-0").await?;
        ensure!(pod.metadata.deletion_timestamp.is_some(), "does not drain");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orchestrator_that_drains_is_reached_through_its_service() -> Result<()> {
    network("reached", |network| async move {
        with_deadline(&network, "60s").await?;
        let (pusher, _forward) = network.pusher("a").await?;
        complete(&push(&pusher, "reached", 0).await?)?;

        let services: Api<Service> = Api::namespaced(network.cluster.client(), &network.namespace);
        let service = services.get("a-orchestrator").await?;
        let address = service.spec.and_then(|spec| spec.cluster_ip);
        let address = address.context("a Service without an address")?;
        let pods: Api<Pod> = Api::namespaced(network.cluster.client(), &network.namespace);
        pods.delete("a-orchestrator-0", &DeleteParams::default())
            .await?;
        let deleted = Instant::now();
        // the stream goes on, so the orchestrator does too, and nobody replaces it
        let mut seq = 1;
        let mut said = String::new();
        while deleted.elapsed() < PROBED || !said.contains("is draining") {
            ensure!(deleted.elapsed() < REACTS, "the gateway says: {said}");
            let object = network.api("Gateway").get("a").await?;
            said = install::condition(&object, "Ready").to_string();
            complete(&push(&pusher, "reached", seq).await?)?;
            seq += 1;
            let health = format!("https://{address}:8935/healthz");
            let mut curl = network.cluster.inside("curl");
            let asked = curl
                .args([
                    "--silent",
                    "--insecure",
                    "--fail",
                    "--max-time",
                    "2",
                    &health,
                ])
                .output()
                .await?;
            let pod = pods.get("a-orchestrator-0").await?;
            ensure!(pod.metadata.deletion_timestamp.is_some(), "was replaced");
            let after = deleted.elapsed().as_secs_f32();
            ensure!(asked.status.success(), "{after:.1} s on: {}", asked.status);
        }
        ensure!(said.contains("NoUsableOrchestrator"), "{said}");
        Ok(())
    })
    .await
}
