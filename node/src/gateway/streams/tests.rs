use std::time::Duration;

use super::{ENDED_KEPT, Full, IDLE, LAST_ENDED, LAST_ENDED_KEPT, MAX_IN_FLIGHT, Streams};
use crate::gateway::hls::timeline::Segment;
use crate::gateway::stream::{Stream, StreamStart};
use livepeer_media::Format;
use livepeer_media::budget::Budget;
use livepeer_proto::headers::MAX_SEGMENT_BYTES;
use tokio::time::{Instant, advance};

const ROOM: u64 = 4 * MAX_SEGMENT_BYTES;

fn streams() -> Streams {
    Streams::new(Budget::new(ROOM))
}

fn start(manifest_id: &str) -> StreamStart {
    StreamStart {
        client_ip: std::net::Ipv4Addr::LOCALHOST.into(),
        manifest_id: manifest_id.into(),
        profiles: Vec::new(),
        format: Format::MpegTs,
        timeout_multiplier: 1,
        resolution: None,
    }
}

fn open(streams: &Streams, manifest_id: &str) {
    let entrance = streams.enter(manifest_id, 10).unwrap();
    streams.open(&entrance, start(manifest_id));
}

fn publish(stream: &Stream, bytes: usize) {
    publish_one_of(Duration::from_secs(2), stream, bytes);
}

fn publish_one_of(duration: Duration, stream: &Stream, bytes: usize) {
    let now = Instant::now();
    let begun = stream.begin(0, &[0; 32], None, now);
    let segment = Segment {
        hash: [0; 32],
        source: None,
        duration,
        shown: None,
        files: vec![bytes::Bytes::from(vec![0; bytes])],
    };
    stream.finish(begun, Some(segment), u64::MAX, now);
}

// server/push_test.go: ShouldRemoveSessionAfterTimeout, ResetWatchdog
#[tokio::test(start_paused = true)]
async fn an_idle_stream_ends_and_is_forgotten_later() {
    let streams = streams();
    open(&streams, "a");
    advance(IDLE).await;
    assert!(streams.sweep(Instant::now()).is_empty());
    advance(Duration::from_secs(1)).await;
    assert_eq!(streams.sweep(Instant::now()).len(), 1);
    assert_eq!(streams.active(), 0);
    assert!(streams.get("a").is_some(), "viewers may reach the end");
    advance(LAST_ENDED_KEPT).await;
    streams.sweep(Instant::now());
    assert!(streams.get("a").is_none());
}

