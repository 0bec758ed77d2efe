//! An orchestrator that answers a registration late, as go-livepeer's does: no header
//! before the first task.

use std::net::SocketAddr;
use std::time::Duration;

use livepeer_proto::net::transcoder_server::{Transcoder, TranscoderServer};
use livepeer_proto::net::{NotifySegment, RegisterRequest};
use tokio::task::JoinSet;
use tokio_stream::Pending;
use tonic::{Request, Response, Status};

use crate::listener;
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

async fn serve(silent: Silent) -> (SocketAddr, JoinSet<()>) {
    let routes = tonic::service::Routes::new(TranscoderServer::new(silent)).prepare();
    listener::serve(routes.into_axum_router()).await
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
