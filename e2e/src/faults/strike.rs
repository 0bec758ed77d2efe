//! The faults, and how each strikes: what can be found out beforehand is, so that the
//! strike itself takes no time.

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::target::{self, Target};
use super::{GATEWAY, SESSIONS};
use crate::network::Network;

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

    /// Whether it counts only in the middle of a segment.
    pub(super) fn needs_a_segment(self) -> bool {
        match self {
            Self::KillTranscoder
            | Self::FreezeTranscoder
            | Self::CutTranscoder
            | Self::StopTranscoder
            | Self::DeleteTranscoder
            | Self::KillOrchestrator
            | Self::StopOrchestrator
            | Self::DeleteOrchestrator
            | Self::StopGateway => true,
            // they work later, by way of the API server
            Self::EditLiveField | Self::KillOperator => false,
        }
    }

    /// Whether the gateway goes, and its streams with it.
    pub(super) fn ends_the_stream(self) -> bool {
        self == Self::StopGateway
    }
}

/// A fault that is about to strike.
pub(super) enum Aim {
    /// These processes get this signal.
    Processes(Vec<Pid>, Signal),
    /// These processes freeze, until undone.
    Frozen(Vec<Pid>),
    /// This link goes down, until undone.
    Link(String),
    /// These pods are deleted.
    Delete(Target),
    /// The pool has this many sessions from now on.
    Sessions(Target, u32),
}

/// Finds out what a fault will strike.
pub(super) async fn aim(fault: Fault, network: &Network, operator: &str) -> Result<Aim> {
    let first = async |target: &Target| processes(network, &target.pod).await;
    Ok(match fault {
        Fault::KillTranscoder => {
            let target = target::transcoder(network).await?;
            Aim::Processes(first(&target).await?[..1].to_vec(), Signal::KILL)
        }
        Fault::FreezeTranscoder => {
            let target = target::transcoder(network).await?;
            Aim::Frozen(first(&target).await?)
        }
        Fault::CutTranscoder => {
            let target = target::transcoder(network).await?;
            let (cluster, namespace) = (&network.cluster, &network.namespace);
            let link = cluster.link(namespace, &target.pod, CONTAINER).await?;
            Aim::Link(link)
        }
        Fault::StopTranscoder => {
            let target = target::transcoder(network).await?;
            Aim::Processes(first(&target).await?[..1].to_vec(), Signal::TERM)
        }
        Fault::DeleteTranscoder => Aim::Delete(target::transcoder(network).await?),
        Fault::KillOrchestrator => {
            let target = target::orchestrator(network).await?;
            Aim::Processes(first(&target).await?[..1].to_vec(), Signal::KILL)
        }
        Fault::StopOrchestrator => {
            let target = target::orchestrator(network).await?;
            Aim::Processes(first(&target).await?[..1].to_vec(), Signal::TERM)
        }
        Fault::DeleteOrchestrator => Aim::Delete(target::orchestrator(network).await?),
        Fault::StopGateway => {
            let pod = network.pod("gateway", GATEWAY).await?;
            Aim::Processes(processes(network, &pod).await?[..1].to_vec(), Signal::TERM)
        }
        Fault::EditLiveField => {
            let target = target::transcoder(network).await?;
            let sessions = sessions(network, target.owner).await?;
            Aim::Sessions(
                target,
                if sessions == SESSIONS {
                    SESSIONS + 1
                } else {
                    SESSIONS
                },
            )
        }
        Fault::KillOperator => Aim::Processes(operators(network, operator).await?, Signal::KILL),
    })
}

impl Aim {
    /// Strikes.
    pub(super) async fn strike(&self, network: &Network) -> Result<()> {
        match self {
            Self::Processes(pids, signal) => send(pids, *signal),
            Self::Frozen(pids) => send(pids, Signal::STOP),
            Self::Link(link) => network.cluster.set_link(link, "down").await,
            Self::Delete(target) => {
                pods(network)
                    .delete(&target.pod, &DeleteParams::default())
                    .await?;
                Ok(())
            }
            Self::Sessions(target, sessions) => {
                let spec = json!({ "maxSessions": sessions });
                network.edit("TranscoderPool", target.owner, spec).await
            }
        }
    }

    /// Takes back what would last. What has gone meanwhile needs nothing.
    pub(super) async fn undo(&self, network: &Network) {
        match self {
            Self::Frozen(pids) => drop(send(pids, Signal::CONT)),
            Self::Link(link) => drop(network.cluster.set_link(link, "up").await),
            Self::Processes(..) | Self::Delete(_) | Self::Sessions(..) => {}
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
