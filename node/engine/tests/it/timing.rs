//! Timestamps across segments, as a player sees renditions joined.

use crate::{clips, engine, job, media, small};
use bytes::Bytes;
use livepeer_media::{Clip, Engine, Profile, Shown};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn joined_renditions_have_the_sources_times() {
    let engine = engine().await;
    let (mut expected, mut got) = (Vec::new(), Vec::new());
    let mut last_dts = -1;
    for segment in clips::segments() {
        let done = engine
            .transcode(job(&segment, vec![small()]))
            .await
            .unwrap();
        let data = &done.renditions[0].data;
        expected.extend(media::picture_times(&segment));
        got.extend(media::picture_times(data));
        for packet in media::of_kind(&media::packets(data), "video") {
            assert!(packet.dts > last_dts, "{} after {last_dts}", packet.dts);
            assert!(packet.pts >= packet.dts);
            last_dts = packet.dts;
        }
    }
    assert_eq!(got.len(), expected.len());
    for (got, expected) in got.iter().zip(&expected) {
        assert!((got - expected).abs() <= 1, "{got} {expected}");
    }
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_tells_where_a_segment_begins_and_ends_on_the_streams_clock() {
    let engine = engine().await;
    let mut end = None;
    for segment in clips::segments() {
        let shown = probed(&engine, &segment).await.unwrap();
        let times = media::picture_times(&segment);
        assert_eq!(shown.from, times[0]);
        assert_eq!(shown.until, times[times.len() - 1] + 3600);
        assert!(end.is_none_or(|end| end == shown.from), "{end:?} {shown:?}");
        end = Some(shown.until);
    }
    assert_eq!(probed(&engine, &clips::mp4()).await, None);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn audio_frames_share_packets_where_the_clock_can_run_ahead() {
    let engine = engine().await;
    let plain = job(&clips::plain(), vec![small()]);
    let mut from_zero = plain.clone();
    from_zero.clip = Some(Clip {
        from: Duration::ZERO,
        to: Duration::from_secs(2),
    });
    for (job, fewest, most) in [(plain, 8, 16), (from_zero, 1, 1)] {
        let done = engine.transcode(job).await.unwrap();
        let data = &done.renditions[0].data;
        let frames = media::of_kind(&media::packets(data), "audio").len();
        let packets = media::transport(data).audio;
        let shared = frames / packets;
        assert!((fewest..=most).contains(&shared), "{frames} in {packets}");
    }
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clock_is_never_below_zero_nor_ahead_of_what_it_times() {
    let engine = engine().await;
    let one = Profile { fps: 1, ..small() };
    for (begin, fps, profile) in [
        ("0", 25, small()),
        ("0.5", 10, small()),
        ("1", 15, small()),
        ("1.4", 25, one.clone()),
        ("1.4", 25, small()),
    ] {
        let source = clips::beginning_at(begin, fps);
        let done = engine.transcode(job(&source, vec![profile])).await.unwrap();
        let data = &done.renditions[0].data;
        let first = media::packets(data)[0].dts;
        let clocks = media::transport(data).clocks;
        assert!(clocks[0] <= first, "{begin} s, {fps}: {clocks:?}, {first}");
        assert!(clocks.is_sorted(), "{begin} s, {fps}: {clocks:?}");
    }
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn times_go_on_where_the_clock_wraps() {
    const WRAP: i64 = 1 << 33;
    let engine = engine().await;
    // The wrap is at 95443.72 s: inside of the second segment, and between its first picture's
    // decoding and presentation.
    for begin in ["95440.7", "95441.7"] {
        let segments = clips::segments_from(begin);
        let origin = media::packets(&segments[0])[0].dts - 90_000;
        // What a reader makes of the wrap does not matter.
        let since = |time: i64| (time - origin).rem_euclid(WRAP);
        let (mut last_dts, mut end) = ([-1; 2], None);
        for (number, source) in segments.iter().enumerate() {
            let done = engine.transcode(job(source, vec![small()])).await.unwrap();
            let data = &done.renditions[0].data;
            let (got, expected) = (media::packets(data), media::packets(source));
            let first = since(got[0].dts);
            for (kind, last_dts) in ["video", "audio"].iter().zip(&mut last_dts) {
                let got = media::of_kind(&got, kind);
                for packet in &got {
                    let dts = since(packet.dts);
                    assert!(dts > *last_dts, "{begin} s, {number}: {dts}, {last_dts}");
                    assert!(since(packet.pts) >= dts, "{begin} s, {number}: {packet:?}");
                    *last_dts = dts;
                }
                let times = |packets: &[media::Packet]| {
                    let mut times: Vec<i64> = packets.iter().map(|one| since(one.pts)).collect();
                    times.sort_unstable();
                    times
                };
                let (got, expected) = (times(&got), times(&media::of_kind(&expected, kind)));
                assert_eq!(got.len(), expected.len());
                for (got, expected) in got.iter().zip(&expected) {
                    assert!((got - expected).abs() <= 1, "{begin} s: {got} {expected}");
                }
                if *kind == "video" {
                    let shown = probed(&engine, source).await.unwrap();
                    assert!(shown.from >= 0 && shown.until - shown.from == 180_000);
                    assert_eq!(since(shown.from), expected[0]);
                    assert!(end.is_none_or(|end| end == since(shown.from)));
                    end = Some(since(shown.until));
                }
            }
            let clocks = media::transport(data).clocks;
            let clocks: Vec<i64> = clocks.into_iter().map(since).collect();
            assert!(clocks[0] <= first, "{begin} s: {clocks:?}, {first}");
            assert!(clocks.is_sorted(), "{begin} s, {number}: {clocks:?}");
        }
    }
    engine.stop().await;
}

async fn probed(engine: &Engine, segment: &[u8]) -> Option<Shown> {
    let source = Bytes::copy_from_slice(segment);
    engine.probe(source, "stream").await.unwrap().shown
}

#[tokio::test(flavor = "multi_thread")]
async fn converted_frame_rates_join_without_gap_or_overlap() {
    let engine = engine().await;
    let profile = Profile { fps: 30, ..small() };
    let mut times = Vec::new();
    let mut last_dts = -1;
    for segment in clips::segments() {
        let done = engine
            .transcode(job(&segment, vec![profile.clone()]))
            .await
            .unwrap();
        let data = &done.renditions[0].data;
        times.extend(media::picture_times(data));
        for packet in media::of_kind(&media::packets(data), "video") {
            assert!(packet.dts > last_dts, "{} after {last_dts}", packet.dts);
            last_dts = packet.dts;
        }
    }
    assert_eq!(times.len(), 180);
    for pair in times.windows(2) {
        assert_eq!(pair[1] - pair[0], 3000);
    }
    engine.stop().await;
}
