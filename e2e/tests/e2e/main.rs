//! The end-to-end tests, one binary. They share the machine's cluster, which the first of them
//! brings up if it is not; each has a namespace of its own.

mod admit;
mod cluster;
mod reconcile;
mod stream;
mod support;

use std::path::Path;

use anyhow::Result;
use livepeer_e2e::cluster::Cluster;

/// The cluster, brought up if need be. The images come from `e2e/images.sh`.
async fn cluster() -> Result<Cluster> {
    let (cluster, _) = Cluster::ensure_up(Path::new(env!("CARGO_BIN_EXE_livepeer-e2e"))).await?;
    Ok(cluster)
}
