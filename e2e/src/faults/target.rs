//! Which pods have the stream: those whose counters grow while a segment is done. And
//! whether one is being done now.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use livepeer_settings::Role;
use tokio::time::Instant;

use super::{ORCHESTRATORS, SEGMENT};
use crate::cluster::{Forward, health};
use crate::network::Network;

/// A pod, by what made it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Target {
    /// The resource's name.
    pub(super) owner: &'static str,
    pub(super) pod: String,
}

/// The transcoder that has the stream.
pub(super) async fn transcoder(network: &Network) -> Result<Target> {
    busy(
        network,
        "pool",
        Role::Transcoder,
        "livepeer_transcoder_tasks_total",
    )
    .await
}

/// The orchestrator that has the stream.
pub(super) async fn orchestrator(network: &Network) -> Result<Target> {
    busy(network, "orchestrator", Role::Orchestrator, SEGMENTS).await
}

/// Segments that an orchestrator has ended.
const SEGMENTS: &str = "livepeer_orchestrator_segments_total";
/// Tasks that it gave to transcoders: one a segment, and more when they fail.
const ATTEMPTS: &str = "livepeer_orchestrator_attempts_total";
/// Sessions at most, those of its registered transcoders together.
const CAPACITY: &str = "livepeer_orchestrator_capacity";

/// The sessions that are registered with an orchestrator, as its pod of now says.
pub(super) async fn capacity(network: &Network, orchestrator: &str) -> Result<f64> {
    let probes = probes(network, orchestrator).await?;
    Ok(sum(&metrics(&probes).await?, CAPACITY))
}

/// A forward to the probe port of an orchestrator's pod.
async fn probes(network: &Network, orchestrator: &str) -> Result<Forward> {
    let pod = format!("pod/{orchestrator}-orchestrator-0");
    let port = Role::Orchestrator.probe_port();
    let forward = network.cluster.forward(&network.namespace, &pod, port);
    forward.await
}

async fn metrics(probes: &Forward) -> Result<String> {
    let url = format!("http://{}/metrics", probes.address);
    Ok(reqwest::get(url).await?.text().await?)
}

/// The work of an orchestrator with one stream.
pub struct Work {
    probes: Forward,
    /// Attempts and segments when no segment was there.
    idle: (f64, f64),
}

impl Work {
    /// To be called between two segments.
    pub async fn watch(network: &Network, orchestrator: &str) -> Result<Self> {
        let mut work = Self {
            probes: probes(network, orchestrator).await?,
            idle: (0.0, 0.0),
        };
        work.idle = work.counts().await?;
        Ok(work)
    }

    /// Whether a segment was given to a transcoder since, and is not done.
    pub async fn is_under_way(&self) -> Result<bool> {
        let (attempts, segments) = self.counts().await?;
        Ok(attempts > self.idle.0 && segments <= self.idle.1)
    }

    async fn counts(&self) -> Result<(f64, f64)> {
        let text = metrics(&self.probes).await?;
        Ok((sum(&text, ATTEMPTS), sum(&text, SEGMENTS)))
    }
}

async fn busy(network: &Network, component: &str, role: Role, counter: &str) -> Result<Target> {
    let before = counts(network, component, role, counter).await?;
    let what = format!("the {component} that does the next segment");
    health::until(Instant::now() + SEGMENT * 5, &what, || async {
        let now = counts(network, component, role, counter).await?;
        now.iter()
            .find(|(target, count)| **count > before.get(*target).copied().unwrap_or(0.0))
            .map(|(target, _)| target.clone())
            .with_context(|| format!("{before:?} became {now:?}"))
    })
    .await
}

/// The counter of every pod, summed over its labels.
async fn counts(
    network: &Network,
    component: &str,
    role: Role,
    counter: &str,
) -> Result<HashMap<Target, f64>> {
    let mut counts = HashMap::new();
    for owner in ORCHESTRATORS {
        for pod in network.pods(component, owner).await? {
            let pod = pod.metadata.name.context("a pod without a name")?;
            let address = format!("pod/{pod}");
            let forward = network
                .cluster
                .forward(&network.namespace, &address, role.probe_port())
                .await?;
            // a pod that has just ended has no stream
            let Ok(text) = metrics(&forward).await else {
                continue;
            };
            counts.insert(Target { owner, pod }, sum(&text, counter));
        }
    }
    Ok(counts)
}

/// The sum of a counter over its labels, in Prometheus' text.
fn sum(text: &str, counter: &str) -> f64 {
    text.lines()
        .filter_map(|line| line.strip_prefix(counter))
        .filter(|rest| rest.starts_with([' ', '{']))
        .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::sum;

    #[test]
    fn a_counter_is_summed_over_its_labels_and_no_other_is_taken_for_it() {
        let text = "# TYPE a counter\na_total{x=\"1\"} 2\na_total{x=\"2\"} 3\na_totals 9\n";
        assert!((sum(text, "a_total") - 5.0).abs() < f64::EPSILON);
    }
}
