//! An orchestrator that answers a registration late, as go-livepeer's does: no header
//! before the first task.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use livepeer_proto::net::transcoder_server::{Transcoder, TranscoderServer};
use livepeer_proto::net::{NotifySegment, RegisterRequest};
use rcgen::CertifiedKey;
use rustls::crypto::ring;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_stream::Pending;
use tonic::{Request, Response, Status};

use crate::node::{Node, SECRET};

/// Refuses after this time; without one it never says a word.
struct Silent(Option<Duration>);

#[tonic::async_trait]
impl Transcoder for Silent {
    type RegisterTranscoderStream = Pending<Result<NotifySegment, Status>>;

    async fn register_transcoder(
        &self,
        _request: Request<RegisterRequest>,
    ) -> Result<Response<Self::RegisterTranscoderStream>, Status> {
        match self.0 {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
        Err(Status::unknown("invalid secret"))
    }
}

/// Serves it while the tasks live.
async fn serve(silent: Silent) -> (SocketAddr, JoinSet<()>) {
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = signing_key.serialize_der().try_into().unwrap();
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let tls = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let routes = tonic::service::Routes::new(TranscoderServer::new(silent))
        .prepare()
        .into_axum_router();
    let accept = async move {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (tls, routes) = (tls.clone(), routes.clone());
            connections.spawn(async move {
                let Ok(stream) = tls.accept(stream).await else {
                    return;
                };
                let service = TowerToHyperService::new(routes);
                let _ = Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    };
    (addr, JoinSet::from_iter([accept]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transcoder_is_ready_for_one_and_ends_when_told_to() {
    let (addr, _served) = serve(Silent(None)).await;
    let transcoder = Node::transcoder(addr, SECRET);
    transcoder.wait_until_ready();
    assert_eq!(transcoder.terminate().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_counts_however_late_it_comes() {
    let (addr, _served) = serve(Silent(Some(Duration::from_millis(1500)))).await;
    let transcoder = Node::transcoder(addr, SECRET);
    transcoder.wait_for("it is refused", || {
        transcoder
            .probe("readyz")
            .contains("the orchestrator refuses")
    });
}