#[tokio::test(start_paused = true)]
async fn only_streams_that_somebody_transcodes_are_counted() {
    let streams = streams();
    for id in ["fails", "works"] {
        open(&streams, id);
    }
    publish(&streams.get("works").unwrap(), 100);
    assert_eq!((streams.active(), streams.served()), (2, 1));
    streams.get("works").unwrap().end(Instant::now());
    assert_eq!((streams.active(), streams.served()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn of_streams_that_are_over_the_last_few_stay_longer() {
    let streams = streams();
    for id in 0..=LAST_ENDED {
        open(&streams, &id.to_string());
        streams.get(&id.to_string()).unwrap().end(Instant::now());
        advance(Duration::from_secs(1)).await;
    }
    streams.sweep(Instant::now());
    assert!(streams.get("0").is_some(), "viewers may reach the end");
    advance(ENDED_KEPT).await;
    streams.sweep(Instant::now());
    assert!(streams.get("0").is_none());
    assert!(streams.get("1").is_some());
}

#[tokio::test(start_paused = true)]
async fn streams_that_are_over_make_room_for_the_live_ones_oldest_first() {
    let streams = streams();
    for id in ["live", "first", "last"] {
        open(&streams, id);
        publish(&streams.get(id).unwrap(), 100);
    }
    for id in ["first", "last"] {
        streams.get(id).unwrap().end(Instant::now());
        advance(Duration::from_secs(1)).await;
    }
    let kept = || ["live", "first", "last"].map(|id| streams.get(id).is_some());
    streams.make_room(300);
    assert_eq!(kept(), [true, true, true]);
    streams.make_room(299);
    assert_eq!(kept(), [true, false, true]);
    streams.make_room(50);
    assert_eq!(kept(), [true, false, false]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_over_may_begin_anew() {
    let streams = streams();
    open(&streams, "a");
    let old = streams.get("a").unwrap();
    old.end(Instant::now());
    open(&streams, "a");
    assert!(!std::sync::Arc::ptr_eq(&old, &streams.get("a").unwrap()));
}

#[tokio::test]
async fn streams_and_segments_of_one_are_bounded() {
    let streams = streams();
    open(&streams, "a");
    assert_eq!(streams.enter("b", 1).unwrap_err(), Full::Streams);
    let entrances: Vec<_> = (0..MAX_IN_FLIGHT)
        .map(|_| streams.enter("a", 1).unwrap())
        .collect();
    assert_eq!(streams.enter("a", 1).unwrap_err(), Full::Segments);
    drop(entrances);
    assert!(streams.enter("a", 1).is_ok());
}

#[test]
fn a_second_segment_of_a_stream_comes_in_before_the_first_is_here() {
    let streams = streams();
    let _first = streams.enter("a", 1).unwrap();
    assert!(streams.enter("a", 1).is_ok(), "it does not count twice");
    assert_eq!(streams.enter("b", 1).unwrap_err(), Full::Streams);
    streams.drain();
    assert!(streams.enter("a", 1).is_ok(), "it is not a new stream");
}

#[tokio::test(start_paused = true)]
async fn while_draining_known_streams_go_on_and_new_ones_are_refused() {
    let streams = streams();
    open(&streams, "a");
    streams.drain();
    assert_eq!(streams.enter("b", 10).unwrap_err(), Full::Draining);
    let entrance = streams.enter("a", 10).unwrap();
    advance(Duration::from_secs(5)).await;
    assert!(
        streams.sweep(Instant::now()).is_empty(),
        "a push is in flight"
    );
    drop(entrance);
    assert_eq!(streams.sweep(Instant::now()).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_long_segment_does_not_hold_up_a_drain_for_longer_than_a_stream_that_ended() {
    let streams = streams();
    for (id, seconds) in [("usual", 10), ("long", 300)] {
        open(&streams, id);
        publish_one_of(Duration::from_secs(seconds), &streams.get(id).unwrap(), 1);
    }
    streams.drain();
    let ended = || {
        let ended = streams.sweep(Instant::now()).into_iter();
        let ended: Vec<_> = ended.map(|one| one.manifest_id.clone()).collect();
        ended.join(" ")
    };
    advance(Duration::from_secs(20)).await;
    assert_eq!(ended(), "");
    advance(Duration::from_secs(1)).await;
    assert_eq!(ended(), "usual", "two of its segments");
    advance(IDLE).await;
    assert_eq!(ended(), "long");
}

#[test]
fn a_push_that_never_became_a_stream_leaves_nothing() {
    let streams = streams();
    drop(streams.enter("a", 10).unwrap());
    assert_eq!(streams.active(), 0);
    assert!(streams.inner().slots.is_empty());
}

#[test]
fn one_stream_leaves_half_of_the_bytes_to_the_others() {
    let budget = Budget::new(ROOM);
    let streams = Streams::new(budget.clone());
    let pushes = ["a", "a", "b"].map(|id| streams.enter(id, 10).unwrap());
    let [one, again, other] = pushes.each_ref().map(super::Entrance::budget);
    let _greedy = one.take(ROOM / 2).unwrap();
    assert!(again.take(1).is_none(), "whatever push of it");
    assert_eq!(budget.parts_refused(), 1);
    assert!(other.take(ROOM / 2).is_some());
}

#[test]
fn the_largest_segment_fits_where_half_is_less() {
    let streams = Streams::new(Budget::new(MAX_SEGMENT_BYTES + 1));
    let push = streams.enter("a", 10).unwrap();
    assert!(push.budget().take(MAX_SEGMENT_BYTES).is_some());
    let small = Streams::new(Budget::new(7));
    assert_eq!(small.enter("a", 10).unwrap().budget().limit(), 7);
}
