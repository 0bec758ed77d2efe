use std::time::Duration;

use bytes::Bytes;
use livepeer_media::Shown;
use tokio::time::Instant;

use super::{FAILED, HOLD_BACK, Segment, Timeline};
use crate::gateway::check::SourceFormat;

fn segment(tag: u8) -> Segment {
    Segment {
        hash: [tag; 32],
        source: None,
        duration: Duration::from_secs(2),
        shown: None,
        files: vec![Bytes::from(vec![tag; 1000])],
    }
}

/// Pushes that succeed, one after another, each with bytes of its own.
fn push(timeline: &mut Timeline, seqs: impl IntoIterator<Item = u64>) {
    for seq in seqs {
        let tag = u8::try_from(seq % 251).unwrap();
        let key = timeline.begin(seq, &[tag; 32]);
        timeline.finish(key, Some(segment(tag)), Instant::now());
    }
}

fn names(timeline: &Timeline) -> Vec<String> {
    let window = timeline.window().unwrap();
    let mark = |discontinuity| if discontinuity { "!" } else { "" };
    window
        .entries
        .iter()
        .map(|entry| format!("{}{}", mark(entry.discontinuity), entry.name))
        .collect()
}

#[test]
fn the_window_slides_and_numbers_count_from_the_first_segment() {
    let mut timeline = Timeline::default();
    push(&mut timeline, 7..15);
    assert_eq!(names(&timeline), ["9", "10", "11", "12", "13", "14"]);
    let window = timeline.window().unwrap();
    assert_eq!((window.media_sequence, window.target_seconds), (2, 2));
    assert!(timeline.file("7", 0).is_some(), "kept beyond the window");
    push(&mut timeline, 15..30);
    assert!(timeline.file("17", 0).is_none() && timeline.file("18", 0).is_some());
    assert_eq!(timeline.bytes(), 12_000);
}

#[test]
fn a_segment_that_finishes_early_waits_for_the_one_before() {
    let mut timeline = Timeline::default();
    let zero = timeline.begin(0, &[0; 32]);
    let one = timeline.begin(1, &[1; 32]);
    timeline.finish(one, Some(segment(1)), Instant::now());
    assert_eq!(timeline.window(), None);
    timeline.finish(zero, Some(segment(0)), Instant::now());
    assert_eq!(names(&timeline), ["0", "1"]);
}

#[test]
fn a_failed_segment_leaves_a_discontinuity_at_once() {
    let mut timeline = Timeline::default();
    push(&mut timeline, [0]);
    let one = timeline.begin(1, &[1; 32]);
    timeline.finish(one, None, Instant::now());
    push(&mut timeline, [2, 3]);
    assert_eq!(names(&timeline), ["0", "!2", "3"]);
}

#[test]
fn a_segment_never_pushed_is_waited_for_a_while() {
    let mut timeline = Timeline::default();
    push(&mut timeline, [0, 2]);
    assert_eq!(names(&timeline), ["0"]);
    timeline.settle(Instant::now() + HOLD_BACK);
    assert_eq!(names(&timeline), ["0", "!2"]);
    push(&mut timeline, [1]);
    assert_eq!(
        names(&timeline),
        ["0", "!2"],
        "too late: nothing is inserted"
    );
}

#[test]
fn the_same_segment_pushed_again_is_published_once() {
    let mut timeline = Timeline::default();
    push(&mut timeline, [0, 1, 1, 0, 2]);
    assert_eq!(names(&timeline), ["0", "1", "2"]);
}

#[test]
fn a_retry_that_succeeds_makes_up_for_the_push_that_failed() {
    let mut timeline = Timeline::default();
    push(&mut timeline, [0]);
    let first = timeline.begin(1, &[1; 32]);
    let retry = timeline.begin(1, &[1; 32]);
    timeline.finish(first, None, Instant::now());
    timeline.finish(retry, Some(segment(1)), Instant::now());
    assert_eq!(names(&timeline), ["0", "1"]);
}

#[test]
fn a_stream_that_starts_over_goes_on_behind_a_discontinuity() {
    let mut timeline = Timeline::default();
    push(&mut timeline, 0..20);
    push(&mut timeline, 0..2);
    assert_eq!(names(&timeline), ["16", "17", "18", "19", "!1-0", "1-1"]);
    let key = timeline.begin(1, &[99; 32]);
    timeline.finish(key, Some(segment(99)), Instant::now());
    assert_eq!(
        names(&timeline).last().unwrap(),
        "!2-1",
        "other bytes, same number"
    );
}

/// A push of `seq` with other bytes than any before it.
fn push_other(timeline: &mut Timeline, seq: u64) {
    let key = timeline.begin(seq, &[255; 32]);
    timeline.finish(key, Some(segment(255)), Instant::now());
}

fn fail(timeline: &mut Timeline, seqs: impl IntoIterator<Item = u64>) {
    for seq in seqs {
        let tag = u8::try_from(seq % 251).unwrap();
        let key = timeline.begin(seq, &[tag; 32]);
        timeline.finish(key, None, Instant::now());
    }
}

#[test]
fn a_stream_of_which_little_is_kept_may_start_over() {
    let mut timeline = Timeline::default();
    push(&mut timeline, 0..10);
    timeline.shrink_to(1000);
    push(&mut timeline, [0]);
    assert_eq!(names(&timeline), ["9"], "the same bytes come late");
    push_other(&mut timeline, 0);
    assert_eq!(names(&timeline), ["9", "!1-0"]);
}

