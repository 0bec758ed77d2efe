//! Looks at what came back, with ffprobe and ffmpeg: frames, likeness to the source,
//! and a contact sheet for a person.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use tokio::process::Command;

/// Decoded frames of the first video stream, and its size in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Video {
    pub frames: u64,
    pub width: u32,
    pub height: u32,
}

/// Decodes `file` whole and counts.
pub async fn video(file: &Path) -> anyhow::Result<Video> {
    let entries = "stream=width,height,nb_read_frames";
    let text = run(Command::new("ffprobe")
        .args(["-v", "error", "-count_frames", "-select_streams", "v:0"])
        .args([
            "-show_entries",
            entries,
            "-of",
            "default=noprint_wrappers=1",
        ])
        .arg(file))
    .await?;
    let value = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            .with_context(|| format!("ffprobe says no {key} of {}", file.display()))
    };
    Ok(Video {
        frames: value("nb_read_frames")?.parse()?,
        width: value("width")?.parse()?,
        height: value("height")?.parse()?,
    })
}

/// Structural similarity of `rendition` to `source` scaled to its size, from 0 to 1,
/// averaged over all frames.
pub async fn ssim(rendition: &Path, source: &Path) -> anyhow::Result<f64> {
    let size = video(rendition).await?;
    let graph = format!(
        "[1:v]scale={}:{}:flags=bicubic,setpts=PTS-STARTPTS[s];[0:v]setpts=PTS-STARTPTS[r];[r][s]ssim",
        size.width, size.height
    );
    let text = run(Command::new("ffmpeg")
        .args(["-hide_banner", "-nostats", "-i"])
        .arg(rendition)
        .arg("-i")
        .arg(source)
        .args(["-lavfi", &graph, "-f", "null", "-"]))
    .await?;
    let all = text
        .rsplit("All:")
        .next()
        .context("ffmpeg printed no SSIM")?;
    let number = all
        .split_whitespace()
        .next()
        .context("ffmpeg printed no SSIM")?;
    number
        .parse()
        .with_context(|| format!("`{number}` is not an SSIM"))
}

/// Seconds between the moments of a contact sheet.
const EVERY_SECONDS: u32 = 7;

/// One picture: the source and each rendition side by side, at the same four moments.
pub async fn contact_sheet(
    source: &Path,
    renditions: &[&Path],
    sheet: &Path,
) -> anyhow::Result<()> {
    let mut command = Command::new("ffmpeg");
    command.args(["-y", "-v", "error", "-i"]).arg(source);
    for rendition in renditions {
        command.arg("-i").arg(rendition);
    }
    let columns = renditions.len() + 1;
    let scaled = (0..columns)
        .map(|input| {
            // by time, not by number: a rendition may have another frame rate
            format!("[{input}:v]setpts=PTS-STARTPTS,select='gte(t\\,{EVERY_SECONDS}*selected_n)',setpts=N/TB,scale=400:225,tile=1x4:padding=4[c{input}];")
        })
        .collect::<String>();
    let inputs = (0..columns)
        .map(|input| format!("[c{input}]"))
        .collect::<String>();
    let graph = format!("{scaled}{inputs}hstack=inputs={columns}");
    run(command
        .args(["-filter_complex", &graph, "-frames:v", "1"])
        .arg(sheet))
    .await?;
    Ok(())
}

/// Runs to the end; what it printed on both channels.
async fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("cannot run ffmpeg: is the Debian package installed?")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.success(),
        "{:?} failed: {said}",
        command.as_std()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned() + &said)
}
