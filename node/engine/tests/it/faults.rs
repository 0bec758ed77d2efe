//! Workers that die, hang or are told to stop.

use std::fs;
use std::time::Duration;

use livepeer_media::{Engine, JobError, Profile, TranscodeJob, Transcoded};
use prometheus_client::registry::Registry;
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::{clips, engine, engine_with, job, small};

/// A job that takes a second or two of any machine's CPU.
fn long_job() -> TranscodeJob {
    let profile = Profile::preset("P360p30fps16x9").unwrap();
    job(&clips::long(), vec![profile])
}

type Running = JoinSet<Result<Transcoded, JobError>>;

fn start(engine: &Engine, job: TranscodeJob) -> Running {
    let engine = engine.clone();
    JoinSet::from_iter([async move { engine.transcode(job).await }])
}

/// The worker that a job has driven to use the CPU.
async fn busy_worker(engine: &Engine) -> u32 {
    for _ in 0..1000 {
        for pid in engine.worker_pids() {
            if cpu_ticks(pid) > 20 {
                return pid;
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no worker got busy");
}

/// User time of a process, in the kernel's hundredths of a second.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default();
    fields
        .split(' ')
        .nth(11)
        .and_then(|ticks| ticks.parse().ok())
        .unwrap_or(0)
}

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// A sample of the engine's metrics; 0 where nothing was counted.
fn counted(engine: &Engine, sample: &str) -> f64 {
    let mut registry = Registry::default();
    engine.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let mut values = text.lines().filter_map(|line| line.strip_prefix(sample));
    values
        .next()
        .map_or(0.0, |value| value.trim().parse().unwrap())
}

async fn gone(pid: u32) -> bool {
    for _ in 0..300 {
        if !fs::exists(format!("/proc/{pid}")).unwrap() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_survives_the_death_of_its_worker() {
    let engine = engine().await;
    let running = start(&engine, long_job());
    signal(busy_worker(&engine).await, Signal::KILL);
    let done = running.join_all().await.remove(0).unwrap();
    assert_eq!(done.decoded_frames, 180);
    let outside = r#"engine_workers_lost_total{cause="Outside"}"#;
    assert!((counted(&engine, outside) - 1.0).abs() < f64::EPSILON);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_worker_is_replaced_inside_the_deadline() {
    let engine = engine().await;
    let running = start(&engine, long_job());
    signal(busy_worker(&engine).await, Signal::STOP);
    let done = running.join_all().await.remove(0).unwrap();
    assert_eq!(done.decoded_frames, 180);
    engine.stop().await;
}

/// The failure of a job whose workers crash that many times.
async fn crashing_job(engine: &Engine, crashes: u32) -> JobError {
    let running = start(engine, long_job());
    for _ in 0..crashes {
        let pid = busy_worker(engine).await;
        signal(pid, Signal::ABORT);
        assert!(gone(pid).await, "{pid} lives on");
    }
    running.join_all().await.remove(0).unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_workers_crash_three_times_is_quarantined() {
    let engine = engine().await;
    // Two attempts each: the third crash is the second job's first.
    let died = crashing_job(&engine, 2).await;
    assert!(died.worker_died(), "{died:?}");
    let error = crashing_job(&engine, 1).await;
    assert!(error.is_input_fault(), "{error:?}");
    // Refused without a worker being tried; other streams are served.
    let started = Instant::now();
    assert!(
        engine
            .transcode(long_job())
            .await
            .unwrap_err()
            .is_input_fault()
    );
    assert!(started.elapsed() < Duration::from_millis(100));
    let key = long_job().stream;
    let probed = engine.probe(clips::plain().into(), &key).await;
    assert!(probed.unwrap_err().is_input_fault());
    for (sample, times) in [
        (r#"engine_workers_lost_total{cause="Job"}"#, 3.0),
        (r#"engine_jobs_refused_total{reason="Quarantined"}"#, 2.0),
    ] {
        let counted = counted(&engine, sample);
        assert!((counted - times).abs() < f64::EPSILON, "{sample} {counted}");
    }
    let other = TranscodeJob {
        stream: "another".to_owned(),
        ..job(&clips::plain(), vec![small()])
    };
    engine.transcode(other).await.unwrap();
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_wait_for_a_worker_and_transcodes_are_refused() {
    let engine = engine_with(|config| config.workers = Some(1)).await;
    let source = bytes::Bytes::from(clips::plain());
    let (mut probes, mut jobs) = (JoinSet::new(), JoinSet::new());
    for _ in 0..40 {
        let (engine, source) = (engine.clone(), source.clone());
        probes.spawn(async move { engine.probe(source, "a").await });
    }
    let probed = probes.join_all().await;
    assert!(probed.iter().all(Result::is_ok), "{probed:?}");
    for _ in 0..40 {
        let engine = engine.clone();
        jobs.spawn(async move { engine.transcode(long_job()).await });
    }
    let first = jobs.join_next().await.unwrap().unwrap();
    assert_eq!(first.unwrap_err().to_string(), "TranscoderBusy");
    let full = counted(&engine, r#"engine_jobs_refused_total{reason="QueueFull"}"#);
    assert!(full > 0.5, "{full}");
    jobs.shutdown().await;
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_room_in_memory_is_refused_and_costs_no_worker() {
    let source = clips::long();
    // the source, and a little of what it becomes
    let room = source.len() as u64 + 100_000;
    let engine = engine_with(|config| {
        config.workers = Some(1);
        config.files = room;
    })
    .await;
    let worker = engine.worker_pids();
    let error = engine.transcode(long_job()).await.unwrap_err();
    assert_eq!(error.kind(), livepeer_media::error::Kind::Busy);
    let refused = r#"engine_jobs_refused_total{reason="NoMemory"}"#;
    assert!((counted(&engine, refused) - 1.0).abs() < f64::EPSILON);
    let probed = engine
        .probe(vec![0; source.len() * 2].into(), "large")
        .await;
    assert_eq!(
        probed.unwrap_err().kind(),
        livepeer_media::error::Kind::Busy
    );
    let done = engine.transcode(job(&clips::plain(), vec![small()])).await;
    assert_eq!(done.unwrap().renditions.len(), 1);
    assert_eq!(engine.worker_pids(), worker);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_future_frees_the_slot() {
    let engine = engine_with(|config| config.workers = Some(1)).await;
    let dropped = tokio::time::timeout(Duration::from_millis(500), engine.transcode(long_job()));
    assert!(dropped.await.is_err());
    let started = Instant::now();
    engine
        .transcode(job(&clips::plain(), vec![small()]))
        .await
        .unwrap();
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_ends_at_its_deadline() {
    let engine = engine().await;
    let late = TranscodeJob {
        deadline: Duration::from_millis(300),
        ..long_job()
    };
    let started = Instant::now();
    let error = engine.transcode(late).await.unwrap_err();
    assert_eq!(error.kind(), livepeer_media::error::Kind::Deadline);
    assert!(started.elapsed() < Duration::from_secs(2));
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_that_end_at_their_deadlines_lower_the_capacity() {
    let engine = engine_with(|config| config.capacity = None).await;
    let measured = engine.capacity();
    for _ in 0..4 {
        let late = TranscodeJob {
            duration: Duration::from_millis(100),
            deadline: Duration::from_millis(200),
            ..long_job()
        };
        engine.transcode(late).await.unwrap_err();
    }
    assert_eq!(engine.capacity(), (measured - 1).max(1));
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_deadline_passes_in_the_queue_costs_no_worker() {
    let engine = engine_with(|config| config.workers = Some(1)).await;
    let pids = engine.worker_pids();
    let running = start(&engine, long_job());
    busy_worker(&engine).await;
    let late = TranscodeJob {
        deadline: Duration::from_millis(1),
        ..long_job()
    };
    let error = engine.transcode(late).await.unwrap_err();
    assert_eq!(error.kind(), livepeer_media::error::Kind::Deadline);
    running.join_all().await.remove(0).unwrap();
    engine
        .transcode(job(&clips::plain(), vec![small()]))
        .await
        .unwrap();
    assert_eq!(engine.worker_pids(), pids);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_over_its_memory_fails_its_job_and_nothing_else() {
    let engine = engine_with(|config| config.memory_limit = Some(192 << 20)).await;
    let ladder = [
        "P720p60fps16x9",
        "P720p30fps16x9",
        "P720p25fps16x9",
        "P720p30fps4x3",
    ];
    let hungry = TranscodeJob {
        profiles: ladder
            .iter()
            .map(|name| Profile::preset(name).unwrap())
            .collect(),
        stream: "hungry".to_owned(),
        ..long_job()
    };
    assert!(!engine.transcode(hungry).await.unwrap_err().is_input_fault());
    engine
        .transcode(job(&clips::plain(), vec![small()]))
        .await
        .unwrap();
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_do_not_outlive_their_engine() {
    let stopped = engine().await;
    let pids = stopped.worker_pids();
    assert!(!pids.is_empty());
    stopped.stop().await;
    for pid in pids {
        assert!(
            !fs::exists(format!("/proc/{pid}")).unwrap(),
            "{pid} was not reaped"
        );
    }
    let dropped = engine().await;
    let pids = dropped.worker_pids();
    drop(dropped);
    for pid in pids {
        assert!(gone(pid).await, "{pid} lives on");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_self_test_finds_a_capacity_and_keeps_it() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("self-test");
    fs::create_dir_all(&folder).unwrap();
    let measured = |config: &mut livepeer_media::EngineConfig| {
        config.capacity = None;
        config.cache_dir = Some(folder.clone());
    };
    let first = engine_with(measured).await;
    assert!(first.capacity() >= 1);
    let kept = fs::read(folder.join("self-test.json")).unwrap();
    first.stop().await;
    engine_with(measured).await.stop().await;
    assert_eq!(fs::read(folder.join("self-test.json")).unwrap(), kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_does_not_open_is_reported_and_never_replaced() {
    let engine = engine_with(|config| config.device = livepeer_media::Device::Nvidia).await;
    // On a machine with a card this test has nothing to say.
    if !engine.device_status().is_usable() {
        assert_eq!(engine.capacity(), 0);
        assert!(
            engine
                .transcode(job(&clips::plain(), vec![small()]))
                .await
                .is_err()
        );
    }
    engine.stop().await;
}
