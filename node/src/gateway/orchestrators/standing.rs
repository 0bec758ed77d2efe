//! One orchestrator: whether it answers, and since when it does not.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use livepeer_proto::capabilities::{BitString, Capability};
use livepeer_proto::net;
use livepeer_settings::status::OrchestratorReport;
use rand::RngExt as _;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::client::{InfoError, Rpc};

/// How often one that answers is asked.
const INTERVAL: Duration = Duration::from_secs(3);
/// How soon one that does not answer is asked again, and how seldom in the end. Soon,
/// since a restarted pod serves within a second or two and segments wait for it.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_LAST: Duration = Duration::from_secs(3);

/// What the last answer said.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    NotAsked,
    Usable {
        latency: Duration,
    },
    /// It works, for those who have a session; there are no more to be had.
    Full {
        latency: Duration,
    },
    Down {
        reason: String,
        since: Instant,
    },
}

/// An orchestrator of the settings.
#[derive(Debug)]
pub(in crate::gateway) struct Orchestrator {
    uri: String,
    rpc: Rpc,
    standing: Mutex<Standing>,
    /// Streams of this gateway that have a session there.
    streams: AtomicU32,
    removed: AtomicBool,
    wake: Notify,
    changed: Arc<Notify>,
}

impl Orchestrator {
    pub(in crate::gateway) fn new(uri: String, changed: Arc<Notify>) -> Self {
        Self {
            rpc: Rpc::new(uri.clone()),
            uri,
            standing: Mutex::new(Standing::NotAsked),
            streams: AtomicU32::new(0),
            removed: AtomicBool::new(false),
            wake: Notify::new(),
            changed,
        }
    }

    pub(in crate::gateway) fn uri(&self) -> &str {
        &self.uri
    }

    fn standing(&self) -> Standing {
        self.standing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn is_reachable(&self) -> bool {
        match self.standing() {
            Standing::NotAsked | Standing::Usable { .. } | Standing::Full { .. } => true,
            Standing::Down { .. } => false,
        }
    }

    pub(super) fn down_for(&self) -> Option<Duration> {
        match self.standing() {
            Standing::NotAsked | Standing::Usable { .. } | Standing::Full { .. } => None,
            Standing::Down { since, .. } => Some(since.elapsed()),
        }
    }

    /// How long it took to answer last.
    pub(in crate::gateway) fn latency(&self) -> Duration {
        match self.standing() {
            Standing::Usable { latency } | Standing::Full { latency } => latency,
            Standing::NotAsked | Standing::Down { .. } => Duration::ZERO,
        }
    }

    pub(super) fn report(&self) -> OrchestratorReport {
        let (usable, reason) = match self.standing() {
            Standing::NotAsked => (false, "not asked yet".to_owned()),
            Standing::Usable { .. } => (true, String::new()),
            Standing::Full { .. } => (true, InfoError::Capped.to_string()),
            Standing::Down { reason, .. } => (false, reason),
        };
        OrchestratorReport {
            uri: self.uri.clone(),
            usable,
            reason,
        }
    }

    /// A new session for a stream whose job needs these capabilities.
    pub(in crate::gateway) async fn fetch_info(
        &self,
        job: &net::Capabilities,
    ) -> Result<net::OrchestratorInfo, InfoError> {
        let result = self.rpc.fetch_info(job).await;
        if let Err(error @ (InfoError::Unreachable(_) | InfoError::Timeout)) = &result {
            self.suspect(&error.to_string());
        }
        result
    }

    pub(in crate::gateway) async fn end_session(&self, token: net::AuthToken) {
        self.rpc.end_session(token).await;
    }

    /// Streams of this gateway that have a session there.
    pub(in crate::gateway) fn streams(&self) -> u32 {
        self.streams.load(Ordering::Relaxed)
    }

    pub(in crate::gateway) fn stream_joined(&self) {
        self.streams.fetch_add(1, Ordering::Relaxed);
    }

    pub(in crate::gateway) fn stream_left(&self) {
        self.streams.fetch_sub(1, Ordering::Relaxed);
    }

    /// A segment found it gone: nobody else shall, until it answers again.
    pub(in crate::gateway) fn suspect(&self, reason: &str) {
        self.set(Standing::Down {
            reason: reason.to_owned(),
            since: Instant::now(),
        });
        self.wake();
    }

    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    pub(super) fn remove(&self) {
        self.removed.store(true, Ordering::Relaxed);
        self.wake();
    }

    /// It is no longer in the settings.
    pub(in crate::gateway) fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Relaxed)
    }

    /// Asks again and again until it is removed.
    pub(super) async fn watch(self: Arc<Self>) {
        let mut retry = RETRY_FIRST;
        while !self.is_removed() {
            let asked = Instant::now();
            let answer = self.rpc.fetch_info(&least_job()).await;
            let latency = asked.elapsed();
            let pause = match answer {
                Ok(_) => {
                    self.set(Standing::Usable { latency });
                    INTERVAL
                }
                Err(InfoError::Capped) => {
                    self.set(Standing::Full { latency });
                    INTERVAL
                }
                Err(error) => {
                    self.set(Standing::Down {
                        reason: error.to_string(),
                        since: asked,
                    });
                    retry = (retry * 2).min(RETRY_LAST);
                    retry
                }
            };
            if pause == INTERVAL {
                retry = RETRY_FIRST;
            }
            let jitter = rand::rng().random_range(0.8..1.2);
            tokio::select! {
                () = tokio::time::sleep(pause.mul_f64(jitter)) => {}
                () = self.wake.notified() => {
                    // at most one question each RETRY_FIRST, however many segments wait
                    tokio::time::sleep_until(asked + RETRY_FIRST).await;
                }
            }
        }
    }

    /// One that stays down keeps the time since when it is.
    fn set(&self, mut new: Standing) {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Standing::Down { since: old, .. }, Standing::Down { since, .. }) =
            (&*standing, &mut new)
        {
            *since = *old;
        }
        let reachable = |standing: &Standing| !matches!(standing, Standing::Down { .. });
        let before = reachable(&standing);
        if before != reachable(&new) {
            match &new {
                Standing::Down { reason, .. } => {
                    tracing::warn!(orchestrator = self.uri, reason, "orchestrator not usable");
                }
                Standing::NotAsked | Standing::Usable { .. } | Standing::Full { .. } => {
                    tracing::info!(orchestrator = self.uri, "orchestrator usable again");
                }
            }
        }
        *standing = new;
        drop(standing);
        self.changed.notify_one();
    }
}

