//! The clip: 30 s of 1280x720 at 25 frames a second in closed GOPs of 2 s, with
//! B-frames and stereo AAC, as 15 MPEG-TS segments. It is the clip of the transcoding
//! benchmark (design §5), made by the same script.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use tokio::process::Command;

/// Length of every segment of the clip.
pub const SEGMENT: Duration = Duration::from_secs(2);
/// Frames of every segment.
pub const SEGMENT_FRAMES: u64 = 50;

/// The segments, in memory.
#[derive(Debug, Clone)]
pub struct Clip {
    /// The whole clip, for comparisons.
    pub path: PathBuf,
    pub segments: Vec<Bytes>,
}

impl Clip {
    /// Makes the clip below `folder`, unless it is there already.
    pub async fn make(folder: &Path) -> anyhow::Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../node/engine/benches/clip.sh");
        run(Command::new("sh").arg(script).arg(folder)).await?;
        let mut segments = Vec::new();
        while let Ok(bytes) =
            tokio::fs::read(folder.join(format!("seg_{}.ts", segments.len()))).await
        {
            segments.push(Bytes::from(bytes));
        }
        ensure!(!segments.is_empty(), "no segments in {}", folder.display());
        let path = folder.join("clip.ts");
        Ok(Self { path, segments })
    }

    /// Segment `seq` of a stream that repeats the clip for ever.
    #[must_use]
    pub fn segment(&self, seq: usize) -> Bytes {
        self.segments[seq % self.segments.len()].clone()
    }
}

async fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .await
        .with_context(|| format!("cannot run {:?}", command.as_std().get_program()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{:?} failed: {said}",
        command.as_std()
    );
    Ok(())
}
