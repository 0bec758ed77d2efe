//! The recorder: stands between peers, ends their TLS, passes every request on over a
//! connection of the same HTTP version, and captures what crosses.
//!
//! It works because Livepeer peers verify no certificate, and because all of them find
//! the orchestrator by its service URI: an orchestrator that advertises the recorder's
//! address has its gateways and transcoders come this way by themselves. It is a tool
//! for loopback; it limits nothing and trusts both sides.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, Response, Version};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::capture::{Capture, reply_head, request_head};
use crate::exchange::{Leg, Shape, classify};
use crate::tap::Tap;
use crate::tls;

/// Header bytes accepted, as go-livepeer's server does: tickets travel in them.
const HEADER_BYTES: u32 = 1 << 20;

/// One listening address and where its requests go.
pub(crate) struct Recorder {
    pub(crate) upstream: SocketAddr,
    /// Both hops in TLS; otherwise both in clear.
    pub(crate) tls: bool,
    pub(crate) capture: Arc<Capture>,
}

impl Recorder {
    /// Serves until cancelled; returns when its connections have ended.
    pub(crate) async fn serve(
        self,
        listener: TcpListener,
        cancel: CancellationToken,
    ) -> Result<()> {
        let acceptor = TlsAcceptor::from(tls::server()?);
        let recorder = Arc::new(self);
        let tasks = TaskTracker::new();
        loop {
            let (stream, _) = tokio::select! {
                accepted = listener.accept() => accepted.context("accept")?,
                () = cancel.cancelled() => break,
            };
            let (recorder, acceptor) = (Arc::clone(&recorder), acceptor.clone());
            let connections = tasks.clone();
            let ended = cancel.clone();
            tasks.spawn(async move {
                let served = async {
                    if recorder.tls {
                        let stream = acceptor.accept(stream).await.context("TLS accept")?;
                        recorder.connection(stream, connections).await
                    } else {
                        recorder.connection(stream, connections).await
                    }
                };
                tokio::select! {
                    served = served => if let Err(error) = served {
                        tracing::debug!(error = format!("{error:#}"), "connection ended");
                    },
                    () = ended.cancelled() => {}
                }
            });
        }
        tasks.close();
        tasks.wait().await;
        Ok(())
    }

    async fn connection<S>(self: Arc<Self>, stream: S, tasks: TaskTracker) -> Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(move |request| {
            let (recorder, tasks) = (Arc::clone(&self), tasks.clone());
            async move { recorder.exchange(request, tasks).await }
        });
        let mut server = auto::Builder::new(TokioExecutor::new());
        server.http2().max_header_list_size(HEADER_BYTES);
        server
            .serve_connection(TokioIo::new(stream), service)
            .await
            .map_err(|error| anyhow::anyhow!(error))
    }

    /// Passes one request on, over an upstream connection of its own.
    async fn exchange(
        &self,
        request: Request<Incoming>,
        tasks: TaskTracker,
    ) -> Result<Response<Tap>> {
        let exchange = classify(request.uri().path());
        let version = request.version();
        let (parts, body) = request.into_parts();
        let body = match exchange {
            None => Tap::transparent(body),
            Some(exchange) => {
                self.keep_segment(exchange.request, &parts.headers);
                let head = request_head(&parts);
                self.tap(exchange.request, body, head, &parts.headers)
            }
        };
        let reply = self
            .pass_on(Request::from_parts(parts, body), version, &tasks)
            .await
            .inspect_err(|error| tracing::warn!(error = format!("{error:#}"), "upstream"))?;
        let (parts, body) = reply.into_parts();
        let body = match exchange {
            None => Tap::transparent(body),
            Some(exchange) => self.tap(exchange.reply, body, reply_head(&parts), &parts.headers),
        };
        Ok(Response::from_parts(parts, body))
    }

    fn tap(&self, leg: Leg, body: Incoming, head: Vec<u8>, headers: &HeaderMap) -> Tap {
        let boundary = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .filter(|_| leg.shape == Shape::Multipart)
            .and_then(|value| {
                Some(
                    value
                        .split_once("boundary=")?
                        .1
                        .trim_matches('"')
                        .to_owned(),
                )
            });
        Tap::new(body, Arc::clone(&self.capture), leg, head, boundary)
    }

    /// The two protobuf messages that travel in the headers of `/segment`.
    fn keep_segment(&self, leg: Leg, headers: &HeaderMap) {
        use base64::Engine as _;
        use base64::engine::general_purpose::STANDARD;
        for (header, what) in [
            ("livepeer-segment", "segment-data"),
            ("livepeer-payment", "payment"),
        ] {
            let message = headers.get(header).map(|value| STANDARD.decode(value));
            if let Some(Ok(message)) = message {
                self.capture.save_as(what, leg, &message);
            }
        }
    }

    async fn pass_on(
        &self,
        request: Request<Tap>,
        version: Version,
        tasks: &TaskTracker,
    ) -> Result<Response<Incoming>> {
        let stream = TcpStream::connect(self.upstream).await.context("connect")?;
        if self.tls {
            let connector = TlsConnector::from(tls::client(version));
            let name = self.upstream.ip().into();
            let stream = connector.connect(name, stream).await.context("TLS")?;
            send(TokioIo::new(stream), request, version, tasks).await
        } else {
            send(TokioIo::new(stream), request, version, tasks).await
        }
    }
}

async fn send<S>(
    stream: TokioIo<S>,
    request: Request<Tap>,
    version: Version,
    tasks: &TaskTracker,
) -> Result<Response<Incoming>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    if version == Version::HTTP_2 {
        let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
            .max_header_list_size(HEADER_BYTES)
            .handshake(stream)
            .await?;
        tasks.spawn(connection);
        Ok(sender.send_request(request).await?)
    } else {
        let (mut sender, connection) = http1::handshake(stream).await?;
        tasks.spawn(connection);
        Ok(sender.send_request(request).await?)
    }
}