#[test]
fn a_stream_may_start_over_where_it_had_failed() {
    let mut timeline = Timeline::default();
    fail(&mut timeline, 0..9);
    push(&mut timeline, [9]);
    fail(&mut timeline, [10, 11, 12]);
    push(&mut timeline, [13, 3]);
    assert_eq!(names(&timeline), ["9", "!13"], "a retry is too late");
    push_other(&mut timeline, 2);
    assert_eq!(names(&timeline), ["9", "!13", "!1-2"]);
}

#[test]
fn a_failed_segment_may_come_again_with_other_bytes_in_time() {
    let mut timeline = Timeline::default();
    push(&mut timeline, [0]);
    fail(&mut timeline, [1]);
    push_other(&mut timeline, 1);
    assert_eq!(names(&timeline), ["0", "1"]);
}

#[test]
fn removed_discontinuities_are_counted() {
    let mut timeline = Timeline::default();
    push(&mut timeline, [0, 1]);
    let two = timeline.begin(2, &[2; 32]);
    timeline.finish(two, None, Instant::now());
    push(&mut timeline, 3..8);
    let window = timeline.window().unwrap();
    assert_eq!(
        (window.media_sequence, window.discontinuity_sequence),
        (1, 0)
    );
    push(&mut timeline, 8..20);
    assert_eq!(timeline.window().unwrap().discontinuity_sequence, 1);
}

#[test]
fn the_target_duration_changes_only_when_an_entry_would_exceed_it() {
    let mut timeline = Timeline::default();
    for (seq, millis, target) in [(0, 2000, 2), (1, 2040, 2), (2, 1000, 2), (3, 2600, 3)] {
        let key = timeline.begin(seq, &[0; 32]);
        let mut segment = segment(0);
        segment.duration = Duration::from_millis(millis);
        timeline.finish(key, Some(segment), Instant::now());
        assert_eq!(timeline.window().unwrap().target_seconds, target);
    }
}

#[test]
fn the_end_publishes_what_waits_and_says_so() {
    let mut timeline = Timeline::default();
    push(&mut timeline, [0, 5]);
    timeline.end(Instant::now());
    assert_eq!(names(&timeline), ["0", "!5"]);
    assert!(timeline.window().unwrap().ended);
}

#[test]
fn under_memory_pressure_the_oldest_go_and_the_newest_stays() {
    let mut timeline = Timeline::default();
    push(&mut timeline, 0..10);
    timeline.shrink_to(3500);
    assert_eq!(names(&timeline), ["7", "8", "9"]);
    timeline.shrink_to(0);
    assert_eq!(names(&timeline), ["9"]);
    assert_eq!(timeline.peak(0), 4000);
}

#[test]
fn failed_segments_are_remembered_up_to_a_bound() {
    let mut timeline = Timeline::default();
    for seq in 0..1000 {
        let key = timeline.begin(seq, &[0; 32]);
        timeline.finish(key, None, Instant::now());
    }
    assert_eq!(timeline.failed.len(), FAILED);
}

#[test]
fn a_clock_that_begins_anew_under_numbers_that_go_on_is_a_discontinuity() {
    let mut timeline = Timeline::default();
    let clock = [Some(0), Some(2), Some(4), Some(0), Some(2), None, Some(0)];
    for (seq, from) in (0..).zip(clock) {
        let key = timeline.begin(seq, &[0; 32]);
        let segment = Segment {
            shown: from.map(|seconds: i64| Shown {
                from: seconds * 90_000,
                until: (seconds + 2) * 90_000,
            }),
            ..segment(0)
        };
        timeline.finish(key, Some(segment), Instant::now());
    }
    assert_eq!(names(&timeline), ["1", "2", "!3", "4", "5", "6"]);
}

/// The names of five segments that finish in this order, each with the height of its picture,
/// where it is known.
fn names_of_sizes(finished: [(usize, Option<u32>); 5]) -> Vec<String> {
    let mut timeline = Timeline::default();
    let keys = [0, 1, 2, 3, 4].map(|seq| timeline.begin(seq, &[0; 32]));
    for (seq, height) in finished {
        let segment = Segment {
            source: height.map(|height| SourceFormat {
                video: "h264".to_owned(),
                pixel_format: None,
                size: (1280, height),
                audio: None,
            }),
            ..segment(0)
        };
        timeline.finish(keys[seq], Some(segment), Instant::now());
    }
    names(&timeline)
}

#[test]
fn a_segment_of_another_format_begins_behind_a_discontinuity_whichever_finishes_first() {
    let (one, other) = (Some(720), Some(1080));
    let marked = ["0", "!1", "2", "!3", "4"];
    let in_order = [(0, one), (1, other), (2, other), (3, one), (4, one)];
    assert_eq!(names_of_sizes(in_order), marked);
    let out_of_order = [(2, other), (4, one), (3, one), (1, other), (0, one)];
    assert_eq!(names_of_sizes(out_of_order), marked);
}

#[test]
fn a_segment_of_unknown_format_is_taken_for_one_of_the_format_before() {
    let one = Some(720);
    let unseen = [(0, one), (1, None), (2, one), (3, Some(1080)), (4, None)];
    assert_eq!(names_of_sizes(unseen), ["0", "1", "2", "!3", "4"]);
}
