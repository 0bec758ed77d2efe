//! Segments good and bad, made once by the `ffmpeg` program and kept between runs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// One ffmpeg at a time: tests run side by side and may want the same clip.
static MAKING: Mutex<()> = Mutex::new(());

const VIDEO: &str = "-f lavfi -i testsrc2=size=1280x720:rate=25";
const AUDIO: &str = "-f lavfi -i sine=sample_rate=48000";
const CODECS: &str = "-t 2 -c:v libx264 -preset veryfast -g 50 -pix_fmt yuv420p -c:a aac";

/// Two seconds of video with sound.
pub(crate) fn good() -> PathBuf {
    made("good.ts", &format!("{VIDEO} {AUDIO} {CODECS}"))
}

pub(crate) fn audio_only() -> PathBuf {
    made("audio.ts", &format!("{AUDIO} -t 2 -c:a aac"))
}

/// Video that our software nodes do not decode.
pub(crate) fn hevc() -> PathBuf {
    let codecs = "-t 2 -c:v libx265 -preset ultrafast -x265-params log-level=error";
    made("hevc.ts", &format!("{VIDEO} {codecs}"))
}

/// Pictures that refer to one that is not there.
pub(crate) fn no_keyframe() -> PathBuf {
    let arguments = format!("{VIDEO} {CODECS} -bsf:v noise=drop='key'");
    made("no-keyframe.ts", &arguments)
}

/// The good one, cut off in the middle of a packet.
pub(crate) fn truncated() -> PathBuf {
    let whole = std::fs::read(good()).unwrap();
    written("truncated.ts", &whole[..whole.len() * 2 / 3 + 77])
}

pub(crate) fn text() -> PathBuf {
    written("text.ts", "no video, only words\n".repeat(1000).as_bytes())
}

fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("segments");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn written(name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn made(name: &str, arguments: &str) -> PathBuf {
    let path = folder().join(name);
    let _one = MAKING.lock().unwrap();
    if !path.exists() {
        let unfinished = folder().join(format!("new-{name}"));
        let made = Command::new("ffmpeg")
            .args(["-v", "error", "-nostdin", "-y"])
            .args(arguments.split_whitespace())
            .args(["-f", "mpegts"])
            .arg(&unfinished)
            .status()
            .expect("ffmpeg is installed");
        assert!(made.success(), "{arguments}");
        std::fs::rename(&unfinished, &path).unwrap();
    }
    path
}
