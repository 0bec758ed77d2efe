//! What one stream remembers of orchestrators: its sessions, how quick they were, and
//! whom it avoids for a while.
//!
//! A session lives as long as its orchestrator knows it: a lost connection does not end
//! it. One that is replaced or given up is told so only when its last segment is back,
//! since with the session go the renditions that wait to be fetched.
//!
//! An orchestrator that failed is avoided for a time that doubles with each failure in
//! a row (go-livepeer `server/suspensions.go` counts refreshes instead, which stops
//! working after enough of them). Avoided is not excluded: when nobody else is left it
//! is asked all the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use livepeer_proto::net;
use tokio::time::Instant;

use super::orchestrators::Orchestrator;
use super::select::{Candidate, score};
use super::tally::Tally;

/// How long an orchestrator is avoided after one failure, and at most.
const SUSPENSION_FIRST: Duration = Duration::from_secs(5);
const SUSPENSION_LAST: Duration = Duration::from_secs(60);
/// A token is renewed this long before it expires (go-livepeer: the last tenth of
/// half an hour), so that no segment meets its end.
const REFRESH_BEFORE: Duration = Duration::from_secs(180);
/// The sessions of one stream.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By the orchestrator's address.
    sessions: HashMap<String, Session>,
    /// Used no more, not yet told so.
    left: Vec<Session>,
    suspensions: HashMap<String, Suspension>,
    /// Who has refused the stream, for want of room or of what it needs, since it last did a
    /// segment.
    refusals: HashMap<String, Tally>,
    last: Option<String>,
    next_flight: u64,
}

#[derive(Debug)]
struct Session {
    orchestrator: Arc<Orchestrator>,
    info: Arc<net::OrchestratorInfo>,
    score: Option<f64>,
    flights: Vec<Flight>,
    draining: bool,
}

/// A session that a segment may use.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) info: Arc<net::OrchestratorInfo>,
    /// Its token is about to expire.
    pub(super) ending: bool,
}

/// A segment on its way. It ends with [`Sessions::arrived`], or in vain when this is
/// dropped, however that comes about.
#[derive(Debug)]
pub(super) struct InFlight<'a> {
    sessions: &'a Sessions,
    uri: String,
    id: u64,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.sessions.with(|inner| inner.take_flight(self.id));
    }
}

