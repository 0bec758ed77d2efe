//! How many sessions a transcoder has: for its status. It holds nothing for them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// As on orchestrators: a session that sends nothing for so long is over.
const IDLE: Duration = Duration::from_secs(70);

#[derive(Debug, Clone, Copy)]
struct Session {
    working: usize,
    last_used: Instant,
}

/// Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sessions {
    inner: Arc<Mutex<HashMap<String, Session>>>,
}

impl Sessions {
    /// A segment of `id` is being done while the guard lives.
    pub(crate) fn work(&self, id: &str) -> Working {
        self.with(|sessions| {
            let now = Instant::now();
            forget_idle(sessions, now);
            let session = sessions.entry(id.to_owned()).or_insert(Session {
                working: 0,
                last_used: now,
            });
            session.working += 1;
            session.last_used = now;
        });
        Working {
            sessions: self.clone(),
            id: id.to_owned(),
        }
    }

    /// The orchestrator said that a session is over.
    pub(crate) fn end(&self, id: &str) {
        self.with(|sessions| sessions.remove(id));
    }

    /// Sessions now; forgets the idle ones.
    pub(crate) fn count(&self) -> u32 {
        let now = Instant::now();
        self.with(|sessions| {
            forget_idle(sessions, now);
            u32::try_from(sessions.len()).unwrap_or(u32::MAX)
        })
    }

    fn with<T>(&self, run: impl FnOnce(&mut HashMap<String, Session>) -> T) -> T {
        run(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Orchestrators do not tell the end of a session that went to another transcoder.
fn forget_idle(sessions: &mut HashMap<String, Session>, now: Instant) {
    sessions
        .retain(|_, session| session.working > 0 || now.duration_since(session.last_used) <= IDLE);
}

/// A segment at work.
pub(crate) struct Working {
    sessions: Sessions,
    id: String,
}

impl Drop for Working {
    fn drop(&mut self) {
        self.sessions.with(|sessions| {
            if let Some(session) = sessions.get_mut(&self.id) {
                session.working = session.working.saturating_sub(1);
                session.last_used = Instant::now();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{IDLE, Sessions};
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn sessions_count_until_they_end_or_idle() {
        let sessions = Sessions::default();
        drop(sessions.work("a"));
        let _working = sessions.work("b");
        drop(sessions.work("c"));
        assert_eq!(sessions.count(), 3);
        sessions.end("c");
        assert_eq!(sessions.count(), 2);
        tokio::time::advance(IDLE + Duration::from_secs(1)).await;
        assert_eq!(sessions.count(), 1, "the one at work stays");
    }
}
