//! Streams through pods that the operator made.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::future::join_all;
use livepeer_e2e::cluster::faults::Signal;
use livepeer_e2e::network::Network;
use livepeer_e2e::stream::{Clip, Pusher, Reply, clip, look};
use serde_json::json;

use crate::support::{clip as the_clip, network};

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

fn two_small() -> serde_json::Value {
    json!([
        {"name": "240p", "width": 426, "height": 240, "bitrate": 400_000},
        {"name": "144p", "width": 256, "height": 144, "bitrate": 200_000},
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clip_comes_back_whole_in_four_renditions_and_plays() -> Result<()> {
    network("stream", |network| async move {
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
async fn a_transcoder_killed_inside_a_segment_costs_nothing() -> Result<()> {
    network("killed", |network| async move {
        network.smallest("two", 2).await?;
        let lost = fault(&network, |pod| {
            let network = &network;
            async move {
                network
                    .cluster
                    .signal(&network.namespace, &pod, "node", Signal::KILL)
                    .await
            }
        })
        .await?;
        ensure!(lost.is_empty(), "lost: {lost:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_transcoder_costs_nothing() -> Result<()> {
    network("frozen", |network| async move {
        network.smallest("two", 2).await?;
        let lost = fault(&network, |pod| {
            let network = &network;
            async move {
                network
                    .cluster
                    .pause(&network.namespace, &pod, "node")
                    .await
            }
        })
        .await?;
        ensure!(lost.is_empty(), "lost: {lost:?}");
        Ok(())
    })
    .await
}

/// Streams in real time and strikes the transcoder that has the stream, a little after
/// a segment has left; the segments that were lost.
async fn fault<F>(network: &Network, strike: impl Fn(String) -> F) -> Result<Vec<String>>
where
    F: Future<Output = Result<()>>,
{
    let (pusher, _forward) = network.pusher("two").await?;
    let pusher = pusher.with_profiles(&two_small());
    let clip = the_clip().await?;
    let warm = pusher.push("live", 0, clip.segment(0), clip::SEGMENT).await;
    ensure!(
        warm.is_complete(2),
        "the first segment failed: {:?}",
        warm.error
    );
    let busy = busy_transcoder(network).await?;
    let pushes = join_all((1..8).map(|seq| push_at(&pusher, clip, seq)));
    let struck = async {
        tokio::time::sleep(clip::SEGMENT * 2 + Duration::from_millis(120)).await;
        strike(busy).await
    };
    let (replies, struck) = tokio::join!(pushes, struck);
    struck?;
    Ok(replies
        .into_iter()
        .filter(|reply| {
            !reply.is_complete(2) || reply.took > clip::SEGMENT * 2 + Duration::from_secs(4)
        })
        .map(|reply| {
            format!(
                "{} after {:?}: {} {:?}",
                reply.seq, reply.took, reply.status, reply.error
            )
        })
        .collect())
}

async fn push_at(pusher: &Pusher, clip: &Clip, seq: usize) -> Reply {
    let due = clip::SEGMENT * u32::try_from(seq).unwrap_or(u32::MAX);
    tokio::time::sleep(due).await;
    pusher
        .push("live", seq, clip.segment(seq), clip::SEGMENT)
        .await
}

/// The transcoder pod that holds a session now.
async fn busy_transcoder(network: &Network) -> Result<String> {
    for pod in network.pods("pool", "two").await? {
        let name = pod.metadata.name.unwrap_or_default();
        let forward = network
            .cluster
            .forward(&network.namespace, &format!("pod/{name}"), 6936)
            .await?;
        let status: serde_json::Value = reqwest::get(format!("http://{}/status", forward.address))
            .await?
            .json()
            .await?;
        if status["sessions"].as_u64() > Some(0) {
            return Ok(name);
        }
    }
    anyhow::bail!("no transcoder has a session")
}
