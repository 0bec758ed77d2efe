//! The faults, and how each strikes: what can be found out beforehand is, so that the
//! strike itself takes no time.

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use livepeer_operator::lease::LEASE;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::time::Instant;

use super::target::{self, Target};
use super::{GATEWAY, REPLICAS, SESSIONS};
use crate::cluster::health;
use crate::network::{Network, STARTS};

/// The container of every pod of ours.
const CONTAINER: &str = "node";

/// What happens to a network in the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// `kill -9` of the transcoder that has the stream.
    KillTranscoder,
    /// `kill -STOP` of it, its workers included.
    FreezeTranscoder,
    /// Its network is cut, without a word.
    CutTranscoder,
    /// SIGTERM.
    StopTranscoder,
    /// Its pod is deleted.
    DeleteTranscoder,
    /// `kill -9` of the orchestrator that has the stream.
    KillOrchestrator,
    StopOrchestrator,
    DeleteOrchestrator,
    /// SIGTERM of the gateway; the reply in flight completes.
    StopGateway,
    /// The pool's sessions change: its transcoders register anew.
    EditLiveField,
    /// `kill -9` of every operator.
    KillOperator,
}

impl Fault {
    /// Every fault, in the order of the report.
    #[must_use]
    pub fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// Whether the gateway goes, and its streams with it.
    pub(super) fn ends_the_stream(self) -> bool {
        self == Self::StopGateway
    }
}

/// A fault that is about to strike.
pub(super) struct Aim {
    blow: Blow,
    /// The orchestrator that has the stream: the fault counts only in the middle of a
    /// segment.
    pub(super) amid: &'static str,
}

enum Blow {
    /// These processes get this signal.
    Processes(Vec<Pid>, Signal),
    /// These processes freeze, until undone.
    Frozen(Vec<Pid>),
    /// This link goes down, until undone.
    Link(String),
    /// This pod is deleted.
    Delete(Target),
    /// Each transcoder of the pool has this many sessions from now on.
    Sessions(Target, u32),
    /// These operators are killed; the next one renews the lease in this namespace.
    Operators(Vec<Pid>, String),
}

/// Finds out what a fault will strike.
pub(super) async fn aim(fault: Fault, network: &Network, operator: &str) -> Result<Aim> {
    let target = match fault {
        Fault::KillTranscoder
        | Fault::FreezeTranscoder
        | Fault::CutTranscoder
        | Fault::StopTranscoder
        | Fault::DeleteTranscoder
        | Fault::EditLiveField => target::transcoder(network).await?,
        Fault::KillOrchestrator
        | Fault::StopOrchestrator
        | Fault::DeleteOrchestrator
        | Fault::StopGateway
        | Fault::KillOperator => target::orchestrator(network).await?,
    };
    let amid = target.owner;
    let node = async || processes(network, &target.pod).await;
    let blow = match fault {
        Fault::KillTranscoder | Fault::KillOrchestrator => {
            Blow::Processes(node().await?[..1].to_vec(), Signal::KILL)
        }
        Fault::StopTranscoder | Fault::StopOrchestrator => {
            Blow::Processes(node().await?[..1].to_vec(), Signal::TERM)
        }
        Fault::FreezeTranscoder => Blow::Frozen(node().await?),
        Fault::CutTranscoder => {
            let (cluster, namespace) = (&network.cluster, &network.namespace);
            Blow::Link(cluster.link(namespace, &target.pod, CONTAINER).await?)
        }
        Fault::DeleteTranscoder | Fault::DeleteOrchestrator => Blow::Delete(target),
        Fault::StopGateway => {
            let pod = network.pod("gateway", GATEWAY).await?;
            Blow::Processes(processes(network, &pod).await?[..1].to_vec(), Signal::TERM)
        }
        Fault::EditLiveField => {
            let other = match sessions(network, target.owner).await? {
                SESSIONS => SESSIONS + 1,
                _ => SESSIONS,
            };
            Blow::Sessions(target, other)
        }
        Fault::KillOperator => {
            Blow::Operators(operators(network, operator).await?, operator.to_owned())
        }
    };
    Ok(Aim { blow, amid })
}

