//! The transcoding benchmark: the engine against one `ffmpeg`, as docs and design define it.
//!
//! `cargo bench -p livepeer-engine --bench transcode -- [--runs N]`. Prints ratios taken in one
//! run; asserts nothing about time. A run with other load on the machine is marked void.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and stops where it cannot go on"
)]

mod measure;
mod quality;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use livepeer_media::{Engine, EngineConfig, Profile, TranscodeJob};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use measure::{Cost, Meter, median};

/// The ladder: name, size, bit rate.
const LADDER: [(&str, u32, u32, u32); 4] = [
    ("720", 1280, 720, 4_000_000),
    ("480", 854, 480, 1_600_000),
    ("360", 640, 360, 1_200_000),
    ("240", 426, 240, 600_000),
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        // `cargo test --all-targets` runs benchmarks too; this one is not for that.
        return;
    }
    let runs = arguments
        .iter()
        .position(|argument| argument == "--runs")
        .and_then(|at| arguments.get(at + 1)?.parse().ok())
        .unwrap_or(5);
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(bench(runs));
}

async fn bench(runs: usize) {
    let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench");
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches");
    let clip = make_clip(&here, &work);
    let segments: Vec<Bytes> = (0..15)
        .map(|number| {
            fs::read(work.join(format!("seg_{number}.ts")))
                .unwrap()
                .into()
        })
        .collect();
    let threads = livepeer_media::engine::thread_budget();
    println!("cores {threads}, runs {runs}, medians; wall and CPU in seconds");

    let (mut own, mut same, mut one, mut two) = (vec![], vec![], vec![], vec![]);
    for run in 1..=runs {
        own.push(baseline(&here, &clip, &work.join("own"), "own"));
        same.push(baseline(
            &here,
            &clip,
            &work.join("same"),
            &engine_threads(threads),
        ));
        one.push(engine(&segments, 1, &work.join("engine")).await);
        two.push(engine(&segments, 2, &work.join("engine2")).await);
        println!(
            "run {run}: ffmpeg {} / {}; engine 1 in flight {}, 2 in flight {}",
            own[run - 1],
            same[run - 1],
            one[run - 1],
            two[run - 1]
        );
    }
    let (own, same, one, two) = (median(&own), median(&same), median(&one), median(&two));
    let (name, base) = if own.wall <= same.wall {
        ("own", own)
    } else {
        ("same", same)
    };
    println!(
        "baseline: ffmpeg with {} threads: {base}",
        if name == "own" {
            "its own"
        } else {
            "the engine's"
        }
    );
    println!(
        "1 in flight: wall {:.3} x, CPU {:.3} x",
        one.wall / base.wall,
        one.cpu / base.cpu
    );
    println!(
        "2 in flight: wall {:.3} x, CPU {:.3} x",
        two.wall / base.wall,
        two.cpu / base.cpu
    );
    for (rung, width, height, _) in LADDER {
        quality::compare(
            rung,
            (width, height),
            &clip,
            &work.join(name),
            &work.join("engine"),
        );
    }
    memory(&segments).await;
}

fn make_clip(here: &Path, work: &Path) -> PathBuf {
    run(Command::new("sh").arg(here.join("clip.sh")).arg(work));
    let clip = work.join("clip.ts");
    let hash = Command::new("ffmpeg")
        .args(["-v", "error", "-threads", "1", "-i"])
        .arg(&clip)
        .args(["-map", "0:v", "-f", "hash", "-hash", "sha256", "-"])
        .output()
        .unwrap();
    let hash = String::from_utf8(hash.stdout).unwrap();
    let expected = fs::read_to_string(here.join("clip.sha256")).unwrap();
    assert_eq!(
        hash.trim().trim_start_matches("SHA256="),
        expected.trim(),
        "another clip"
    );
    clip
}

/// The engine's division for this ladder, as the baseline's script wants it.
fn engine_threads(threads: usize) -> String {
    let total: u32 = LADDER
        .iter()
        .map(|(_, width, height, _)| width * height)
        .sum();
    let encoders = LADDER.iter().map(|(_, width, height, _)| {
        let share = f64::from(width * height) / f64::from(total);
        #[expect(clippy::cast_precision_loss, reason = "a count of cores")]
        let threads = (threads as f64 * 1.5 * share).round().clamp(1.0, 16.0);
        format!(" {threads}")
    });
    format!(
        "{}{}",
        (threads / 4).clamp(1, 4),
        encoders.collect::<String>()
    )
}

fn baseline(here: &Path, clip: &Path, out: &Path, threads: &str) -> Cost {
    let meter = Meter::start(&[]);
    run(Command::new("sh")
        .arg(here.join("baseline.sh"))
        .arg(clip)
        .arg(out)
        .arg(threads));
    meter.stop(&[])
}

fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

async fn start() -> Engine {
    let mut config = EngineConfig::new(env!("CARGO_BIN_EXE_livepeer-engine"));
    // No self-test: it is no part of the work.
    config.capacity = Some(2);
    Engine::start(config, CancellationToken::new())
        .await
        .unwrap()
}

/// All segments through an engine; its start counts.
async fn engine(segments: &[Bytes], in_flight: usize, out: &Path) -> Cost {
    let meter = Meter::start(&[]);
    let engine = start().await;
    let outputs = transcode_all(&engine, segments, in_flight).await;
    let cost = meter.stop(&engine.worker_pids());
    engine.stop().await;
    fs::create_dir_all(out).unwrap();
    for (index, (rung, ..)) in LADDER.iter().enumerate() {
        let joined: Vec<u8> = outputs
            .iter()
            .flat_map(|renditions| renditions[index].to_vec())
            .collect();
        fs::write(out.join(format!("{rung}.ts")), joined).unwrap();
    }
    cost
}

/// Renditions of every segment, in order, with that many segments at once.
async fn transcode_all(engine: &Engine, segments: &[Bytes], in_flight: usize) -> Vec<Vec<Bytes>> {
    let mut outputs = vec![Vec::new(); segments.len()];
    let mut waiting = segments.iter().cloned().enumerate();
    let mut running = JoinSet::new();
    loop {
        while running.len() < in_flight {
            let Some((number, segment)) = waiting.next() else {
                break;
            };
            let engine = engine.clone();
            running.spawn(async move { (number, engine.transcode(job(segment)).await) });
        }
        let Some(done) = running.join_next().await else {
            return outputs;
        };
        let (number, done) = done.unwrap();
        outputs[number] = done
            .unwrap()
            .renditions
            .into_iter()
            .map(|rendition| rendition.data)
            .collect();
    }
}

fn job(source: Bytes) -> TranscodeJob {
    let profiles = LADDER
        .iter()
        .map(|&(rung, width, height, bitrate)| Profile {
            name: rung.to_owned(),
            width,
            height,
            bitrate,
            fps: 0,
            ..Profile::preset("P720p25fps16x9").unwrap()
        });
    TranscodeJob {
        stream: "bench".to_owned(),
        profiles: profiles.collect(),
        source,
        duration: Duration::from_secs(2),
        metadata: "bench".to_owned(),
        clip: None,
        deadline: Duration::from_secs(120),
    }
}

/// Memory of this process and its workers with one job in flight, and whether it grows.
async fn memory(segments: &[Bytes]) {
    let engine = start().await;
    for round in 1..=4 {
        let watch = measure::PeakMemory::watch(engine.clone());
        transcode_all(&engine, segments, 1).await;
        println!(
            "memory of the process tree after {} segments: peak {} MB",
            round * 15,
            watch.stop().await >> 20
        );
    }
    engine.stop().await;
}
