//! Streams through pods that the operator made.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use livepeer_e2e::faults::{Fault, Faults};
use livepeer_e2e::stream::{Clip, Pusher, Reply, Viewer, clip, look};
use serde_json::json;
use tokio::time::timeout;

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

/// Segments that a media playlist lists.
const WINDOW: usize = 6;
/// The viewer keeps up with a stream that is pushed as fast as it is transcoded.
const KEEPS_UP: Duration = Duration::from_secs(60);
/// A stream of which nothing comes ends after a minute.
const ENDS: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn a_clip_comes_back_whole_in_four_renditions_and_plays_live_to_its_end() -> Result<()> {
    network_alone("stream", |network| async move {
        network.smallest("one", 1).await?;
        let (pusher, forward) = network.pusher("one").await?;
        let pusher = pusher.with_profiles(&renditions());
        let clip = the_clip().await?;
        let mut replies = vec![push(&pusher, clip, 0).await?];
        // the source beside the renditions
        let playlist = format!("http://{}/stream/whole.m3u8", forward.address);
        let mut viewer = Viewer::start(&playlist, 5)?;
        for seq in 1..clip.segments.len() {
            // none leaves the playlist before the viewer has it
            if let Some(leaves) = seq.checked_sub(WINDOW) {
                let begun = viewer.passes(leaves as u64 * clip::SEGMENT_FRAMES);
                let begun = timeout(KEEPS_UP, begun).await;
                begun.with_context(|| format!("the viewer is not at segment {leaves}"))??;
            }
            replies.push(push(&pusher, clip, seq).await?);
        }
        let seen = async {
            let seen = timeout(ENDS, viewer.end()).await;
            seen.context("the stream does not end for its viewer")?
        };
        let ((), seen) = tokio::try_join!(compare(clip, &replies), seen)?;
        let all = clip.segments.len() as u64 * clip::SEGMENT_FRAMES;
        ensure!(seen == [all; 5], "the viewer saw {seen:?} frames of {all}");
        Ok(())
    })
    .await
}

/// The whole reply to a segment.
async fn push(pusher: &Pusher, clip: &Clip, seq: usize) -> Result<Reply> {
    let reply = pusher
        .push("whole", seq, clip.segment(seq), clip::SEGMENT)
        .await;
    ensure!(
        reply.is_complete(4),
        "segment {seq}: {} {:?}",
        reply.status,
        reply.error
    );
    Ok(reply)
}

/// Frames and likeness of every rendition of every segment.
async fn compare(clip: &Clip, replies: &[Reply]) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("source.ts");
    for reply in replies {
        tokio::fs::write(&source, clip.segment(reply.seq)).await?;
        let frames = look::video(&source).await?.frames;
        ensure!(frames == clip::SEGMENT_FRAMES, "the source has {frames}");
        for rendition in &reply.renditions {
            let path = folder
                .path()
                .join(format!("{}_{}.ts", rendition.name, reply.seq));
            tokio::fs::write(&path, &rendition.data).await?;
            let video = look::video(&path).await?;
            ensure!(
                video.frames == frames,
                "{}: {} frames of {frames}",
                path.display(),
                video.frames,
            );
            let ssim = look::ssim(&path, &source).await?;
            ensure!(ssim > LEAST_SSIM, "{}: SSIM {ssim}", path.display());
        }
    }
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
