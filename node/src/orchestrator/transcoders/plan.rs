//! One segment and its attempts on transcoders: what to do next. Pure: times come in.
//!
//! | An attempt | Then |
//! |---|---|
//! | is lost: its transcoder's connection ended, its result broke off | the next starts at once; a late result still counts, and one that broke off is waited for |
//! | fails with a text that is the segment's own fault | that text is the answer |
//! | fails with another text | one more try elsewhere, then the text is the answer |
//! | takes far longer than usual | one more starts beside it; the first result wins |
//!
//! All of it inside the deadline of the caller.

use std::time::Duration;

use livepeer_media::error::is_non_retryable;
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
/// inside the 4 s within which a live segment must be back. A result that broke off has
/// longer, as long as it took until then: its transcoder is there and sends it again, and
/// what a gateway would do instead, begin anew, takes longer still.
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
    /// Its result broke off, and may be sent again.
    Cut,
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
            && (failures >= MAX_FAILURES || is_non_retryable(text))
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
                let until = (since + self.patience(since, reason)).min(self.deadline);
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
                    Some(State::Lost | State::Cut | State::Running) => Why::Lost,
                })
            }
        }
    }

    /// How long to wait from `since`, when nobody could be found.
    fn patience(&self, since: Instant, reason: PickError) -> Duration {
        if self.last_failure.is_some() {
            return Duration::ZERO;
        }
        let cut = self.attempts.iter().filter(|one| one.state == State::Cut);
        let took = cut.map(|one| since.saturating_duration_since(one.since));
        match (took.max(), reason) {
            (Some(took), _) => took.max(WAIT_FOR_TRANSCODER),
            (None, PickError::Empty) => WAIT_FOR_TRANSCODER,
            (None, PickError::Full | PickError::Incapable) => Duration::ZERO,
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

    /// What the transcoder of `task` sent is unusable.
    pub(crate) fn cut(&mut self, task: TaskId) {
        self.set(task, State::Cut);
    }

    /// The transcoder of `task` is gone.
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

    /// Whose attempts have come to nothing by the deadline.
    pub(crate) fn too_late(&self, now: Instant) -> impl Iterator<Item = MemberId> {
        let late = now >= self.deadline;
        let attempts = self.attempts.iter();
        attempts
            .filter(move |attempt| late && attempt.state == State::Running)
            .map(|attempt| attempt.member)
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
mod tests;
