//! The gateway's and the transcoder's sides of an orchestrator's wire, word by word, to
//! say what no real peer would.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use livepeer_proto::capabilities::{message, software};
use livepeer_proto::credentials::keccak256;
use livepeer_proto::net::orchestrator_client::OrchestratorClient;
use livepeer_proto::net::transcoder_client::TranscoderClient;
use livepeer_proto::{dial, headers, net};
use reqwest::{Body, Client, RequestBuilder};
use tonic::transport::Channel;
use tonic::{Status, Streaming};

/// The segment of [`Gateway::segment`].
pub(crate) const SEGMENT: &[u8] = b"what is in a segment matters to transcoders only";
/// Longer than any orchestrator needs to pass a segment on.
const PATIENCE: Duration = Duration::from_secs(20);

/// A gateway.
pub(crate) struct Gateway {
    addr: SocketAddr,
    pub(crate) h1: Client,
    pub(crate) h2: Client,
    pub(crate) token: net::AuthToken,
    orchestrator: OrchestratorClient<Channel>,
}

impl Gateway {
    /// One with a session at the orchestrator at `addr`.
    pub(crate) async fn at(addr: SocketAddr) -> Self {
        let channel = dial::connect(&format!("https://{addr}")).await.unwrap();
        let request = net::OrchestratorRequest::default();
        let mut orchestrator = OrchestratorClient::new(channel);
        let info = orchestrator.get_orchestrator(request).await;
        let info = info.unwrap().into_inner();
        Self {
            addr,
            h1: client(b"http/1.1").http1_only().build().unwrap(),
            h2: client(b"h2").http2_prior_knowledge().build().unwrap(),
            token: info.auth_token.unwrap(),
            orchestrator,
        }
    }

    /// What comes back of a ping, in go-livepeer the value with a signature.
    pub(crate) async fn ping(&self, value: &'static [u8]) -> Result<Vec<u8>, Status> {
        let request = net::PingPong {
            value: value.into(),
        };
        let mut orchestrator = self.orchestrator.clone();
        let pong = orchestrator.ping(request).await?;
        Ok(pong.into_inner().value)
    }

    /// Says that the session is over.
    pub(crate) async fn end_session(&self) {
        let request = net::EndTranscodingSessionRequest {
            auth_token: Some(self.token.clone()),
        };
        let mut orchestrator = self.orchestrator.clone();
        let ended = orchestrator.end_transcoding_session(request).await;
        ended.unwrap();
    }

    /// What a good gateway says about [`SEGMENT`].
    pub(crate) fn segment(&self) -> net::SegData {
        let profile = |name: &str| net::VideoProfile {
            name: name.to_owned(),
            width: 426,
            height: 240,
            bitrate: 600_000,
            ..net::VideoProfile::default()
        };
        net::SegData {
            manifest_id: "hello".into(),
            hash: Bytes::copy_from_slice(&keccak256(SEGMENT)),
            duration: 2000,
            full_profiles: vec![profile("one"), profile("two")],
            auth_token: Some(self.token.clone()),
            ..net::SegData::default()
        }
    }

    /// `POST /segment` with these headers, over `client`.
    pub(crate) fn post(&self, client: &Client, payment: &str, segment: &str) -> RequestBuilder {
        client
            .post(format!("https://{}/segment", self.addr))
            .header(headers::PAYMENT, payment)
            .header(headers::SEGMENT, segment)
            .header("Content-Type", headers::VIDEO_MPEG_TS)
    }
}

/// A transcoder that does nothing by itself.
pub(crate) struct Transcoder {
    addr: SocketAddr,
    secret: String,
    http: Client,
    stream: Streaming<net::NotifySegment>,
}

impl Transcoder {
    /// One that registers for four sessions.
    pub(crate) async fn register(addr: SocketAddr, secret: &str) -> Result<Self, Status> {
        let channel = dial::connect(&format!("https://{addr}")).await.unwrap();
        let request = net::RegisterRequest {
            secret: secret.to_owned(),
            capacity: 4,
            capabilities: Some(message(&software(), 4, "0.9.1")),
        };
        let stream = TranscoderClient::new(channel)
            .register_transcoder(request)
            .await?
            .into_inner();
        Ok(Self {
            addr,
            secret: secret.to_owned(),
            http: results_client(),
            stream,
        })
    }

    /// The next task.
    pub(crate) async fn task(&mut self) -> net::NotifySegment {
        let notice = tokio::time::timeout(PATIENCE, self.stream.message()).await;
        notice
            .expect("no task in time")
            .unwrap()
            .expect("the stream has ended")
    }

    /// `POST /transcodeResults` for a task, with pixels, without a body.
    pub(crate) fn result(&self, task: i64) -> RequestBuilder {
        results(&self.http, self.addr, &self.secret, task, MULTIPART).header(headers::PIXELS, 1)
    }

    /// As above, without pixels.
    pub(crate) fn result_without_pixels(&self, task: i64) -> RequestBuilder {
        results(&self.http, self.addr, &self.secret, task, MULTIPART)
    }

    /// Says that a task failed, in these words.
    pub(crate) async fn fail(&self, task: i64, text: &'static str) {
        let kind = headers::TRANSCODING_ERROR;
        let request = results(&self.http, self.addr, &self.secret, task, kind);
        let sent = request.header(headers::PIXELS, 0).body(text).send().await;
        assert_eq!(sent.unwrap().status(), 200);
    }

    /// Brings two renditions.
    pub(crate) async fn deliver(&self, task: i64) {
        let sent = self.result(task).body(multipart(2)).send().await.unwrap();
        assert_eq!(sent.status(), 200);
    }
}

/// A client for results: HTTP/2 only.
pub(crate) fn results_client() -> Client {
    client(b"h2").http2_prior_knowledge().build().unwrap()
}

/// `POST /transcodeResults` with a credential, for a task.
pub(crate) fn results(
    client: &Client,
    addr: SocketAddr,
    secret: &str,
    task: i64,
    content_type: &str,
) -> RequestBuilder {
    client
        .post(format!("https://{addr}/transcodeResults"))
        .header("Authorization", headers::TRANSCODER_PROTOCOL)
        .header(headers::CREDENTIALS, secret)
        .header(headers::TASK_ID, task)
        .header("Content-Type", content_type)
}

/// The content type of [`multipart`].
pub(crate) const MULTIPART: &str = "multipart/mixed; boundary=0123456789abcdef0123";
/// The rendition that every part of [`multipart`] has.
pub(crate) const RENDITION: &str = "a rendition has twenty-five bytes at least";

/// A result of `parts` renditions, under the boundary of [`MULTIPART`].
pub(crate) fn multipart(parts: usize) -> Body {
    let part = format!(
        "--0123456789abcdef0123\r\nContent-Length: {}\r\nContent-Type: video/mp2t\r\n\
         Pixels: 7\r\n\r\n{RENDITION}\r\n",
        RENDITION.len()
    );
    Body::from(part.repeat(parts) + "--0123456789abcdef0123--\r\n")
}

fn client(protocol: &'static [u8]) -> reqwest::ClientBuilder {
    Client::builder()
        .tls_backend_preconfigured(dial::client_config(&[protocol]))
        .no_proxy()
        .timeout(PATIENCE)
}
