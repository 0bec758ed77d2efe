//! The clip that is pushed: 30 s of 720p25 with B-frames and stereo AAC, cut into 15
//! closed groups of pictures of 2 s, each a TS segment. Made once a run by ffmpeg.

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

/// Makes the clip in `folder` and reads it back.
pub(crate) async fn make(folder: &Path) -> Result<Vec<Segment>> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-y"])
        .args(["-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=25"])
        .args(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100"])
        .args(["-t", "30", "-pix_fmt", "yuv420p"])
        .args(["-c:v", "libx264", "-preset", "veryfast", "-b:v", "4M"])
        .args(["-bf", "2", "-g", "50", "-keyint_min", "50"])
        .args(["-sc_threshold", "0", "-flags", "+cgop"])
        .args(["-c:a", "aac", "-ac", "2", "-b:a", "128k"])
        .args(["-f", "segment", "-segment_time", "2"])
        .args(["-segment_format", "mpegts"])
        .arg(folder.join("%d.ts"))
        .output()
        .await
        .context("run ffmpeg")?;
    ensure!(
        output.status.success(),
        "ffmpeg: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut segments = Vec::with_capacity(SEGMENTS);
    for sequence in 0..SEGMENTS {
        let path = folder.join(format!("{sequence}.ts"));
        segments.push(Segment {
            sequence,
            data: tokio::fs::read(&path).await?.into(),
            decoded: decode(&path).await?,
        });
    }
    Ok(segments)
}
