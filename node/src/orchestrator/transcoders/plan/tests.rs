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

#[test]
fn a_result_that_broke_off_has_as_long_as_it_took_to_come_again() {
    let (mut plan, now) = plan(None);
    plan.started(1, MemberId(1), Why::First, now);
    let cut = now + DEADLINE / 3;
    plan.cut(1);
    assert_eq!(plan.next(cut), Next::Start(Why::Lost), "another is faster");
    for nobody in [PickError::Empty, PickError::Incapable] {
        plan.not_started(nobody, Why::Lost, cut);
        assert_eq!(plan.next(cut), Next::Wait(cut + DEADLINE / 3));
    }
    // its transcoder is gone, and nothing comes any more
    plan.lost(1);
    plan.not_started(PickError::Empty, Why::Lost, cut);
    assert_eq!(plan.next(cut), Next::Wait(cut + WAIT_FOR_TRANSCODER));
}

#[test]
fn a_result_that_broke_off_soon_is_waited_for_like_a_transcoder() {
    let (mut plan, now) = plan(None);
    plan.started(1, MemberId(1), Why::First, now);
    plan.cut(1);
    plan.not_started(PickError::Empty, Why::Lost, now);
    assert_eq!(plan.next(now), Next::Wait(now + WAIT_FOR_TRANSCODER));
}
