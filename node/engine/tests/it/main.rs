//! The engine from outside: real worker processes, clips made by the `ffmpeg` program, results
//! read back by `ffprobe`, which share no code with the engine.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on stops"
)]

mod clips;
mod faults;
mod inputs;
mod media;
mod output;
mod rate;
mod sandbox;
mod timing;

use std::time::Duration;

use livepeer_media::{Engine, EngineConfig, Profile, TranscodeJob};
use tokio_util::sync::CancellationToken;

/// An engine with two workers, without a self-test.
async fn engine() -> Engine {
    engine_with(|_| {}).await
}

async fn engine_with(change: impl FnOnce(&mut EngineConfig)) -> Engine {
    let mut config = EngineConfig::new(env!("CARGO_BIN_EXE_livepeer-engine"));
    config.workers = Some(2);
    config.memory_limit = Some(1 << 30);
    config.capacity = Some(2);
    change(&mut config);
    Engine::start(config, CancellationToken::new())
        .await
        .expect("the engine starts")
}

/// A small rendition that keeps the source's frames.
fn small() -> Profile {
    Profile {
        name: "small".to_owned(),
        fps: 0,
        bitrate: 200_000,
        ..Profile::preset("P144p30fps16x9").expect("a preset")
    }
}

fn job(source: &[u8], profiles: Vec<Profile>) -> TranscodeJob {
    TranscodeJob {
        stream: "test".to_owned(),
        profiles,
        source: bytes::Bytes::copy_from_slice(source),
        duration: Duration::from_secs(2),
        metadata: "Livepeer Transcoder test (offchain)".to_owned(),
        clip: None,
        // Many tests share the machine.
        deadline: Duration::from_secs(240),
    }
}
