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
