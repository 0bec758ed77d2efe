//! The end-to-end tests, one binary. They share the machine's cluster, which the first of them
//! brings up if it is not; each has a namespace of its own.

mod admit;
mod cluster;
mod credentials;
mod drain;
mod drift;
mod fields;
mod lifecycle;
mod network_policy;
mod pool_moves;
mod problems;
mod quiet;
mod reconcile;
mod rehearsal;
mod shipped;
mod stream;
mod support;

use std::ops::Deref;
use std::path::Path;

use anyhow::Result;
use livepeer_e2e::cluster::Cluster;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Held for reading by tests that run side by side, for writing by one that disturbs them all.
static ALONE: RwLock<()> = RwLock::const_new(());

enum Turn {
    #[expect(dead_code, reason = "held, not read")]
    Shared(RwLockReadGuard<'static, ()>),
    #[expect(dead_code, reason = "held, not read")]
    Alone(RwLockWriteGuard<'static, ()>),
}

/// The cluster, for as long as a test runs.
struct Bench {
    cluster: Cluster,
    _turn: Turn,
}

impl Deref for Bench {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

/// The cluster, brought up if need be, beside other tests. The images come from
/// `e2e/images.sh`.
async fn cluster() -> Result<Bench> {
    bench(Turn::Shared(ALONE.read().await)).await
}

/// The cluster for one test alone, since it takes away what all stand on.
async fn cluster_alone() -> Result<Bench> {
    bench(Turn::Alone(ALONE.write().await)).await
}

async fn bench(turn: Turn) -> Result<Bench> {
    let (cluster, _) = Cluster::ensure_up(Path::new(env!("CARGO_BIN_EXE_livepeer-e2e"))).await?;
    Ok(Bench {
        cluster,
        _turn: turn,
    })
}
