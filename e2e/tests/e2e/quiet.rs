//! What the operator costs the API server: nothing while nothing changes, and little
//! when something does. Numbers are printed; only what must be 0 is asserted.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{ListParams, PostParams};
use livepeer_e2e::cluster::audit::{AuditEvent, AuditMark};
use livepeer_e2e::cluster::{Cluster, health};
use livepeer_e2e::install;
use livepeer_e2e::network::{Network, REACTS, STARTS, gateway};
use serde_json::json;
use tokio::time::Instant;

use crate::support::{OPERATOR, network_alone};

/// Resync: a ready resource is looked at every 10 s, one that is not every 2 s.
const PERIOD: Duration = Duration::from_secs(10);
/// Six periods, though two are asked for: nothing that the operator does by itself comes more
/// seldom than its longest back-off, a minute.
const WINDOW: Duration = Duration::from_secs(65);
/// Looks at one resource in that time, counted in the audit log: six, and less by jitter.
const LOOKS: usize = 5;
/// The last words on what was still moving, and what a busy machine adds.
const QUIET_LIMIT: Duration = Duration::from_secs(60);
/// Stacks that are timed, as the issue of this project counts them.
const STACKS: usize = 20;
/// Between two of them. Kubernetes' controllers ask 20 times a second at most (30 at once): the
/// removal of one stack would hold up the pods of the next.
const BETWEEN: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_change_is_not_written() -> Result<()> {
    network_alone("quiet", |network| async move {
        network.smallest("a", 1).await?;
        cannot_be_made_true(&network).await?;
        let changes = changes_in_window(&network).await?;
        ensure!(
            changes.is_empty(),
            "requests that may change something: {changes:#?}"
        );
        println!("operator: {} in memory", memory(&network.cluster).await?);
        Ok(())
    })
    .await
}

/// Resources that stay as they are: paused, without an orchestrator, in conflict. The gateway
/// keeps the orchestrator that it had.
async fn cannot_be_made_true(network: &Network) -> Result<()> {
    let late = json!({"orchestrator": {"ref": {"name": "late"}}});
    network
        .apply("TranscoderPool", "late", late.clone())
        .await?;
    let mut paused = late;
    paused["paused"] = true.into();
    network.apply("TranscoderPool", "paused", paused).await?;
    let maps: Api<ConfigMap> = Api::namespaced(network.cluster.client(), &network.namespace);
    let foreign = json!({"metadata": {"name": "theirs-pool-settings"}});
    maps.create(&PostParams::default(), &serde_json::from_value(foreign)?)
        .await?;
    let pool = json!({"orchestrator": {"ref": {"name": "a"}}});
    network.apply("TranscoderPool", "theirs", pool).await?;
    let keeps = ("Gateway", "keeps");
    network.apply(keeps.0, keeps.1, gateway(&["a"])).await?;
    network
        .condition(keeps, ("Ready", "True", "Serving"), STARTS)
        .await?;
    network.apply(keeps.0, keeps.1, gateway(&["late"])).await?;
    for (resource, status, reason) in [
        (("TranscoderPool", "late"), "False", "OrchestratorNotFound"),
        (("TranscoderPool", "paused"), "Unknown", "Paused"),
        (("TranscoderPool", "theirs"), "False", "NameConflict"),
        (keeps, "False", "OrchestratorNotFound"),
    ] {
        network
            .condition(resource, ("Ready", status, reason), REACTS)
            .await?;
    }
    Ok(())
}

/// The requests beside leases by which the operator may have changed something in a window that
/// begins a period after the last such request, and in which it looks at everything.
async fn changes_in_window(network: &Network) -> Result<Vec<String>> {
    settled(network).await?;
    let mark = network.cluster.audit_mark()?;
    let began = Instant::now();
    let deadline = began + WINDOW + QUIET_LIMIT;
    let events = health::until(deadline, "the window", || async {
        ensure!(began.elapsed() >= WINDOW, "{:?}", began.elapsed());
        let events = by_operator(network, mark)?;
        for component in ["orchestrator", "pool", "gateway"] {
            let looks = looks(&events, &network.namespace, component);
            ensure!(looks >= LOOKS, "{looks} looks at the {component}");
        }
        Ok(events)
    })
    .await?;
    Ok(changes(&events))
}

