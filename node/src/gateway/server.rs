//! The ingest listener: push, playback and the page on one plain HTTP port, with every
//! wait of a connection bounded.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Version, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{any, get};
use axum::{Extension, Router};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::client_ip::Peer;
use super::{App, hls, page, push};
use crate::connection::activity::Activity;
use crate::connection::{self, USER_TIMEOUT};

/// Connections at once: viewers and pushes. More wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 4096;
/// Time for a connection's first bytes, for a request's head, and for the next request
/// on an open connection: above the 60 s after which a stream counts as over, so that no
/// push meets a connection that closes under it.
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
/// A connection on which no request has begun for so long takes no more: longer than
/// the longest push. HTTP/2 has no such time itself, and pings are answered by anybody.
const IDLE_TIME: Duration = Duration::from_secs(6 * 60);
/// For what is then still under way: replies to an HTTP/2 client that opens no window
/// for them would else wait for ever.
const LAST_REQUESTS: Duration = Duration::from_secs(15 * 60);

/// In which a viewer takes a segment, or loses the connection. The bytes of a segment count
/// as the stream's for as long as they wait for a viewer, so what waits for all viewers
/// together is what the stream brought in this time. Who needs longer for a segment of a few
/// seconds cannot watch it live.
const TAKE_TIME: Duration = Duration::from_secs(30);

/// The segments that wait for the viewer on a request's connection.
#[derive(Clone, Default)]
pub(super) struct Waiting(pub(super) Activity);

/// Ends the connection of a request when all that is under way on it is answered.
#[derive(Debug, Clone)]
struct Leave(CancellationToken);

/// Every route of the gateway.
pub(super) fn routes(app: Arc<App>) -> Router {
    let push = any(push::push).layer(from_fn_with_state(Arc::clone(&app), send_on));
    Router::new()
        .route("/live/{*path}", push)
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

/// While the gateway drains, every reply to a push ends its connection, so that the
/// stream's next segment goes to whomever the Service names by then. Kept open, the
/// connection would lead here until it is cut off, and viewers elsewhere. A client that
/// finds nobody else comes back here and is served.
async fn send_on(
    State(app): State<Arc<App>>,
    Extension(Leave(leave)): Extension<Leave>,
    request: Request,
    next: Next,
) -> Response {
    let version = request.version();
    let mut response = next.run(request).await;
    if app.draining.is_cancelled() {
        if version == Version::HTTP_2 {
            leave.cancel();
        } else {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
    }
    response
}

/// Serves until `close`, lets requests in flight end, briefly, and cuts them off at
/// `stop`.
pub(super) async fn serve(
    listener: TcpListener,
    routes: Router,
    close: CancellationToken,
    stop: CancellationToken,
) {
    let http = builder();
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let leaving = CancellationToken::new();
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
        let (stream, peer) = match accepted {
            Ok((stream, peer)) => (stream, Peer(peer)),
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (routes, leave) = (routes.clone(), leaving.child_token());
        let connection = connection(http.clone(), stream, peer, routes, leave);
        connections.spawn(async move {
            connection.await;
            drop(permit);
        });
    }
    drop(listener);
    leaving.cancel();
    tokio::select! {
        () = async { while connections.join_next().await.is_some() {} } => {}
        () = tokio::time::sleep(CLOSE_GRACE) => {}
        () = stop.cancelled() => {}
    }
    connections.shutdown().await;
}

fn builder() -> Builder<TokioExecutor> {
    let mut http = Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        // ffmpeg closes its connection behind the last byte of a segment and reads no reply:
        // that must not take the segment away
        .half_close(true)
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD_BYTES);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .max_header_list_size(u32::try_from(MAX_HEAD_BYTES).unwrap_or(u32::MAX));
    http
}

/// Serves one connection until it ends; after `leave` it takes no further request.
async fn connection(
    http: Builder<TokioExecutor>,
    stream: TcpStream,
    peer: Peer,
    routes: Router,
    leave: CancellationToken,
) {
    let set = stream
        .set_nodelay(true)
        .and_then(|()| connection::user_timeout(&stream, USER_TIMEOUT));
    if let Err(error) = set {
        tracing::debug!(%error, "connection gone");
        return;
    }
    let stream = connection::first_byte_within(stream, HEAD_TIME);
    if let Err(error) = serve_one(http, stream, peer, routes, leave).await {
        tracing::debug!(%error, "connection ended");
    }
}

async fn serve_one(
    http: Builder<TokioExecutor>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    routes: Router,
    leave: CancellationToken,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let asked = Arc::new(Notify::new());
    let (asking, handle) = (Arc::clone(&asked), Leave(leave.clone()));
    let waiting = Waiting::default();
    let Waiting(untaken) = waiting.clone();
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        asking.notify_one();
        request.extensions_mut().insert(handle.clone());
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(waiting.clone());
        routes.clone().oneshot(request)
    });
    let connection = http.serve_connection(TokioIo::new(stream), service);
    let served = async {
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => return ended,
            () = leave.cancelled() => {}
            // HTTP/1.1 ends sooner by itself
            () = idle(&asked) => {}
        }
        connection.as_mut().graceful_shutdown();
        timeout(LAST_REQUESTS, connection).await?
    };
    tokio::select! {
        ended = served => ended,
        () = untaken.overdue(TAKE_TIME) => Err("a segment was not taken".into()),
    }
}