impl Aim {
    /// Strikes.
    pub(super) async fn strike(&self, network: &Network) -> Result<()> {
        match &self.blow {
            Blow::Processes(pids, signal) => send(pids, *signal),
            Blow::Frozen(pids) => send(pids, Signal::STOP),
            Blow::Link(link) => network.cluster.set_link(link, "down").await,
            Blow::Delete(target) => {
                pods(network)
                    .delete(&target.pod, &DeleteParams::default())
                    .await?;
                Ok(())
            }
            Blow::Sessions(target, sessions) => {
                let spec = json!({ "maxSessions": sessions });
                network.edit("TranscoderPool", target.owner, spec).await
            }
            Blow::Operators(pids, _) => send(pids, Signal::KILL),
        }
    }

    /// Waits until what works by way of the API server has worked, `since` being the time of
    /// the strike: the stream is to run until then.
    pub(super) async fn worked(&self, network: &Network, since: Timestamp) -> Result<()> {
        match &self.blow {
            Blow::Sessions(target, sessions) => {
                let what = "the registration of the edited pool";
                health::until(Instant::now() + STARTS, what, || async {
                    let capacity = target::capacity(network, target.owner).await?;
                    ensure!(capacity == f64::from(REPLICAS * sessions), "{capacity}");
                    Ok(())
                })
                .await
            }
            Blow::Operators(_, namespace) => {
                let leases: Api<Lease> = Api::namespaced(network.cluster.client(), namespace);
                health::until(Instant::now() + STARTS, "the next leader", || async {
                    let lease = leases.get(LEASE).await?;
                    let renewed = lease.spec.and_then(|spec| spec.renew_time);
                    let renewed = renewed.context("a lease that nobody holds")?.0;
                    ensure!(renewed > since, "renewed at {renewed}");
                    Ok(())
                })
                .await
            }
            Blow::Processes(..) | Blow::Frozen(_) | Blow::Link(_) | Blow::Delete(_) => Ok(()),
        }
    }

    /// Takes back what would last. What has gone meanwhile needs nothing.
    pub(super) async fn undo(&self, network: &Network) {
        match &self.blow {
            Blow::Frozen(pids) => drop(send(pids, Signal::CONT)),
            Blow::Link(link) => drop(network.cluster.set_link(link, "up").await),
            Blow::Processes(..) | Blow::Delete(_) | Blow::Sessions(..) | Blow::Operators(..) => {}
        }
    }
}

fn send(pids: &[Pid], signal: Signal) -> Result<()> {
    for pid in pids {
        kill_process(*pid, signal).context("the process has just ended")?;
    }
    Ok(())
}

fn pods(network: &Network) -> Api<Pod> {
    Api::namespaced(network.cluster.client(), &network.namespace)
}

/// Waits until the gateway runs again, after it has drained.
pub(super) async fn restarted(network: &Network, aim: &Aim) -> Result<()> {
    let Blow::Processes(struck, _) = &aim.blow else {
        return Ok(());
    };
    let pod = network.pod("gateway", GATEWAY).await?;
    health::until(Instant::now() + STARTS, "the gateway's restart", || async {
        let now = processes(network, &pod).await?;
        ensure!(now.first() != struck.first(), "the old one runs");
        Ok(())
    })
    .await
}

/// Every process of a pod, the node itself first; never none.
async fn processes(network: &Network, pod: &str) -> Result<Vec<Pid>> {
    network
        .cluster
        .pids(&network.namespace, pod, CONTAINER)
        .await
}

/// The first process of every operator.
async fn operators(network: &Network, namespace: &str) -> Result<Vec<Pid>> {
    let list = ListParams::default().labels("app.kubernetes.io/name=livepeer-operator");
    let pods: Api<Pod> = Api::namespaced(network.cluster.client(), namespace);
    let mut first = Vec::new();
    for pod in pods.list(&list).await? {
        let name = pod.metadata.name.context("a pod without a name")?;
        let pids = network.cluster.pids(namespace, &name, "operator").await?;
        first.extend(pids.first());
    }
    Ok(first)
}

async fn sessions(network: &Network, pool: &str) -> Result<u32> {
    let pool = network.api("TranscoderPool").get(pool).await?;
    let sessions = pool.data["spec"]["maxSessions"].as_u64();
    Ok(u32::try_from(
        sessions.context("the pool has no maxSessions")?,
    )?)
}
