//! Remote transcoders: the pools of an orchestrator.
//!
//! * [`registry`]: who is there and who gets a session; pure
//! * [`plan`]: the attempts of one segment; pure
//! * [`tasks`]: which results are waited for
//! * [`dispatch`]: does a segment by the three above
//! * [`credentials`]: who may register and bring results
//! * [`refusals`]: what the log says of those who may not
//! * [`results`]: `POST /transcodeResults`

pub(crate) mod credentials;
pub(crate) mod dispatch;
pub(crate) mod plan;
mod refusals;
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
use refusals::Refusals;
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
    lost: LostCapacities,
}

/// Capacities of a moment ago and when they were lost, each above those after it: no more
/// than transcoders that went one after the other.
#[derive(Default)]
struct LostCapacities(Vec<(u32, Instant)>);

impl LostCapacities {
    fn note(&mut self, capacity: u32, now: Instant) {
        self.0
            .retain(|(earlier, at)| *earlier > capacity && is_fresh(*at, now));
        self.0.push((capacity, now));
    }

    /// The greatest that may still come back.
    fn greatest(&self, now: Instant) -> u32 {
        let fresh = self.0.iter().filter(|(_, at)| is_fresh(*at, now));
        fresh.map(|(capacity, _)| *capacity).max().unwrap_or(0)
    }
}

fn is_fresh(lost: Instant, now: Instant) -> bool {
    now.duration_since(lost) < RETURN_GRACE
}

/// Whether a transcoder that goes is likely back in a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Return {
    Likely,
    No,
}

/// All transcoders of an orchestrator; cheap to clone.
#[derive(Clone)]
pub(crate) struct Transcoders {
    inner: Arc<Mutex<Inner>>,
    pub(crate) tasks: Tasks,
    pub(crate) credentials: Credentials,
    pub(crate) metrics: Metrics,
    refusals: Arc<Refusals>,
    /// Counts the changes of who is there.
    changes: watch::Sender<u64>,
}

impl Transcoders {
    pub(crate) fn new(credentials: Credentials, metrics: Metrics) -> Self {
        Self {
            inner: Arc::new(Mutex::new(Inner {
                registry: Registry::default(),
                lost: LostCapacities::default(),
            })),
            tasks: Tasks::default(),
            credentials,
            metrics,
            refusals: Arc::default(),
            changes: watch::Sender::new(0),
        }
    }

    /// `what` came from `address` with a wrong credential.
    pub(crate) fn refuse(&self, what: &str, address: Option<&str>) {
        self.metrics.refused_credential();
        self.refusals.tell(what, address);
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
        let id = self.change(|inner| inner.registry.add(offer, Handle { notices, secret }));
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
        self.change(|inner| inner.registry.set_willing(id, owner, willing))
    }

    /// Ends the streams of those whose credential is no longer accepted.
    pub(crate) fn drop_revoked(&self) {
        let now = Instant::now();
        let revoked: Vec<(MemberId, Return)> = self.with(|inner| {
            inner
                .registry
                .handles()
                .filter(|(_, handle)| !self.credentials.accepts(&handle.secret, now))
                .map(|(id, _)| {
                    let owner = inner.registry.owner(id);
                    // it has read the new secret by now, if there is one
                    let replaced = owner.is_some_and(|owner| self.credentials.knows(&owner));
                    (id, if replaced { Return::Likely } else { Return::No })
                })
                .collect()
        });
        for (id, back) in revoked {
            tracing::info!(?back, "credential revoked: transcoder turned away");
            self.remove(id, back);
        }
    }

    /// Ends all streams: the orchestrator stops.
    pub(crate) fn drop_all(&self) {
        let all: Vec<MemberId> =
            self.with(|inner| inner.registry.handles().map(|(id, _)| id).collect());
        for id in all {
            self.remove(id, Return::No);
        }
    }

    /// Forgets a transcoder, ends its stream and passes its segments on.
    fn remove(&self, id: MemberId, back: Return) {
        let now = Instant::now();
        let gone = self.change(|inner| {
            let before = inner.registry.capacity();
            let offer = inner.registry.remove(id);
            // one that drained was none of it any more
            if back == Return::Likely && inner.registry.capacity() < before {
                inner.lost.note(before, now);
            }
            offer
        });
        if let Some(offer) = gone {
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
        self.with(|inner| inner.lost.greatest(now).max(inner.registry.capacity()))
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

    fn change<T>(&self, run: impl FnOnce(&mut Inner) -> T) -> T {
        let result = self.with(run);
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
        self.transcoders.remove(self.id, Return::Likely);
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

#[cfg(test)]
mod tests {
    use super::{RETURN_GRACE, Registration, Transcoders};
    use crate::health::Health;
    use crate::lifecycle::Lifecycle;
    use crate::orchestrator::metrics::Metrics;
    use crate::orchestrator::transcoders::credentials::{self, Credentials};
    use crate::orchestrator::transcoders::registry::{Offer, Willing};
    use livepeer_settings::Role;
    use std::time::Duration;

    const SECRET: &str = "secret";
    const MOMENT: Duration = Duration::from_secs(1);

    fn pool(credentials: Credentials) -> Transcoders {
        let health = Health::new(Role::Orchestrator, Lifecycle::default());
        Transcoders::new(credentials, Metrics::new(&health))
    }

    /// One that registers for two sessions.
    fn add(transcoders: &Transcoders) -> Registration {
        let offer = Offer {
            owner: "pool".to_owned(),
            address: String::new(),
            capacity: 2,
            capabilities: livepeer_proto::net::Capabilities::default(),
        };
        let secret = credentials::hash(SECRET.as_bytes());
        transcoders.register(offer, secret).1
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_lost_one_after_the_other_counts_as_long_as_each_may_return() {
        let pool = pool(Credentials::default());
        let (first, second) = (add(&pool), add(&pool));
        drop(first);
        tokio::time::advance(MOMENT).await;
        drop(second);
        assert_eq!((pool.capacity(), pool.admission_capacity()), (0, 4));
        tokio::time::advance(RETURN_GRACE - MOMENT).await;
        assert_eq!(pool.admission_capacity(), 2, "the second may return");
        let _back = add(&pool);
        tokio::time::advance(MOMENT).await;
        assert_eq!(pool.admission_capacity(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_reconnects_again_and_again_does_not_keep_what_another_had() {
        let pool = pool(Credentials::default());
        let (gone, mut flaps) = (add(&pool), add(&pool));
        drop(gone);
        let mut counted = Vec::new();
        for _ in 0..4 {
            drop(flaps);
            tokio::time::advance(MOMENT).await;
            counted.push(pool.admission_capacity());
            flaps = add(&pool);
        }
        assert_eq!(counted, [4, 4, 2, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_drains_is_not_counted_on() {
        let pool = pool(Credentials::default());
        let leaves = add(&pool);
        assert!(pool.drain(leaves.id(), "pool", Willing::AsLastResort));
        assert_eq!(pool.admission_capacity(), 0);
        drop(leaves);
        assert_eq!(pool.admission_capacity(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn one_whose_credential_is_gone_is_not_counted_on() {
        let pool = pool(Credentials::default());
        let _turned_away = add(&pool);
        pool.drop_revoked();
        assert_eq!((pool.capacity(), pool.admission_capacity()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn one_whose_credential_was_replaced_is_back_with_the_new_one() {
        let pool = pool(Credentials::single("pool", "new"));
        let _turned_away = add(&pool);
        pool.drop_revoked();
        assert_eq!((pool.capacity(), pool.admission_capacity()), (0, 2));
    }
}
