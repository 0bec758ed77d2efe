//! The one listener of an orchestrator: TLS, HTTP/2 and HTTP/1.1, gRPC and the rest on
//! the same port (go-livepeer `server/rpc.go`).
//!
//! Bounds are here: connections, time to shake hands and to begin, size of headers, time
//! without a request.
//! HTTP/2 pings from our side find peers that are frozen or cut off.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse as _;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use livepeer_proto::dial::{PING_INTERVAL, PING_TIMEOUT};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Status;
use tower::ServiceExt;

use crate::connection::activity::Activity;
use crate::connection::{self, USER_TIMEOUT};

/// Connections at once. A gateway has a few, a transcoder has two.
const MAX_CONNECTIONS: usize = 4096;
/// A handshake that takes longer is no peer's.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// From the handshake to the first bytes of a request. A client may open a connection
/// beside one that gets free first, and opens another when this one is gone.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(10);
/// Go's own default, `http.DefaultMaxHeaderBytes`: a payment may carry many tickets.
const MAX_HEADER_BYTES: u32 = 1 << 20;
/// What HTTP/2 lets through to be refused by us: above its own limit the library ends
/// the whole connection for one long header, and with it the requests beside it.
const MAX_HEADER_BYTES_READ: u32 = 4 * MAX_HEADER_BYTES;
/// Between two requests on an HTTP/1.1 connection, and for the head of one. Go's
/// clients close theirs after one minute, so it is they who close.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// A connection without a request for so long takes no more (go-livepeer: the same). HTTP/2
/// has no such time itself, and pings are answered by anybody. A register stream is a
/// request that lasts.
const IDLE_TIMEOUT_HTTP2: Duration = Duration::from_secs(10 * 60);
/// Until a gRPC request has come and its reply begins: each is answered at once. (A register
/// stream is a reply that has begun.)
const GRPC_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests at once on one HTTP/2 connection, register stream included.
const MAX_STREAMS: u32 = 256;
/// Bytes of one body that may be on their way: a whole live segment, so that it is
/// sent in one go.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
/// How long connections may take to end once no request is left.
const CLOSE_GRACE: Duration = Duration::from_secs(2);
/// After a failed `accept` (no descriptor left, most likely), so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where a request comes from, in its extensions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PeerAddr(pub(crate) SocketAddr);

/// What to serve.
pub(crate) struct Server {
    pub(crate) listener: TcpListener,
    pub(crate) tls: Arc<rustls::ServerConfig>,
    pub(crate) grpc: Router,
    pub(crate) http: Router,
}

/// What every connection needs.
#[derive(Clone)]
struct Service {
    grpc: Router,
    http: Router,
    tasks: TaskTracker,
    closing: CancellationToken,
}

