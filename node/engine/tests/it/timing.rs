//! Timestamps across segments, as a player sees renditions joined.

use crate::{clips, engine, job, media, small};
use bytes::Bytes;
use livepeer_media::{Engine, Profile, Shown};

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
