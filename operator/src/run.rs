//! `livepeer-operator run`: the lease, and the scopes while it is held.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backoff;
use crate::build::Surroundings;
use crate::client::{self, ClientError};
use crate::health::{self, HealthError};
use crate::lease;
use crate::metrics::Metrics;
use crate::observe::ask;
use crate::scope::{self, Shared};

/// Running reconciles may take this long to end; then they are cut off, which is what a
/// crash would do and harms nothing.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// At the end, nobody waits longer for whoever still reads from the listener.
const LISTENER_LIMIT: Duration = Duration::from_secs(1);
/// Scopes that ran this long before one of them ended are started again as after the
/// first failure.
const RAN_WELL: Duration = Duration::from_secs(60);

/// What `run` is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Namespaces to look after; none means all.
    pub watch_namespaces: Vec<String>,
    /// Namespace of this process, for its lease.
    pub namespace: String,
    /// Name of this process among its replicas.
    pub identity: String,
    pub listen: SocketAddr,
    pub surroundings: Surroundings,
}

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("no connection to Kubernetes")]
    Client(#[from] ClientError),
    #[error("health listener ended")]
    Health(#[from] HealthError),
    #[error("http client cannot be made")]
    Http(#[from] reqwest::Error),
    #[error("lease task failed")]
    Lease(#[source] tokio::task::JoinError),
    #[error("listener task failed")]
    Listener(#[source] tokio::task::JoinError),
}

/// Runs until `cancel`.
pub async fn run(options: Options, cancel: CancellationToken) -> Result<(), RunError> {
    let Options {
        watch_namespaces,
        namespace,
        identity,
        listen,
        surroundings,
    } = options;
    let config = client::config().await?;
    let lease_client = client::for_lease(config.clone())?;
    let metrics = Arc::new(Metrics::default());
    let shared = Shared {
        client: client::ordinary(config)?,
        http: ask::client()?,
        surroundings: Arc::new(surroundings),
        metrics: Arc::clone(&metrics),
    };
    let (leads, leading) = watch::channel(false);
    let mut lease = JoinSet::new();
    // the lease outlives the controllers by a little: it is given back when they stand
    let lease_cancel = CancellationToken::new();
    let stop_lease = lease_cancel.clone();
    lease.spawn(
        async move { lease::run(lease_client, &namespace, &identity, leads, stop_lease).await },
    );
    let mut health = JoinSet::new();
    let served = health::serve(listen, Arc::clone(&metrics), cancel.clone());
    // an operator whose listener failed is of no use
    let failed = cancel.clone().drop_guard();
    health.spawn(async move {
        let ended = served.await;
        drop(failed);
        ended
    });

    govern(&metrics, leading, &cancel, |stop| {
        scopes(&watch_namespaces, &shared, stop)
    })
    .await;
    cancel.cancel();
    lease_cancel.cancel();
    while let Some(ended) = lease.join_next().await {
        ended.map_err(RunError::Lease)?;
    }
    match tokio::time::timeout(LISTENER_LIMIT, health.join_next()).await {
        Ok(Some(ended)) => Ok(ended.map_err(RunError::Listener)??),
        Ok(None) | Err(_) => Ok(()),
    }
}

/// A task for each scope; they end when told to.
fn scopes(namespaces: &[String], shared: &Shared, stop: &CancellationToken) -> JoinSet<()> {
    let names: Vec<Option<String>> = if namespaces.is_empty() {
        vec![None]
    } else {
        namespaces.iter().cloned().map(Some).collect()
    };
    let mut scopes = JoinSet::new();
    for name in names {
        scopes.spawn(scope::run(name, shared.clone(), stop.clone()));
    }
    scopes
}

/// Runs the scopes whenever this replica leads, until `cancel` or until nobody tells any
/// more whether it leads. Scopes that end by themselves are started again: the lease is
/// renewed meanwhile, so no other replica would do their work.
async fn govern(
    metrics: &Metrics,
    mut leading: watch::Receiver<bool>,
    cancel: &CancellationToken,
    scopes: impl Fn(&CancellationToken) -> JoinSet<()>,
) {
    let mut failures = 0_u32;
    loop {
        let leads = *leading.borrow_and_update();
        metrics.leader.set(i64::from(leads));
        let mut pause = Duration::ZERO;
        if leads {
            let began = Instant::now();
            let stop = cancel.child_token();
            reign(scopes(&stop), &stop, &mut leading, cancel).await;
            metrics.leader.set(0);
            if began.elapsed() > RAN_WELL {
                failures = 0;
            }
            pause = backoff::delay(failures, rand::random());
            failures = failures.saturating_add(1);
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            changed = leading.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(pause), if leads => {}
        }
    }
}

/// Waits until leadership ends, `cancel`, or one of the scopes ends; then stops them.
async fn reign(
    mut scopes: JoinSet<()>,
    stop: &CancellationToken,
    leading: &mut watch::Receiver<bool>,
    cancel: &CancellationToken,
) {
    tokio::select! {
        () = cancel.cancelled() => {}
        _ = leading.wait_for(|leads| !leads) => tracing::warn!("leadership is lost; controllers stop"),
        // a scope ends only when one of its tasks failed
        _ = scopes.join_next() => tracing::error!("a scope ended by itself; all start again"),
    }
    stop.cancel();
    let all = async { while scopes.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_LIMIT, all).await.is_err() {
        tracing::warn!("reconciles did not end in time and are cut off");
    }
}

#[cfg(test)]
mod tests {
    use super::govern;
    use crate::metrics::Metrics;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;
    use tokio::sync::watch;
    use tokio::task::JoinSet;
    use tokio_util::sync::CancellationToken;

    #[tokio::test(start_paused = true)]
    async fn scopes_of_which_one_panicked_start_again_while_this_replica_leads() {
        let (leads, leading) = watch::channel(true);
        let (metrics, cancel) = (Metrics::default(), CancellationToken::new());
        let starts = AtomicU32::new(0);
        let scopes = |stop: &CancellationToken| {
            let stop = stop.clone();
            let first = starts.fetch_add(1, Ordering::Relaxed) == 0;
            let mut scopes = JoinSet::new();
            scopes.spawn(async move {
                assert!(!first, "the test wants it");
                stop.cancelled().await;
            });
            scopes
        };
        let script = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            assert_eq!(starts.load(Ordering::Relaxed), 2);
            assert_eq!(metrics.leader.get(), 1);
            leads.send_replace(false);
            tokio::time::sleep(Duration::from_secs(5)).await;
            assert_eq!(starts.load(Ordering::Relaxed), 2);
            assert_eq!(metrics.leader.get(), 0);
            cancel.cancel();
        };
        tokio::join!(govern(&metrics, leading, &cancel, scopes), script);
    }
}
