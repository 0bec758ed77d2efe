//! Tasks as no orchestrator of ours sends them, or at a moment of the test's choice, for our
//! transcoder's process.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::routing::{get, post};
use bytes::Bytes;
use http::HeaderMap;
use livepeer_proto::net::transcoder_server::{Transcoder, TranscoderServer};
use livepeer_proto::net::{self, NotifySegment, RegisterRequest, SegData, VideoProfile};
use livepeer_proto::{errors, headers};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::clips;
use crate::listener;
use crate::node::{Node, SECRET};

/// Longer than a task takes on a machine that also compiles.
const PATIENCE: Duration = Duration::from_secs(60);

type Notice = Result<NotifySegment, Status>;

/// The orchestrator's side of what its transcoder does.
struct Side {
    /// What tells an orchestrator of ours from others.
    registration: Option<&'static str>,
    notices: Mutex<Option<mpsc::Receiver<Notice>>>,
    results: mpsc::Sender<Brought>,
    drains: mpsc::Sender<String>,
    asked: mpsc::Sender<()>,
    /// Sources that may go out.
    sources: Semaphore,
}

/// A result: the text of an error, or renditions.
#[derive(Debug, PartialEq)]
struct Brought {
    task: String,
    result: Result<usize, String>,
}

struct Service(Arc<Side>);

#[tonic::async_trait]
impl Transcoder for Service {
    type RegisterTranscoderStream = ReceiverStream<Notice>;

    async fn register_transcoder(
        &self,
        _request: Request<RegisterRequest>,
    ) -> Result<Response<Self::RegisterTranscoderStream>, Status> {
        let notices = self.0.notices.lock().unwrap().take();
        let notices = notices.ok_or_else(|| Status::unavailable("one is here already"))?;
        let mut response = Response::new(ReceiverStream::new(notices));
        if let Some(id) = self.0.registration {
            let id = id.parse().unwrap();
            response.metadata_mut().insert("livepeer-registration", id);
        }
        Ok(response)
    }
}

async fn source(State(side): State<Arc<Side>>) -> Vec<u8> {
    side.asked.send(()).await.unwrap();
    side.sources.acquire().await.unwrap().forget();
    std::fs::read(clips::good()).unwrap()
}

async fn result(State(side): State<Arc<Side>>, head: HeaderMap, body: Bytes) {
    let text = |name: &str| head[name].to_str().unwrap().to_owned();
    let body = String::from_utf8_lossy(&body);
    let result = if text("Content-Type") == headers::TRANSCODING_ERROR {
        Err(body.into_owned())
    } else {
        Ok(body.matches("\r\nPixels: ").count())
    };
    let task = text(headers::TASK_ID);
    side.results.send(Brought { task, result }).await.unwrap();
}

async fn draining(State(side): State<Arc<Side>>, head: HeaderMap) {
    let when = head[headers::DRAINING].to_str().unwrap();
    side.drains.send(when.to_owned()).await.unwrap();
}

struct Orchestrator {
    addr: SocketAddr,
    side: Arc<Side>,
    notices: mpsc::Sender<Notice>,
    results: mpsc::Receiver<Brought>,
    drains: mpsc::Receiver<String>,
    asked: mpsc::Receiver<()>,
    _served: JoinSet<()>,
}

