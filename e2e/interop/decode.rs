//! Decodes a media file with ffprobe and counts what is in it. A tool that is neither
//! ours nor go-livepeer's, so that both are held to the same measure.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use tokio::process::Command;

/// What decoding a file found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decoded {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) frames: u64,
    pub(crate) audio_packets: u64,
}

#[derive(Deserialize)]
struct Report {
    streams: Vec<Stream>,
}

#[derive(Deserialize)]
struct Stream {
    codec_type: String,
    #[serde(default)]
    width: u32,
    #[serde(default)]
    height: u32,
    #[serde(default)]
    nb_read_frames: String,
    #[serde(default)]
    nb_read_packets: String,
}

/// Decodes all of a file; any complaint of the decoder is an error.
pub(crate) async fn decode(path: &Path) -> Result<Decoded> {
    let output = Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-of",
            "json",
            "-count_frames",
            "-count_packets",
        ])
        .args(["-show_entries"])
        .arg("stream=codec_type,width,height,nb_read_frames,nb_read_packets")
        .arg(path)
        .kill_on_drop(true)
        .output()
        .await
        .context("run ffprobe")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() && complaint.trim().is_empty(),
        "ffprobe: {}",
        complaint.trim()
    );
    count(&output.stdout)
}

fn count(report: &[u8]) -> Result<Decoded> {
    let report: Report = serde_json::from_slice(report).context("ffprobe's report")?;
    let video = report
        .streams
        .iter()
        .find(|stream| stream.codec_type == "video")
        .context("no video")?;
    let audio_packets = report
        .streams
        .iter()
        .filter(|stream| stream.codec_type == "audio")
        .map(|stream| stream.nb_read_packets.parse::<u64>())
        .sum::<Result<u64, _>>()
        .context("audio packets")?;
    Ok(Decoded {
        width: video.width,
        height: video.height,
        frames: video.nb_read_frames.parse().context("frames")?,
        audio_packets,
    })
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn frames_and_audio_packets_are_counted_apart() {
        let decoded = count(
            br#"{"streams":[{"codec_type":"video","width":426,"height":240,
                "nb_read_frames":"50","nb_read_packets":"50"},
                {"codec_type":"audio","nb_read_frames":"85","nb_read_packets":"86"}]}"#,
        )
        .expect("a report");
        assert_eq!((decoded.frames, decoded.audio_packets), (50, 86));
    }
}
