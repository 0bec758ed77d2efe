//! Sessions: one stream of one gateway each. A session's segments are done one after
//! the other; a few may wait (go-livepeer `core/orchestrator.go`).
//!
//! Here is who may begin, wait and stay. Who does the work is the transcoders' part.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Segments of one session that may wait while one is done (`core/orchestrator.go`).
const QUEUE: usize = 4;
/// A session that sends nothing for so long is over (`core/orchestrator.go`).
const IDLE: Duration = Duration::from_secs(70);
/// As above while draining: a gateway that was told has moved on to another
/// orchestrator with its next segment, so a few segments' time is enough.
const IDLE_DRAINING: Duration = Duration::from_secs(10);
/// Weight of the newest segment in a session's usual time, as a divisor.
const USUAL_WEIGHT: u32 = 4;

/// No session may be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", livepeer_proto::errors::ORCHESTRATOR_CAPPED)]
pub(crate) struct Capped;

/// The session's queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", livepeer_proto::errors::ORCHESTRATOR_BUSY)]
pub(crate) struct Busy;

struct Session {
    turn: Arc<Semaphore>,
    /// Requests past admission, the one at work and those that wait included.
    requests: usize,
    /// Of those, how many wait for their turn or have it.
    queued: usize,
    /// A segment of it was taken whole: it outlives its requests.
    begun: bool,
    last_used: Instant,
    /// Smoothed time of its segments.
    usual: Option<Duration>,
}

/// The sessions of an orchestrator; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Sessions {
    inner: Arc<Mutex<HashMap<String, Session>>>,
}

impl Sessions {
    /// Lets a request of `id` in: a known session always, a new one while there are
    /// fewer than `limit`.
    pub(crate) fn admit(&self, id: &str, limit: u32, now: Instant) -> Result<Place, Capped> {
        self.with(|sessions| {
            let count = sessions.len();
            if !sessions.contains_key(id) && count >= limit as usize {
                return Err(Capped);
            }
            let session = sessions.entry(id.to_owned()).or_insert_with(|| Session {
                turn: Arc::new(Semaphore::new(1)),
                requests: 0,
                queued: 0,
                begun: false,
                last_used: now,
                usual: None,
            });
            session.requests += 1;
            session.last_used = now;
            Ok(Place {
                sessions: self.clone(),
                id: id.to_owned(),
                queued: false,
            })
        })
    }

    /// Ends a session; true when it was there.
    pub(crate) fn end(&self, id: &str) -> bool {
        self.with(|sessions| sessions.remove(id).is_some())
    }

    pub(crate) fn knows(&self, id: &str) -> bool {
        self.with(|sessions| sessions.contains_key(id))
    }

    /// Removes the sessions that have been idle for too long and returns their ids.
    pub(crate) fn sweep(&self, now: Instant, draining: bool) -> Vec<String> {
        let limit = if draining { IDLE_DRAINING } else { IDLE };
        self.with(|sessions| {
            let idle: Vec<String> = sessions
                .iter()
                .filter(|(_, session)| {
                    session.requests == 0 && now.duration_since(session.last_used) > limit
                })
                .map(|(id, _)| id.clone())
                .collect();
            for id in &idle {
                sessions.remove(id);
            }
            idle
        })
    }

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
    queued: bool,
}

impl Place {
    /// Waits for the turn; refused when too many wait already.
    pub(crate) async fn turn(&mut self) -> Result<Option<OwnedSemaphorePermit>, Busy> {
        let turn = self.sessions.with_session(&self.id, |session| {
            if session.queued > QUEUE {
                return Err(Busy);
            }
            session.queued += 1;
            session.begun = true;
            Ok(Arc::clone(&session.turn))
        });
        match turn {
            Some(turn) => {
                let turn = turn?;
                self.queued = true;
                // fair: in the order of arrival; never closed
                Ok(turn.acquire_owned().await.ok())
            }
            // ended while the segment arrived: there is nobody to wait for
            None => Ok(None),
        }
    }

    /// Time that a segment of this session usually takes, once there was one.
    pub(crate) fn usual(&self) -> Option<Duration> {
        self.sessions
            .with_session(&self.id, |session| session.usual)
            .flatten()
    }

    /// Notes the time that a segment took.
    pub(crate) fn took(&self, time: Duration) {
        self.sessions.with_session(&self.id, |session| {
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
            session.queued = session.queued.saturating_sub(usize::from(self.queued));
            session.last_used = now;
            // a request that was refused after its admission opens no session
            if session.requests == 0 && !session.begun {
                sessions.remove(&self.id);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{Busy, Capped, IDLE, IDLE_DRAINING, QUEUE, Sessions};
    use std::time::Duration;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn new_sessions_stop_at_the_limit_and_known_ones_go_on() {
        let sessions = Sessions::default();
        let mut first = sessions.admit("a", 1, Instant::now()).unwrap();
        first.turn().await.unwrap();
        assert_eq!(sessions.admit("b", 1, Instant::now()).err(), Some(Capped));
        sessions.admit("a", 0, Instant::now()).expect("known");
    }

    #[tokio::test(start_paused = true)]
    async fn one_segment_at_a_time_four_wait_and_the_next_is_refused() {
        let sessions = Sessions::default();
        let mut first = sessions.admit("a", 1, Instant::now()).unwrap();
        let turn = first.turn().await.unwrap();
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..QUEUE {
            let mut place = sessions.admit("a", 1, Instant::now()).unwrap();
            waiting.spawn(async move { place.turn().await.map(|_| ()) });
        }
        tokio::task::yield_now().await;
        let mut last = sessions.admit("a", 1, Instant::now()).unwrap();
        assert_eq!(last.turn().await.err(), Some(Busy));
        drop((turn, first));
        while let Some(done) = waiting.join_next().await {
            assert_eq!(done.unwrap(), Ok(()));
        }
        last.turn().await.expect("room again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_never_got_a_whole_segment_leaves_nothing() {
        let sessions = Sessions::default();
        drop(sessions.admit("a", 1, Instant::now()).unwrap());
        assert_eq!(sessions.count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn idle_sessions_are_swept_sooner_while_draining_and_busy_ones_never() {
        let sessions = Sessions::default();
        let mut busy = sessions.admit("busy", 9, Instant::now()).unwrap();
        let _turn = busy.turn().await.unwrap();
        let mut idle = sessions.admit("idle", 9, Instant::now()).unwrap();
        drop(idle.turn().await.unwrap());
        drop(idle);
        tokio::time::advance(IDLE_DRAINING + Duration::from_secs(1)).await;
        assert!(sessions.sweep(Instant::now(), false).is_empty());
        assert_eq!(sessions.sweep(Instant::now(), true), ["idle"]);
        tokio::time::advance(IDLE).await;
        assert!(sessions.sweep(Instant::now(), false).is_empty());
        assert!(sessions.end("busy") && !sessions.end("busy"));
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
