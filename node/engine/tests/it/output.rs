//! What comes out: sizes, counts, containers, profiles, keyframes, audio.

use std::time::Duration;

use livepeer_media::{Clip, Format, Gop, H264Profile, Profile};

use crate::{clips, engine, job, media, small};

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_becomes_its_renditions_in_profile_order() {
    let engine = engine().await;
    let source = clips::plain();
    let profiles = vec![Profile::preset("P240p25fps16x9").unwrap(), small()];
    let done = engine.transcode(job(&source, profiles)).await.unwrap();
    assert_eq!(done.decoded_frames, 50);
    assert_eq!(done.decoded_pixels, 50 * 640 * 360);
    let sizes = [(426, 240), (256, 144)];
    for (rendition, (width, height)) in done.renditions.iter().zip(sizes) {
        assert_eq!(
            media::video(&rendition.data, "codec_name,width,height"),
            format!("h264|{width}|{height}")
        );
        assert_eq!(
            (rendition.frames, rendition.pixels),
            (50, 50 * width * height)
        );
        assert_eq!(media::decoded(&rendition.data), (50, rendition.pixels));
        assert!(media::of_kind(&media::packets(&rendition.data), "video")[0].key);
    }
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frame_rates_are_converted_and_zero_passes_frames_through() {
    let engine = engine().await;
    let source = clips::sixty();
    let rates = [(30, 1), (60, 1), (120, 1), (0, 1), (30000, 1001)];
    let profiles = rates
        .iter()
        .map(|&(fps, fps_den)| Profile {
            fps,
            fps_den,
            ..small()
        })
        .collect();
    let done = engine.transcode(job(&source, profiles)).await.unwrap();
    let frames: Vec<u64> = done
        .renditions
        .iter()
        .map(|rendition| rendition.frames)
        .collect();
    assert_eq!(frames, [60, 120, 240, 120, 60]);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_that_are_not_square_are_shown_in_the_sources_shape() {
    let engine = engine().await;
    let shape = |data: &[u8]| {
        let text = media::video(data, "display_aspect_ratio");
        let (width, height) = text.split_once(':').expect("a shape");
        width.parse::<f64>().unwrap() / height.parse::<f64>().unwrap()
    };
    let smaller = Profile::preset("P240p25fps16x9").unwrap();
    for (size, aspect, container, first) in [
        ("720x480", "32/27", "mpegts", "426|284"),
        ("480x720", "27/32", "mpegts", "284|426"),
        ("720x480", "8/9", "mp4", "426|284"),
    ] {
        let source = clips::sampled(size, aspect, container);
        let mp4 = Profile {
            format: Format::Mp4,
            ..smaller.clone()
        };
        let profiles = vec![smaller.clone(), small(), mp4];
        let done = engine.transcode(job(&source, profiles)).await.unwrap();
        let sized = media::video(&done.renditions[0].data, "width,height");
        assert_eq!(sized, first);
        for rendition in &done.renditions {
            let (got, expected) = (shape(&rendition.data), shape(&source));
            assert!((got / expected - 1.0).abs() < 0.01, "{got} {expected}");
        }
    }
    for aspect in ["1/1", "0/1"] {
        let source = clips::sampled("720x480", aspect, "mpegts");
        let done = engine.transcode(job(&source, vec![small()])).await.unwrap();
        let told = media::video(&done.renditions[0].data, "sample_aspect_ratio");
        assert_eq!(told, "N/A", "{aspect}");
    }
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_audio_packet_is_copied_once() {
    let engine = engine().await;
    let source = clips::plain();
    let done = engine.transcode(job(&source, vec![small()])).await.unwrap();
    let times = |data: &[u8]| -> Vec<i64> {
        media::of_kind(&media::packets(data), "audio")
            .iter()
            .map(|packet| packet.pts)
            .collect()
    };
    let (expected, copied) = (times(&source), times(&done.renditions[0].data));
    assert!(!expected.is_empty());
    assert_eq!(copied.len(), expected.len());
    for (copied, expected) in copied.iter().zip(&expected) {
        assert!((copied - expected).abs() <= 1, "{copied} {expected}");
    }
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mp4_goes_in_and_comes_out_with_its_index_first() {
    let engine = engine().await;
    let profiles = vec![
        Profile {
            format: Format::Mp4,
            ..small()
        },
        small(),
    ];
    for source in [clips::mp4(), clips::plain()] {
        let done = engine
            .transcode(job(&source, profiles.clone()))
            .await
            .unwrap();
        let data = &done.renditions[0].data;
        assert_eq!(media::decoded(data).0, 50);
        let place = |kind: &[u8]| data.windows(4).position(|window| window == kind).unwrap();
        assert!(place(b"moov") < place(b"mdat"));
        assert!(
            media::probe(data, "-show_entries format_tags=comment")
                .contains("Processed by Livepeer")
        );
        assert_eq!(media::decoded(&done.renditions[1].data).0, 50);
    }
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h264_profiles_are_what_was_asked_for() {
    let engine = engine().await;
    let cases = [
        (H264Profile::Default, "High|2"),
        (H264Profile::Baseline, "Constrained Baseline|0"),
        (H264Profile::Main, "Main|2"),
        (H264Profile::High, "High|2"),
        (H264Profile::ConstrainedHigh, "High|0"),
    ];
    let profiles = cases
        .iter()
        .map(|&(h264_profile, _)| Profile {
            h264_profile,
            ..small()
        })
        .collect();
    let done = engine
        .transcode(job(&clips::plain(), profiles))
        .await
        .unwrap();
    for (rendition, (profile, expected)) in done.renditions.iter().zip(cases) {
        assert_eq!(
            media::video(&rendition.data, "profile,has_b_frames"),
            expected,
            "{profile:?}"
        );
    }
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keyframes_come_as_the_gop_says() {
    let engine = engine().await;
    let every = |millis| Gop::Every(Duration::from_millis(millis));
    let cases = [
        (every(300), 30, 7),
        (every(500), 0, 4),
        (Gop::Intra, 0, 50),
        (Gop::Default, 0, 1),
    ];
    let profiles = cases
        .iter()
        .map(|&(gop, fps, _)| Profile {
            gop,
            fps,
            ..small()
        })
        .collect();
    let done = engine
        .transcode(job(&clips::plain(), profiles))
        .await
        .unwrap();
    for (rendition, (gop, fps, expected)) in done.renditions.iter().zip(cases) {
        let video = media::of_kind(&media::packets(&rendition.data), "video");
        let keys = video.iter().filter(|packet| packet.key).count();
        assert_eq!(keys, expected, "{gop:?} at {fps}");
    }
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clip_of_a_segment_starts_at_zero_with_a_keyframe() {
    let engine = engine().await;
    let mut job = job(&clips::plain(), vec![small()]);
    job.clip = Some(Clip {
        from: Duration::from_millis(400),
        to: Duration::from_millis(1200),
    });
    let done = engine.transcode(job).await.unwrap();
    let data = &done.renditions[0].data;
    assert_eq!(done.renditions[0].frames, 20);
    assert_eq!(media::picture_times(data)[0], 0);
    assert!(media::of_kind(&media::packets(data), "video")[0].key);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_provider_names_the_transcoder() {
    let engine = engine().await;
    let done = engine
        .transcode(job(&clips::plain(), vec![small()]))
        .await
        .unwrap();
    let programs = media::probe(&done.renditions[0].data, "-show_programs");
    assert!(
        programs.contains("service_provider=Livepeer Transcoder test (offchain)"),
        "{programs}"
    );
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_tells_codecs_sizes_and_counts() {
    let engine = engine().await;
    let probe = engine.probe(clips::plain().into(), "a").await.unwrap();
    let video = probe.video.as_ref().unwrap();
    assert_eq!(
        (
            video.codec.as_str(),
            video.width,
            video.height,
            video.packets
        ),
        ("h264", 640, 360, 50)
    );
    assert_eq!(video.pixel_format.as_deref(), Some("yuv420p"));
    assert_eq!(probe.audio.as_ref().unwrap().codec, "aac");
    assert!(probe.keyframe && !probe.needs_bypass());
    assert_eq!(probe.format, "mpegts");
    engine.stop().await;
}
