//! What the tests of the product share: the operator, installed once for all of them,
//! and a network in a namespace of its own.

use std::future::Future;
use std::path::Path;

use anyhow::{Result, ensure};
use livepeer_e2e::cluster::Cluster;
use livepeer_e2e::cluster::audit::{AuditEvent, AuditMark};
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

/// Alone, for a body in which the operator is refused something, as by a quota: `body` asks
/// itself what was forbidden, and when, if that matters.
pub(crate) async fn network_with_refusals<F>(
    prefix: &str,
    body: impl FnOnce(Network) -> F,
) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let cluster = with_operator(cluster_alone().await?).await?;
    on_network(&cluster, prefix, body).await
}

/// The same for a body that takes the API server away: one that starts forbids everything
/// until it has read its roles. Those who watch it come back up to a minute later (client-go's
/// back-off), DNS and the Services' rules among them: the next test, which may look at how a
/// network starts, waits until one did.
pub(crate) async fn network_with_outage<F>(
    prefix: &str,
    body: impl FnOnce(Network) -> F,
) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let cluster = with_operator(cluster_alone().await?).await?;
    on_network(&cluster, prefix, body).await?;
    on_network(&cluster, "caught-up", |network| async move {
        network.smallest("a", 1).await
    })
    .await
}

/// Alone, for a body that uninstalls the operator; afterwards it is there again, whatever
/// happened. What an operator met whose Roles were taken away is not looked at.
pub(crate) async fn network_without_operator<F>(
    prefix: &str,
    body: impl FnOnce(Network) -> F,
) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let cluster = with_operator(cluster_alone().await?).await?;
    let outcome = on_network(&cluster, prefix, body).await;
    install::uninstall(&cluster, OPERATOR).await.ok();
    install::operator(&cluster, OPERATOR, &[]).await?;
    outcome
}

async fn installed<F>(cluster: Bench, prefix: &str, body: impl FnOnce(Network) -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let cluster = with_operator(cluster).await?;
    let mark = cluster.audit_mark()?;
    on_network(&cluster, prefix, body).await?;
    nothing_was_forbidden(&cluster, mark)
}

async fn with_operator(cluster: Bench) -> Result<Bench> {
    INSTALLED
        .get_or_try_init(|| install::operator(&cluster, OPERATOR, &[]))
        .await?;
    Ok(cluster)
}

async fn on_network<F>(
    cluster: &Cluster,
    prefix: &str,
    body: impl FnOnce(Network) -> F,
) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let within = cluster.clone();
    in_namespace(cluster, prefix, |namespace| {
        body(Network {
            cluster: within,
            namespace,
        })
    })
    .await
}

/// Waits until every replica of the operator is there again.
pub(crate) async fn rolled_out(cluster: &Cluster) -> Result<()> {
    let status = ["rollout", "status", "deployment", "--timeout=2m"];
    let mut args = vec!["-n", OPERATOR];
    args.extend(status);
    cluster.kubectl(&args).await.map(drop)
}

/// The operator runs under the Roles that the chart ships: every 403 that it met while a
/// test ran fails that test.
pub(crate) fn nothing_was_forbidden(cluster: &Cluster, since: AuditMark) -> Result<()> {
    let events = cluster.audit_since(since)?;
    let forbidden: Vec<_> = events
        .iter()
        .filter(|event| event.is_from_operator() && event.is_forbidden())
        .map(AuditEvent::line)
        .collect();
    ensure!(forbidden.is_empty(), "forbidden: {forbidden:#?}");
    Ok(())
}

/// The clip, made once.
pub(crate) async fn clip() -> Result<&'static Clip> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clip");
    CLIP.get_or_try_init(|| async { Clip::make(&folder).await })
        .await
}
