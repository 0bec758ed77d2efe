//! One segment and its attempts on transcoders: what to do next. Pure: times come in.
//!
//! | An attempt | Then |
//! |---|---|
//! | is lost: its transcoder's connection ended, its result broke off | the next starts at once; a late result still counts |
//! | fails with a text that is the segment's own fault | that text is the answer |
//! | fails with another text | one more try elsewhere, then the text is the answer |
//! | takes far longer than usual | one more starts beside it; the first result wins |
//!
//! All of it inside the deadline of the caller.

use std::time::Duration;

use livepeer_proto::errors;
use tokio::time::Instant;

use super::registry::{MemberId, PickError};

/// Attempts of one segment; each lost one stands for a transcoder that died. More
/// than this in one segment's time is no accident.
pub(crate) const MAX_ATTEMPTS: usize = 5;
/// Failures with a text that another transcoder might not repeat.
const MAX_FAILURES: usize = 2;
/// How long a segment waits when no transcoder is there: the only one may be
/// restarting, or reconnecting to us. Inside every deadline (8 s at least), and
/// inside the 4 s within which a live segment must be back.
const WAIT_FOR_TRANSCODER: Duration = Duration::from_secs(2);
/// A second attempt starts when the first takes this many times the usual.
const HEDGE_FACTOR: u32 = 3;
/// But never sooner: short segments vary by more than their own time.
const HEDGE_LEAST: Duration = Duration::from_millis(1200);
/// And at the latest after this part of the deadline, usual or not.
const HEDGE_MOST_DIVISOR: u32 = 3;

/// One task on one transcoder.
pub(crate) type TaskId = i64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    /// Given up, though its result may still come.
    Lost,
    Failed,
}

#[derive(Debug, Clone, Copy)]
struct Attempt {
    task: TaskId,
    member: MemberId,
    since: Instant,
    state: State,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// Start an attempt on somebody not yet tried.
    Start(Why),
    /// Wait for an event, for a change among the transcoders, or until then.
    Wait(Instant),
    /// Answer with this error.
    Fail(String),
}

/// Why an attempt starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    First,
    Lost,
    Failed,
    Slow,
}

/// The attempts of one segment.
#[derive(Debug)]
pub(crate) struct Plan {
    deadline: Instant,
    hedge_after: Duration,
    attempts: Vec<Attempt>,
    /// Since when somebody has been looked for in vain, and why in vain.
    unplaced: Option<(Instant, PickError)>,
    /// The transcoders have changed since that was last tried.
    changed: bool,
    hedged: bool,
    last_failure: Option<String>,
}

impl Plan {
    /// `usual` is what the session's segments take; unknown for its first one.
    pub(crate) fn new(now: Instant, deadline: Instant, usual: Option<Duration>) -> Self {
        let most = deadline.saturating_duration_since(now) / HEDGE_MOST_DIVISOR;
        let hedge_after = usual.map_or(most, |usual| {
            (usual * HEDGE_FACTOR).max(HEDGE_LEAST).min(most)
        });
        Self {
            deadline,
            hedge_after,
            attempts: Vec::new(),
            unplaced: None,
            changed: false,
            hedged: false,
            last_failure: None,
        }
    }

    /// The next step. After `Start`, tell [`Self::started`] or [`Self::not_started`].
    pub(crate) fn next(&self, now: Instant) -> Next {
        if now >= self.deadline {
            return Next::Fail(errors::TRANSCODER_TIMEOUT.to_owned());
        }
        let failures = self.count(State::Failed);
        if let Some(text) = &self.last_failure
            && (failures >= MAX_FAILURES || errors::is_non_retryable(text))
        {
            return Next::Fail(text.clone());
        }
        match self.running() {
            Some(running) => self.beside(running, now),
            None => self.anew(now),
        }
    }

