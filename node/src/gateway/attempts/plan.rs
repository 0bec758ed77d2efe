//! One segment and the orchestrators: what to do next. Pure: what is seen of them and the time
//! come in.
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
//! * When a transcoder is all that could help, it is waited for as long as a pod's restart
//!   takes, and not till the deadline: its pool may be gone for good.
//! * Who cannot do the job is not asked again, and when that is all of them there is nothing
//!   to wait for. An orchestrator of ours can do what its transcoders can: one that has lost
//!   them all, or that has served the stream, may be able again when they are back.
//! * Who failed at the work is suspended when the segment turns out to be good.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::{TranscodeError, Untaken};
use crate::gateway::fault::Fault;
use crate::gateway::select::{Candidate, select};

/// Attempts at which an orchestrator did the work and failed (go-livepeer
/// `-maxAttempts`).
const MAX_FAILURES: usize = 3;
/// How often all are asked, a bound on what the deadline alone would allow. Each is asked once
/// between two pauses, or twice where it refused its session, so however many there are none
/// is passed over and the wait is as long.
const MAX_ROUNDS: usize = 60;
/// Pause before orchestrators that were all tried are tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause while all of them say that they open no session: it doubles up to this.
const FULL_PAUSE_LAST: Duration = Duration::from_secs(1);
/// How long a segment waits while all of them say so. Above the 3 s in which a lost
/// transcoder's sessions are kept for it and the half second in which a session that was
/// given up is told so; after 4 s a live segment is late anyway.
const FULL_PATIENCE: Duration = Duration::from_secs(4);

/// How long a segment waits while only a transcoder that comes could help: a pod that is
/// replaced has its successor registered in a few seconds, if its image is there.
const DESERTED_PATIENCE: Duration = Duration::from_secs(10);

/// Why there is nothing when there was somebody to ask.
const NOT_TAKEN: &str = "no orchestrator took the segment in time";

/// An orchestrator of the settings, as it is seen now.
#[derive(Debug, Clone)]
pub(super) struct Seen<'a> {
    pub(super) uri: &'a str,
    /// For how long it has not answered.
    pub(super) down_for: Option<Duration>,
    /// It said last that every session is taken, or that it drains.
    pub(super) opens_no_session: bool,
    /// Nobody transcodes for it.
    pub(super) deserted: bool,
    pub(super) candidate: Candidate,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Ask the one with this index.
    Ask(usize),
    /// Wait, have those in trouble asked how they stand, look again.
    Pause(Duration),
    /// Answer that all of them are full or without a transcoder; they have been for too long.
    Full,
    /// Answer with this.
    Fail(TranscodeError),
}

/// The attempts of one segment.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Who has been down for longer is not waited for.
    patience: Duration,
    /// Who has done segments of the stream before.
    served_by: Vec<String>,
    tries: usize,
    /// Pauses before which somebody was asked.
    rounds: usize,
    /// Who failed at the work, and in which words.
    failures: Vec<(String, String)>,
    /// Whom to avoid when the segment turns out to be good.
    suspects: Vec<String>,
    /// Asked since the last pause.
    asked: BTreeSet<String>,
    /// Who refused its session since then.
    renewed: BTreeSet<String>,
    /// Who said last that every session is taken, or that it drains.
    full: BTreeSet<String>,
    /// Who said last that it cannot do the job, and why.
    unfit: BTreeMap<String, String>,
    /// Since when full ones are all that can do it and have a transcoder, and how many pauses
    /// there were since.
    all_full: Option<(Instant, u32)>,
    /// Since when only a transcoder that comes could help, or a full one's end of a session.
    stranded: Option<Instant>,
    /// Who is at it now.
    asking: Option<String>,
    last_error: Option<String>,
}

impl Plan {
    pub(super) fn new(patience: Duration, served_by: Vec<String>) -> Self {
        Self {
            patience,
            served_by,
            ..Self::default()
        }
    }

