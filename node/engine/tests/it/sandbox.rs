//! What a worker cannot do, and what this process never maps.

use std::fs;

use crate::{clips, engine, job, small};

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_cannot_open_connect_trace_or_execute() {
    let engine = engine().await;
    let attempts = engine.check_sandbox().await.unwrap();
    for wanted in ["open", "socket", "ptrace", "execve"] {
        assert!(
            attempts.iter().any(|attempt| attempt.what == wanted),
            "{wanted} was not tried"
        );
    }
    for attempt in attempts {
        assert!(attempt.refused.is_some(), "{} was allowed", attempt.what);
    }
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_with_an_engine_maps_no_libav() {
    let engine = engine().await;
    engine
        .transcode(job(&clips::plain(), vec![small()]))
        .await
        .unwrap();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    for library in ["libav", "libsw", "libx264"] {
        assert!(!maps.contains(library), "{library} is mapped");
    }
    let worker = engine.worker_pids()[0];
    let maps = fs::read_to_string(format!("/proc/{worker}/maps")).unwrap_or_default();
    // Not dumpable: even our own user cannot look into it; root can.
    assert!(maps.is_empty() || maps.contains("libavcodec"));
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_holds_one_descriptor_and_no_environment() {
    let engine = engine().await;
    // A job went through, and left nothing open.
    engine
        .transcode(job(&clips::plain(), vec![small()]))
        .await
        .unwrap();
    for worker in engine.worker_pids() {
        let open: Vec<_> = fs::read_dir(format!("/proc/{worker}/fd"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(open.len(), 3, "{open:?}");
        assert!(
            fs::read(format!("/proc/{worker}/environ"))
                .unwrap_or_default()
                .is_empty()
        );
    }
    engine.stop().await;
}
