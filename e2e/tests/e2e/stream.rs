//! Streams through pods that the operator made.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use livepeer_e2e::faults::{Fault, Faults};
use livepeer_e2e::stream::{Clip, Reply, clip, look};
use serde_json::json;

use crate::support::{OPERATOR, clip as the_clip, network_alone};

/// Least likeness of a rendition to the source scaled to its size; the engine's own
/// tests compare with ffmpeg, here it shows that the right pictures came back.
const LEAST_SSIM: f64 = 0.9;

fn renditions() -> serde_json::Value {
    json!([
        {"name": "720p", "width": 1280, "height": 720, "bitrate": 4_000_000},
        {"name": "480p", "width": 854, "height": 480, "bitrate": 1_600_000},
        {"name": "360p", "width": 640, "height": 360, "bitrate": 1_200_000},
        {"name": "240p", "width": 426, "height": 240, "bitrate": 600_000},
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clip_comes_back_whole_in_four_renditions_and_plays() -> Result<()> {
    network_alone("stream", |network| async move {
        network.smallest("one", 1).await?;
        let (pusher, forward) = network.pusher("one").await?;
        let pusher = pusher.with_profiles(&renditions());
        let clip = the_clip().await?;
        let mut replies = Vec::new();
        for seq in 0..clip.segments.len() {
            let reply = pusher
                .push("whole", seq, clip.segment(seq), clip::SEGMENT)
                .await;
            ensure!(
                reply.is_complete(4),
                "segment {seq}: {} {:?}",
                reply.status,
                reply.error
            );
            replies.push(reply);
        }
        compare(clip, &replies).await?;
        playlist(&format!("http://{}/stream/whole.m3u8", forward.address)).await
    })
    .await
}

/// Frames of every rendition of every segment, and likeness of the first.
async fn compare(clip: &Clip, replies: &[Reply]) -> Result<()> {
    let folder = tempfile::tempdir()?;
    for reply in replies {
        for rendition in &reply.renditions {
            let path = folder
                .path()
                .join(format!("{}_{}.ts", rendition.name, reply.seq));
            tokio::fs::write(&path, &rendition.data).await?;
            let video = look::video(&path).await?;
            ensure!(
                video.frames == clip::SEGMENT_FRAMES,
                "{}: {} frames of {}",
                path.display(),
                video.frames,
                clip::SEGMENT_FRAMES
            );
            if reply.seq == 0 {
                let source = folder.path().join("source.ts");
                tokio::fs::write(&source, clip.segment(0)).await?;
                let ssim = look::ssim(&path, &source).await?;
                ensure!(ssim > LEAST_SSIM, "{}: SSIM {ssim}", path.display());
            }
        }
    }
    Ok(())
}

/// The multivariant playlist leads ffprobe to video.
async fn playlist(url: &str) -> Result<()> {
    let text = reqwest::get(url).await?.error_for_status()?.text().await?;
    ensure!(text.matches("#EXT-X-STREAM-INF").count() >= 4, "{text}");
    let video = look::video(Path::new(url))
        .await
        .context("ffprobe cannot play the playlist")?;
    ensure!(video.frames > 0, "no frames in the playlist");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_fault_costs_a_segment() -> Result<()> {
    network_alone("faults", |network| async move {
        let mut faults = Faults::start(network, OPERATOR, the_clip().await?).await?;
        let mut lost = Vec::new();
        for &fault in Fault::all() {
            let cost = faults
                .strike(fault)
                .await
                .with_context(|| format!("{fault:?}"))?;
            let added = cost.added.as_secs_f32();
            println!("{fault:?}: {added:.2} s more than usual");
            lost.extend(cost.lost.iter().map(|one| format!("{fault:?}: {one}")));
        }
        lost.extend(faults.finish().await?);
        ensure!(lost.is_empty(), "lost: {lost:#?}");
        Ok(())
    })
    .await
}
