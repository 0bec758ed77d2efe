use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

use super::{DESERTED_PATIENCE, FULL_PATIENCE, FULL_PAUSE_LAST, MAX_ROUNDS, Next, Plan, Seen};
use crate::gateway::attempts::TranscodeError;
use crate::gateway::fault::Fault;
use crate::gateway::select::Candidate;

const PATIENCE: Duration = Duration::from_secs(8);

fn plan() -> Plan {
    Plan::new(PATIENCE, Vec::new())
}

/// One that answers.
fn open(uri: &str) -> Seen<'_> {
    Seen {
        uri,
        down_for: None,
        opens_no_session: false,
        deserted: false,
        candidate: Candidate::default(),
    }
}

fn full(uri: &str) -> Seen<'_> {
    Seen {
        opens_no_session: true,
        ..open(uri)
    }
}

fn down(uri: &str, seconds: u64) -> Seen<'_> {
    Seen {
        down_for: Some(Duration::from_secs(seconds)),
        ..open(uri)
    }
}

fn busy() -> Fault {
    Fault::Busy("OrchestratorBusy".into())
}

fn capped() -> Fault {
    Fault::Capped("every session is taken".into())
}

/// All that happened until there was no more to do.
#[derive(Debug)]
struct Played {
    asked: Vec<String>,
    waited: Duration,
    /// `None`: somebody did the work.
    end: Option<Next>,
}

