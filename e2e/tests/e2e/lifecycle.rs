//! The operator comes and goes, and resources do: what must not notice, does not.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use livepeer_e2e::cluster::audit::AuditEvent;
use livepeer_e2e::cluster::faults::Signal;
use livepeer_e2e::cluster::{Cluster, health};
use livepeer_e2e::install;
use livepeer_e2e::namespace::in_namespace;
use livepeer_e2e::network::{Network, REACTS, STARTS};
use livepeer_e2e::stream::{Pusher, Reply, clip};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{
    OPERATOR, clip as the_clip, network, network_alone, network_without_operator,
    nothing_was_forbidden,
};

/// A lease lasts 15 s; the other replica asks for it every few seconds.
const TAKES_OVER: Duration = Duration::from_secs(30);

/// Two renditions: a second of work or two.
async fn push(pusher: &Pusher, stream: &str, seq: usize) -> Result<Reply> {
    let two = json!([
        {"name": "480p", "width": 854, "height": 480, "bitrate": 1_600_000},
        {"name": "240p", "width": 426, "height": 240, "bitrate": 600_000},
    ]);
    let pusher = pusher.clone().with_profiles(&two);
    let segment = the_clip().await?.segment(seq);
    Ok(pusher.push(stream, seq, segment, clip::SEGMENT).await)
}

/// Pushes a stream of two segments and does something to what serves it while the second
/// is being transcoded. Both come back.
async fn in_the_middle(network: &Network, what: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
    let (pusher, _forward) = network.pusher("a").await?;
    complete(&push(&pusher, "middle", 0).await?)?;
    let pod = network.pod("pool", "a").await?;
    let strike = async {
        working(network, &pod).await?;
        what().await
    };
    let (reply, struck) = tokio::join!(push(&pusher, "middle", 1), strike);
    struck?;
    complete(&reply?)
}

/// Waits until a transcoder's engine decodes and encodes.
async fn working(network: &Network, pod: &str) -> Result<()> {
    health::until(Instant::now() + REACTS, "work in the pool", || async {
        let pids = network
            .cluster
            .pids(&network.namespace, pod, "node")
            .await?;
        let busy = pids
            .iter()
            .any(|pid| is_running(pid.as_raw_nonzero().get()));
        ensure!(busy, "no worker runs");
        Ok(())
    })
    .await
}

