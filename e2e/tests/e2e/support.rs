//! What the tests of the product share: the operator, installed once for all of them,
//! and a network in a namespace of its own.

use std::future::Future;
use std::path::Path;

use anyhow::Result;
use livepeer_e2e::install;
use livepeer_e2e::namespace::in_namespace;
use livepeer_e2e::network::Network;
use livepeer_e2e::stream::Clip;
use tokio::sync::OnceCell;

use crate::{Bench, cluster, cluster_alone};

/// Where the operator of the tests runs; it watches every namespace.
pub(crate) const OPERATOR: &str = "livepeer-system";

static INSTALLED: OnceCell<()> = OnceCell::const_new();
static CLIP: OnceCell<Clip> = OnceCell::const_new();

/// Runs `body` on a network of its own, with the operator running.
pub(crate) async fn network<F>(prefix: &str, body: impl FnOnce(Network) -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    installed(cluster().await?, prefix, body).await
}

/// The same with no other test running: `body` breaks what they share, or measures time.
pub(crate) async fn network_alone<F>(prefix: &str, body: impl FnOnce(Network) -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    installed(cluster_alone().await?, prefix, body).await
}

async fn installed<F>(cluster: Bench, prefix: &str, body: impl FnOnce(Network) -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    INSTALLED
        .get_or_try_init(|| install::operator(&cluster, OPERATOR, &[]))
        .await?;
    let within = cluster.clone();
    in_namespace(&cluster, prefix, |namespace| {
        body(Network {
            cluster: within,
            namespace,
        })
    })
    .await
}

/// The clip, made once.
pub(crate) async fn clip() -> Result<&'static Clip> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clip");
    CLIP.get_or_try_init(|| async { Clip::make(&folder).await })
        .await
}
