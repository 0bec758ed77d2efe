//! One registration: a stream from the orchestrator, and the tasks that came on it.
//!
//! | What ends it | Then |
//! |---|---|
//! | the stream ends or breaks | register again at once; tasks go on and bring their results |
//! | capacity changed | this one drains when the next one stands |
//! | told to stop | drains |
//!
//! Draining: an orchestrator of ours is told first, so that sessions move while we
//! still work; go-livepeer's is not, and its stream is closed (`server/ot_rpc.go`:
//! results are taken from transcoders that have left).

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use livepeer_proto::dial::{self, DialError};
use livepeer_proto::net::transcoder_client::TranscoderClient;
use livepeer_proto::net::{NotifySegment, RegisterRequest};
use livepeer_proto::{errors, net};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Code, Response, Status, Streaming};

use super::backoff::Ended;
use super::tasks::{Worker, is_teardown, session_of};

/// How long a registration that drains goes on listening after its last task: a task
/// may have been on its way when we said so.
const LINGER: Duration = Duration::from_millis(300);
/// Who is not refused within this time is registered: go-livepeer sends no header before
/// the first task, and its refusals at once (`server/ot_rpc.go`).
const REFUSED_WITHIN: Duration = Duration::from_secs(1);
/// Largest notice: a `SegData` of ten profiles has a few kilobytes.
const MAX_NOTICE_BYTES: usize = 1 << 20;
/// Where an orchestrator of ours says which registration this is.
const REGISTRATION: &str = "livepeer-registration";

/// Why there is no registration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegisterError {
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The orchestrator answered no: a wrong secret, no capacity.
    #[error("the orchestrator refuses: {0}")]
    Refused(String),
    #[error("cannot register: {0}")]
    Failed(String),
}

impl RegisterError {
    /// How a try that failed so has ended.
    pub(crate) fn ended(&self) -> Ended {
        match self {
            Self::Refused(_) => Ended::Refused,
            Self::Dial(_) | Self::Failed(_) => Ended::Unreachable,
        }
    }
}

/// What to register with.
pub(crate) struct Offer<'a> {
    pub(crate) uri: &'a str,
    pub(crate) secret: &'a str,
    pub(crate) capacity: u32,
    pub(crate) capabilities: &'a net::Capabilities,
}

type Call = dyn Future<Output = Result<Response<Streaming<NotifySegment>>, Status>> + Send;

/// What the orchestrator has to say.
enum Notices {
    /// Nothing yet, not even a header.
    Silent(Pin<Box<Call>>),
    Open(Box<Streaming<NotifySegment>>),
}

/// A registration that stands.
pub(crate) struct Registration {
    notices: Notices,
    secret: Arc<str>,
    /// Known when the orchestrator is one of ours.
    id: Option<String>,
    /// Its tasks alone: those of the worker may never be through while another registration
    /// stands.
    tasks: TaskTracker,
}

/// When a registration shall end.
#[derive(Clone)]
pub(crate) struct Ends {
    /// Others had better take our sessions; we still work.
    pub(crate) soon: CancellationToken,
    /// No new tasks.
    pub(crate) now: CancellationToken,
    /// Everything is cut off.
    pub(crate) stop: CancellationToken,
}

impl Registration {
    /// Connects and registers.
    pub(crate) async fn open(offer: Offer<'_>) -> Result<Self, RegisterError> {
        let channel = dial::connect(offer.uri).await?;
        let mut client = TranscoderClient::new(channel).max_decoding_message_size(MAX_NOTICE_BYTES);
        let request = RegisterRequest {
            secret: offer.secret.to_owned(),
            capacity: i64::from(offer.capacity),
            capabilities: Some(offer.capabilities.clone()),
        };
        let call = async move { client.register_transcoder(request).await };
        let mut new = Self {
            notices: Notices::Silent(Box::pin(call)),
            secret: offer.secret.into(),
            id: None,
            tasks: TaskTracker::new(),
        };
        match tokio::time::timeout(REFUSED_WITHIN, new.answered()).await {
            Ok(Err(status)) => Err(refusal(&status)),
            Ok(Ok(_)) | Err(_) => Ok(new),
        }
    }

    /// Waits for the head of the stream.
    async fn answered(&mut self) -> Result<&mut Streaming<NotifySegment>, Status> {
        if let Notices::Silent(call) = &mut self.notices {
            let response = call.await?;
            self.id = response
                .metadata()
                .get(REGISTRATION)
                .and_then(|id| id.to_str().ok())
                .map(str::to_owned);
            self.notices = Notices::Open(Box::new(response.into_inner()));
        }
        match &mut self.notices {
            Notices::Open(stream) => Ok(stream),
            Notices::Silent(_) => Err(Status::internal("no answer")),
        }
    }

