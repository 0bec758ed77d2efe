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

/// Makes the clip in `folder` and reads it back.
pub(crate) async fn make(folder: &Path) -> Result<Vec<Segment>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../node/engine/benches/clip.sh");
    let output = Command::new("sh")
        .arg(&script)
        .arg(folder)
        .output()
        .await
        .context("run sh")?;
    ensure!(
        output.status.success(),
        "{}: {}",
        script.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    let mut segments = Vec::with_capacity(SEGMENTS);
    for sequence in 0..SEGMENTS {
        let path = folder.join(format!("seg_{sequence}.ts"));
        segments.push(Segment {
            sequence,
            data: tokio::fs::read(&path).await?.into(),
            decoded: decode(&path).await?,
        });
    }
    Ok(segments)
}
