//! Clips, made once by the `ffmpeg` program and kept between runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// One ffmpeg at a time: tests run side by side and may want the same clip.
static MAKING: Mutex<()> = Mutex::new(());

fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clips");
    fs::create_dir_all(&folder).expect("a folder for clips");
    folder
}

/// Bytes of the file that `ffmpeg ARGUMENTS file` writes.
pub(crate) fn made(name: &str, arguments: &str) -> Vec<u8> {
    let path = folder().join(name);
    let guard = MAKING.lock().expect("no test panics while it makes a clip");
    if !path.exists() {
        let unfinished = folder().join(format!("new-{name}"));
        run("ffmpeg", arguments, &unfinished);
        fs::rename(&unfinished, &path).expect("the clip gets its name");
    }
    drop(guard);
    fs::read(path).expect("the clip was made")
}

fn run(program: &str, arguments: &str, path: &Path) {
    let output = Command::new(program)
        .args(["-hide_banner", "-loglevel", "error", "-nostdin", "-y"])
        .args(arguments.split_whitespace())
        .arg(path)
        .output()
        .expect("ffmpeg is installed");
    assert!(
        output.status.success(),
        "{arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

const X264: &str = "-c:v libx264 -preset veryfast -bf 2 -g 50 -keyint_min 50 -sc_threshold 0 \
    -pix_fmt yuv420p -threads 1";

/// Two seconds, 640x360, 25 fps, B-frames, AAC: a plain segment.
pub(crate) fn plain() -> Vec<u8> {
    made(
        "plain.ts",
        &format!(
            "-f lavfi -i testsrc2=size=640x360:rate=25 -f lavfi -i sine=frequency=440:sample_rate=48000 \
             -t 2 {X264} -c:a aac -f mpegts"
        ),
    )
}

/// Six seconds of the same cut into three segments, as a segmenter cuts a stream.
pub(crate) fn segments() -> Vec<Vec<u8>> {
    cut("cut", "")
}

/// The same of a stream that begins at `seconds`.
pub(crate) fn segments_from(seconds: &str) -> Vec<Vec<u8>> {
    cut(
        &format!("cut-from-{seconds}"),
        &format!("-muxdelay 0 -muxpreload 0 -initial_offset {seconds}"),
    )
}

fn cut(name: &str, options: &str) -> Vec<Vec<u8>> {
    let last = folder().join(format!("{name}-2.ts"));
    let guard = MAKING.lock().expect("no test panics while it makes a clip");
    if !last.exists() {
        run(
            "ffmpeg",
            &format!(
                "-f lavfi -i testsrc2=size=640x360:rate=25 -f lavfi -i sine=frequency=440:sample_rate=48000 \
                 -t 6 {X264} -c:a aac -f segment -segment_time 2 -segment_format mpegts {options}"
            ),
            &folder().join(format!("{name}-%d.ts")),
        );
    }
    drop(guard);
    (0..3)
        .map(|number| {
            fs::read(folder().join(format!("{name}-{number}.ts"))).expect("three segments")
        })
        .collect()
}

/// Twelve seconds of the benchmark's clip in six segments: 1280x720, textured and moving.
pub(crate) fn textured() -> Vec<Vec<u8>> {
    let folder = folder().join("textured");
    let guard = MAKING.lock().expect("no test panics while it makes a clip");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/clip.sh");
    let made = Command::new("sh")
        .arg(script)
        .arg(&folder)
        .arg("12")
        .status();
    assert!(made.expect("there is a shell").success());
    drop(guard);
    (0..6)
        .map(|number| fs::read(folder.join(format!("seg_{number}.ts"))).expect("six segments"))
        .collect()
}

/// Six seconds in three segments that change where they are cut: a picture, then noise that no
/// encoder can make small, then the picture again.
pub(crate) fn changing() -> Vec<Vec<u8>> {
    let picture = "testsrc2=size=640x360:rate=25";
    let noise = format!("{picture},noise=alls=60:allf=t");
    [picture, &noise, picture]
        .iter()
        .enumerate()
        .map(|(number, source)| {
            let begin = 10 + 2 * number;
            made(
                &format!("changing-{number}.ts"),
                &format!(
                    "-f lavfi -i {source} -t 2 {X264} -muxdelay 0 -muxpreload 0 \
                     -output_ts_offset {begin} -f mpegts"
                ),
            )
        })
        .collect()
}

/// Two seconds whose first picture is decoded at `seconds`.
pub(crate) fn beginning_at(seconds: &str, fps: u32) -> Vec<u8> {
    made(
        &format!("at-{seconds}-{fps}.ts"),
        &format!(
            "-f lavfi -i testsrc2=size=640x360:rate={fps} -t 2 {X264} \
             -muxdelay 0 -muxpreload 0 -output_ts_offset {seconds} -f mpegts"
        ),
    )
}

/// One second of a size whose samples are `aspect` wide.
pub(crate) fn sampled(size: &str, aspect: &str, format: &str) -> Vec<u8> {
    made(
        &format!("{size}-{}.{format}", aspect.replace('/', "-")),
        &format!(
            "-f lavfi -i testsrc2=size={size}:rate=25 -t 1 -vf setsar={aspect} {X264} -f {format}"
        ),
    )
}

/// Two seconds of 60 fps video without audio.
pub(crate) fn sixty() -> Vec<u8> {
    made(
        "sixty.ts",
        &format!("-f lavfi -i testsrc2=size=640x360:rate=60 -t 2 {X264} -f mpegts"),
    )
}

/// The plain segment as MP4.
pub(crate) fn mp4() -> Vec<u8> {
    made(
        "plain.mp4",
        &format!(
            "-f lavfi -i testsrc2=size=640x360:rate=25 -f lavfi -i sine=frequency=440:sample_rate=48000 \
             -t 2 {X264} -c:a aac -f mp4"
        ),
    )
}

/// Audio alone.
pub(crate) fn audio_only() -> Vec<u8> {
    made(
        "audio.ts",
        "-f lavfi -i sine=frequency=440:sample_rate=48000 -t 2 -c:a aac -f mpegts",
    )
}

/// The second half of a GOP: pictures, but no keyframe.
pub(crate) fn no_keyframe() -> Vec<u8> {
    made(
        "no-keyframe.ts",
        &format!(
            "-f lavfi -i testsrc2=size=640x360:rate=25 -t 2 {X264} \
             -bsf:v noise=drop='key' -f mpegts"
        ),
    )
}

/// HEVC, VP9 and others are not what this makes: a codec that no transcoder takes.
pub(crate) fn mpeg2() -> Vec<u8> {
    made(
        "mpeg2.ts",
        "-f lavfi -i testsrc2=size=320x240:rate=25 -t 1 -c:v mpeg2video -threads 1 -f mpegts",
    )
}

/// Long enough that a job can be caught while it runs.
pub(crate) fn long() -> Vec<u8> {
    made(
        "long.ts",
        "-f lavfi -i testsrc2=size=640x360:rate=30 -t 6 -c:v libx264 -preset ultrafast \
         -pix_fmt yuv420p -threads 1 -f mpegts",
    )
}
