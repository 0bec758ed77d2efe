//! Bits, as a decoder's buffer sees them, across segments that were encoded apart.

use std::time::Duration;

use livepeer_media::{Engine, Gop, H264Profile, Profile};

use crate::media::Packet;
use crate::{clips, engine, job, media, small};

/// The video of every rendition of a stream, joined.
async fn joined(engine: &Engine, segments: &[Vec<u8>], profiles: &[Profile]) -> Vec<Vec<Packet>> {
    let mut joined = vec![Vec::new(); profiles.len()];
    for segment in segments {
        let done = engine
            .transcode(job(segment, profiles.to_vec()))
            .await
            .unwrap();
        for (stream, rendition) in joined.iter_mut().zip(&done.renditions) {
            stream.extend(media::of_kind(&media::packets(&rendition.data), "video"));
        }
    }
    joined
}

/// Seconds: a quarter of a picture, for the rounding of an encoder that plans in pictures.
const TOLERATED: f64 = 0.01;

/// How many seconds of its rate a buffer of one second lacks at worst, when it is full at the
/// first picture and each picture leaves it at its decoding time.
fn lacking(packets: &[Packet], bitrate: u32) -> f64 {
    let (mut seconds, mut worst) = (1.0_f64, 0.0_f64);
    let mut last = packets[0].dts;
    for packet in packets {
        let passed = u32::try_from(packet.dts - last).expect("times that grow");
        last = packet.dts;
        seconds = (seconds + f64::from(passed) / 90_000.0).min(1.0);
        let bits = u32::try_from(packet.bytes * 8).expect("a picture");
        seconds -= f64::from(bits) / f64::from(bitrate);
        worst = worst.max(-seconds);
    }
    worst
}

fn of(name: &str, width: u32, height: u32, bitrate: u32) -> Profile {
    Profile {
        name: name.to_owned(),
        width,
        height,
        bitrate,
        ..small()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn joined_segments_keep_to_the_rate_buffer() {
    let engine = engine().await;
    let profiles = [
        of("480p", 854, 480, 1_600_000),
        of("240p", 426, 240, 600_000),
        of("240p at half the rate", 426, 240, 300_000),
    ];
    for segments in [clips::textured(), clips::changing()] {
        let all = joined(&engine, &segments, &profiles).await;
        for (packets, profile) in all.iter().zip(&profiles) {
            let lacking = lacking(packets, profile.bitrate);
            assert!(lacking < TOLERATED, "{}: {lacking} s", profile.name);
        }
    }
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn renditions_of_one_job_have_their_keyframes_at_the_same_times() {
    let engine = engine().await;
    let gop = Gop::Every(Duration::from_secs(1));
    let profiles = [
        of("by time", 426, 240, 600_000),
        Profile {
            h264_profile: H264Profile::Baseline,
            ..of("without b-frames", 256, 144, 100_000)
        },
        Profile {
            fps: 25,
            ..of("by frames", 320, 180, 300_000)
        },
    ]
    .map(|profile| Profile { gop, ..profile });
    for segments in [clips::segments(), clips::changing()] {
        let all = joined(&engine, &segments, &profiles).await;
        let keys: Vec<Vec<i64>> = all
            .iter()
            .map(|packets| {
                let keys = packets.iter().filter(|packet| packet.key);
                keys.map(|packet| packet.pts).collect()
            })
            .collect();
        assert_eq!(keys[0].len(), 2 * segments.len());
        assert!(keys.iter().all(|times| *times == keys[0]), "{keys:?}");
    }
    engine.stop().await;
}
