//! The operator comes and goes, and resources do: what must not notice, does not.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Api;
use kube::api::DeleteParams;
use livepeer_e2e::cluster::audit::AuditEvent;
use livepeer_e2e::cluster::faults::Signal;
use livepeer_e2e::cluster::{Cluster, health};
use livepeer_e2e::install;
use livepeer_e2e::namespace::in_namespace;
use livepeer_e2e::network::{Network, REACTS, STARTS};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::drain::{complete, push};
use crate::support::{
    OPERATOR, network_alone, network_without_operator, nothing_was_forbidden, rolled_out,
};

/// A lease lasts 15 s; the other replica asks for it every few seconds.
const TAKES_OVER: Duration = Duration::from_secs(30);

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
        rolled_out(&network.cluster).await
    })
    .await
}

async fn holder(cluster: &Cluster) -> Result<String> {
    let leases: Api<Lease> = Api::namespaced(cluster.client(), OPERATOR);
    let lease = leases.get("livepeer-operator").await?;
    let holder = lease.spec.and_then(|spec| spec.holder_identity);
    holder.context("nobody leads")
}
