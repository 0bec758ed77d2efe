//! The clip that is pushed: the benchmark's, 30 s of 720p25 with B-frames and stereo AAC,
//! cut into 15 closed groups of pictures of 2 s, each a TS segment.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use tokio::process::Command;

use crate::decode::{Decoded, decode};

/// Segments in the clip.
pub(crate) const SEGMENTS: usize = 15;

/// How long each is, as `Content-Duration` says it.
pub(crate) const SEGMENT_MS: u32 = 2000;

/// One segment, and what a decoder finds in it.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) sequence: usize,
    pub(crate) data: Bytes,
    pub(crate) decoded: Decoded,
}

/// What a run pushes.
#[derive(Debug)]
pub(crate) struct Clip {
    pub(crate) segments: Vec<Segment>,
    /// A segment that no transcoder can do anything with: the first one's sound.
    pub(crate) without_video: Bytes,
}

/// Makes the clip in `folder` and looks at each segment.
pub(crate) async fn make(folder: &Path) -> Result<Clip> {
    let clip = livepeer_e2e::stream::Clip::make(folder).await?;
    ensure!(clip.segments.len() == SEGMENTS, "the clip has changed");
    let mut segments = Vec::with_capacity(SEGMENTS);
    for (sequence, data) in clip.segments.into_iter().enumerate() {
        let path = folder.join(format!("seg_{sequence}.ts"));
        segments.push(Segment {
            sequence,
            data,
            decoded: decode(&path).await?,
        });
    }
    let without_video = without_video(folder).await?;
    Ok(Clip {
        segments,
        without_video,
    })
}

async fn without_video(folder: &Path) -> Result<Bytes> {
    let path = folder.join("audio.ts");
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-i"])
        .arg(folder.join("seg_0.ts"))
        .args(["-vn", "-c:a", "copy"])
        .arg(&path)
        .output()
        .await
        .context("run ffmpeg")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ffmpeg: {complaint}");
    Ok(tokio::fs::read(&path).await?.into())
}
