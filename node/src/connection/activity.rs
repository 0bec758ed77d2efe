//! What is under way on one connection, and since when. HTTP/2 has no time after which a
//! connection without a request ends, nor one in which a reply must be taken: a client that
//! answers pings keeps its place, and with a closed window the bytes of its replies, for ever.
//!
//! Not here: what is done about it.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

/// The requests, or the replies, of one connection; clones share them. One task waits for
/// [`Self::idle`] or [`Self::overdue`].
#[derive(Clone, Default)]
pub(crate) struct Activity(Arc<Shared>);

#[derive(Default)]
struct Shared {
    begun: Mutex<Begun>,
    changed: Notify,
}

/// In the order in which they began.
#[derive(Default)]
struct Begun {
    next: u64,
    since: BTreeMap<u64, Instant>,
}

/// One of them, until it is dropped.
pub(crate) struct Underway {
    shared: Arc<Shared>,
    number: u64,
}

impl Activity {
    /// One more is under way.
    pub(crate) fn begin(&self) -> Underway {
        let number = {
            let mut begun = self.0.begun();
            let number = begun.next;
            begun.next += 1;
            begun.since.insert(number, Instant::now());
            number
        };
        self.0.changed.notify_one();
        Underway {
            shared: Arc::clone(&self.0),
            number,
        }
    }

    /// Until nothing has been under way for `time`.
    pub(crate) async fn idle(&self, time: Duration) {
        loop {
            let changed = self.0.changed.notified();
            if self.0.oldest().is_some() {
                changed.await;
            } else if timeout(time, changed).await.is_err() {
                return;
            }
        }
    }

    /// Until something has been under way for `time`.
    pub(crate) async fn overdue(&self, time: Duration) {
        loop {
            match self.0.oldest() {
                Some(began) if began.elapsed() >= time => return,
                Some(began) => sleep_until(began + time).await,
                None => self.0.changed.notified().await,
            }
        }
    }
}

impl Shared {
    fn begun(&self) -> MutexGuard<'_, Begun> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn oldest(&self) -> Option<Instant> {
        self.begun().since.values().next().copied()
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.shared.begun().since.remove(&self.number);
        self.shared.changed.notify_one();
    }
}

impl Underway {
    /// The bytes; it lasts until the last reference to them is dropped, wherever they wait
    /// to be sent.
    pub(crate) fn with_bytes(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Tied {
            bytes,
            _underway: self,
        })
    }

    /// The body; it lasts until that is sent or given up.
    pub(crate) fn with_body(self, body: Body) -> Body {
        Body::new(TiedBody {
            body,
            _underway: self,
        })
    }
}

struct Tied {
    bytes: Bytes,
    _underway: Underway,
}

impl AsRef<[u8]> for Tied {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

struct TiedBody {
    body: Body,
    _underway: Underway,
}

impl hyper::body::Body for TiedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Activity;
    use bytes::Bytes;
    use tokio::time::{Instant, sleep, timeout};

    const TIME: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_when_nothing_has_been_under_way_for_a_time() {
        let activity = Activity::default();
        let (long, short) = (activity.begin(), activity.begin());
        let began = Instant::now();
        let works = async {
            drop(short);
            sleep(3 * TIME).await;
            drop(long);
            sleep(TIME / 2).await;
            drop(activity.begin());
        };
        tokio::join!(works, activity.idle(TIME));
        assert_eq!(began.elapsed(), 3 * TIME + TIME / 2 + TIME);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_that_is_under_way_decides_whether_one_is_overdue() {
        let activity = Activity::default();
        let began = Instant::now();
        let works = async {
            sleep(TIME).await;
            let taken = activity.begin().with_bytes(Bytes::from_static(b"taken"));
            sleep(TIME / 2).await;
            let kept = activity.begin().with_bytes(Bytes::from_static(b"kept"));
            let also = kept.clone();
            drop((taken, kept));
            also
        };
        let (also, ()) = tokio::join!(works, activity.overdue(TIME));
        assert_eq!(began.elapsed(), TIME + TIME / 2 + TIME);
        drop(also);
        assert!(timeout(2 * TIME, activity.overdue(TIME)).await.is_err());
    }
}