impl Server {
    /// Serves until `closing`; then lets requests in flight end, briefly.
    pub(crate) async fn serve(self, closing: CancellationToken, connected: impl Fn(usize)) {
        let tls = TlsAcceptor::from(self.tls);
        let service = Service {
            grpc: self.grpc,
            http: self.http,
            tasks: TaskTracker::new(),
            closing: closing.clone(),
        };
        let free = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let abort = CancellationToken::new();
        while let Some((accepted, permit)) = next(&self.listener, &free, &closing).await {
            match accepted {
                Ok((stream, peer)) => {
                    connected(MAX_CONNECTIONS - free.available_permits());
                    let (service, tls, abort) = (service.clone(), tls.clone(), abort.clone());
                    service.tasks.clone().spawn(async move {
                        tokio::select! {
                            () = service.connection(tls, stream, peer, permit) => {}
                            () = abort.cancelled() => {}
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        service.tasks.close();
        let ended = tokio::time::timeout(CLOSE_GRACE, service.tasks.wait()).await;
        if ended.is_err() {
            abort.cancel();
        }
    }
}

/// What `accept` says and a place for it, when there is one; none at `closing`, also while
/// every place is taken.
async fn next(
    listener: &TcpListener,
    free: &Arc<Semaphore>,
    closing: &CancellationToken,
) -> Option<(io::Result<(TcpStream, SocketAddr)>, OwnedSemaphorePermit)> {
    let accept = async {
        let permit = Arc::clone(free).acquire_owned().await.ok()?;
        Some((listener.accept().await, permit))
    };
    tokio::select! {
        accepted = accept => accepted,
        () = closing.cancelled() => None,
    }
}

impl Service {
    async fn connection(
        self,
        tls: TlsAcceptor,
        stream: TcpStream,
        peer: SocketAddr,
        _permit: OwnedSemaphorePermit,
    ) {
        let set = stream
            .set_nodelay(true)
            .and_then(|()| connection::user_timeout(&stream, USER_TIMEOUT));
        if let Err(error) = set {
            tracing::debug!(%peer, %error, "connection gone");
            return;
        }
        let shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await;
        let stream = match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%peer, %error, "no TLS"),
            Err(_) => return tracing::debug!(%peer, "no TLS in time"),
        };
        let stream = connection::first_byte_within(stream, FIRST_BYTE_TIMEOUT);
        self.requests(stream, peer).await;
    }

    /// Answers what is asked on one connection.
    async fn requests<S>(self, stream: S, peer: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (grpc, http) = (self.grpc, self.http);
        let activity = Activity::default();
        let requests = activity.clone();
        let answer = service_fn(move |request: Request<Incoming>| {
            let is_grpc = is_grpc(&request);
            let router = if is_grpc { grpc.clone() } else { http.clone() };
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(PeerAddr(peer));
            let underway = requests.begin();
            async move {
                if is_too_long(request.headers()) {
                    return Ok(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE.into_response());
                }
                let answer = answer(router, request);
                let response = if is_grpc {
                    in_time(answer).await
                } else {
                    answer.await
                };
                Ok::<_, Infallible>(response.map(|body| underway.with_body(body)))
            }
        });
        let builder = builder(self.tasks);
        let connection = builder.serve_connection(TokioIo::new(stream), answer);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.closing.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            () = activity.idle(IDLE_TIMEOUT_HTTP2) => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection => ended,
                    // what began in this moment is done first
                    () = activity.idle(CLOSE_GRACE) => Ok(()),
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "connection ended");
        }
    }
}

async fn answer(router: Router, request: Request<Body>) -> http::Response<Body> {
    match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// The answer to a gRPC request; each route of the rest has a limit of its own.
async fn in_time(answer: impl Future<Output = http::Response<Body>>) -> http::Response<Body> {
    let answered = timeout(GRPC_TIMEOUT, answer).await;
    answered.unwrap_or_else(|_| {
        Status::deadline_exceeded("the request did not come in time").into_http()
    })
}

/// Over the limit, counted as HTTP/2 does (RFC 9113 §6.5.2).
fn is_too_long(headers: &HeaderMap) -> bool {
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 32)
        .sum();
    bytes > MAX_HEADER_BYTES as usize
}

/// gRPC is HTTP/2 and says so; everything else is not (`server/rpc.go`).
fn is_grpc(request: &Request<Incoming>) -> bool {
    let content = request.headers().get(header::CONTENT_TYPE);
    request.version() == Version::HTTP_2
        && content
            .map(HeaderValue::as_bytes)
            .is_some_and(|value| value.starts_with(b"application/grpc"))
}

fn builder(tasks: TaskTracker) -> auto::Builder<Tracked> {
    let mut builder = auto::Builder::new(Tracked(tasks));
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_header_list_size(MAX_HEADER_BYTES_READ)
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    builder
}

/// Runs what an HTTP/2 connection needs as tasks that somebody waits for.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> Executor<F> for Tracked
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;

    use super::{CLOSE_GRACE, GRPC_TIMEOUT, IDLE_TIMEOUT_HTTP2, Service, next};
    use crate::connection::tests::http2;
    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::routing::get;
    use bytes::Bytes;
    use futures::{StreamExt as _, stream};
    use http::Request;
    use tokio::net::TcpListener;
    use tokio::sync::Semaphore;
    use tokio::time::{Instant, timeout};
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;

    #[tokio::test(start_paused = true)]
    async fn the_end_is_seen_while_every_connection_is_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (full, closing) = (Arc::new(Semaphore::new(0)), CancellationToken::new());
        let accepted = timeout(CLOSE_GRACE, next(&listener, &full, &closing)).await;
        assert!(accepted.is_err(), "there is no place");
        closing.cancel();
        let accepted = timeout(CLOSE_GRACE, next(&listener, &full, &closing)).await;
        assert!(accepted.expect("it is seen").is_none());
    }

    /// Whether the connection of a client that asks for `path` once is kept.
    async fn held(path: &str) -> bool {
        let never = get(async || std::future::pending::<()>().await);
        let service = Service {
            grpc: Router::new(),
            http: Router::new().route("/never", never),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
        };
        let (mut requests, peer, far) = http2().await;
        let request = Request::get(format!("https://orchestrator{path}")).body(Body::empty());
        let asks = async {
            let answer = requests.send_request(request.unwrap()).await;
            std::future::pending::<()>().await;
            drop(answer);
        };
        let from = "127.0.0.1:1".parse().unwrap();
        let served = async {
            tokio::select! {
                () = service.requests(far, from) => {}
                _ = async { tokio::join!(asks, peer) } => {}
            }
        };
        timeout(3 * IDLE_TIMEOUT_HTTP2, served).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn a_grpc_request_that_does_not_come_is_answered_and_keeps_no_connection() {
        // as tonic does, it waits for the whole message
        let whole = async |body: Body| to_bytes(body, 5).await.map(drop).map_err(|_| "cut off");
        let service = Service {
            grpc: Router::new().fallback(whole),
            http: Router::new(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
        };
        let (mut requests, peer, far) = http2().await;
        let first = Bytes::from_static(&[0, 0, 0, 0]);
        let unfinished = stream::iter([Ok::<_, Infallible>(first)]).chain(stream::pending());
        let request = Request::post("https://orchestrator/net.Orchestrator/GetOrchestrator")
            .header("content-type", "application/grpc")
            .body(Body::from_stream(unfinished));
        let began = Instant::now();
        let asks = async {
            let answer = requests.send_request(request.unwrap()).await.unwrap();
            assert_eq!(answer.headers()["grpc-status"], "4", "DEADLINE_EXCEEDED");
            assert_eq!(began.elapsed().as_secs(), GRPC_TIMEOUT.as_secs());
            std::future::pending::<()>().await;
        };
        let served = async {
            tokio::select! {
                () = service.requests(far, "127.0.0.1:1".parse().unwrap()) => {}
                _ = async { tokio::join!(asks, peer) } => {}
            }
        };
        let ended = timeout(3 * IDLE_TIMEOUT_HTTP2, served).await;
        assert!(ended.is_ok(), "it is idle");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_kept_for_what_is_asked_on_it_and_not_for_pings() {
        let began = Instant::now();
        assert!(!held("/nothing").await);
        assert_eq!(began.elapsed().as_secs(), IDLE_TIMEOUT_HTTP2.as_secs());
        assert!(held("/never").await);
    }
}
