use std::sync::Arc;
use std::time::Duration;

use super::{SUSPENSION_FIRST, SUSPENSION_LAST, Sessions};
use crate::gateway::orchestrators::Orchestrator;
use crate::gateway::select::Candidate;
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

const START: Duration = Duration::ZERO;

fn candidate(sessions: &Sessions, of: &Arc<Orchestrator>, at: Instant) -> Candidate {
    sessions.candidates(std::slice::from_ref(of), at).remove(0)
}

#[test]
fn a_token_in_its_last_three_minutes_is_renewed_and_serves_meanwhile() {
    let (sessions, orchestrator) = (Sessions::default(), orchestrator());
    sessions.put(&orchestrator, Arc::new(info(1800)), START);
    let ending = |at| Some(sessions.get(URI, Duration::from_secs(at))?.ending);
    assert_eq!(ending(1619), Some(false));
    assert_eq!(ending(1620), Some(true));
    assert_eq!(ending(1800), None);
    let new = Arc::new(info(3600));
    sessions.put(&orchestrator, new, Duration::from_secs(1620));
    assert_eq!(ending(1620), Some(false));
    let ended = sessions.drain(|_| false).remove(0).1;
    assert_eq!(ended.unwrap().expiration, 1800);
}

#[test]
fn a_token_that_lasts_longer_is_taken_for_the_same_session() {
    let (sessions, orchestrator) = (Sessions::default(), orchestrator());
    let now = Instant::now();
    sessions.put(&orchestrator, Arc::new(info(1800)), START);
    let arrive = |edit: fn(&mut net::AuthToken)| {
        let mut renewed = info(1800);
        edit(renewed.auth_token.as_mut().unwrap());
        let flight = sessions.started(URI, Duration::from_secs(2), now);
        sessions.arrived(flight, Some(renewed), now);
        let kept = sessions.get(URI, START).unwrap();
        kept.info.auth_token.clone().unwrap().expiration
    };
    assert_eq!(arrive(|token| token.expiration = 3600), 3600);
    let other = |token: &mut net::AuthToken| {
        token.session_id = "other".into();
        token.expiration = 7200;
    };
    assert_eq!(arrive(other), 3600);
}

#[test]
fn a_reply_does_not_move_its_session_to_another_address() {
    let (sessions, orchestrator) = (Sessions::default(), orchestrator());
    let now = Instant::now();
    sessions.put(&orchestrator, Arc::new(info(1800)), START);
    let flight = sessions.started(URI, Duration::from_secs(2), now);
    let mut moved = info(1800);
    moved.transcoder = "http://169.254.169.254".into();
    sessions.arrived(flight, Some(moved), now);
    assert_eq!(sessions.get(URI, START).unwrap().info.transcoder, URI);
}

#[test]
fn two_segments_that_begin_a_stream_share_one_session() {
    let (sessions, orchestrator) = (Sessions::default(), orchestrator());
    let first = sessions.put(&orchestrator, Arc::new(info(1800)), START);
    let second = sessions.put(&orchestrator, Arc::new(info(1801)), START);
    assert_eq!(first, second);
    assert!(sessions.drain(|_| false).is_empty(), "nothing to end");
}

#[test]
fn a_session_that_is_given_up_ends_when_its_last_segment_is_back() {
    let (sessions, orchestrator) = (Sessions::default(), orchestrator());
    sessions.put(&orchestrator, Arc::new(info(1800)), START);
    let flight = sessions.started(URI, Duration::from_secs(2), Instant::now());
    assert!(sessions.drain(|_| true).is_empty());
    sessions.arrived(flight, None, Instant::now());
    assert_eq!(sessions.drain(|_| false).len(), 1);
}

#[test]
fn an_attempt_that_is_cut_off_is_not_in_flight_any_more() {
    let (sessions, orchestrator) = (Sessions::default(), orchestrator());
    let now = Instant::now();
    sessions.put(&orchestrator, Arc::new(info(1800)), START);
    drop(sessions.started(URI, Duration::from_secs(2), now));
    let candidate = candidate(&sessions, &orchestrator, now);
    assert_eq!(candidate.oldest_in_flight, None);
}

#[test]
fn suspensions_double_up_to_a_bound_and_end_with_a_success() {
    let (sessions, orchestrator) = (Sessions::default(), orchestrator());
    let now = Instant::now();
    let penalty = |at| candidate(&sessions, &orchestrator, at).penalty;
    sessions.suspend(URI, now);
    assert_eq!(penalty(now), 1);
    assert_eq!(penalty(now + SUSPENSION_FIRST), 0);
    sessions.suspend(URI, now);
    assert_eq!(penalty(now + SUSPENSION_FIRST), 2);
    for _ in 0..40 {
        sessions.suspend(URI, now);
    }
    assert_eq!(penalty(now + SUSPENSION_LAST), 0);
    sessions.put(&orchestrator, Arc::new(info(1800)), START);
    let flight = sessions.started(URI, Duration::from_secs(2), now);
    sessions.arrived(flight, None, now);
    assert_eq!(penalty(now), 0);
}

#[test]
fn a_segment_in_time_makes_its_session_the_preferred_one() {
    let (sessions, orchestrator) = (Sessions::default(), orchestrator());
    let now = Instant::now();
    sessions.put(&orchestrator, Arc::new(info(1800)), START);
    let flight = sessions.started(URI, Duration::from_secs(2), now);
    let later = now + Duration::from_secs(1);
    let busy = candidate(&sessions, &orchestrator, later);
    let expected = Some((Duration::from_secs(1), Duration::from_secs(2)));
    assert!(busy.last && busy.oldest_in_flight == expected);
    sessions.heard(URI, true);
    sessions.arrived(flight, None, later);
    let idle = candidate(&sessions, &orchestrator, later);
    assert!(idle.draining && idle.score == Some(0.5));
    assert_eq!(idle.oldest_in_flight, None);
}

#[test]
fn streams_are_counted_once_each_at_their_orchestrator() {
    let (sessions, orchestrator) = (Sessions::default(), orchestrator());
    sessions.put(&orchestrator, Arc::new(info(100)), START);
    sessions.put(&orchestrator, Arc::new(info(1800)), START);
    assert_eq!(orchestrator.streams(), 1);
    assert_eq!(sessions.drain(|_| true).len(), 2);
    assert_eq!(orchestrator.streams(), 0);
}

#[test]
fn that_an_orchestrator_refuses_is_counted_for_each_alone() {
    let sessions = Sessions::default();
    let now = Instant::now();
    assert_eq!(sessions.accepted(URI), None);
    assert_eq!(sessions.refused(URI, now), Some(1));
    assert_eq!(sessions.refused(URI, now), None);
    assert_eq!(sessions.refused("https://127.0.0.1:2", now), Some(1));
    assert_eq!(sessions.accepted(URI), Some(2));
    assert_eq!(sessions.refused(URI, now), Some(1));
}
