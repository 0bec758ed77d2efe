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

/// The encoder's profile of the first video stream, as ffprobe calls it.
pub async fn profile(file: &Path) -> anyhow::Result<String> {
    let text = run(Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "v:0"])
        .args(["-show_entries", "stream=profile"])
        .args(["-of", "default=noprint_wrappers=1"])
        .arg(file))
    .await?;
    let profile = text.lines().find_map(|line| line.strip_prefix("profile="));
    let profile = profile.with_context(|| format!("no profile of {}", file.display()))?;
    Ok(profile.to_owned())
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

/// A file to look at, and what it is. The title stands in a filter graph: letters of names.
#[derive(Debug, Clone, Copy)]
pub struct Column<'a> {
    pub title: &'a str,
    pub file: &'a Path,
}

/// One picture: the source and each rendition side by side, at the same four moments.
pub async fn contact_sheet(columns: &[Column<'_>], sheet: &Path) -> anyhow::Result<()> {
    let mut command = Command::new("ffmpeg");
    command.args(["-y", "-v", "error"]);
    for column in columns {
        command.arg("-i").arg(column.file);
    }
    let titles: Vec<_> = columns.iter().map(|column| column.title).collect();
    run(command
        .args(["-filter_complex", &graph(&titles), "-frames:v", "1"])
        .arg(sheet))
    .await?;
    Ok(())
}

/// White letters. The font is fontconfig's own choice: Debian's ffmpeg depends on it, and it on
/// fonts.
const TEXT: &str = "x=8:fontsize=20:fontcolor=white";

/// A column an input, its title above, its seconds in each picture.
fn graph(titles: &[&str]) -> String {
    let mut graph = String::new();
    for (input, title) in titles.iter().enumerate() {
        // by time, not by number: a rendition may have another frame rate
        graph += &format!(
            "[{input}:v]setpts=PTS-STARTPTS,select='gte(t\\,{EVERY_SECONDS}*selected_n)',\
             scale=400:225,drawtext=text='%{{eif\\:t\\:d}} s':y=h-th-8:{TEXT}:box=1:boxcolor=black,\
             setpts=N/TB,tile=1x4:padding=4,pad=iw:ih+36:0:36,drawtext=text='{title}':y=8:{TEXT}\
             [c{input}];"
        );
    }
    for input in 0..titles.len() {
        graph += &format!("[c{input}]");
    }
    graph + &format!("hstack=inputs={}", titles.len())
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

#[cfg(test)]
mod tests {
    use super::{Column, contact_sheet, run, video};
    use tokio::process::Command;

    #[tokio::test]
    async fn a_contact_sheet_has_a_column_a_file_and_room_for_its_title() {
        let folder = tempfile::tempdir().unwrap();
        let [clip, sheet] = ["clip.ts", "sheet.png"].map(|name| folder.path().join(name));
        let picture = "testsrc2=size=64x36:rate=5:duration=22";
        run(Command::new("ffmpeg")
            .args(["-v", "error", "-f", "lavfi", "-i", picture])
            .arg(&clip))
        .await
        .unwrap();
        let columns = ["source", "P240p30fps16x9"].map(|title| Column { title, file: &clip });
        contact_sheet(&columns, &sheet).await.unwrap();
        let seen = video(&sheet).await.unwrap();
        assert_eq!((seen.width, seen.height), (800, 4 * 225 + 3 * 4 + 36));
    }
}
