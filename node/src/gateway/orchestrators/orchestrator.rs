//! One orchestrator: asked again and again how it stands, and for sessions.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use livepeer_proto::capabilities::{BitString, Capability};
use livepeer_proto::net;
use livepeer_settings::status::OrchestratorReport;
use rand::RngExt as _;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::client::{InfoError, Load, Offer, Rpc};
use super::standing::{Room, Standing};

/// How often one that answers is asked.
const INTERVAL: Duration = Duration::from_secs(3);
/// How soon one that does not answer is asked again, and how seldom in the end. Soon,
/// since a restarted pod serves within a second or two and segments wait for it.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_LAST: Duration = Duration::from_secs(3);

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

    fn room(&self) -> Option<Room> {
        self.standing().room()
    }

    /// It did when last asked.
    pub(super) fn answers(&self) -> bool {
        self.room().is_some()
    }

    pub(in crate::gateway) fn is_deserted(&self) -> bool {
        self.room() == Some(Room::Deserted)
    }

    pub(in crate::gateway) fn is_full(&self) -> bool {
        matches!(self.room(), Some(Room::Full(_)))
    }

    pub(in crate::gateway) fn is_draining(&self) -> bool {
        self.room() == Some(Room::Draining)
    }

    /// It said that every session is taken, or that it drains.
    pub(in crate::gateway) fn opens_no_session(&self) -> bool {
        self.is_full() || self.is_draining()
    }

    /// How many sessions a full one has, if it says so.
    pub(super) fn load(&self) -> Option<Load> {
        match self.room()? {
            Room::Full(load) => load,
            Room::Open | Room::Draining | Room::Deserted => None,
        }
    }

    /// It should be asked again soon.
    pub(super) fn is_in_trouble(&self) -> bool {
        self.standing().trouble().is_some()
    }

    /// For how long it has not answered.
    pub(in crate::gateway) fn down_for(&self) -> Option<Duration> {
        match self.standing() {
            Standing::NotAsked | Standing::Answers { .. } => None,
            Standing::Down { since, .. } => Some(since.elapsed()),
        }
    }

    /// How long it took to answer last.
    pub(in crate::gateway) fn latency(&self) -> Duration {
        match self.standing() {
            Standing::Answers { latency, .. } => latency,
            Standing::NotAsked | Standing::Down { .. } => Duration::ZERO,
        }
    }

    pub(super) fn report(&self) -> OrchestratorReport {
        let standing = self.standing();
        let (usable, reason) = match (standing.trouble(), standing.room()) {
            (Some(reason), _) => (false, reason.to_owned()),
            (None, None) => (false, "not asked yet".to_owned()),
            (None, Some(Room::Full(load))) => (true, InfoError::Capped(load).to_string()),
            (None, Some(Room::Open | Room::Draining | Room::Deserted)) => (true, String::new()),
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
        let asked = Instant::now();
        let result = self.rpc.fetch_info(job).await;
        match &result {
            Err(error @ (InfoError::Unreachable(_) | InfoError::Timeout)) => {
                self.suspect(&error.to_string());
            }
            Err(error @ (InfoError::Capped(_) | InfoError::Draining)) => {
                self.set(Standing::of(Err(error), asked.elapsed(), asked));
            }
            // about this job; the rest is the watch's
            Ok(_)
            | Err(
                InfoError::Refused(_)
                | InfoError::NoTranscoder
                | InfoError::NotHttps(_)
                | InfoError::ForeignStore
                | InfoError::Capabilities(_),
            ) => {}
        }
        result.map(|Offer { info, load: _ }| info)
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
            let load = answer.as_ref().map(|offer| offer.load);
            let standing = Standing::of(load, asked.elapsed(), asked);
            let pause = pause(&standing, &mut retry);
            self.set(standing);
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
        match (standing.trouble(), new.trouble()) {
            (None, Some(reason)) => {
                tracing::warn!(orchestrator = self.uri, reason, "orchestrator not usable");
            }
            (Some(_), None) => {
                tracing::info!(orchestrator = self.uri, "orchestrator usable again");
            }
            (None, None) | (Some(_), Some(_)) => {}
        }
        *standing = new;
        drop(standing);
        self.changed.notify_one();
    }
}

