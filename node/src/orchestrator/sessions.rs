//! Sessions: one stream of one gateway each. A session's segments are done one after
//! the other; a few may wait (go-livepeer `core/orchestrator.go`).
//!
//! Its token outlives a session. One that ended under way is therefore the same session, with
//! the same turn, for whatever comes with that token before its last request is answered:
//! else a peer that ends it after each segment would have them done side by side.
//!
//! Here is who may begin, wait and stay. Who does the work is the transcoders' part.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use livepeer_proto::errors;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Segments of one session that may wait while one is done (`core/orchestrator.go`).
const QUEUE: usize = 4;
/// A session that sends nothing for so long is over (`core/orchestrator.go`).
const IDLE: Duration = Duration::from_secs(70);
/// As above while draining, counted from the last segment that was done: a gateway that
/// was told has moved on to another orchestrator with its next segment, so a few
/// segments' time is enough.
const IDLE_DRAINING: Duration = Duration::from_secs(10);
/// Weight of the newest segment in a session's usual time, as a divisor.
const USUAL_WEIGHT: u32 = 4;

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AdmitError {
    /// No session may be added.
    #[error("{}", errors::ORCHESTRATOR_CAPPED)]
    Capped,
    /// The session's queue is full.
    #[error("{}", errors::ORCHESTRATOR_BUSY)]
    Busy,
}

struct Session {
    turn: Arc<Semaphore>,
    /// Requests past admission: at work, waiting, or still on their way.
    requests: usize,
    /// A segment of it was taken whole: it outlives its requests.
    begun: bool,
    /// Only its requests keep it.
    ended: bool,
    last_used: Instant,
    /// When it began or its last segment was done: those that fail only keep it from
    /// those who could do them.
    last_done: Instant,
    /// Smoothed time of its segments.
    usual: Option<Duration>,
}

/// The sessions of an orchestrator; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Sessions {
    inner: Arc<Mutex<HashMap<String, Session>>>,
}

impl Sessions {
    /// Lets a request of `id` in: of a known session while its queue has room, of a new
    /// one while there are fewer than `limit`.
    pub(crate) fn admit(&self, id: &str, limit: u32, now: Instant) -> Result<Place, AdmitError> {
        self.with(|sessions| {
            let count = sessions.len();
            if !sessions.contains_key(id) && count >= limit as usize {
                return Err(AdmitError::Capped);
            }
            let session = sessions.entry(id.to_owned()).or_insert_with(|| Session {
                turn: Arc::new(Semaphore::new(1)),
                requests: 0,
                begun: false,
                ended: false,
                last_used: now,
                last_done: now,
                usual: None,
            });
            if session.requests > QUEUE {
                return Err(AdmitError::Busy);
            }
            session.requests += 1;
            session.ended = false;
            session.last_used = now;
            Ok(Place {
                sessions: self.clone(),
                id: id.to_owned(),
                turn: Arc::clone(&session.turn),
            })
        })
    }

    /// Ends a session; true when it was there. It counts until its requests are answered.
    pub(crate) fn end(&self, id: &str) -> bool {
        self.with(|sessions| {
            let Some(session) = sessions.get_mut(id).filter(|session| !session.ended) else {
                return false;
            };
            session.ended = true;
            if session.requests == 0 {
                sessions.remove(id);
            }
            true
        })
    }

    /// Whether there is such a session that has not ended.
    pub(crate) fn knows(&self, id: &str) -> bool {
        self.with(|sessions| sessions.get(id).is_some_and(|session| !session.ended))
    }

    /// Removes the sessions that have been idle for too long and returns their ids. Nothing is
    /// admitted before `free` is through with each: it would meet one that has just begun again.
    pub(crate) fn sweep(&self, now: Instant, draining: bool, free: impl Fn(&str)) -> Vec<String> {
        let is_idle = |session: &Session| {
            if draining {
                now.duration_since(session.last_done) > IDLE_DRAINING
            } else {
                now.duration_since(session.last_used) > IDLE
            }
        };
        self.with(|sessions| {
            let idle: Vec<String> = sessions
                .iter()
                .filter(|(_, session)| session.requests == 0 && is_idle(session))
                .map(|(id, _)| id.clone())
                .collect();
            for id in &idle {
                sessions.remove(id);
                free(id);
            }
            idle
        })
    }