/// True of a worker that is on a processor or wants one.
fn is_running(pid: i32) -> bool {
    let read =
        |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten();
    let mut threads = tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
    let running = |stat: String| {
        stat.rsplit(") ")
            .next()
            .is_some_and(|rest| rest.starts_with('R'))
    };
    read("cmdline").contains("livepeer-engine") && threads.any(running)
}
fn complete(reply: &Reply) -> Result<()> {
    ensure!(reply.is_complete(2), "{} {:?}", reply.status, reply.error);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_operator_pods_serve_and_a_namespace_goes() -> Result<()> {
    network_without_operator("uninstall", |network| async move {
        let cluster = &network.cluster;
        network.smallest("a", 1).await?;
        let before = network.pod_identities().await?;
        in_namespace(cluster, "doomed", async |namespace| {
            let doomed = Network {
                cluster: cluster.clone(),
                namespace: namespace.clone(),
            };
            doomed.smallest("b", 1).await?;
            install::uninstall(cluster, OPERATOR).await?;
            let namespaces: Api<Namespace> = Api::all(cluster.client());
            namespaces
                .delete(&namespace, &DeleteParams::default())
                .await?;
            health::until(Instant::now() + STARTS, "the namespace's end", || async {
                ensure!(
                    namespaces.get_opt(&namespace).await?.is_none(),
                    "still there"
                );
                Ok(())
            })
            .await
        })
        .await?;
        let (pusher, _forward) = network.pusher("a").await?;
        complete(&push(&pusher, "without", 0).await?)?;
        // the same again, but with Roles in one namespace instead of a ClusterRole
        let mark = cluster.audit_mark()?;
        install::operator(cluster, OPERATOR, &[&network.namespace]).await?;
        for kind in install::KINDS {
            looked_at(&network, kind, mark).await?;
        }
        // a status may say what happened meanwhile: a stream came
        let written: Vec<_> = cluster
            .audit_since(mark)?
            .iter()
            .filter(|event| event.is_from_operator() && event.is_mutating())
            .filter(|event| event.namespace() == network.namespace)
            .filter(|event| !event.request_uri.contains("/status?"))
            .map(AuditEvent::line)
            .collect();
        ensure!(
            written.is_empty(),
            "written after reinstalling: {written:#?}"
        );
        ensure!(
            network.pod_identities().await? == before,
            "a pod was replaced"
        );

        network
            .edit("TranscoderPool", "a", json!({"maxSessions": 3}))
            .await?;
        status_is(&network, ("TranscoderPool", "a"), "/capacity", &json!(3)).await?;
        install::ready(cluster, &network.namespace, REACTS).await?;
        nothing_was_forbidden(cluster, mark)
    })
    .await
}

/// Waits until the operator listed the pods of the resource `a` twice: it has looked, and
/// looked again.
async fn looked_at(
    network: &Network,
    kind: &str,
    mark: livepeer_e2e::cluster::audit::AuditMark,
) -> Result<()> {
    let component = match kind {
        "Orchestrator" => "orchestrator",
        "TranscoderPool" => "pool",
        _ => "gateway",
    };
    let selector = format!("component%3D{component}%2Capp.kubernetes.io%2Finstance%3Da%2C");
    health::until(Instant::now() + STARTS, "two looks", || async {
        let events = network.cluster.audit_since(mark)?;
        let looks = events
            .iter()
            .filter(|event| event.is_from_operator() && event.request_uri.contains(&selector))
            .count();
        ensure!(looks >= 2, "{looks} looks at the {component}");
        Ok(())
    })
    .await
}

async fn status_is(
    network: &Network,
    (kind, name): (&str, &str),
    at: &str,
    wanted: &Value,
) -> Result<()> {
    let what = format!("{kind} {name}: status{at} = {wanted}");
    health::until(Instant::now() + REACTS, &what, || async {
        let object = network.api(kind).get(name).await?;
        let found = object.data["status"].pointer(at).unwrap_or(&Value::Null);
        ensure!(found == wanted, "{found}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_replica_takes_over_from_a_killed_leader() -> Result<()> {
    network_alone("leader", |network| async move {
        let nowhere = json!({"podTemplate": {"nodeSelector": {"no": "such"}}});
        network.apply("Orchestrator", "a", nowhere).await?;
        let unschedulable = ("Ready", "False", "Unschedulable");
        network
            .condition(("Orchestrator", "a"), unschedulable, STARTS)
            .await?;
        let leader = holder(&network.cluster).await?;
        let operators: Api<Pod> = Api::namespaced(network.cluster.client(), OPERATOR);
        let at_once = DeleteParams::default().grace_period(0);
        // killed, so that it gives nothing back; deleted, so that it does not come back
        network
            .cluster
            .signal(OPERATOR, &leader, "operator", Signal::KILL)
            .await?;
        operators.delete(&leader, &at_once).await?;
        let killed = Instant::now();
        network
            .edit(
                "Orchestrator",
                "a",
                json!({"podTemplate": {"nodeSelector": {"no": "other"}}}),
            )
            .await?;
        health::until(killed + TAKES_OVER, "the edit's effect", || async {
            let object = network.api("Orchestrator").get("a").await?;
            let observed = &object.data["status"]["observedGeneration"];
            ensure!(
                observed.as_i64() == object.metadata.generation,
                "{observed}"
            );
            let next = holder(&network.cluster).await?;
            ensure!(next != leader, "{leader} is gone and leads");
            Ok(())
        })
        .await?;
        println!("took over after {:.1} s", killed.elapsed().as_secs_f32());
        let deployment = [
            "-n",
            OPERATOR,
            "rollout",
            "status",
            "deployment",
            "--timeout=2m",
        ];
        network.cluster.kubectl(&deployment).await.map(drop)
    })
    .await
}

async fn holder(cluster: &Cluster) -> Result<String> {
    let leases: Api<Lease> = Api::namespaced(cluster.client(), OPERATOR);
    let lease = leases.get("livepeer-operator").await?;
    let holder = lease.spec.and_then(|spec| spec.holder_identity);
    holder.context("nobody leads")
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
        let drained = network.cluster.kubectl(&drain).await.map(drop);
        let drained = drained.context("kubectl drain did not complete");
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
        in_the_middle(&network, async || {
            for kind in install::KINDS {
                network.delete(kind, "a").await?;
            }
            Ok(())
        })
        .await?;
        health::until(Instant::now() + STARTS, "an empty namespace", || async {
            let kinds = "all,configmaps,secrets,poddisruptionbudgets,networkpolicies,pvc";
            let ours = ["-l", "app.kubernetes.io/name=livepeer", "-o", "name"];
            let mut args = vec!["-n", &network.namespace, "get", kinds];
            args.extend(ours);
            let left = network.cluster.kubectl(&args).await?;
            ensure!(
                left.trim() == "persistentvolumeclaim/data-a-orchestrator-0",
                "left: {left}"
            );
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_deleted_finishes_its_segments() -> Result<()> {
    network("lastpool", |network| async move {
        network.smallest("a", 1).await?;
        in_the_middle(&network, async || {
            network.delete("TranscoderPool", "a").await
        })
        .await
    })
    .await
}