/// How long until one that stands like this is asked again; `retry` is how long if that may
/// soon be otherwise, and grows while it is not.
fn pause(standing: &Standing, retry: &mut Duration) -> Duration {
    if !standing.is_passing() {
        *retry = RETRY_FIRST;
        return INTERVAL;
    }
    let pause = *retry;
    *retry = (pause * 2).min(RETRY_LAST);
    pause
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

    use tokio::time::Instant;

    use super::{INTERVAL, InfoError, Load, Orchestrator, RETRY_FIRST, Standing, pause};

    #[tokio::test(start_paused = true)]
    async fn down_counts_from_the_first_failure_until_an_answer() {
        let orchestrator = Orchestrator::new("https://127.0.0.1:1".into(), Arc::default());
        assert!(orchestrator.down_for().is_none() && !orchestrator.report().usable);
        orchestrator.suspect("reset");
        tokio::time::advance(Duration::from_secs(5)).await;
        orchestrator.suspect("refused");
        assert_eq!(orchestrator.down_for(), Some(Duration::from_secs(5)));
        assert_eq!(orchestrator.report().reason, "refused");
        let full = Err(&InfoError::Capped(None));
        orchestrator.set(Standing::of(full, Duration::ZERO, Instant::now()));
        assert!(orchestrator.report().usable, "its sessions still work");
        assert_eq!(orchestrator.down_for(), None);
    }

    #[test]
    fn one_for_which_nobody_transcodes_is_not_usable_whether_it_refuses_or_not() {
        let load = |capacity| {
            Some(Load {
                sessions: 1,
                capacity,
            })
        };
        let stands = |answer: Result<Option<Load>, InfoError>| {
            let orchestrator = Orchestrator::new("https://127.0.0.1:1".into(), Arc::default());
            let answer = answer.as_ref().map(|load| *load);
            orchestrator.set(Standing::of(answer, Duration::ZERO, Instant::now()));
            assert_eq!(orchestrator.down_for(), None, "its sessions may go on");
            let report = orchestrator.report();
            (report.usable, report.reason)
        };
        let deserted = (false, "has no transcoder connected".to_owned());
        assert_eq!(stands(Ok(load(0))), deserted);
        assert_eq!(stands(Err(InfoError::Capped(load(0)))), deserted);
        let full = (true, "every session is taken: 1 of 1".to_owned());
        assert_eq!(stands(Err(InfoError::Capped(load(1)))), full);
        // go-livepeer's say nothing of it
        assert_eq!(stands(Ok(None)), (true, String::new()));
    }

    #[test]
    fn one_that_drains_says_so_and_is_no_choice_for_a_new_stream() {
        let orchestrator = Orchestrator::new("https://127.0.0.1:1".into(), Arc::default());
        let answer = Err(&InfoError::Draining);
        orchestrator.set(Standing::of(answer, Duration::ZERO, Instant::now()));
        assert_eq!(orchestrator.down_for(), None, "its sessions go on");
        let report = orchestrator.report();
        let said = "is draining: takes no new streams";
        assert_eq!((report.usable, report.reason.as_str()), (false, said));
        assert!(orchestrator.opens_no_session() && orchestrator.is_in_trouble());
    }

    #[test]
    fn one_that_is_down_is_asked_again_soon_and_then_less_and_less_often() {
        let stands = |answer| Standing::of(answer, Duration::ZERO, Instant::now());
        let down = stands(Err(&InfoError::Timeout));
        let mut retry = RETRY_FIRST;
        let pauses: Vec<_> = (0..6)
            .map(|_| pause(&down, &mut retry).as_millis())
            .collect();
        assert_eq!(pauses, [250, 500, 1000, 2000, 3000, 3000]);
        assert_eq!(pause(&stands(Ok(None)), &mut retry), INTERVAL);
        assert_eq!(pause(&down, &mut retry), RETRY_FIRST);
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
        assert!(orchestrator.down_for().is_some());
        orchestrator.remove();
        tokio::time::timeout(Duration::from_secs(5), watch)
            .await
            .unwrap();
    }
}