impl Orchestrator {
    async fn new(registration: Option<&'static str>) -> Self {
        let (notices, tasks) = mpsc::channel(8);
        let (brought, results) = mpsc::channel(8);
        let (said, drains) = mpsc::channel(8);
        let (asks, asked) = mpsc::channel(8);
        let side = Arc::new(Side {
            registration,
            notices: Mutex::new(Some(tasks)),
            results: brought,
            drains: said,
            asked: asks,
            sources: Semaphore::new(0),
        });
        let service = TranscoderServer::new(Service(Arc::clone(&side)));
        let http = Router::new()
            .route("/source.ts", get(source))
            .route("/none.ts", get(async || http::StatusCode::NOT_FOUND))
            .route("/transcodeResults", post(result))
            .route("/transcoderDraining", post(draining))
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&side));
        let grpc = tonic::service::Routes::new(service).prepare();
        let (addr, served) = listener::serve(grpc.into_axum_router().merge(http)).await;
        Self {
            addr,
            side,
            notices,
            results,
            drains,
            asked,
            _served: served,
        }
    }

    async fn send(&self, task_id: i64, path: &str, seg_data: Option<SegData>) {
        let notice = NotifySegment {
            task_id,
            url: format!("https://{}/{path}", self.addr),
            seg_data,
            ..NotifySegment::default()
        };
        self.notices.send(Ok(notice)).await.unwrap();
    }

    async fn result(&mut self) -> Brought {
        within(self.results.recv()).await.unwrap()
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap()
}

/// Two small renditions of two seconds.
fn good() -> SegData {
    let profile = |name: &str| VideoProfile {
        name: name.to_owned(),
        width: 256,
        height: 144,
        bitrate: 200_000,
        ..VideoProfile::default()
    };
    SegData {
        duration: 2000,
        full_profiles: vec![profile("one"), profile("two")],
        auth_token: Some(net::AuthToken {
            session_id: "5c".to_owned(),
            ..net::AuthToken::default()
        }),
        ..SegData::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_refused_with_the_words_of_the_wire() {
    let mut orchestrator = Orchestrator::new(None).await;
    let _transcoder = Node::transcoder(orchestrator.addr, SECRET);
    let changed = |change: &dyn Fn(&mut SegData)| {
        let mut data = good();
        change(&mut data);
        Some(data)
    };
    let incapable = net::Capabilities {
        bitstring: vec![1 << 40],
        ..net::Capabilities::default()
    };
    let rows = [
        (None, errors::EMPTY_SEG_DATA),
        (
            changed(&|data| data.capabilities = Some(incapable.clone())),
            errors::INCOMPATIBLE_CAPABILITIES,
        ),
        (changed(&|data| data.full_profiles.clear()), "no profiles"),
        (changed(&|data| data.duration = -1), "invalid duration"),
        (
            changed(&|data| data.full_profiles[1].format = 7),
            "unrecognized profile output format",
        ),
        (
            changed(&|data| data.full_profiles[1].profile = 9),
            "unrecognized encoder profile",
        ),
        (
            changed(&|data| data.full_profiles[1].encoder = 9),
            "unrecognized video codec",
        ),
        // a source that is not there
        (Some(good()), errors::TRANSCODER_UNAVAILABLE),
    ];
    for (task, (data, text)) in (1..).zip(rows) {
        orchestrator.send(task, "none.ts", data).await;
        let refused = Brought {
            task: task.to_string(),
            result: Err(text.to_owned()),
        };
        assert_eq!(orchestrator.result().await, refused);
    }
    orchestrator.side.sources.add_permits(1);
    orchestrator.send(100, "source.ts", Some(good())).await;
    assert_eq!(orchestrator.result().await.result, Ok(2), "it works on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transcoder_that_drains_brings_what_it_has_in_work_and_then_ends() {
    for registration in [Some("7"), None] {
        let mut orchestrator = Orchestrator::new(registration).await;
        let transcoder = Node::transcoder(orchestrator.addr, SECRET);
        orchestrator.send(1, "source.ts", Some(good())).await;
        within(orchestrator.asked.recv()).await.unwrap();

        transcoder.signal("TERM");
        if registration.is_some() {
            while within(orchestrator.drains.recv()).await.unwrap() != "now" {}
            assert!(!orchestrator.notices.is_closed(), "taken for dead");
        } else {
            // who does not know the word is sent no longer to
            within(orchestrator.notices.closed()).await;
        }
        orchestrator.side.sources.add_permits(1);
        assert_eq!(orchestrator.result().await.result, Ok(2));
        let (status, log) = transcoder.end();
        assert_eq!(status.code(), Some(0), "{log}");
    }
}
