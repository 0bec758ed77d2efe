//! The operator's own listener: `/livez`, `/readyz`, `/metrics`.
//!
//! A replica that does not lead is ready: it is ready to lead. Live means that the
//! process answers; an API server that is away is no reason to restart.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Why the listener ended.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    #[error("address {address} cannot be listened on")]
    Bind {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("listener failed")]
    Serve(#[source] std::io::Error),
}

#[derive(Clone)]
struct Shared {
    metrics: Arc<Metrics>,
    cancel: CancellationToken,
}

/// Serves until `cancel`.
pub async fn serve(
    address: SocketAddr,
    metrics: Arc<Metrics>,
    cancel: CancellationToken,
) -> Result<(), HealthError> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| HealthError::Bind { address, source })?;
    let routes = Router::new()
        .route("/livez", get(async || "ok"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics_text))
        .with_state(Shared {
            metrics,
            cancel: cancel.clone(),
        });
    axum::serve(listener, routes)
        .with_graceful_shutdown(cancel.cancelled_owned())
        .await
        .map_err(HealthError::Serve)
}

async fn ready(State(shared): State<Shared>) -> impl IntoResponse {
    if shared.cancel.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping")
    } else {
        (StatusCode::OK, "ok")
    }
}

async fn metrics_text(State(shared): State<Shared>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, kind)], shared.metrics.text())
}
