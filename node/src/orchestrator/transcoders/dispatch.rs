//! Does one segment on remote transcoders: carries out what [`Plan`] decides.

use livepeer_media::error::is_non_retryable;
use livepeer_proto::net::{NotifySegment, SegData};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Transcoders;
use super::plan::{Next, Plan, TaskId, Why};
use super::registry::{MemberId, PickError, Urgency, Wanted};
use super::tasks::{EVENTS, Event, Events, Tasks};
use crate::orchestrator::backend::{OFFCHAIN, Output, Work};
use crate::orchestrator::metrics::Attempt;

/// The text that go-livepeer puts where old peers looked for profiles.
const NO_PROFILES: &[u8] = b"invalid";

/// Closes the tasks of a segment whatever way it ends; results that come later find
/// nobody.
struct Opened {
    tasks: Tasks,
    opened: Vec<TaskId>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.tasks.close(self.opened.drain(..));
    }
}

impl Transcoders {
    /// Does `work`; the error is the text for the gateway.
    pub(crate) async fn transcode(&self, work: &Work<'_>) -> Result<Output, String> {
        let (events, mut received) = mpsc::channel(EVENTS);
        let mut changes = self.changes.subscribe();
        let mut plan = Plan::new(Instant::now(), work.deadline, work.usual);
        let mut opened = Opened {
            tasks: self.tasks.clone(),
            opened: Vec::new(),
        };
        loop {
            let now = Instant::now();
            let until = match plan.next(now) {
                Next::Fail(text) => {
                    self.with(|inner| {
                        inner.registry.displace(work.session);
                        for member in plan.too_late(now) {
                            inner.registry.failed(member, now);
                        }
                    });
                    return Err(text);
                }
                Next::Start(why) => {
                    self.begin(work, &mut plan, why, &events, &mut opened);
                    continue;
                }
                Next::Wait(until) => until,
            };
            let (task, event) = tokio::select! {
                Some(event) = received.recv() => event,
                () = tokio::time::sleep_until(until) => continue,
                Ok(()) = changes.changed() => {
                    plan.changed();
                    continue;
                }
            };
            if let Some(output) = self.take(work, &mut plan, task, event) {
                return Ok(output);
            }
        }
    }

    /// Starts an attempt, if somebody can be found.
    fn begin(
        &self,
        work: &Work<'_>,
        plan: &mut Plan,
        why: Why,
        events: &Events,
        opened: &mut Opened,
    ) {
        let now = Instant::now();
        let mut tried = plan.tried();
        loop {
            match self.offer(work, &tried, why, events) {
                Ok((task, member)) => {
                    self.metrics.attempt(match why {
                        Why::First => Attempt::First,
                        Why::Lost => Attempt::Lost,
                        Why::Failed => Attempt::Failed,
                        Why::Slow => Attempt::Slow,
                    });
                    if why != Why::First {
                        tracing::warn!(
                            session_id = work.session,
                            seq = work.data.seq,
                            attempt = opened.opened.len() + 1,
                            reason = ?why,
                            "segment goes to another transcoder"
                        );
                    }
                    opened.opened.push(task);
                    return plan.started(task, member, why, now);
                }
                Err(Unoffered::Nobody(reason)) => return plan.not_started(reason, why, now),
                // its stream has just ended, or it does not read it
                Err(Unoffered::Deaf(member)) => tried.push(member),
            }
        }
    }

    /// Sends the task to whoever is picked.
    fn offer(
        &self,
        work: &Work<'_>,
        tried: &[MemberId],
        why: Why,
        events: &Events,
    ) -> Result<(TaskId, MemberId), Unoffered> {
        let urgency = match why {
            Why::First if work.usual.is_none() => Urgency::New,
            Why::Slow => Urgency::New,
            Why::First | Why::Lost | Why::Failed => Urgency::Orphaned,
        };
        let wanted = Wanted {
            session: work.session,
            job: work.data.capabilities.as_ref(),
            tried,
            urgency,
            now: Instant::now(),
        };
        let (member, handle, owner) = self.with(|inner| {
            let (member, handle) = inner.registry.pick(wanted).map_err(Unoffered::Nobody)?;
            let owner = inner.registry.owner(member).unwrap_or_default();
            if why != Why::Slow {
                inner.registry.place(work.session, member);
            }
            Ok((member, handle, owner))
        })?;
        let task = self.tasks.open(member, owner, events.clone());
        if handle
            .notices
            .try_send(Ok(notice(work.data, task, work.source_url)))
            .is_err()
        {
            self.tasks.close([task].into_iter());
            return Err(Unoffered::Deaf(member));
        }
        Ok((task, member))
    }

    /// Takes note of an event; the output if that is it.
    fn take(&self, work: &Work<'_>, plan: &mut Plan, task: TaskId, event: Event) -> Option<Output> {
        match event {
            Event::Lost => plan.lost(task),
            Event::Unusable(reason) => {
                tracing::warn!(
                    session_id = work.session,
                    seq = work.data.seq,
                    reason,
                    "result unusable"
                );
                plan.cut(task);
            }
            Event::Failed(text) => {
                tracing::debug!(
                    session_id = work.session,
                    seq = work.data.seq,
                    text,
                    "transcoder failed"
                );
                self.note_failure(plan, task, &text);
                plan.failed(task, text);
            }
            Event::Done(output) => match output.check(work.asked.profiles.len()) {
                Ok(()) => {
                    // the session follows the one that was faster
                    if let Some(member) = plan.member(task) {
                        self.with(|inner| {
                            inner.registry.worked(member);
                            inner.registry.place(work.session, member);
                        });
                    }
                    return Some(output);
                }
                Err(text) => {
                    self.note_failure(plan, task, text);
                    plan.failed(task, text.to_owned());
                }
            },
        }
        None
    }

    /// Unless it is the segment's own fault, others are asked before this one for a while.
    fn note_failure(&self, plan: &Plan, task: TaskId, text: &str) {
        if let Some(member) = plan.member(task).filter(|_| !is_non_retryable(text)) {
            self.with(|inner| inner.registry.failed(member, Instant::now()));
        }
    }
}

enum Unoffered {
    Nobody(PickError),
    Deaf(MemberId),
}

/// The task as it goes down the stream: the gateway's words less what is not the
/// transcoder's business (`server/ot_rpc.go`).
fn notice(data: &SegData, task: TaskId, url: &str) -> NotifySegment {
    let data = SegData {
        hash: vec![0; 32].into(),
        profiles: NO_PROFILES.into(),
        sig: bytes::Bytes::new(),
        storage: Vec::new(),
        ..data.clone()
    };
    NotifySegment {
        url: url.to_owned(),
        seg_data: Some(data),
        task_id: task,
        profiles: NO_PROFILES.to_vec(),
        orch_id: OFFCHAIN.to_owned(),
    }
}
