//! The gRPC side: what gateways ask before they send, and where transcoders register
//! (go-livepeer `server/rpc.go`, `server/ot_rpc.go`). Errors are of code Unknown, as Go
//! sends them; peers compare texts.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use livepeer_proto::net::orchestrator_server::Orchestrator;
use livepeer_proto::net::transcoder_server::Transcoder;
use livepeer_proto::{capabilities, errors, headers, net};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use super::Shared;
use super::server::PeerAddr;
use super::transcoders::registry::Offer;
use super::transcoders::{Notice, Registration};
use crate::segdata::WIRE_VERSION;

/// Answers both services.
#[derive(Clone)]
pub(crate) struct Rpc(pub(crate) Arc<Shared>);

#[tonic::async_trait]
impl Orchestrator for Rpc {
    async fn get_orchestrator(
        &self,
        request: Request<net::OrchestratorRequest>,
    ) -> Result<Response<net::OrchestratorInfo>, Status> {
        // off-chain, every signature is good
        let _request = request.into_inner();
        let shared = &self.0;
        let capped = || {
            let text = errors::ORCHESTRATOR_CAPPED;
            Status::unknown(format!("Invalid orchestrator request: {text}"))
        };
        if shared.is_closed() {
            // it could, and will not: how many it could is no news
            let mut refused = capped();
            refused.metadata_mut().insert(headers::DRAINING, 1.into());
            return Err(refused);
        }
        if shared.sessions.count() >= shared.session_limit() {
            let mut refused = capped();
            tell_load(shared, refused.metadata_mut());
            return Err(refused);
        }
        let token = shared.tokens.issue(super::unix_now());
        let mut response = Response::new(shared.info(token));
        tell_load(shared, response.metadata_mut());
        Ok(response)
    }

    async fn end_transcoding_session(
        &self,
        request: Request<net::EndTranscodingSessionRequest>,
    ) -> Result<Response<net::EndTranscodingSessionResponse>, Status> {
        let token = request.into_inner().auth_token.unwrap_or_default();
        // an expired token still ends its session
        if !self.0.tokens.is_ours(&token) {
            return Err(Status::unknown("Invalid auth token"));
        }
        self.0.end_session(&token.session_id);
        Ok(Response::new(net::EndTranscodingSessionResponse {}))
    }

    async fn ping(
        &self,
        _request: Request<net::PingPong>,
    ) -> Result<Response<net::PingPong>, Status> {
        // off-chain, signatures are empty
        Ok(Response::new(net::PingPong::default()))
    }
}

/// For gateways of ours; others ignore it.
fn tell_load(shared: &Shared, metadata: &mut MetadataMap) {
    let (sessions, capacity) = shared.load();
    metadata.insert(headers::SESSIONS, sessions.into());
    metadata.insert(headers::CAPACITY, capacity.into());
}

#[tonic::async_trait]
impl Transcoder for Rpc {
    type RegisterTranscoderStream = Notices;

    async fn register_transcoder(
        &self,
        request: Request<net::RegisterRequest>,
    ) -> Result<Response<Notices>, Status> {
        let transcoders = self
            .0
            .transcoders()
            .map_err(|_| Status::unimplemented("this orchestrator transcodes by itself"))?;
        let address = request
            .extensions()
            .get::<PeerAddr>()
            .map(|peer| peer.0.to_string());
        let request = request.into_inner();
        let Some((owner, secret)) = transcoders.credentials.owner(request.secret.as_bytes()) else {
            transcoders.refuse("transcoder", address.as_deref());
            return Err(Status::unknown(errors::INVALID_SECRET));
        };
        let Ok(capacity @ 1..) = u32::try_from(request.capacity.clamp(0, i64::from(u32::MAX)))
        else {
            return Err(Status::unknown(errors::ZERO_CAPACITY));
        };
        let offer = Offer {
            owner,
            address: address.unwrap_or_default(),
            capacity,
            // nil means what every node can do
            capabilities: request.capabilities.unwrap_or_else(|| {
                capabilities::message(&capabilities::software(), capacity, WIRE_VERSION)
            }),
        };
        let (notices, registration) = transcoders.register(offer, secret);
        let id = registration.id().0;
        let mut response = Response::new(Notices {
            stream: ReceiverStream::new(notices),
            _registration: registration,
        });
        // lets a transcoder of ours announce that it drains; others ignore it
        response
            .metadata_mut()
            .insert(REGISTRATION_METADATA, id.into());
        Ok(response)
    }
}

/// The header of `results::REGISTRATION`, spelled as gRPC metadata wants it.
const REGISTRATION_METADATA: &str = "livepeer-registration";

/// The register stream of a transcoder. When the peer or its connection goes, the
/// server drops it, and with it the registration.
pub(crate) struct Notices {
    stream: ReceiverStream<Notice>,
    _registration: Registration,
}

impl Stream for Notices {
    type Item = Notice;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Notice>> {
        Pin::new(&mut self.stream).poll_next(context)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn metadata_and_header_are_one_name() {
        assert!(
            crate::orchestrator::transcoders::results::REGISTRATION
                .eq_ignore_ascii_case(super::REGISTRATION_METADATA)
        );
    }
}