    /// The next step. After `Ask`, tell [`Self::started`], and then how it ended.
    pub(super) fn next(&mut self, seen: &[Seen<'_>], now: Instant) -> Next {
        match self.best(seen) {
            Some(index) => Next::Ask(index),
            None => self.wait(seen, now),
        }
    }

    /// The best of those not asked since the last pause.
    fn best(&self, seen: &[Seen<'_>]) -> Option<usize> {
        let open = |one: &Seen<'_>| {
            let done = self.asked.contains(one.uri) || self.is_useless(one);
            one.down_for.is_none() && !done
        };
        let open = seen.iter().enumerate().filter(|(_, one)| open(one));
        let (indices, candidates): (Vec<usize>, Vec<Candidate>) = open
            .map(|(index, one)| (index, one.candidate.clone()))
            .unzip();
        select(&candidates).map(|best| indices[best])
    }

    /// How long to wait before all are asked again.
    fn wait(&mut self, seen: &[Seen<'_>], now: Instant) -> Next {
        let is_there = |one: &&Seen<'_>| one.down_for.is_none_or(|down| down <= self.patience);
        let there: Vec<_> = seen.iter().filter(is_there).collect();
        self.rounds += usize::from(!self.asked.is_empty());
        if seen.is_empty() {
            let reason = "no orchestrator is configured".to_owned();
            return Next::Fail(TranscodeError::NoRoom(reason));
        }
        if there.is_empty() {
            return Next::Fail(self.no_session("no orchestrator answers"));
        }
        if self.rounds >= MAX_ROUNDS {
            return Next::Fail(self.no_session(NOT_TAKEN));
        }
        for one in seen.iter().filter(|one| one.deserted) {
            // with its next transcoder it may be able
            self.unfit.remove(one.uri);
        }
        let is_over = self.is_stranded_for_long(&there, now);
        let is_hopeless =
            |one: &&Seen<'_>| self.is_useless(one) || is_over && self.unfit.contains_key(one.uri);
        if there.iter().all(is_hopeless) {
            let who = if there.len() == seen.len() {
                "no orchestrator"
            } else {
                "no orchestrator that answers"
            };
            let why = self.unfitness().unwrap_or_default();
            let reason = format!("{who} can transcode this: {why}");
            return Next::Fail(TranscodeError::NoRoom(reason));
        }
        if is_over {
            return Next::Full;
        }
        self.asked.clear();
        self.renewed.clear();
        if !self.are_full(&there) {
            self.all_full = None;
            return Next::Pause(RETRY_PAUSE);
        }
        let (since, pauses) = self.all_full.unwrap_or((now, 0));
        if now.saturating_duration_since(since) >= FULL_PATIENCE {
            return Next::Full;
        }
        self.all_full = Some((since, pauses + 1));
        let doubled = RETRY_PAUSE.saturating_mul(2_u32.saturating_pow(pauses));
        Next::Pause(doubled.min(FULL_PAUSE_LAST))
    }

    /// Whether nothing but transcoders has been missing for longer than they are waited for.
    fn is_stranded_for_long(&mut self, there: &[&Seen<'_>], now: Instant) -> bool {
        let is_stranded =
            |one: &&Seen<'_>| one.deserted || self.is_full(one) || self.unfit.contains_key(one.uri);
        if !there.iter().all(is_stranded) {
            self.stranded = None;
            return false;
        }
        let since = *self.stranded.get_or_insert(now);
        now.saturating_duration_since(since) >= DESERTED_PATIENCE
    }

    fn is_full(&self, one: &Seen<'_>) -> bool {
        one.opens_no_session && self.full.contains(one.uri)
    }

    fn are_full(&self, there: &[&Seen<'_>]) -> bool {
        let is_full = |one: &&Seen<'_>| self.is_full(one);
        // a transcoder that restarts is soon back: who was served there may wait for it
        let is_deserted = |one: &&Seen<'_>| one.deserted && !self.has_served(one.uri);
        let is_no_help = |one: &&Seen<'_>| is_full(one) || is_deserted(one) || self.is_useless(one);
        there.iter().any(is_full) && there.iter().all(is_no_help)
    }

    fn has_served(&self, uri: &str) -> bool {
        self.served_by.iter().any(|by| by == uri)
    }

    /// It cannot do the job, and that will not change in time.
    fn is_useless(&self, one: &Seen<'_>) -> bool {
        self.unfit.contains_key(one.uri) && !self.has_served(one.uri)
    }

    /// Why those that cannot do the job cannot, if there are any.
    pub(super) fn unfitness(&self) -> Option<String> {
        let reasons: BTreeSet<&str> = self.unfit.values().map(String::as_str).collect();
        let reasons: Vec<_> = reasons.into_iter().collect();
        (!reasons.is_empty()).then(|| reasons.join(", or "))
    }

    fn no_session(&self, why: &'static str) -> TranscodeError {
        let last_error = self.last_error.clone();
        TranscodeError::NoSession(Untaken { why, last_error })
    }

    /// `uri` is asked.
    pub(super) fn started(&mut self, uri: &str) {
        self.tries += 1;
        self.asking = Some(uri.to_owned());
    }

    /// It has done the work.
    pub(super) fn succeeded(&mut self, uri: &str) {
        self.asking = None;
        // its first try may have failed
        self.suspects.retain(|suspect| suspect != uri);
    }

    /// It has failed; an error means that there is no point in going on.
    pub(super) fn failed(&mut self, uri: &str, fault: Fault) -> Result<(), TranscodeError> {
        self.asking = None;
        self.full.remove(uri);
        self.unfit.remove(uri);
        let mut elsewhere = true;
        let text = match fault {
            Fault::Segment(text) => return Err(TranscodeError::Segment(text)),
            Fault::Budget => return Err(TranscodeError::Budget),
            Fault::Session(text) => {
                // the same one again, with a new session; a second refusal goes elsewhere
                elsewhere = !self.renewed.insert(uri.to_owned());
                text
            }
            Fault::Busy(text) => text,
            Fault::Capped(text) => {
                self.full.insert(uri.to_owned());
                text
            }
            Fault::Unfit(text) => {
                self.unfit.insert(uri.to_owned(), text.clone());
                self.suspects.push(uri.to_owned());
                text
            }
            Fault::Orchestrator(text) | Fault::Connection(text) => {
                self.suspects.push(uri.to_owned());
                text
            }
            Fault::Work(text) => {
                let same = |(other, words): &(String, String)| other != uri && *words == text;
                if self.failures.iter().any(same) {
                    return Err(TranscodeError::Segment(text));
                }
                self.failures.push((uri.to_owned(), text.clone()));
                self.suspects.push(uri.to_owned());
                if self.failures.len() >= MAX_FAILURES {
                    return Err(TranscodeError::MaxAttempts(text));
                }
                text
            }
        };
        if elsewhere {
            self.asked.insert(uri.to_owned());
        }
        self.last_error = Some(text);
        Ok(())
    }

    /// The deadline has passed: who is at it now, if anybody, was too slow.
    pub(super) fn too_late(&mut self) -> TranscodeError {
        let slow = self.asking.take();
        let why = match slow {
            Some(_) => "the deadline passed before an orchestrator was done",
            None => NOT_TAKEN,
        };
        self.suspects.extend(slow);
        self.no_session(why)
    }

    /// How many attempts there were.
    pub(super) fn tries(&self) -> usize {
        self.tries
    }

    /// Whom to avoid, if the segment is good.
    pub(super) fn suspects(&self) -> &[String] {
        &self.suspects
    }
}

#[cfg(test)]
mod tests;
