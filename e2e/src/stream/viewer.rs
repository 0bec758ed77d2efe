//! A viewer: ffmpeg, which reads a playlist from its first segment while it grows, until the
//! playlist says that it has ended. It decodes every stream of video that it is led to.

use std::process::Stdio;

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// Reloads without anything new, one a second, after which ffmpeg gives up. By default it takes
/// a stream for ended after three: no end that a playlist has told.
const RELOADS: &str = "1000";

/// One that reads.
pub struct Viewer {
    child: Child,
    /// A line a decoded frame, which begins with the number of its stream.
    lines: Lines<BufReader<ChildStdout>>,
    /// Decoded frames of each stream.
    frames: Vec<u64>,
}

impl Viewer {
    /// Begins to read `playlist`, which leads to so many streams of video.
    pub fn start(playlist: &str, streams: usize) -> anyhow::Result<Self> {
        let mut child = Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error", "-live_start_index", "0"])
            .args(["-max_reload", RELOADS, "-i", playlist])
            // neither dropped nor repeated, told at once
            .args(["-map", "0:v", "-fps_mode", "passthrough"])
            .args(["-f", "framecrc", "-flush_packets", "1", "-"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot run ffmpeg: is the Debian package installed?")?;
        let out = child.stdout.take().context("ffmpeg has no output")?;
        Ok(Self {
            child,
            lines: BufReader::new(out).lines(),
            frames: vec![0; streams],
        })
    }

    /// Waits until more than `frames` of every stream are decoded.
    pub async fn passes(&mut self, frames: u64) -> anyhow::Result<()> {
        while self.frames.iter().any(|&decoded| decoded <= frames) {
            let goes_on = self.next().await?;
            ensure!(goes_on, "the viewer ended after {:?} frames", self.frames);
        }
        Ok(())
    }

    /// Reads until the playlist ends: the frames of each stream.
    pub async fn end(mut self) -> anyhow::Result<Vec<u64>> {
        while self.next().await? {}
        let status = self.child.wait().await?;
        ensure!(status.success(), "ffmpeg ended with {status}");
        Ok(self.frames)
    }

    /// Takes note of one line; false at the end.
    async fn next(&mut self) -> anyhow::Result<bool> {
        let Some(line) = self.lines.next_line().await? else {
            return Ok(false);
        };
        if line.starts_with('#') {
            return Ok(true);
        }
        let stream = line.split(',').next().and_then(|text| text.parse().ok());
        let frames = stream.and_then(|stream: usize| self.frames.get_mut(stream));
        *frames.with_context(|| format!("no stream of ours: {line}"))? += 1;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::Viewer;
    use tokio::process::Command;
    use tokio::time::timeout;

    const SEGMENTS: usize = 8;
    const SEGMENT_FRAMES: u64 = 50;
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A playlist of these segments, put in place at once.
    fn list(folder: &Path, segments: std::ops::Range<usize>, end: &str) {
        let mut text = format!(
            "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-MEDIA-SEQUENCE:{}\n#EXT-X-TARGETDURATION:2\n",
            segments.start
        );
        for segment in segments {
            text += &format!("#EXTINF:2.000,\n{segment}.ts\n");
        }
        for name in ["a.m3u8", "b.m3u8"] {
            let new = folder.join("new");
            std::fs::write(&new, text.clone() + end).unwrap();
            std::fs::rename(&new, folder.join(name)).unwrap();
        }
    }

    #[tokio::test]
    async fn a_viewer_counts_every_frame_of_a_playlist_that_grows_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let made = Command::new("ffmpeg")
            .args(["-v", "error", "-nostdin", "-f", "lavfi", "-i"])
            .args(["testsrc2=size=64x36:rate=25:duration=16", "-g", "50"])
            .args(["-f", "segment", "-segment_time", "2"])
            .arg(folder.join("%d.ts"))
            .status();
        assert!(made.await.unwrap().success());
        let variant = "#EXT-X-STREAM-INF:PROGRAM-ID=0,BANDWIDTH=1000";
        let all = format!("#EXTM3U\n{variant}\na.m3u8\n{variant}\nb.m3u8\n");
        let playlist = folder.join("all.m3u8");
        std::fs::write(&playlist, all).unwrap();

        list(folder, 0..6, "");
        let mut viewer = Viewer::start(playlist.to_str().unwrap(), 2).unwrap();
        timeout(PATIENCE, viewer.passes(0)).await.unwrap().unwrap();
        list(folder, 2..SEGMENTS, "");
        let seventh = viewer.passes(6 * SEGMENT_FRAMES);
        timeout(PATIENCE, seventh).await.unwrap().unwrap();
        list(folder, 2..SEGMENTS, "#EXT-X-ENDLIST\n");
        let frames = timeout(PATIENCE, viewer.end()).await.unwrap().unwrap();
        assert_eq!(frames, [SEGMENTS as u64 * SEGMENT_FRAMES; 2]);
    }
}
