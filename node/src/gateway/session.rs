//! What one stream remembers of orchestrators: its sessions, how quick they were, and
//! whom it avoids for a while.
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
    suspensions: HashMap<String, Suspension>,
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

    /// The session there, unless its token is about to expire.
    pub(super) fn get(&self, uri: &str, unix_now: Duration) -> Option<Arc<net::OrchestratorInfo>> {
        let info = self.with(|inner| {
            let session = inner.sessions.get(uri)?;
            Some(Arc::clone(&session.info))
        })?;
        is_fresh(&info, unix_now).then_some(info)
    }

    /// A new session there; the token of the one that it replaces comes back.
    pub(super) fn put(
        &self,
        orchestrator: &Arc<Orchestrator>,
        info: Arc<net::OrchestratorInfo>,
    ) -> Option<net::AuthToken> {
        self.with(|inner| match inner.sessions.get_mut(orchestrator.uri()) {
            Some(session) => {
                let old = std::mem::replace(&mut session.info, info);
                session.draining = false;
                old.auth_token.clone()
            }
            None => {
                orchestrator.stream_joined();
                let session = Session {
                    orchestrator: Arc::clone(orchestrator),
                    info,
                    score: None,
                    flights: Vec::new(),
                    draining: false,
                };
                inner
                    .sessions
                    .insert(orchestrator.uri().to_owned(), session);
                None
            }
        })
    }

    /// A segment leaves for `uri`; [`Sessions::arrived`] or [`Sessions::lost`] ends it.
    pub(super) fn started(&self, uri: &str, duration: Duration, now: Instant) -> u64 {
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
            id
        })
    }

    /// It came back: the session is as quick as this, and not avoided any more.
    pub(super) fn arrived(
        &self,
        uri: &str,
        flight: u64,
        info: Option<net::OrchestratorInfo>,
        draining: bool,
        now: Instant,
    ) {
        self.with(|inner| {
            inner.suspensions.remove(uri);
            let Some(session) = inner.sessions.get_mut(uri) else {
                return;
            };
            if let Some(flight) = take_flight(&mut session.flights, flight) {
                let took = now.saturating_duration_since(flight.started);
                session.score = Some(score(took, flight.duration));
            }
            session.draining = draining;
            if let Some(info) = info.filter(|info| same_session(info, &session.info)) {
                session.info = Arc::new(info);
            }
        });
    }

    /// It did not come back.
    pub(super) fn lost(&self, uri: &str, flight: u64) {
        self.with(|inner| {
            if let Some(session) = inner.sessions.get_mut(uri) {
                take_flight(&mut session.flights, flight);
            }
        });
    }

    /// Forgets the session there.
    pub(super) fn forget(&self, uri: &str) {
        self.with(|inner| {
            if let Some(session) = inner.sessions.remove(uri) {
                session.orchestrator.stream_left();
            }
            if inner.last.as_deref() == Some(uri) {
                inner.last = None;
            }
        });
    }

    /// Avoids `uri` for a while, and forgets its session.
    pub(super) fn suspend(&self, uri: &str, now: Instant) {
        self.forget(uri);
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

    /// Takes out the sessions for which `leave` says so, to be ended.
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
            gone.iter()
                .filter_map(|uri| inner.sessions.remove(uri))
                .map(|session| {
                    session.orchestrator.stream_left();
                    (session.orchestrator, session.info.auth_token.clone())
                })
                .collect()
        })
    }
}

impl Inner {
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
            draining: session.is_some_and(|session| session.draining),
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

fn same_session(new: &net::OrchestratorInfo, old: &net::OrchestratorInfo) -> bool {
    new.auth_token.is_some() && new.auth_token == old.auth_token && !new.transcoder.is_empty()
}

/// A session without a token cannot expire; the orchestrator refuses it if it minds.
fn is_fresh(info: &net::OrchestratorInfo, unix_now: Duration) -> bool {
    info.auth_token.as_ref().is_none_or(|token| {
        let expires = Duration::from_secs(u64::try_from(token.expiration).unwrap_or(0));
        unix_now + REFRESH_BEFORE < expires
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::{SUSPENSION_FIRST, SUSPENSION_LAST, Sessions};
    use crate::gateway::orchestrators::Orchestrator;
    use livepeer_proto::net;
    use tokio::time::Instant;

    const URI: &str = "https://127.0.0.1:1";

    fn orchestrator() -> Arc<Orchestrator> {
        Arc::new(Orchestrator::new(URI.into(), Arc::default()))
    }

    fn info(expiration: i64) -> net::OrchestratorInfo {
        net::OrchestratorInfo {
            transcoder: URI.into(),
            auth_token: Some(net::AuthToken {
                session_id: expiration.to_string(),
                expiration,
                ..net::AuthToken::default()
            }),
            ..net::OrchestratorInfo::default()
        }
    }

    #[test]
    fn a_token_in_its_last_three_minutes_is_renewed() {
        let sessions = Sessions::default();
        sessions.put(&orchestrator(), Arc::new(info(1800)));
        assert!(sessions.get(URI, Duration::from_secs(1619)).is_some());
        assert!(sessions.get(URI, Duration::from_secs(1620)).is_none());
        let replaced = sessions.put(&orchestrator(), Arc::new(info(3600)));
        assert_eq!(replaced.unwrap().expiration, 1800, "to be ended");
    }

    #[test]
    fn suspensions_double_up_to_a_bound_and_end_with_a_success() {
        let (sessions, orchestrator) = (Sessions::default(), orchestrator());
        let now = Instant::now();
        let penalty = |at| sessions.candidates(std::slice::from_ref(&orchestrator), at)[0].penalty;
        sessions.suspend(URI, now);
        assert_eq!(penalty(now), 1);
        assert_eq!(penalty(now + SUSPENSION_FIRST), 0);
        sessions.suspend(URI, now);
        assert_eq!(penalty(now + SUSPENSION_FIRST), 2);
        for _ in 0..40 {
            sessions.suspend(URI, now);
        }
        assert_eq!(penalty(now + SUSPENSION_LAST), 0);
        sessions.put(&orchestrator, Arc::new(info(1)));
        let flight = sessions.started(URI, Duration::from_secs(2), now);
        sessions.arrived(URI, flight, None, false, now);
        assert_eq!(penalty(now), 0);
    }

    #[test]
    fn a_segment_in_time_makes_its_session_the_preferred_one() {
        let (sessions, orchestrator) = (Sessions::default(), orchestrator());
        let now = Instant::now();
        sessions.put(&orchestrator, Arc::new(info(1)));
        let flight = sessions.started(URI, Duration::from_secs(2), now);
        let later = now + Duration::from_secs(1);
        let candidate = sessions
            .candidates(std::slice::from_ref(&orchestrator), later)
            .remove(0);
        let expected = Some((Duration::from_secs(1), Duration::from_secs(2)));
        assert!(candidate.last && candidate.oldest_in_flight == expected);
        sessions.arrived(URI, flight, None, true, later);
        let candidate = sessions.candidates(&[orchestrator], later).remove(0);
        assert!(candidate.draining && candidate.score == Some(0.5));
        assert_eq!(candidate.oldest_in_flight, None);
    }

    #[test]
    fn streams_are_counted_once_each_at_their_orchestrator() {
        let (sessions, orchestrator) = (Sessions::default(), orchestrator());
        sessions.put(&orchestrator, Arc::new(info(1)));
        sessions.put(&orchestrator, Arc::new(info(2)));
        assert_eq!(orchestrator.streams(), 1);
        assert_eq!(sessions.drain(|_| true).len(), 1);
        assert_eq!(orchestrator.streams(), 0);
    }
}