/// What every job needs: H.264 to MPEG-TS, with an auth token.
fn least_job() -> net::Capabilities {
    let bits = [Capability::H264, Capability::MpegTs, Capability::AuthToken];
    net::Capabilities {
        bitstring: BitString::of(bits.map(|capability| capability as u32)).0,
        constraints: Some(net::capabilities::Constraints::default()),
        ..net::Capabilities::default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::{Orchestrator, Standing};

    #[tokio::test(start_paused = true)]
    async fn down_counts_from_the_first_failure_until_an_answer() {
        let orchestrator = Orchestrator::new("https://127.0.0.1:1".into(), Arc::default());
        assert!(orchestrator.is_reachable() && !orchestrator.report().usable);
        orchestrator.suspect("reset");
        tokio::time::advance(Duration::from_secs(5)).await;
        orchestrator.suspect("refused");
        assert_eq!(orchestrator.down_for(), Some(Duration::from_secs(5)));
        assert_eq!(orchestrator.report().reason, "refused");
        orchestrator.set(Standing::Full {
            latency: Duration::ZERO,
        });
        assert!(orchestrator.report().usable, "its sessions still work");
        assert_eq!(orchestrator.down_for(), None);
    }

    #[tokio::test]
    async fn the_watch_ends_when_it_is_removed() {
        let orchestrator = Arc::new(Orchestrator::new(
            "https://127.0.0.1:1".into(),
            Arc::default(),
        ));
        let watch = Arc::clone(&orchestrator).watch();
        tokio::pin!(watch);
        tokio::select! {
            () = &mut watch => unreachable!("not removed yet"),
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
        assert!(!orchestrator.is_reachable());
        orchestrator.remove();
        tokio::time::timeout(Duration::from_secs(5), watch)
            .await
            .unwrap();
    }
}
