//! Reads renditions back with `ffprobe`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// One packet of a rendition.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Packet {
    pub(crate) kind: String,
    pub(crate) pts: i64,
    pub(crate) dts: i64,
    pub(crate) bytes: u64,
    pub(crate) key: bool,
}

/// Output of ffprobe on some bytes.
pub(crate) fn probe(data: &[u8], arguments: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("probe-{}-{number}", std::process::id()));
    fs::write(&path, data).expect("a place for the rendition");
    let output = Command::new("ffprobe")
        .args(["-v", "error"])
        .args(arguments.split_whitespace())
        .arg(&path)
        .output()
        .expect("ffprobe is installed");
    fs::remove_file(&path).expect("the rendition was there");
    assert!(
        output.status.success(),
        "{arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("ffprobe prints text")
}

/// Every packet, in the order of the file.
pub(crate) fn packets(data: &[u8]) -> Vec<Packet> {
    let text = probe(
        data,
        "-show_entries packet=codec_type,pts,dts,size,flags -of compact=p=0:nk=1",
    );
    text.lines()
        .filter(|line| !line.is_empty())
        .map(|line| {
            let fields: Vec<&str> = line.split('|').collect();
            Packet {
                kind: fields[0].to_owned(),
                pts: fields[1].parse().expect("a pts"),
                dts: fields[2].parse().expect("a dts"),
                bytes: fields[3].parse().expect("a size"),
                key: fields[4].starts_with('K'),
            }
        })
        .collect()
}

pub(crate) fn of_kind(packets: &[Packet], kind: &str) -> Vec<Packet> {
    packets
        .iter()
        .filter(|packet| packet.kind == kind)
        .cloned()
        .collect()
}

/// Presentation times of the pictures, in order.
pub(crate) fn picture_times(data: &[u8]) -> Vec<i64> {
    let mut times: Vec<i64> = of_kind(&packets(data), "video")
        .iter()
        .map(|packet| packet.pts)
        .collect();
    times.sort_unstable();
    times
}

/// Fields of the first video stream.
pub(crate) fn video(data: &[u8], fields: &str) -> String {
    probe(
        data,
        &format!("-select_streams v:0 -show_entries stream={fields} -of compact=p=0:nk=1"),
    )
    .lines()
    .next()
    .unwrap_or_default()
    .trim_end_matches('|')
    .to_owned()
}

/// Frames that decode without an error, and the sum of their pixels.
pub(crate) fn decoded(data: &[u8]) -> (u64, u64) {
    let text = probe(
        data,
        "-select_streams v:0 -show_entries frame=width,height -of compact=p=0:nk=1",
    );
    text.lines()
        .filter(|line| !line.is_empty())
        .map(|line| {
            let mut sides = line
                .split('|')
                .map(|side| side.parse::<u64>().expect("a side"));
            sides.next().expect("width") * sides.next().expect("height")
        })
        .fold((0, 0), |(frames, pixels), picture| {
            (frames + 1, pixels + picture)
        })
}

/// What MPEG-TS says around the frames (ISO/IEC 13818-1, 2.4.3).
#[derive(Debug, Default)]
pub(crate) struct Transport {
    /// PES packets of audio.
    pub(crate) audio: usize,
    /// Program clock references, in ticks of 90 kHz, in order.
    pub(crate) clocks: Vec<i64>,
}

pub(crate) fn transport(data: &[u8]) -> Transport {
    let mut found = Transport::default();
    for packet in data.chunks_exact(188) {
        let begins = packet[1] & 0x40 != 0;
        let adapted = packet[3] & 0x20 != 0;
        if adapted && packet[4] > 0 && packet[5] & 0x10 != 0 {
            let base = u32::from_be_bytes([packet[6], packet[7], packet[8], packet[9]]);
            found
                .clocks
                .push(i64::from(base) << 1 | i64::from(packet[10] >> 7));
        }
        let payload = if adapted {
            5 + usize::from(packet[4])
        } else {
            4
        };
        if begins && packet[payload..].starts_with(&[0, 0, 1, 0xc0]) {
            found.audio += 1;
        }
    }
    found
}