/// Until no request has begun for [`IDLE_TIME`].
async fn idle(asked: &Notify) {
    while timeout(IDLE_TIME, asked.notified()).await.is_ok() {}
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use axum::{Extension, Router};
    use bytes::Bytes;
    use http::Request;
    use tokio::io::{AsyncWriteExt as _, duplex};
    use tokio::time::{Instant, timeout};
    use tokio_util::sync::CancellationToken;

    use super::{IDLE_TIME, Peer, TAKE_TIME, Waiting, builder, serve_one};
    use crate::connection::tests::http2;

    fn peer() -> Peer {
        Peer("127.0.0.1:1".parse().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_only_answers_pings_is_closed() {
        let (requests, peer, far) = http2().await;
        let began = Instant::now();
        let leave = CancellationToken::new();
        let served = serve_one(builder(), far, self::peer(), Router::new(), leave);
        // either may be the first to close
        let ended = timeout(2 * IDLE_TIME, async { tokio::join!(served, peer) }).await;
        assert!(ended.is_ok() && began.elapsed() >= IDLE_TIME);
        drop(requests);
    }

    /// More than any window or buffer here takes.
    fn one_segment() -> Router {
        let segment = async |Extension(Waiting(waiting)): Extension<Waiting>| {
            waiting
                .begin()
                .with_bytes(Bytes::from_static(&[7; 8 << 20]))
        };
        Router::new().route("/1.ts", get(segment))
    }

    #[tokio::test(start_paused = true)]
    async fn a_viewer_that_takes_no_segment_loses_the_connection() {
        let began = Instant::now();
        let (mut near, far) = duplex(1 << 16);
        near.write_all(b"GET /1.ts HTTP/1.1\r\nHost: gateway\r\n\r\n")
            .await
            .unwrap();
        let served = serve_one(
            builder(),
            far,
            peer(),
            one_segment(),
            CancellationToken::new(),
        );
        let ended = timeout(2 * TAKE_TIME, served).await.expect("in time");
        assert!(ended.is_err() && began.elapsed() == TAKE_TIME);
        drop(near);
    }

    #[tokio::test(start_paused = true)]
    async fn nor_does_one_keep_it_who_opens_no_window_and_asks_on() {
        let (mut requests, peer, far) = http2().await;
        let served = serve_one(
            builder(),
            far,
            self::peer(),
            one_segment(),
            CancellationToken::new(),
        );
        let asks = async {
            let mut unread = Vec::new();
            loop {
                let get = Request::get("http://gateway/1.ts").body(Body::empty());
                unread.push(requests.send_request(get.unwrap()).await);
                tokio::time::sleep(TAKE_TIME / 4).await;
            }
        };
        let began = Instant::now();
        let ended = timeout(2 * TAKE_TIME, async {
            tokio::select! {
                ended = served => ended,
                _ = async { tokio::join!(asks, peer) } => Ok(()),
            }
        });
        assert!(ended.await.expect("in time").is_err());
        assert_eq!(began.elapsed().as_secs(), TAKE_TIME.as_secs());
    }
}
