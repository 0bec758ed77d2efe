//! A segment until its renditions are here: orchestrator after orchestrator, within a
//! deadline.
//!
//! * The segment's own fault ends it at once, and so does the same failure in the same
//!   words at a second orchestrator; then nobody is suspended.
//! * Who is gone costs nothing but the time to notice: the next one is asked at once,
//!   and the only one as soon as it answers again.
//! * When every one of them says that it is full, or drains, more of the same is not worth
//!   long waiting: a stream that ends makes room, a lost transcoder is back in a few seconds,
//!   and one that drains without a stream is gone in two, and then its successor is waited
//!   for. What has streams may drain for minutes, and no successor comes before its end. One
//!   without a transcoder beside them changes nothing in this, unless it has served the stream.
//! * Who failed at the work is suspended when the segment turns out to be good.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use livepeer_proto::net;
use rand::RngExt as _;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::fault::{Fault, SubmitError, judge};
use super::metrics::Metrics;
use super::orchestrators::{InfoError, Orchestrator, Orchestrators};
use super::segment_data::{self, Job};
use super::select::select;
use super::session::Sessions;
use super::submit::{Answer, Ended, Submission, Timeouts};
use livepeer_media::budget::Budget;

/// Attempts at which an orchestrator did the work and failed (go-livepeer
/// `-maxAttempts`).
const MAX_FAILURES: usize = 3;
/// Attempts of any kind, a bound on what the deadline alone would allow.
const MAX_TRIES: usize = 60;
/// Pause before orchestrators that were all tried are tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause while all of them say that they open no session: it doubles up to this.
const FULL_PAUSE_LAST: Duration = Duration::from_secs(1);
/// How long a segment waits while all of them say so. Above the 3 s in which a lost
/// transcoder's sessions are kept for it and the half second in which a session that was
/// given up is told so; after 4 s a live segment is late anyway.
const FULL_PATIENCE: Duration = Duration::from_secs(4);

/// Why there are no renditions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum TranscodeError {
    /// The segment's own fault; the text is the orchestrator's.
    #[error("{0}")]
    Segment(String),
    #[error("hit max transcode attempts: {0}")]
    MaxAttempts(String),
    /// Nobody took it in time; the text tells of the last one asked.
    #[error("no sessions available ({0})")]
    NoSession(String),
    /// Nobody could take it, and a person should know why.
    #[error("{0}")]
    NoRoom(String),
    #[error("no memory left for the renditions")]
    Budget,
    #[error("the client is gone")]
    ClientGone,
}

/// All that a segment needs on its way.
pub(super) struct Attempts<'a> {
    pub(super) orchestrators: &'a Orchestrators,
    pub(super) sessions: &'a Sessions,
    pub(super) budget: &'a Budget,
    pub(super) metrics: &'a Metrics,
    pub(super) job: &'a Job,
    pub(super) body: &'a Bytes,
    /// The most bytes of each rendition.
    pub(super) limits: &'a [u64],
    pub(super) timeout_multiplier: u32,
    /// Cancelled when nobody waits any more: no further attempt is made.
    pub(super) gone: &'a CancellationToken,
}

/// What happened so far.
#[derive(Default)]
struct History {
    tries: usize,
    /// Who failed at the work, and in which words.
    failures: Vec<(String, String)>,
    /// Whom to avoid when the segment turns out to be good.
    suspects: Vec<String>,
    /// Asked since the last pause.
    asked: Vec<String>,
    /// Who said last that every session is taken, or that it drains.
    full: Vec<String>,
    /// Since when that is all of them that have a transcoder, and how many pauses there were
    /// since.
    all_full: Option<(Instant, u32)>,
    /// Who has done segments of the stream before.
    served_by: Vec<String>,
    /// Who is at it now.
    asking: Option<String>,
    last_error: String,
}