/// Does what the plan says; who is asked fails as `answers` has it, or does the work.
fn play(plan: &mut Plan, seen: &[Seen<'_>], answers: impl Fn(&str) -> Option<Fault>) -> Played {
    let begun = Instant::now();
    let (mut now, mut asked) = (begun, Vec::new());
    let end = loop {
        match plan.next(seen, now) {
            Next::Ask(index) => {
                let uri = seen[index].uri;
                plan.started(uri);
                asked.push(uri.to_owned());
                let Some(fault) = answers(uri) else {
                    plan.succeeded(uri);
                    break None;
                };
                if let Err(error) = plan.failed(uri, fault) {
                    break Some(Next::Fail(error));
                }
            }
            Next::Pause(pause) => now += pause,
            end @ (Next::Full | Next::Fail(_)) => break Some(end),
        }
    };
    Played {
        asked,
        waited: now - begun,
        end,
    }
}

#[test]
fn who_is_gone_is_not_asked_and_waited_for_only_a_while() {
    let mut one = plan();
    let seen = [down("a", 1), open("b")];
    assert_eq!(play(&mut one, &seen, |_| None).asked, ["b"]);
    let next = plan().next(&[down("a", 8)], Instant::now());
    assert!(matches!(next, Next::Pause(_)), "{next:?}");
    let next = plan().next(&[down("a", 9)], Instant::now());
    assert!(matches!(next, Next::Fail(TranscodeError::NoSession(_))));
}

#[test]
fn the_same_failure_in_the_same_words_at_a_second_one_is_the_segments() {
    let seen = [open("a"), open("b"), open("c"), open("d")];
    let same = |_: &str| Some(Fault::Work("Invalid data".into()));
    let played = play(&mut plan(), &seen, same);
    let end = TranscodeError::Segment("Invalid data".into());
    assert_eq!(played.end, Some(Next::Fail(end)));
    assert_eq!(played.asked, ["a", "b"]);

    let mut one = plan();
    let other = |uri: &str| Some(Fault::Work(uri.to_owned()));
    let played = play(&mut one, &seen, other);
    let end = TranscodeError::MaxAttempts("c".into());
    assert_eq!(played.end, Some(Next::Fail(end)));
    assert_eq!(one.suspects(), ["a", "b", "c"]);
}

#[test]
fn who_failed_and_then_did_the_work_is_no_suspect() {
    let mut one = plan();
    one.started("a");
    assert_eq!(one.failed("a", Fault::Connection("reset".into())), Ok(()));
    one.started("a");
    one.succeeded("a");
    assert!(one.suspects().is_empty());
}

#[test]
fn a_refused_session_is_asked_for_anew_at_the_same_one() {
    let mut one = plan();
    let seen = [open("a"), open("b")];
    let refuses = |uri: &str| (uri == "a").then(|| Fault::Session("invalid auth token".into()));
    assert_eq!(play(&mut one, &seen, refuses).asked, ["a", "a", "b"]);
    let both = |_: &str| Some(Fault::Session("invalid auth token".into()));
    let asked = play(&mut plan(), &seen, both).asked;
    assert_eq!(asked[..4], ["a", "a", "b", "b"], "each of them");
}

#[test]
fn one_that_serves_the_stream_is_waited_for_beside_full_ones() {
    let deserted = Seen {
        deserted: true,
        ..open("b")
    };
    let seen = [full("a"), deserted];
    let answers = |uri: &str| Some(if uri == "a" { capped() } else { busy() });
    let new = play(&mut plan(), &seen, answers);
    assert_eq!(new.end, Some(Next::Full));
    let mut served = Plan::new(PATIENCE, vec!["b".into()]);
    assert!(play(&mut served, &seen, answers).waited > new.waited);
}

#[test]
fn a_transcoder_is_waited_for_as_long_as_a_restart_takes() {
    let deserted = || Seen {
        deserted: true,
        ..open("a")
    };
    let answers = |uri: &str| Some(if uri == "b" { capped() } else { busy() });
    for seen in [vec![deserted()], vec![deserted(), full("b")]] {
        let mut served = Plan::new(PATIENCE, vec!["a".into()]);
        let played = play(&mut served, &seen, answers);
        assert_eq!(played.waited, DESERTED_PATIENCE);
        assert_eq!(played.end, Some(Next::Full));
    }
    // it may be the one that cannot do the job without it
    let mut served = Plan::new(PATIENCE, vec!["a".into()]);
    let played = play(&mut served, &[open("a")], |_| Some(unfit("x")));
    assert_eq!(played.waited, DESERTED_PATIENCE);
    let why = "no orchestrator can transcode this: it lacks a capability (x)";
    assert_eq!(played.end, Some(no_room(why)));
    // one with a transcoder that has no room now may have it in a moment
    let seen = [deserted(), open("b")];
    let played = play(&mut plan(), &seen, |_| Some(busy()));
    assert!(played.waited > DESERTED_PATIENCE);
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

#[test]
fn full_ones_are_asked_less_and_less_often_and_not_for_long_however_many() {
    for count in [1, 20, 64] {
        let names = names(count);
        let seen: Vec<_> = names.iter().map(|name| full(name)).collect();
        let played = play(&mut plan(), &seen, |_| Some(capped()));
        assert_eq!(played.end, Some(Next::Full), "{count}");
        let rounds = played.asked.len() / count;
        assert!((5..10).contains(&rounds), "{count}: {rounds}");
        let waited = played.waited;
        assert!(waited >= FULL_PATIENCE && waited < FULL_PATIENCE + FULL_PAUSE_LAST);
    }
}

#[test]
fn everyone_is_asked_however_many_have_no_room() {
    let names = names(64);
    let seen: Vec<_> = names.iter().map(|name| open(name)).collect();
    let played = play(&mut plan(), &seen, |uri| (uri != "63").then(busy));
    assert_eq!((played.end, played.asked.len()), (None, 64));
}

#[test]
fn how_often_all_are_asked_is_bounded_whatever_they_say() {
    let names = names(3);
    let seen: Vec<_> = names.iter().map(|name| open(name)).collect();
    let played = play(&mut plan(), &seen, |_| Some(busy()));
    assert_eq!(played.asked.len(), 3 * MAX_ROUNDS);
    assert!(matches!(played.end, Some(Next::Fail(_))));
    // in other words each time
    let count = Cell::new(0);
    let refuses = |_: &str| {
        count.set(count.get() + 1);
        Some(Fault::Session(format!(
            "expired auth token {}",
            count.get()
        )))
    };
    let played = play(&mut plan(), &seen, refuses);
    assert_eq!(played.asked.len(), 2 * 3 * MAX_ROUNDS);
}

#[test]
fn who_is_at_it_when_the_time_is_up_is_suspected_and_nobody_in_a_pause() {
    let mut one = plan();
    one.started("a");
    assert_eq!(one.failed("a", busy()), Ok(()));
    one.started("b");
    assert_eq!(one.failed("b", capped()), Ok(()));
    let error = one.too_late();
    assert!(error.to_string().contains("every session is taken"));
    assert_eq!(one.suspects(), [""; 0], "they only had no room");
    one.started("b");
    one.too_late();
    assert_eq!(one.suspects(), ["b"]);
}

fn unfit(what: &str) -> Fault {
    Fault::Unfit(format!("it lacks a capability ({what})"))
}

fn no_room(reason: &str) -> Next {
    Next::Fail(TranscodeError::NoRoom(reason.to_owned()))
}

#[test]
fn when_nobody_can_do_the_job_that_is_said_at_once() {
    let seen = [open("a"), open("b")];
    let played = play(&mut plan(), &seen, |_| Some(unfit("HEVC decoding")));
    assert_eq!((played.asked.len(), played.waited), (2, Duration::ZERO));
    let why = "no orchestrator can transcode this: it lacks a capability (HEVC decoding)";
    assert_eq!(played.end, Some(no_room(why)));

    // long down is not there
    let played = play(&mut plan(), &[open("a"), down("b", 9)], |_| {
        Some(unfit("x"))
    });
    let why = "no orchestrator that answers can transcode this: it lacks a capability (x)";
    assert_eq!((played.asked.len(), played.end), (1, Some(no_room(why))));
}

#[test]
fn who_cannot_do_the_job_is_not_asked_again_beside_one_that_can() {
    let asked_b = Cell::new(0);
    let answers = |uri: &str| {
        if uri == "a" {
            return Some(unfit("x"));
        }
        asked_b.set(asked_b.get() + 1);
        (asked_b.get() < 3).then(busy)
    };
    let played = play(&mut plan(), &[open("a"), open("b")], answers);
    assert_eq!(played.asked, ["a", "b", "b", "b"]);
    assert_eq!(played.end, None);
    // and beside a full one there is only that to wait for
    let answers = |uri: &str| Some(if uri == "a" { unfit("x") } else { capped() });
    let mut one = plan();
    let played = play(&mut one, &[open("a"), full("b")], answers);
    assert_eq!(played.end, Some(Next::Full));
    assert_eq!(one.unfitness().unwrap(), "it lacks a capability (x)");
}

#[test]
fn beside_one_that_cannot_do_the_job_one_that_is_down_is_waited_for() {
    let mut one = plan();
    let seen = [open("a"), down("b", 1)];
    let now = Instant::now();
    assert_eq!(one.next(&seen, now), Next::Ask(0));
    one.started("a");
    assert_eq!(one.failed("a", unfit("x")), Ok(()));
    for _ in 0..3 {
        assert!(matches!(one.next(&seen, now), Next::Pause(_)));
    }
    assert_eq!(one.next(&[open("a"), open("b")], now), Next::Ask(1));
}

#[test]
fn who_may_be_able_again_with_its_next_transcoder_is_asked_again() {
    let answers = |_: &str| Some(unfit("x"));
    let deserted = Seen {
        deserted: true,
        ..open("a")
    };
    assert!(play(&mut plan(), &[deserted], answers).asked.len() > 1);
    let mut served = Plan::new(PATIENCE, vec!["a".into()]);
    assert!(play(&mut served, &[open("a")], answers).asked.len() > 1);
}

#[test]
fn there_is_a_reason_whether_anybody_was_asked_or_not() {
    let said = |error: TranscodeError| error.to_string();
    let end = |seen: &[Seen<'_>]| match play(&mut plan(), seen, |_| Some(busy())).end {
        Some(Next::Fail(error)) => said(error),
        end => unreachable!("{end:?}"),
    };
    assert_eq!(end(&[]), "no orchestrator is configured");
    let nobody = "no sessions available (no orchestrator answers)";
    assert_eq!(end(&[down("a", 9)]), nobody);
    let refused = "no orchestrator took the segment in time: OrchestratorBusy";
    assert_eq!(
        end(&[open("a")]),
        format!("no sessions available ({refused})")
    );

    let late = |plan: &mut Plan| said(plan.too_late());
    let untaken = "no sessions available (no orchestrator took the segment in time)";
    assert_eq!(late(&mut plan()), untaken);
    let mut one = plan();
    one.started("a");
    let slow = "no sessions available (the deadline passed before an orchestrator was done)";
    assert_eq!(late(&mut one), slow);
}
