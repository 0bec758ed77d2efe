//! The ingest listener: push, playback and the page on one plain HTTP port, with every
//! wait of a connection bounded.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{any, get};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{App, hls, page, push};

/// Connections at once: viewers and pushes. More wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 4096;
/// Time for a request's head, and for the next request on an open connection: above
/// the 60 s after which a stream counts as over, so that no push meets a connection
/// that closes under it.
const HEAD_TIME: Duration = Duration::from_secs(75);
/// Size of a request's head; above it: 431.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// Pause after `accept` failed, as it does when descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// For replies on their way when no stream is left. A request whose head never ends
/// would else be waited for as long as [`HEAD_TIME`].
const CLOSE_GRACE: Duration = Duration::from_secs(10);
/// HTTP/2 pings find viewers and pushers that are gone.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// Every route of the gateway.
pub(super) fn routes(app: Arc<App>) -> Router {
    Router::new()
        .route("/live/{*path}", any(push::push))
        .route("/stream/{file}", get(hls::routes::multivariant))
        .route("/stream/{manifest_id}/{file}", get(hls::routes::media))
        .route(
            "/stream/{manifest_id}/{rendition}/{file}",
            get(hls::routes::segment),
        )
        .route("/healthz", get(async || ()))
        .merge(page::routes())
        .with_state(app)
}

/// Serves until `close`, lets requests in flight end, briefly, and cuts them off at
/// `stop`.
pub(super) async fn serve(
    listener: TcpListener,
    routes: Router,
    close: CancellationToken,
    stop: CancellationToken,
) {
    let mut http = Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD_BYTES);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .max_header_list_size(u32::try_from(MAX_HEAD_BYTES).unwrap_or(u32::MAX));
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let permit = tokio::select! {
            permit = Arc::clone(&room).acquire_owned() => permit,
            () = close.cancelled() => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = close.cancelled() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
        let service = TowerToHyperService::new(routes.clone());
        let connection = http
            .serve_connection(TokioIo::new(stream), service)
            .into_owned();
        let connection = graceful.watch(connection);
        connections.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = %error, "connection ended");
            }
            drop(permit);
        });
    }
    drop(listener);
    tokio::select! {
        () = graceful.shutdown() => {}
        () = tokio::time::sleep(CLOSE_GRACE) => {}
        () = stop.cancelled() => {}
    }
    connections.shutdown().await;
}
