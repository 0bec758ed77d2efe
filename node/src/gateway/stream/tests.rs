use std::time::Duration;

use super::{Begun, Stream, StreamStart};
use crate::gateway::check::source_format;
use crate::gateway::hls::timeline::Segment;
use livepeer_media::{Format, Probe, VideoInfo};
use tokio::time::Instant;

fn stream() -> Stream {
    let start = StreamStart {
        manifest_id: "a".to_owned(),
        client_ip: std::net::Ipv4Addr::LOCALHOST.into(),
        profiles: Vec::new(),
        format: Format::MpegTs,
        timeout_multiplier: 1,
        resolution: None,
    };
    Stream::new(start, Instant::now())
}

fn probe(height: u32) -> Probe {
    Probe {
        format: "mpegts".into(),
        video: Some(VideoInfo {
            codec: "h264".into(),
            width: 1280,
            height,
            pixel_format: Some("yuv420p".into()),
            fps: 25.0,
            packets: 50,
        }),
        audio: None,
        duration: Duration::from_secs(2),
        keyframe: true,
        shown: None,
    }
}

fn begin(stream: &Stream, seq: u64, height: u32) -> Begun {
    stream.begin(seq, &[0; 32], Some(&probe(height)), Instant::now())
}

fn succeed(stream: &Stream, work: Begun, height: u32) {
    let segment = Segment {
        hash: [0; 32],
        source: source_format(&probe(height)),
        duration: Duration::from_secs(2),
        shown: None,
        files: Vec::new(),
    };
    stream.finish(work, Some(segment), u64::MAX, Instant::now());
}

fn fail(stream: &Stream, work: Begun) {
    stream.finish(work, None, u64::MAX, Instant::now());
}

#[test]
fn codecs_are_opened_anew_until_a_segment_of_the_other_format_has_come_back() {
    let stream = stream();
    let (before, failed) = (begin(&stream, 9, 720), begin(&stream, 10, 1080));
    assert!(!before.reinit && failed.reinit);
    succeed(&stream, before, 720);
    fail(&stream, failed);
    let again = begin(&stream, 10, 1080);
    assert!(again.reinit);
    succeed(&stream, again, 1080);
    assert!(!begin(&stream, 11, 1080).reinit);
}

#[test]
fn segments_from_before_a_change_do_not_stand_for_those_after_it() {
    let stream = stream();
    let [before, other, back] =
        [(9, 720), (10, 1080), (11, 720)].map(|(seq, height)| begin(&stream, seq, height));
    succeed(&stream, before, 720);
    succeed(&stream, other, 1080);
    fail(&stream, back);
    assert!(begin(&stream, 11, 720).reinit);
}
