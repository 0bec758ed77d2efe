//! A segment until its renditions are here: orchestrator after orchestrator, as the plan
//! says, within a deadline.

mod plan;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use livepeer_proto::net;
use rand::RngExt as _;
use tokio::time::{Instant, sleep, timeout_at};

use super::fault::{Fault, SubmitError, judge};
use super::metrics::Metrics;
use super::orchestrators::{ALL_DESERTED, InfoError, Orchestrator, Orchestrators};
use super::segment_data::{self, Job};
use super::session::Sessions;
use super::submit::{Answer, Ended, Submission, Timeouts};
use livepeer_media::budget::Budget;
use plan::{Next, Plan, Seen};

/// Why there are no renditions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum TranscodeError {
    /// The segment's own fault; the text is the orchestrator's.
    #[error("{0}")]
    Segment(String),
    #[error("hit max transcode attempts: {0}")]
    MaxAttempts(String),
    /// Nobody took it in time.
    #[error("no sessions available ({0})")]
    NoSession(Untaken),
    /// Nobody could take it, and a person should know why.
    #[error("{0}")]
    NoRoom(String),
    #[error("no memory left for the renditions")]
    Budget,
}

/// Why nobody took a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Untaken {
    /// What who pushes may know.
    pub(super) why: &'static str,
    /// What became of the last attempt, if there was one: for the log, since it may have
    /// addresses of ours in it.
    last_error: Option<String>,
}

impl std::fmt::Display for Untaken {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.last_error {
            None => out.write_str(self.why),
            Some(last_error) => write!(out, "{}: {last_error}", self.why),
        }
    }
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
}

impl Attempts<'_> {
    /// The renditions in the order of the profiles.
    pub(super) async fn run(&self) -> Result<Vec<Bytes>, TranscodeError> {
        let timeouts = Timeouts::of(self.job.duration(), self.timeout_multiplier);
        // a stalled first attempt leaves a whole one to the second
        let deadline = Instant::now() + timeouts.reply * 2;
        let mut plan = Plan::new(timeouts.reply, self.sessions.served_by());
        let result = match timeout_at(deadline, self.work(timeouts, &mut plan)).await {
            Ok(result) => result,
            Err(_) => Err(plan.too_late()),
        };
        let result = match result {
            Err(TranscodeError::NoSession(_)) if self.orchestrators.all_deserted() => {
                Err(TranscodeError::NoRoom(ALL_DESERTED.to_owned()))
            }
            result => result,
        };
        let blameless = matches!(result, Err(TranscodeError::Segment(_)));
        if !blameless {
            for uri in plan.suspects() {
                self.sessions.suspend(uri, Instant::now());
            }
        }
        result
    }

    async fn work(
        &self,
        timeouts: Timeouts,
        plan: &mut Plan,
    ) -> Result<Vec<Bytes>, TranscodeError> {
        loop {
            let orchestrators = self.orchestrators.all();
            let now = Instant::now();
            match plan.next(&self.look(&orchestrators, now), now) {
                Next::Ask(index) => {
                    let orchestrator = &orchestrators[index];
                    let uri = orchestrator.uri();
                    plan.started(uri);
                    match self.attempt(orchestrator, timeouts).await {
                        Ok(renditions) => {
                            plan.succeeded(uri);
                            return Ok(renditions);
                        }
                        Err(fault) => self.failed(uri, fault, plan)?,
                    }
                }
                Next::Pause(pause) => {
                    self.orchestrators.recheck();
                    let jitter = rand::rng().random_range(0.8..1.2);
                    sleep(pause.mul_f64(jitter)).await;
                }
                Next::Full => {
                    let mut reason = self.orchestrators.fullness();
                    if let Some(unfitness) = plan.unfitness() {
                        reason = format!("{reason}, or cannot transcode this: {unfitness}");
                    }
                    return Err(TranscodeError::NoRoom(reason));
                }
                Next::Fail(error) => return Err(error),
            }
        }
    }

    /// How they stand now, in their order.
    fn look<'o>(&self, orchestrators: &'o [Arc<Orchestrator>], now: Instant) -> Vec<Seen<'o>> {
        let candidates = self.sessions.candidates(orchestrators, now);
        let both = orchestrators.iter().zip(candidates);
        both.map(|(orchestrator, candidate)| Seen {
            uri: orchestrator.uri(),
            down_for: orchestrator.down_for(),
            opens_no_session: orchestrator.opens_no_session(),
            deserted: orchestrator.is_deserted(),
            candidate,
        })
        .collect()
    }

    fn failed(&self, uri: &str, fault: Fault, plan: &mut Plan) -> Result<(), TranscodeError> {
        self.log(uri, &fault, plan.tries());
        if fault.ends_session() {
            self.sessions.forget(uri);
        }
        plan.failed(uri, fault)?;
        self.metrics.retried.inc();
        Ok(())
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
                if let Some(refusals) = self.sessions.accepted(uri) {
                    let manifest_id = self.job.manifest_id.as_str();
                    tracing::info!(manifest_id, orchestrator = uri, refusals, "taken again");
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

    /// A full orchestrator would say so of each segment many times, and an unfit one of each:
    /// once, and now and then how often, is enough.
    fn log(&self, uri: &str, fault: &Fault, attempt: usize) {
        let (manifest_id, seq) = (self.job.manifest_id.as_str(), self.job.seq);
        let refused = |reason: &str, what: &str| {
            if let Some(refusals) = self.sessions.refused(uri, Instant::now()) {
                tracing::warn!(
                    manifest_id,
                    seq,
                    orchestrator = uri,
                    reason,
                    refusals,
                    "{what}"
                );
            }
        };
        match fault {
            Fault::Busy(reason) | Fault::Capped(reason) => {
                refused(reason, "orchestrator has no room");
            }
            Fault::Unfit(reason) => refused(reason, "orchestrator cannot do the job"),
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
        InfoError::Refused(_) => Fault::Orchestrator(error.to_string()),
        InfoError::NoTranscoder
        | InfoError::NotHttps(_)
        | InfoError::ForeignStore
        | InfoError::Capabilities(_) => Fault::Unfit(error.to_string()),
    }
}