    /// Those that ended and have requests yet included.
    pub(crate) fn count(&self) -> u32 {
        self.with(|sessions| u32::try_from(sessions.len()).unwrap_or(u32::MAX))
    }

    fn with<T>(&self, run: impl FnOnce(&mut HashMap<String, Session>) -> T) -> T {
        run(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn with_session<T>(&self, id: &str, run: impl FnOnce(&mut Session) -> T) -> Option<T> {
        self.with(|sessions| sessions.get_mut(id).map(run))
    }
}

/// A request's place in its session, from admission to the end of its reply.
pub(crate) struct Place {
    sessions: Sessions,
    id: String,
    turn: Arc<Semaphore>,
}

impl Place {
    /// Waits for the turn, in the order of arrival.
    pub(crate) async fn turn(&self) -> OwnedSemaphorePermit {
        self.sessions
            .with_session(&self.id, |session| session.begun = true);
        let turn = Arc::clone(&self.turn).acquire_owned().await;
        turn.expect("nobody closes the semaphore")
    }

    /// Time that a segment of this session usually takes, once there was one.
    pub(crate) fn usual(&self) -> Option<Duration> {
        self.sessions
            .with_session(&self.id, |session| session.usual)
            .flatten()
    }

    /// Notes that a segment is done, and the time that it took.
    pub(crate) fn took(&self, time: Duration) {
        let now = Instant::now();
        self.sessions.with_session(&self.id, |session| {
            session.last_done = now;
            session.usual = Some(match session.usual {
                None => time,
                Some(usual) => (usual * (USUAL_WEIGHT - 1) + time) / USUAL_WEIGHT,
            });
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let now = Instant::now();
        self.sessions.with(|sessions| {
            let Some(session) = sessions.get_mut(&self.id) else {
                return;
            };
            session.requests = session.requests.saturating_sub(1);
            session.last_used = now;
            // a request that was refused after its admission opens no session
            if session.requests == 0 && (session.ended || !session.begun) {
                sessions.remove(&self.id);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{AdmitError, IDLE, IDLE_DRAINING, QUEUE, Sessions};
    use std::time::Duration;
    use tokio::time::{Instant, timeout};

    fn swept(sessions: &Sessions, draining: bool) -> Vec<String> {
        sessions.sweep(Instant::now(), draining, |_| {})
    }

    #[tokio::test(start_paused = true)]
    async fn new_sessions_stop_at_the_limit_and_known_ones_go_on() {
        let sessions = Sessions::default();
        let first = sessions.admit("a", 1, Instant::now()).unwrap();
        drop(first.turn().await);
        let refused = sessions.admit("b", 1, Instant::now()).err();
        assert_eq!(refused, Some(AdmitError::Capped));
        sessions.admit("a", 0, Instant::now()).expect("known");
    }

    #[tokio::test(start_paused = true)]
    async fn one_segment_at_a_time_four_wait_and_the_next_is_refused() {
        let sessions = Sessions::default();
        let first = sessions.admit("a", 1, Instant::now()).unwrap();
        let turn = first.turn().await;
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..QUEUE {
            let place = sessions.admit("a", 1, Instant::now()).unwrap();
            waiting.spawn(async move { drop(place.turn().await) });
        }
        tokio::task::yield_now().await;
        let refused = sessions.admit("a", 1, Instant::now()).err();
        assert_eq!(refused, Some(AdmitError::Busy));
        drop((turn, first));
        sessions.admit("a", 1, Instant::now()).expect("room again");
        assert_eq!(waiting.join_all().await, [(); QUEUE]);
    }

    #[tokio::test(start_paused = true)]
    async fn segments_on_their_way_take_places_too() {
        let sessions = Sessions::default();
        let places: Vec<_> = (0..=QUEUE)
            .map(|_| sessions.admit("a", 1, Instant::now()).unwrap())
            .collect();
        let refused = sessions.admit("a", 1, Instant::now()).err();
        assert_eq!(refused, Some(AdmitError::Busy));
        drop(places);
        sessions.admit("a", 1, Instant::now()).expect("room again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_never_got_a_whole_segment_leaves_nothing() {
        let sessions = Sessions::default();
        drop(sessions.admit("a", 1, Instant::now()).unwrap());
        assert_eq!(sessions.count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_ends_under_way_counts_until_its_work_is_done() {
        let sessions = Sessions::default();
        let place = sessions.admit("a", 1, Instant::now()).unwrap();
        let turn = place.turn().await;
        sessions.end("a");
        assert!(!sessions.knows("a"));
        let refused = sessions.admit("b", 1, Instant::now()).err();
        assert_eq!(refused, Some(AdmitError::Capped));
        drop((turn, place));
        assert_eq!(sessions.count(), 0);
        sessions.admit("b", 1, Instant::now()).expect("room again");
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_after_the_end_waits_for_the_work_before_it() {
        let sessions = Sessions::default();
        let before = sessions.admit("a", 1, Instant::now()).unwrap();
        let turn = before.turn().await;
        sessions.end("a");
        let after = sessions.admit("a", 1, Instant::now()).unwrap();
        let second = timeout(IDLE, after.turn()).await;
        assert!(second.is_err(), "both at once");
        drop(turn);
        drop(after.turn().await);
        assert_eq!(sessions.count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn work_from_before_the_end_does_not_end_what_comes_after_it() {
        let sessions = Sessions::default();
        let before = sessions.admit("a", 1, Instant::now()).unwrap();
        drop(before.turn().await);
        sessions.end("a");
        let after = sessions.admit("a", 1, Instant::now()).unwrap();
        drop(before);
        assert!(sessions.knows("a"), "its segment is on its way");
        drop(after.turn().await);
        drop(after);
        assert!(sessions.knows("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn idle_sessions_are_swept_sooner_while_draining_and_busy_ones_never() {
        let sessions = Sessions::default();
        let busy = sessions.admit("busy", 9, Instant::now()).unwrap();
        let _turn = busy.turn().await;
        let idle = sessions.admit("idle", 9, Instant::now()).unwrap();
        drop(idle.turn().await);
        drop(idle);
        tokio::time::advance(IDLE_DRAINING + Duration::from_secs(1)).await;
        assert!(swept(&sessions, false).is_empty());
        assert_eq!(swept(&sessions, true), ["idle"]);
        tokio::time::advance(IDLE).await;
        assert!(swept(&sessions, false).is_empty());
        assert!(sessions.end("busy") && !sessions.end("busy"));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_admitted_while_what_an_idle_session_has_is_freed() {
        let sessions = Sessions::default();
        drop(sessions.admit("a", 1, Instant::now()).unwrap().turn().await);
        tokio::time::advance(IDLE + Duration::from_secs(1)).await;
        let swept = sessions.sweep(Instant::now(), false, |_| {
            assert!(sessions.inner.try_lock().is_err());
        });
        assert_eq!(swept, ["a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn segments_that_fail_keep_no_session_while_draining() {
        let sessions = Sessions::default();
        for id in ["does", "fails"] {
            drop(sessions.admit(id, 9, Instant::now()).unwrap().turn().await);
        }
        for _ in 0..4 {
            tokio::time::advance(IDLE_DRAINING / 3).await;
            let does = sessions.admit("does", 0, Instant::now()).unwrap();
            does.took(Duration::from_secs(1));
            sessions.admit("fails", 0, Instant::now()).unwrap();
        }
        assert!(swept(&sessions, false).is_empty());
        assert_eq!(swept(&sessions, true), ["fails"]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_usual_time_follows_the_segments() {
        let sessions = Sessions::default();
        let place = sessions.admit("a", 1, Instant::now()).unwrap();
        assert_eq!(place.usual(), None);
        place.took(Duration::from_secs(1));
        assert_eq!(place.usual(), Some(Duration::from_secs(1)));
        place.took(Duration::from_secs(5));
        assert_eq!(place.usual(), Some(Duration::from_secs(2)));
    }
}
