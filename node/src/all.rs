//! `livepeer-node all`: gateway, orchestrator and transcoder in one process, off-chain,
//! over the real wire on loopback. The shortest way to a rendition: no settings, no
//! chain, no cluster.

use crate::process::Process;
use crate::{gateway, orchestrator};

/// Runs the roles side by side; the first to end ends all.
pub async fn run(process: Process) -> anyhow::Result<()> {
    let _ = (gateway::run(process.clone()), orchestrator::run(process));
    anyhow::bail!("not built yet")
}
