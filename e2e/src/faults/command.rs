//! `make faults`: each fault many times, and a line a fault.

use std::time::Duration;

use anyhow::Result;

use super::report::percentile;
use super::{Fault, Faults};
use crate::cluster::Cluster;
use crate::install;
use crate::namespace::in_namespace;
use crate::network::Network;
use crate::stream::Clip;

/// Where the operator is for this; it watches every namespace.
const OPERATOR: &str = "livepeer-system";

/// Strikes each of `faults` `runs` times; whether any segment was lost.
pub async fn report(cluster: &Cluster, faults: &[Fault], runs: usize) -> Result<bool> {
    say("installing the operator with its Helm chart");
    install::operator(cluster, OPERATOR, &[]).await?;
    let folder = tempfile::tempdir()?;
    let clip = Clip::make(folder.path()).await?;
    in_namespace(cluster, "faults", async |namespace| {
        let network = Network {
            cluster: cluster.clone(),
            namespace,
        };
        let mut bench = Faults::start(network, OPERATOR, &clip).await?;
        let usual = bench.baseline();
        say(&format!(
            "two renditions in real time; without a fault p50 {:.2} s, p99 {:.2} s a segment",
            usual.p50.as_secs_f32(),
            usual.p99.as_secs_f32()
        ));
        say("fault                  runs   lost   added p50      p99      max");
        let mut any = false;
        for &fault in faults {
            any |= line(&mut bench, fault, runs).await?;
        }
        let lost = bench.finish().await?;
        for one in &lost {
            say(&format!("afterwards {one}"));
        }
        Ok(any || !lost.is_empty())
    })
    .await
}

/// One fault; whether it cost a segment.
async fn line(bench: &mut Faults, fault: Fault, runs: usize) -> Result<bool> {
    let mut added = Vec::new();
    let mut lost = Vec::new();
    for _ in 0..runs {
        let cost = bench.strike(fault).await?;
        added.push(cost.added);
        lost.extend(cost.lost);
    }
    added.sort();
    let seconds = |time: Option<Duration>| time.unwrap_or_default().as_secs_f32();
    say(&format!(
        "{:<22} {runs:>4} {:>6} {:>9.2} s {:>6.2} s {:>6.2} s",
        format!("{fault:?}"),
        lost.len(),
        seconds(percentile(&added, 50)),
        seconds(percentile(&added, 99)),
        seconds(percentile(&added, 100)),
    ));
    for one in &lost {
        say(&format!("    {one}"));
    }
    Ok(!lost.is_empty())
}

#[expect(clippy::print_stdout, reason = "the answer of a command")]
fn say(line: &str) {
    println!("{line}");
}
