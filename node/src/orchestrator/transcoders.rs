//! Remote transcoders: the pools of an orchestrator.
//!
//! * [`registry`]: who is there and who gets a session; pure
//! * [`plan`]: the attempts of one segment; pure
//! * [`tasks`]: which results are waited for
//! * [`dispatch`]: does a segment by the three above
//! * [`credentials`]: who may register and bring results
//! * [`results`]: `POST /transcodeResults`

pub(crate) mod credentials;
pub(crate) mod dispatch;
pub(crate) mod plan;
pub(crate) mod registry;
pub(crate) mod results;
pub(crate) mod tasks;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use livepeer_proto::net::{self, NotifySegment};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tonic::Status;

use credentials::Credentials;
use registry::{MemberId, Offer, Registered, Registry, Willing};
use tasks::Tasks;

use crate::orchestrator::metrics::Metrics;

/// Notices that may wait for one transcoder to take them: one a session and one to
/// spare. A transcoder that lets more pile up does not read its stream.
const NOTICES: usize = 256;
/// How long a lost transcoder counts when a new session asks for room: most come back
/// within a second (a restart, a new connection), and a gateway that is turned away
/// suspends us for far longer.
const RETURN_GRACE: Duration = Duration::from_secs(3);

/// What goes down a register stream.
pub(crate) type Notice = Result<NotifySegment, Status>;

/// Reaches one transcoder.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    pub(crate) notices: mpsc::Sender<Notice>,
    /// The credential it showed, hashed: to see when that is revoked.
    secret: credentials::Hashed,
}

struct Inner {
    registry: Registry<Handle>,
    /// The last capacity above the present one, and when it was lost.
    lost_capacity: Option<(u32, Instant)>,
}

/// All transcoders of an orchestrator; cheap to clone.
#[derive(Clone)]
pub(crate) struct Transcoders {
    inner: Arc<Mutex<Inner>>,
    pub(crate) tasks: Tasks,
    pub(crate) credentials: Credentials,
    pub(crate) metrics: Metrics,
    /// Counts the changes of who is there.
    changes: watch::Sender<u64>,
}

impl Transcoders {
    pub(crate) fn new(credentials: Credentials, metrics: Metrics) -> Self {
        Self {
            inner: Arc::new(Mutex::new(Inner {
                registry: Registry::default(),
                lost_capacity: None,
            })),
            tasks: Tasks::default(),
            credentials,
            metrics,
            changes: watch::Sender::new(0),
        }
    }

    /// Registers a transcoder. It stays until the guard goes, which must happen when
    /// its stream does.
    pub(crate) fn register(
        &self,
        offer: Offer,
        secret: credentials::Hashed,
    ) -> (mpsc::Receiver<Notice>, Registration) {
        let (notices, receiver) = mpsc::channel(NOTICES);
        tracing::info!(
            credential = offer.owner,
            address = offer.address,
            capacity = offer.capacity,
            "transcoder registered"
        );
        let id = self.change(|registry| registry.add(offer, Handle { notices, secret }));
        (
            receiver,
            Registration {
                transcoders: self.clone(),
                id,
            },
        )
    }

    /// A transcoder said that it drains; false when there is no such one.
    pub(crate) fn drain(&self, id: MemberId, owner: &str, willing: Willing) -> bool {
        self.change(|registry| registry.set_willing(id, owner, willing))
    }

    /// Ends the streams of those whose credential is no longer accepted.
    pub(crate) fn drop_revoked(&self) {
        let now = Instant::now();
        let revoked: Vec<MemberId> = self.with(|inner| {
            inner
                .registry
                .handles()
                .filter(|(_, handle)| !self.credentials.accepts(&handle.secret, now))
                .map(|(id, _)| id)
                .collect()
        });
        for id in revoked {
            tracing::info!("credential revoked: transcoder turned away");
            self.remove(id);
        }
    }

    /// Ends all streams: the orchestrator stops.
    pub(crate) fn drop_all(&self) {
        let all: Vec<MemberId> =
            self.with(|inner| inner.registry.handles().map(|(id, _)| id).collect());
        for id in all {
            self.remove(id);
        }
    }

    /// Forgets a transcoder, ends its stream and passes its segments on.
    fn remove(&self, id: MemberId) {
        if let Some(offer) = self.change(|registry| registry.remove(id)) {
            tracing::info!(
                credential = offer.owner,
                address = offer.address,
                "transcoder gone"
            );
        }
        self.tasks.lose(id);
    }

    /// Frees a session, here and on its transcoder.
    pub(crate) fn end_session(&self, session: &str) {
        let handle = self.with(|inner| inner.registry.displace(session));
        if let Some(handle) = handle {
            // best effort, as on the wire: an idle session ends there by itself
            let _ = handle.notices.try_send(Ok(teardown(session)));
        }
    }

    /// Whether no transcoder is there, not even one that drains.
    pub(crate) fn is_empty(&self) -> bool {
        self.with(|inner| inner.registry.handles().next().is_none())
    }

    pub(crate) fn capacity(&self) -> u32 {
        self.with(|inner| inner.registry.capacity())
    }

    pub(crate) fn admission_capacity(&self) -> u32 {
        let now = Instant::now();
        self.with(|inner| match inner.lost_capacity {
            Some((lost, at)) if now.duration_since(at) < RETURN_GRACE => {
                lost.max(inner.registry.capacity())
            }
            Some(_) | None => inner.registry.capacity(),
        })
    }

    pub(crate) fn registered(&self) -> Vec<Registered> {
        self.with(|inner| inner.registry.registered())
    }

    pub(crate) fn abilities(&self) -> livepeer_proto::capabilities::BitString {
        self.with(|inner| inner.registry.abilities())
    }

    fn with<T>(&self, run: impl FnOnce(&mut Inner) -> T) -> T {
        run(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(&self, run: impl FnOnce(&mut Registry<Handle>) -> T) -> T {
        let now = Instant::now();
        let result = self.with(|inner| {
            let before = inner.registry.capacity();
            let result = run(&mut inner.registry);
            if inner.registry.capacity() < before {
                inner.lost_capacity = Some((before, now));
            }
            result
        });
        self.changes
            .send_modify(|count| *count = count.wrapping_add(1));
        result
    }
}

/// The registration of one transcoder; dropping it forgets the transcoder.
pub(crate) struct Registration {
    transcoders: Transcoders,
    id: MemberId,
}

impl Registration {
    pub(crate) fn id(&self) -> MemberId {
        self.id
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.transcoders.remove(self.id);
    }
}

/// "This session is over", on a register stream (`server/ot_rpc.go`).
fn teardown(session: &str) -> NotifySegment {
    NotifySegment {
        seg_data: Some(net::SegData {
            auth_token: Some(net::AuthToken {
                session_id: session.to_owned(),
                ..net::AuthToken::default()
            }),
            ..net::SegData::default()
        }),
        ..NotifySegment::default()
    }
}