/// Waits until the operator has changed nothing for a period.
async fn settled(network: &Network) -> Result<()> {
    let give_up = Instant::now() + QUIET_LIMIT;
    let mut last = (Instant::now(), network.cluster.audit_mark()?);
    loop {
        let written = changes(&by_operator(network, last.1)?);
        if written.is_empty() && last.0.elapsed() >= PERIOD {
            return Ok(());
        }
        ensure!(Instant::now() < give_up, "it still writes: {written:#?}");
        if !written.is_empty() {
            last = (Instant::now(), network.cluster.audit_mark()?);
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// What may have changed something, but for leases.
fn changes(events: &[AuditEvent]) -> Vec<String> {
    events
        .iter()
        .filter(|event| event.is_mutating() && event.resource() != "leases")
        .map(AuditEvent::line)
        .collect()
}

/// What the operator asked for, but of namespaces of earlier tests, which may still be on
/// their way out.
fn by_operator(network: &Network, mark: AuditMark) -> Result<Vec<AuditEvent>> {
    let mut events = network.cluster.audit_since(mark)?;
    let here = ["", OPERATOR, network.namespace.as_str()];
    events.retain(|event| event.is_from_operator() && here.contains(&event.namespace()));
    Ok(events)
}

/// Times that the pods of the resource `a` were listed: once a look.
fn looks(events: &[AuditEvent], namespace: &str, component: &str) -> usize {
    let selector = format!("component%3D{component}%2Capp.kubernetes.io%2Finstance%3Da%2C");
    let is_look = |event: &&AuditEvent| {
        event.verb == "list"
            && event.namespace() == namespace
            && event.request_uri.contains(&selector)
    };
    events.iter().filter(is_look).count()
}

/// Resident memory of the leading operator, as the kernel counts it.
async fn memory(cluster: &Cluster) -> Result<String> {
    let mut sizes = Vec::new();
    let pods: Api<Pod> = Api::namespaced(cluster.client(), OPERATOR);
    for pod in pods.list(&ListParams::default()).await? {
        let name = pod.metadata.name.context("a pod without a name")?;
        let pids = cluster.pids(OPERATOR, &name, "operator").await?;
        let first = pids.first().context("the operator has no process")?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", first.as_raw_nonzero()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        sizes.push(line.context("no VmRSS")?.trim().to_owned());
    }
    Ok(sizes.join(", "))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: cargo test --workspace --test e2e -- --ignored --nocapture"]
async fn pods_are_made_as_soon_as_resources_are_applied() -> Result<()> {
    network_alone("apply", |network| async move {
        let mut took = Vec::new();
        for at in 0..STACKS {
            let name = format!("s{at}");
            let mark = network.cluster.audit_mark()?;
            stack(&network, &name).await?;
            let what = format!("the pods of stack {name}");
            let pods = health::until(Instant::now() + REACTS, &what, || async {
                let pods = made(&network.cluster.audit_since(mark)?, &network.namespace);
                // more, when the stack before had one made again while it went
                ensure!(pods.len() >= 3, "{} pods", pods.len());
                Ok(pods)
            })
            .await?;
            let events = network.cluster.audit_since(mark)?;
            let last_apply = events
                .iter()
                .filter(|event| event.user.username == "admin" && event.is_mutating())
                .map(received)
                .try_fold(Timestamp::MIN, |last, at| at.map(|at| last.max(at)))?;
            let last_pod = pods.into_iter().max().context("no pods")?;
            took.push(last_apply.duration_until(last_pod));
            for kind in install::KINDS {
                network.delete(kind, &name).await?;
            }
            tokio::time::sleep(BETWEEN).await;
        }
        took.sort();
        let milliseconds = |at: usize| took[at].as_millis();
        println!(
            "apply to all pods created, {STACKS} stacks: p50 {} ms, p95 {} ms, max {} ms",
            milliseconds(STACKS / 2 - 1),
            milliseconds(STACKS * 95 / 100 - 1),
            milliseconds(STACKS - 1),
        );
        Ok(())
    })
    .await
}

/// A stack whose pods are made and fit nowhere: what starting them costs is not the subject.
async fn stack(network: &Network, name: &str) -> Result<()> {
    let nowhere = json!({"nodeSelector": {"no": "such"}});
    let with = |mut spec: serde_json::Value| {
        spec["podTemplate"] = nowhere.clone();
        spec
    };
    network.apply("Orchestrator", name, with(json!({}))).await?;
    let pool = json!({"orchestrator": {"ref": {"name": name}}});
    network.apply("TranscoderPool", name, with(pool)).await?;
    network.apply("Gateway", name, with(gateway(&[name]))).await
}

/// When each pod was created: those of one stack, since stacks are made one by one. (A
/// name that the API server makes up is not in its log.)
fn made(events: &[AuditEvent], namespace: &str) -> Vec<Timestamp> {
    let is_pod = |event: &&AuditEvent| {
        let pod = event
            .object_ref
            .as_ref()
            .is_some_and(|object| object.resource == "pods" && object.subresource.is_empty());
        event.verb == "create" && event.code() == 201 && pod && event.namespace() == namespace
    };
    let created = events.iter().filter(is_pod);
    created
        .filter_map(|event| event.stage_timestamp.parse().ok())
        .collect()
}

fn received(event: &AuditEvent) -> Result<Timestamp> {
    Ok(event.request_received_timestamp.parse()?)
}