    /// Nothing runs: start, wait for a transcoder, or give up.
    fn anew(&self, now: Instant) -> Next {
        if self.attempts.len() >= MAX_ATTEMPTS {
            let text = self
                .last_failure
                .as_deref()
                .unwrap_or(errors::NO_TRANSCODERS);
            return Next::Fail(text.to_owned());
        }
        match self.unplaced {
            Some((since, reason)) if !self.changed => {
                let patience = match reason {
                    PickError::Empty if self.last_failure.is_none() => WAIT_FOR_TRANSCODER,
                    PickError::Empty | PickError::Full | PickError::Incapable => Duration::ZERO,
                };
                let until = (since + patience).min(self.deadline);
                if now < until {
                    return Next::Wait(until);
                }
                Next::Fail(
                    self.last_failure
                        .clone()
                        .unwrap_or_else(|| reason.to_string()),
                )
            }
            Some(_) | None => {
                Next::Start(match self.attempts.last().map(|attempt| attempt.state) {
                    None => Why::First,
                    Some(State::Failed) => Why::Failed,
                    Some(State::Lost | State::Running) => Why::Lost,
                })
            }
        }
    }

    /// One runs: leave it alone, or start another beside it.
    fn beside(&self, running: &Attempt, now: Instant) -> Next {
        let hedge_at = running.since + self.hedge_after;
        if self.hedged || self.attempts.len() >= MAX_ATTEMPTS {
            Next::Wait(self.deadline)
        } else if now < hedge_at {
            Next::Wait(hedge_at.min(self.deadline))
        } else {
            Next::Start(Why::Slow)
        }
    }

    /// The attempt that was asked for runs.
    pub(crate) fn started(&mut self, task: TaskId, member: MemberId, why: Why, now: Instant) {
        self.unplaced = None;
        self.hedged |= why == Why::Slow;
        self.attempts.push(Attempt {
            task,
            member,
            since: now,
            state: State::Running,
        });
    }

    /// Nobody could be found for it.
    pub(crate) fn not_started(&mut self, reason: PickError, why: Why, now: Instant) {
        match why {
            // the one that runs may still make it
            Why::Slow => self.hedged = true,
            Why::First | Why::Lost | Why::Failed => {
                let since = self.unplaced.map_or(now, |(since, _)| since);
                self.unplaced = Some((since, reason));
                self.changed = false;
            }
        }
    }

    /// The set of transcoders changed: looking again makes sense.
    pub(crate) fn changed(&mut self) {
        self.changed = true;
    }

    /// The transcoder of `task` is gone, or what it sent is unusable.
    pub(crate) fn lost(&mut self, task: TaskId) {
        self.set(task, State::Lost);
    }

    /// The transcoder of `task` says that it cannot.
    pub(crate) fn failed(&mut self, task: TaskId, text: String) {
        self.set(task, State::Failed);
        self.last_failure = Some(text);
    }

    /// Who has been tried.
    pub(crate) fn tried(&self) -> Vec<MemberId> {
        self.attempts.iter().map(|attempt| attempt.member).collect()
    }

    /// Whose attempt it is.
    pub(crate) fn member(&self, task: TaskId) -> Option<MemberId> {
        let attempt = self.attempts.iter().find(|attempt| attempt.task == task)?;
        Some(attempt.member)
    }

    fn set(&mut self, task: TaskId, state: State) {
        if let Some(attempt) = self
            .attempts
            .iter_mut()
            .find(|attempt| attempt.task == task)
        {
            attempt.state = state;
        }
    }

    fn running(&self) -> Option<&Attempt> {
        self.attempts
            .iter()
            .rfind(|attempt| attempt.state == State::Running)
    }