impl Attempts<'_> {
    /// The renditions in the order of the profiles.
    pub(super) async fn run(&self) -> Result<Vec<Bytes>, TranscodeError> {
        let timeouts = Timeouts::of(self.job.duration(), self.timeout_multiplier);
        // a stalled first attempt leaves a whole one to the second
        let deadline = Instant::now() + timeouts.reply * 2;
        let mut history = History {
            served_by: self.sessions.served_by(),
            ..History::default()
        };
        let result = match timeout_at(deadline, self.work(timeouts, &mut history)).await {
            Ok(result) => result,
            Err(_) => {
                history.suspects.extend(history.asking.take());
                Err(TranscodeError::NoSession(format!(
                    "deadline passed, {}",
                    history.last_error
                )))
            }
        };
        let result = match result {
            Err(TranscodeError::NoSession(_)) if self.orchestrators.all_deserted() => {
                let reason = "no orchestrator has a transcoder connected";
                Err(TranscodeError::NoRoom(reason.to_owned()))
            }
            result => result,
        };
        let blameless = matches!(result, Err(TranscodeError::Segment(_)));
        if !blameless {
            for uri in &history.suspects {
                self.sessions.suspend(uri, Instant::now());
            }
        }
        result
    }

    async fn work(
        &self,
        timeouts: Timeouts,
        history: &mut History,
    ) -> Result<Vec<Bytes>, TranscodeError> {
        while history.tries < MAX_TRIES {
            if self.gone.is_cancelled() && history.tries > 0 {
                return Err(TranscodeError::ClientGone);
            }
            let Some(orchestrator) = self.pick(history) else {
                if self.orchestrators.long_gone(timeouts.reply) {
                    break;
                }
                let pause = self.pause(history, timeouts)?;
                history.asked.clear();
                self.orchestrators.recheck();
                let jitter = rand::rng().random_range(0.8..1.2);
                sleep(pause.mul_f64(jitter)).await;
                continue;
            };
            history.tries += 1;
            history.asking = Some(orchestrator.uri().to_owned());
            match self.attempt(&orchestrator, timeouts).await {
                Ok(answer) => {
                    // its first try may have failed
                    history.suspects.retain(|uri| uri != orchestrator.uri());
                    return Ok(answer);
                }
                Err(fault) => self.learn(&orchestrator, fault, history)?,
            }
            self.metrics.retried.inc();
        }
        Err(TranscodeError::NoSession(std::mem::take(
            &mut history.last_error,
        )))
    }

    /// How long to wait before all are asked again; an error when they have been full for
    /// too long.
    fn pause(&self, history: &mut History, timeouts: Timeouts) -> Result<Duration, TranscodeError> {
        let said_so = |uri: &str| history.full.iter().any(|full| full == uri);
        let is_full = |one: &Arc<Orchestrator>| one.opens_no_session() && said_so(one.uri());
        // who has long been gone is not waited for
        let there = self.orchestrators.lately_there(timeouts.reply);
        // a transcoder that restarts is soon back: who was served there may wait for it
        let served = |uri: &str| history.served_by.iter().any(|by| by == uri);
        let is_deserted = |one: &Arc<Orchestrator>| one.is_deserted() && !served(one.uri());
        let useless = |one: &Arc<Orchestrator>| is_full(one) || is_deserted(one);
        if !there.iter().any(is_full) || !there.iter().all(useless) {
            history.all_full = None;
            return Ok(RETRY_PAUSE);
        }
        let (since, pauses) = history.all_full.unwrap_or((Instant::now(), 0));
        if since.elapsed() >= FULL_PATIENCE {
            return Err(TranscodeError::NoRoom(self.orchestrators.fullness()));
        }
        history.all_full = Some((since, pauses + 1));
        let doubled = RETRY_PAUSE.saturating_mul(2_u32.saturating_pow(pauses));
        Ok(doubled.min(FULL_PAUSE_LAST))
    }

    /// The best of those not asked since the last pause.
    fn pick(&self, history: &History) -> Option<Arc<Orchestrator>> {
        let mut open = self.orchestrators.reachable();
        open.retain(|orchestrator| !history.asked.iter().any(|uri| uri == orchestrator.uri()));
        let candidates = self.sessions.candidates(&open, Instant::now());
        select(&candidates).map(|index| open.swap_remove(index))
    }

    /// One try at one orchestrator.
    async fn attempt(
        &self,
        orchestrator: &Arc<Orchestrator>,
        timeouts: Timeouts,
    ) -> Result<Vec<Bytes>, Fault> {
        let uri = orchestrator.uri();
        let info = self.session(orchestrator).await.map_err(judge_info)?;
        let flight = self
            .sessions
            .started(uri, self.job.duration(), Instant::now());
        let Ended { result, draining } = Submission {
            http: self.orchestrators.http(),
            budget: self.budget,
            uri,
            info: &info,
            segment: segment_data::build(self.job, info.auth_token.clone()),
            body: self.body.clone(),
            limits: self.limits,
            timeouts,
        }
        .run()
        .await;
        if let Some(draining) = draining {
            self.sessions.heard(uri, draining);
        }
        match result {
            Ok(Answer { renditions, info }) => {
                self.sessions.arrived(flight, info, Instant::now());
                if let Some(refusals) = self.sessions.has_room(uri) {
                    let manifest_id = self.job.manifest_id.as_str();
                    tracing::info!(manifest_id, orchestrator = uri, refusals, "room again");
                }
                Ok(renditions)
            }
            Err(error) => {
                if let SubmitError::Connection(reason) = &error {
                    orchestrator.suspect(reason);
                }
                Err(judge(&error))
            }
        }
    }

    /// The stream's session there, or a new one.
    async fn session(
        &self,
        orchestrator: &Arc<Orchestrator>,
    ) -> Result<Arc<net::OrchestratorInfo>, InfoError> {
        let unix_now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let kept = self.sessions.get(orchestrator.uri(), unix_now);
        match kept {
            Some(kept) if !kept.ending => return Ok(kept.info),
            Some(_) | None => {}
        }
        match (orchestrator.fetch_info(&self.job.capabilities).await, kept) {
            (Ok(info), _) => Ok(self.sessions.put(orchestrator, Arc::new(info), unix_now)),
            // who opens no second session serves the first till its end
            (
                Err(InfoError::Capped(_) | InfoError::Draining | InfoError::Refused(_)),
                Some(kept),
            ) => Ok(kept.info),
            (Err(error), _) => Err(error),
        }
    }

    /// Notes a failure; an error means that there is no point in going on.
    fn learn(
        &self,
        orchestrator: &Orchestrator,
        fault: Fault,
        history: &mut History,
    ) -> Result<(), TranscodeError> {
        let uri = orchestrator.uri();
        self.log(uri, &fault, history.tries);
        history.full.retain(|full| full != uri);
        match fault {
            Fault::Segment(text) => return Err(TranscodeError::Segment(text)),
            Fault::Budget => return Err(TranscodeError::Budget),
            Fault::Session(text) => {
                // the same one again, with a new session; a second refusal goes elsewhere
                self.sessions.forget(uri);
                if history.last_error == text {
                    history.asked.push(uri.to_owned());
                }
                history.last_error = text;
            }
            Fault::Busy(text) => {
                history.asked.push(uri.to_owned());
                history.last_error = text;
            }
            Fault::Capped(text) => {
                // one that was given is not known there: it was never begun, or has ended
                self.sessions.forget(uri);
                history.full.push(uri.to_owned());
                history.asked.push(uri.to_owned());
                history.last_error = text;
            }
            Fault::Orchestrator(text) => {
                self.sessions.forget(uri);
                history.asked.push(uri.to_owned());
                history.suspects.push(uri.to_owned());
                history.last_error = text;
            }
            Fault::Connection(text) => {
                history.asked.push(uri.to_owned());
                history.suspects.push(uri.to_owned());
                history.last_error = text;
            }
            Fault::Work(text) => {
                let elsewhere = |(other, words): &(String, String)| other != uri && *words == text;
                if history.failures.iter().any(elsewhere) {
                    return Err(TranscodeError::Segment(text));
                }
                history.failures.push((uri.to_owned(), text.clone()));
                history.suspects.push(uri.to_owned());
                history.asked.push(uri.to_owned());
                if history.failures.len() >= MAX_FAILURES {
                    return Err(TranscodeError::MaxAttempts(text));
                }
                history.last_error = text;
            }
        }
        Ok(())
    }
}

