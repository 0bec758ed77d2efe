//! `livepeer-operator run`: the lease, and the scopes while it is held.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

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
    let (leads, mut leading) = watch::channel(false);
    let mut lease = JoinSet::new();
    // the lease outlives the controllers by a little: it is given back when they stand
    let lease_cancel = CancellationToken::new();
    let stop_lease = lease_cancel.clone();
    lease.spawn(
        async move { lease::run(lease_client, &namespace, &identity, leads, stop_lease).await },
    );
    let mut health = JoinSet::new();
    health.spawn(health::serve(listen, Arc::clone(&metrics), cancel.clone()));

    let result = loop {
        let leads = *leading.borrow_and_update();
        metrics.leader.set(i64::from(leads));
        if leads {
            reign(&watch_namespaces, &shared, &mut leading, &cancel).await;
        }
        tokio::select! {
            () = cancel.cancelled() => break Ok(()),
            changed = leading.changed() => if changed.is_err() { break Ok(()) },
            Some(ended) = health.join_next() => {
                cancel.cancel();
                break ended.map_err(RunError::Lease).and_then(|ended| Ok(ended?));
            }
        }
    };
    lease_cancel.cancel();
    while let Some(ended) = lease.join_next().await {
        ended.map_err(RunError::Lease)?;
    }
    result
}

/// Runs every scope until leadership ends or `cancel`.
async fn reign(
    namespaces: &[String],
    shared: &Shared,
    leading: &mut watch::Receiver<bool>,
    cancel: &CancellationToken,
) {
    let stop = cancel.child_token();
    let mut scopes = JoinSet::new();
    let names: Vec<Option<String>> = if namespaces.is_empty() {
        vec![None]
    } else {
        namespaces.iter().cloned().map(Some).collect()
    };
    for name in names {
        scopes.spawn(scope::run(name, shared.clone(), stop.clone()));
    }
    tokio::select! {
        () = cancel.cancelled() => {}
        _ = leading.wait_for(|leads| !leads) => tracing::warn!("leadership is lost; controllers stop"),
        // a scope ends only when one of its tasks failed
        _ = scopes.join_next() => tracing::error!("a scope ended by itself; all start again"),
    }
    shared.metrics.leader.set(0);
    stop.cancel();
    let all = async { while scopes.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_LIMIT, all).await.is_err() {
        tracing::warn!("reconciles did not end in time and are cut off");
    }
}