    fn count(&self, state: State) -> usize {
        self.attempts
            .iter()
            .filter(|attempt| attempt.state == state)
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::{HEDGE_LEAST, MAX_ATTEMPTS, Next, Plan, WAIT_FOR_TRANSCODER, Why};
    use crate::orchestrator::transcoders::registry::{MemberId, PickError};
    use livepeer_proto::errors;
    use std::time::Duration;
    use tokio::time::Instant;

    const DEADLINE: Duration = Duration::from_secs(9);

    fn plan(usual: Option<Duration>) -> (Plan, Instant) {
        let now = Instant::now();
        (Plan::new(now, now + DEADLINE, usual), now)
    }

    #[test]
    fn a_lost_attempt_is_followed_by_another_at_once() {
        let (mut plan, now) = plan(None);
        assert_eq!(plan.next(now), Next::Start(Why::First));
        plan.started(1, MemberId(1), Why::First, now);
        assert!(matches!(plan.next(now), Next::Wait(_)));
        plan.lost(1);
        assert_eq!(plan.next(now), Next::Start(Why::Lost));
        assert_eq!(plan.tried(), [MemberId(1)]);
    }

    #[test]
    fn a_segment_at_fault_is_not_tried_again() {
        let (mut plan, now) = plan(None);
        plan.started(1, MemberId(1), Why::First, now);
        plan.failed(1, "No keyframes in input".to_owned());
        assert_eq!(
            plan.next(now),
            Next::Fail("No keyframes in input".to_owned())
        );
    }

    #[test]
    fn another_failure_gets_one_more_try() {
        let (mut plan, now) = plan(None);
        plan.started(1, MemberId(1), Why::First, now);
        plan.failed(1, "out of memory".to_owned());
        assert_eq!(plan.next(now), Next::Start(Why::Failed));
        plan.started(2, MemberId(2), Why::Failed, now);
        plan.failed(2, "again".to_owned());
        assert_eq!(plan.next(now), Next::Fail("again".to_owned()));
    }

    #[test]
    fn a_failure_with_nobody_else_there_is_the_answer_at_once() {
        let (mut plan, now) = plan(None);
        plan.started(1, MemberId(1), Why::First, now);
        plan.failed(1, "out of memory".to_owned());
        plan.not_started(PickError::Empty, Why::Failed, now);
        assert_eq!(plan.next(now), Next::Fail("out of memory".to_owned()));
    }

    #[test]
    fn without_a_transcoder_it_waits_for_one_but_not_for_ever() {
        let (mut plan, now) = plan(None);
        plan.not_started(PickError::Empty, Why::First, now);
        let end = now + WAIT_FOR_TRANSCODER;
        assert_eq!(plan.next(now), Next::Wait(end));
        plan.changed();
        assert_eq!(plan.next(now), Next::Start(Why::First));
        plan.not_started(PickError::Empty, Why::First, now + Duration::from_secs(1));
        assert_eq!(
            plan.next(end),
            Next::Fail(errors::NO_TRANSCODERS.to_owned())
        );
    }

    #[test]
    fn full_or_incapable_transcoders_are_not_waited_for() {
        for (reason, text) in [
            (PickError::Full, errors::NO_TRANSCODERS),
            (PickError::Incapable, errors::NO_CAPABLE_TRANSCODERS),
        ] {
            let (mut plan, now) = plan(None);
            plan.not_started(reason, Why::First, now);
            assert_eq!(plan.next(now), Next::Fail(text.to_owned()));
        }
    }

    #[test]
    fn a_slow_attempt_gets_one_beside_it_and_only_one() {
        let (mut plan, now) = plan(Some(Duration::from_millis(100)));
        plan.started(1, MemberId(1), Why::First, now);
        let late = now + HEDGE_LEAST;
        assert_eq!(plan.next(now), Next::Wait(late));
        assert_eq!(plan.next(late), Next::Start(Why::Slow));
        plan.started(2, MemberId(2), Why::Slow, late);
        assert_eq!(plan.next(late + HEDGE_LEAST), Next::Wait(now + DEADLINE));
        plan.lost(2);
        assert!(
            matches!(plan.next(late), Next::Wait(_)),
            "the first still runs"
        );
        plan.lost(1);
        assert_eq!(plan.next(late), Next::Start(Why::Lost));
    }

    #[test]
    fn a_slow_attempt_without_anybody_else_just_goes_on() {
        let (mut plan, now) = plan(None);
        plan.started(1, MemberId(1), Why::First, now);
        let late = now + DEADLINE / 3;
        assert_eq!(plan.next(late), Next::Start(Why::Slow));
        plan.not_started(PickError::Empty, Why::Slow, late);
        assert_eq!(plan.next(late), Next::Wait(now + DEADLINE));
    }

    #[test]
    fn the_deadline_ends_it_and_so_do_too_many_deaths() {
        let (mut plan, now) = plan(None);
        for task in 0..MAX_ATTEMPTS {
            plan.started(task as i64, MemberId(task as u64), Why::Lost, now);
            plan.lost(task as i64);
        }
        assert_eq!(
            plan.next(now),
            Next::Fail(errors::NO_TRANSCODERS.to_owned())
        );
        assert_eq!(
            plan.next(now + DEADLINE),
            Next::Fail(errors::TRANSCODER_TIMEOUT.to_owned())
        );
    }
}
