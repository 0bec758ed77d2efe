//! Clients of the API server.
//!
//! kube retries refused requests up to 15 times, waiting up to 1,000 s: a reconcile
//! would hang for hours. Here a request is retried briefly and then fails, and the
//! reconcile is tried again with its own back-off.

use std::time::Duration;

use kube::client::ClientBuilder;
use kube::client::retry::RetryPolicy;
use kube::{Client, Config};
use tower::buffer::BufferLayer;
use tower::retry::RetryLayer;

use crate::lease::REQUEST_LIMIT;

/// First wait of a retry (429, 503, 504).
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// Longest wait of a retry.
const RETRY_LONGEST: Duration = Duration::from_secs(2);
/// Retries; with the waits above at most 3 s in all.
const RETRIES: u32 = 4;
/// Requests that may wait for a connection: all reconciles of a scope (3 kinds, 32 each)
/// with all their children (9 at most) at once, and the watches.
const WAITING: usize = 1024;
/// To connect.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no kubeconfig and no service account can be used")]
    Infer(#[from] kube::config::InferConfigError),
    #[error("connection settings cannot be used")]
    Client(#[from] kube::Error),
}

/// The connection settings of this process: kubeconfig or service account.
pub async fn config() -> Result<Config, ClientError> {
    let mut config = Config::infer().await?;
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_LIMIT);
    Ok(config)
}

/// For everything but the lease.
pub fn ordinary(config: Config) -> Result<Client, ClientError> {
    let policy = RetryPolicy::new(RETRY_FIRST, RETRY_LONGEST, RETRIES, true)
        .expect("the first wait is shorter than the longest");
    Ok(ClientBuilder::try_from(config)?
        .with_layer(&BufferLayer::new(WAITING))
        .with_layer(&RetryLayer::new(policy))
        .build())
}

/// For the lease: a request is answered soon or has failed.
pub fn for_lease(mut config: Config) -> Result<Client, ClientError> {
    config.connect_timeout = Some(REQUEST_LIMIT);
    config.read_timeout = Some(REQUEST_LIMIT);
    config.reset_reader_on_write = true;
    Ok(Client::try_from(config)?)
}