impl Attempts<'_> {
    /// A full orchestrator would say so of each segment many times: once, and now and then
    /// how often, is enough.
    fn log(&self, uri: &str, fault: &Fault, attempt: usize) {
        let (manifest_id, seq) = (self.job.manifest_id.as_str(), self.job.seq);
        match fault {
            Fault::Busy(reason) | Fault::Capped(reason) => {
                if let Some(refusals) = self.sessions.no_room(uri, Instant::now()) {
                    tracing::warn!(
                        manifest_id,
                        seq,
                        orchestrator = uri,
                        reason,
                        refusals,
                        "orchestrator has no room"
                    );
                }
            }
            Fault::Segment(_)
            | Fault::Work(_)
            | Fault::Orchestrator(_)
            | Fault::Connection(_)
            | Fault::Session(_)
            | Fault::Budget => tracing::warn!(
                manifest_id,
                seq,
                orchestrator = uri,
                attempt,
                ?fault,
                "attempt failed"
            ),
        }
    }
}

/// No session, so no attempt: the segment was not even shown.
fn judge_info(error: InfoError) -> Fault {
    match error {
        InfoError::Capped(_) | InfoError::Draining => Fault::Capped(error.to_string()),
        InfoError::Unreachable(_) | InfoError::Timeout => Fault::Connection(error.to_string()),
        InfoError::Refused(_)
        | InfoError::NoTranscoder
        | InfoError::ForeignStore
        | InfoError::Capabilities(_) => Fault::Orchestrator(error.to_string()),
    }
}