#[derive(Debug, Clone, Copy)]
struct Flight {
    id: u64,
    started: Instant,
    duration: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Suspension {
    failures: u32,
    until: Instant,
}

impl Sessions {
    fn with<T>(&self, run: impl FnOnce(&mut Inner) -> T) -> T {
        run(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is known of each of `orchestrators`, in their order.
    pub(super) fn candidates(
        &self,
        orchestrators: &[Arc<Orchestrator>],
        now: Instant,
    ) -> Vec<Candidate> {
        self.with(|inner| {
            orchestrators
                .iter()
                .map(|orchestrator| inner.candidate(orchestrator, now))
                .collect()
        })
    }

    /// Whether an orchestrator has given it a session.
    pub(super) fn any(&self) -> bool {
        self.with(|inner| !inner.sessions.is_empty())
    }

    /// Who has done a segment of it, in a session that there still is.
    pub(super) fn served_by(&self) -> Vec<String> {
        self.with(|inner| {
            let served = inner.sessions.iter();
            let served = served.filter(|(_, session)| session.score.is_some());
            served.map(|(uri, _)| uri.clone()).collect()
        })
    }

    /// The session there, unless its token has expired.
    pub(super) fn get(&self, uri: &str, unix_now: Duration) -> Option<Kept> {
        self.with(|inner| inner.sessions.get(uri)?.kept(unix_now))
    }

    /// A new session there. When another segment was quicker to get one, that is used:
    /// of the new one the orchestrator knows nothing before its first segment.
    pub(super) fn put(
        &self,
        orchestrator: &Arc<Orchestrator>,
        info: Arc<net::OrchestratorInfo>,
        unix_now: Duration,
    ) -> Arc<net::OrchestratorInfo> {
        self.with(|inner| {
            let known = inner.sessions.get(orchestrator.uri());
            let kept = known.and_then(|session| session.kept(unix_now));
            if let Some(kept) = kept.filter(|kept| !kept.ending) {
                return kept.info;
            }
            let score = known.and_then(|session| session.score);
            inner.leave(orchestrator.uri());
            orchestrator.stream_joined();
            let session = Session {
                orchestrator: Arc::clone(orchestrator),
                info: Arc::clone(&info),
                score,
                flights: Vec::new(),
                draining: false,
            };
            inner
                .sessions
                .insert(orchestrator.uri().to_owned(), session);
            info
        })
    }

    /// A segment leaves for `uri`.
    pub(super) fn started(&self, uri: &str, duration: Duration, now: Instant) -> InFlight<'_> {
        self.with(|inner| {
            inner.next_flight += 1;
            let id = inner.next_flight;
            inner.last = Some(uri.to_owned());
            if let Some(session) = inner.sessions.get_mut(uri) {
                session.flights.push(Flight {
                    id,
                    started: now,
                    duration,
                });
            }
            InFlight {
                sessions: self,
                uri: uri.to_owned(),
                id,
            }
        })
    }

    /// It came back: the session is as quick as this, and not avoided any more.
    pub(super) fn arrived(
        &self,
        flight: InFlight<'_>,
        info: Option<net::OrchestratorInfo>,
        now: Instant,
    ) {
        self.with(|inner| {
            inner.suspensions.remove(&flight.uri);
            let Some(session) = inner.sessions.get_mut(&flight.uri) else {
                return;
            };
            // of a session that was replaced meanwhile, nothing can be learnt
            let Some(done) = take_flight(&mut session.flights, flight.id) else {
                return;
            };
            let took = now.saturating_duration_since(done.started);
            session.score = Some(score(took, done.duration));
            if let Some(mut info) = info.filter(|info| same_session(info, &session.info)) {
                // where segments go was settled before the first, with the address that
                // was asked; a reply sends them nowhere else
                info.transcoder.clone_from(&session.info.transcoder);
                session.info = Arc::new(info);
            }
        });
    }

    /// Whether the orchestrator there is about to stop, as its answer says: then a
    /// stream with a choice goes elsewhere.
    pub(super) fn heard(&self, uri: &str, draining: bool) {
        self.with(|inner| {
            if let Some(session) = inner.sessions.get_mut(uri) {
                session.draining = draining;
            }
        });
    }

    /// Gives up the session there.
    pub(super) fn forget(&self, uri: &str) {
        self.with(|inner| {
            inner.leave(uri);
            if inner.last.as_deref() == Some(uri) {
                inner.last = None;
            }
        });
    }

    /// Avoids `uri` for a while.
    pub(super) fn suspend(&self, uri: &str, now: Instant) {
        self.with(|inner| {
            let failures = inner
                .suspensions
                .get(uri)
                .map_or(0, |suspension| suspension.failures)
                + 1;
            let factor = 2_u32.saturating_pow(failures - 1);
            let time = SUSPENSION_FIRST.saturating_mul(factor).min(SUSPENSION_LAST);
            let until = now + time;
            let suspension = Suspension { failures, until };
            inner.suspensions.insert(uri.to_owned(), suspension);
        });
    }

    /// `uri` refused it. When it is time to say so: how often that was.
    pub(super) fn refused(&self, uri: &str, now: Instant) -> Option<u32> {
        self.with(|inner| inner.refusals.entry(uri.to_owned()).or_default().add(now))
    }

    /// `uri` did a segment. How often it had refused before, if at all.
    pub(super) fn accepted(&self, uri: &str) -> Option<u32> {
        self.with(|inner| inner.refusals.remove(uri)?.end())
    }

    /// Gives up the sessions for which `leave` says so, and takes out all that can be
    /// ended now.
    pub(super) fn drain(
        &self,
        leave: impl Fn(&Orchestrator) -> bool,
    ) -> Vec<(Arc<Orchestrator>, Option<net::AuthToken>)> {
        self.with(|inner| {
            let gone: Vec<String> = inner
                .sessions
                .iter()
                .filter(|(_, session)| leave(&session.orchestrator))
                .map(|(uri, _)| uri.clone())
                .collect();
            for uri in gone {
                inner.leave(&uri);
            }
            inner
                .left
                .extract_if(.., |session| session.flights.is_empty())
                .map(|session| (session.orchestrator, session.info.auth_token.clone()))
                .collect()
        })
    }
}

impl Session {
    fn kept(&self, unix_now: Duration) -> Option<Kept> {
        let left = time_left(&self.info, unix_now);
        (left > Duration::ZERO).then(|| Kept {
            info: Arc::clone(&self.info),
            ending: left <= REFRESH_BEFORE,
        })
    }
}

impl Inner {
    fn leave(&mut self, uri: &str) {
        if let Some(session) = self.sessions.remove(uri) {
            session.orchestrator.stream_left();
            self.left.push(session);
        }
    }

    fn take_flight(&mut self, id: u64) {
        let sessions = self.sessions.values_mut().chain(&mut self.left);
        for session in sessions {
            take_flight(&mut session.flights, id);
        }
    }

    fn candidate(&self, orchestrator: &Orchestrator, now: Instant) -> Candidate {
        let uri = orchestrator.uri();
        let session = self.sessions.get(uri);
        let oldest = session.and_then(|session| {
            session
                .flights
                .iter()
                .min_by_key(|flight| flight.started)
                .copied()
        });
        let suspension = self
            .suspensions
            .get(uri)
            .filter(|suspension| suspension.until > now);
        Candidate {
            last: self.last.as_deref() == Some(uri),
            score: session.and_then(|session| session.score),
            oldest_in_flight: oldest.map(|flight| {
                (
                    now.saturating_duration_since(flight.started),
                    flight.duration,
                )
            }),
            draining: session
                .map_or_else(|| orchestrator.is_draining(), |session| session.draining),
            // who has a session there is served
            full: session.is_none() && orchestrator.is_full(),
            penalty: suspension.map_or(0, |suspension| suspension.failures),
            streams: orchestrator.streams(),
            latency: orchestrator.latency(),
        }
    }
}

fn take_flight(flights: &mut Vec<Flight>, id: u64) -> Option<Flight> {
    let index = flights.iter().position(|flight| flight.id == id)?;
    Some(flights.swap_remove(index))
}

/// The token itself may be another: one that lasts longer.
fn same_session(new: &net::OrchestratorInfo, old: &net::OrchestratorInfo) -> bool {
    let id = |info: &net::OrchestratorInfo| {
        let token = info.auth_token.as_ref();
        token.map(|token| token.session_id.clone())
    };
    id(new).is_some() && id(new) == id(old)
}

/// A session without a token cannot expire; the orchestrator refuses it if it minds.
fn time_left(info: &net::OrchestratorInfo, unix_now: Duration) -> Duration {
    info.auth_token.as_ref().map_or(Duration::MAX, |token| {
        let expires = Duration::from_secs(u64::try_from(token.expiration).unwrap_or(0));
        expires.saturating_sub(unix_now)
    })
}

#[cfg(test)]
mod tests;