    /// The next notice; none once the stream has ended.
    async fn next(&mut self) -> Result<Option<NotifySegment>, Status> {
        self.answered().await?.message().await
    }

    /// Takes tasks until the stream ends, and tells why, unless we ended it. The tasks
    /// may still run then; they belong to the worker.
    pub(crate) async fn serve(mut self, worker: &Worker, ends: Ends) -> Result<(), RegisterError> {
        let mut announced = false;
        loop {
            tokio::select! {
                notice = self.next() => match notice {
                    Ok(Some(notice)) => self.take(notice, worker),
                    Ok(None) => return Ok(()),
                    Err(status) => return Err(refusal(&status)),
                },
                () = ends.soon.cancelled(), if !announced && !ends.now.is_cancelled() => {
                    self.announce(worker, true).await;
                    announced = true;
                }
                () = ends.now.cancelled() => {
                    self.drain(worker).await;
                    return Ok(());
                }
                () = ends.stop.cancelled() => return Ok(()),
            }
        }
    }

    fn take(&self, notice: NotifySegment, worker: &Worker) {
        if is_teardown(&notice) {
            worker.sessions.end(session_of(&notice));
        } else {
            let task = worker.clone().run(notice, Arc::clone(&self.secret));
            self.spawn(task, &worker.tasks);
        }
    }

    /// Who waits for all tasks of the `worker` waits for this one too.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static, worker: &TaskTracker) {
        self.tasks.spawn(worker.track_future(task));
    }

    /// Waits for its last task, and [`LINGER`] after it.
    fn idle(&self) -> impl Future<Output = ()> + use<> {
        let tasks = self.tasks.clone();
        async move {
            tasks.close();
            tasks.wait().await;
            tokio::time::sleep(LINGER).await;
        }
    }

    /// Tells an orchestrator of ours; false for others. (A shared reference would have to
    /// be `Sync`, which a call is not.)
    async fn announce(&mut self, worker: &Worker, soon: bool) -> bool {
        match &self.id {
            Some(id) => worker.uploader.announce_drain(&self.secret, id, soon).await,
            None => false,
        }
    }

    /// Finishes what runs. The stream of an orchestrator of ours stays open meanwhile:
    /// it would take its end for our death.
    async fn drain(&mut self, worker: &Worker) {
        if !self.announce(worker, false).await {
            return;
        }
        loop {
            tokio::select! {
                () = self.idle() => return,
                () = worker.stop.cancelled() => return,
                notice = self.next() => match notice {
                    Ok(Some(notice)) => self.take(notice, worker),
                    Ok(None) | Err(_) => return,
                },
            }
        }
    }
}

/// Tells a refusal, which a person may have to mend, from a broken connection.
fn refusal(status: &Status) -> RegisterError {
    let text = status.message();
    let refused = [errors::INVALID_SECRET, errors::ZERO_CAPACITY].contains(&text)
        || status.code() == Code::Unimplemented;
    if refused {
        RegisterError::Refused(text.to_owned())
    } else {
        RegisterError::Failed(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use super::{LINGER, Notices, RegisterError, Registration, refusal};
    use tokio::time::{Instant, timeout};
    use tokio_util::task::TaskTracker;
    use tonic::Status;

    fn registration() -> Registration {
        Registration {
            notices: Notices::Silent(Box::pin(pending())),
            secret: "secret".into(),
            id: None,
            tasks: TaskTracker::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_was_replaced_ends_however_long_its_successor_has_tasks() {
        let (replaced, successor) = (registration(), registration());
        let worker = TaskTracker::new();
        let task = Duration::from_secs(2);
        successor.spawn(pending(), &worker);
        replaced.spawn(tokio::time::sleep(task), &worker);
        let since = Instant::now();
        let ended = timeout(10 * task, replaced.idle()).await;
        assert!(ended.is_ok(), "it waits for its successor's tasks");
        assert_eq!(since.elapsed(), task + LINGER);
        assert_eq!(worker.len(), 1);
    }

    #[test]
    fn a_wrong_secret_is_told_from_a_lost_connection() {
        let refused = refusal(&Status::unknown("invalid secret"));
        assert!(matches!(refused, RegisterError::Refused(_)));
        let broken = refusal(&Status::unavailable("transport error"));
        assert!(matches!(broken, RegisterError::Failed(_)));
    }
}
