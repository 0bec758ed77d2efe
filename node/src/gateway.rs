//! The gateway role: takes streams in by HTTP push, has them transcoded by
//! orchestrators, serves them as HLS.
//!
//! # The life of a segment
//!
//! `push` reads it (`path`, `config_header`, `client_ip`, `token`, `body`), `check` looks into it,
//! `streams` and `stream` say where it belongs, `segment` does the work: `attempts`
//! asks one orchestrator after another (`select`, `session`, `submit`, `rendition`,
//! `fault`),
//! `hls` publishes what came back, `multipart` sends it to the client. `duration` says how long
//! it is, wherever that counts.
//!
//! Not here: decoding of any kind, which is the engine's, and transcoding itself.

mod attempts;
mod body;
mod check;
mod client_ip;
mod config_header;
mod duration;
mod fault;
mod hls;
mod metrics;
mod multipart;
mod orchestrators;
mod page;
mod path;
mod profiles;
mod push;
mod refusal;
mod rendition;
mod segment;
mod segment_data;
mod select;
mod server;
mod session;
mod stream;
mod streams;
mod submit;
mod tally;
mod token;

use std::sync::Arc;
use std::time::Duration;

use livepeer_media::{Engine, EngineError};
use livepeer_settings::status::NodeStatus;
use livepeer_settings::{GatewaySettings, Settings};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::engine_config;
use crate::lifecycle::Lifecycle;
use crate::listen::{self, ListenError, Setting};
use crate::process::Process;
use livepeer_media::budget::Budget;
use metrics::Metrics;
use orchestrators::{Orchestrator, Orchestrators};
use refusal::Refused;
use stream::Stream;
use streams::Streams;
use token::IngestToken;

/// How often idle streams and left orchestrators are looked for.
const SWEEP: Duration = Duration::from_millis(500);
/// The component in `/readyz`.
const INGEST: &str = "ingest";

/// Why the role ended.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("cannot start the engine that looks into segments")]
    Engine(#[source] EngineError),
    #[error("cannot set up the client for orchestrators")]
    Client(#[source] reqwest::Error),
}

/// What every request may need.
pub(crate) struct App {
    settings: watch::Receiver<Arc<Settings>>,
    engine: Engine,
    orchestrators: Orchestrators,
    streams: Streams,
    budget: Budget,
    metrics: Metrics,
    token: IngestToken,
    refused: Refused,
    tasks: TaskTracker,
    /// Cancelled when streams are to go elsewhere.
    draining: CancellationToken,
}

/// Runs the role until it is drained, with an engine of its own.
pub async fn run(process: Process) -> Result<(), RoleError> {
    // a port in use is told at once, not after the engine's self-test; who connects
    // meanwhile waits for its end
    let addr = process.settings.borrow().gateway.http_addr;
    let listener = listen::bind(Setting {
        key: "gateway.http_addr",
        addr,
        usual: GatewaySettings::default().http_addr,
        file: process.file.as_deref(),
    })
    .await?;
    let config = {
        let settings = process.settings.borrow();
        engine_config::probing(&settings.engine, settings.gateway.max_buffered_bytes)
    };
    let engine = Engine::start(config, process.lifecycle.stop())
        .await
        .map_err(RoleError::Engine)?;
    process
        .health
        .metrics(|registry| engine.register(registry.sub_registry_with_prefix("gateway")));
    let result = serve(process, listener, engine.clone()).await;
    engine.stop().await;
    result
}

/// Serves until drained; `engine` looks into segments.
async fn serve(process: Process, listener: TcpListener, engine: Engine) -> Result<(), RoleError> {
    let settings = Arc::clone(&process.settings.borrow());
    process.health.expect(INGEST);
    process.health.expect(orchestrators::COMPONENT);
    let budget = Budget::new(settings.gateway.max_buffered_bytes);
    let app = Arc::new(App {
        settings: process.settings.clone(),
        engine,
        orchestrators: Orchestrators::new().map_err(RoleError::Client)?,
        streams: Streams::new(budget.clone()),
        budget,
        metrics: process.health.metrics(Metrics::register),
        token: IngestToken::new(settings.gateway.ingest_token_file.clone()),
        refused: Refused::default(),
        tasks: TaskTracker::new(),
        draining: process.lifecycle.draining(),
    });
    report(&process, &app);

    let close = CancellationToken::new();
    let mut side = JoinSet::new();
    let stop = process.lifecycle.stop();
    side.spawn(app.orchestrators.clone().follow(
        process.settings.clone(),
        process.health.clone(),
        close.child_token(),
    ));
    let routes = server::routes(Arc::clone(&app));
    side.spawn(server::serve(listener, routes, close.clone(), stop.clone()));
    process.health.set(INGEST, Ok(()));
    process.lifecycle.serving();
    tracing::info!(addr = %settings.gateway.http_addr, "gateway listens");

    keep(&app, &process.lifecycle).await;
    close.cancel();
    end(&app, &stop).await;
    while side.join_next().await.is_some() {}
    Ok(())
}

/// The gateway's part of `/status`.
fn report(process: &Process, app: &Arc<App>) {
    let app = Arc::clone(app);
    process.health.report(move |status: &mut NodeStatus| {
        status.sessions = app.streams.served();
        status.capacity = app.settings.borrow().gateway.max_streams;
        status.orchestrators = app.orchestrators.report();
    });
}

/// Ends idle streams, until the process stops or has drained.
async fn keep(app: &App, lifecycle: &Lifecycle) {
    let (draining, stop) = (lifecycle.draining(), lifecycle.stop());
    let mut ends = JoinSet::new();
    loop {
        tokio::select! {
            () = tokio::time::sleep(SWEEP) => {}
            () = stop.cancelled() => break,
        }
        if draining.is_cancelled() {
            app.streams.drain();
        }
        for stream in app.streams.sweep(Instant::now()) {
            tracing::info!(manifest_id = stream.manifest_id, "stream over");
            end_sessions(&stream, |_| true, &mut ends);
        }
        for stream in app.streams.all() {
            end_sessions(&stream, Orchestrator::is_removed, &mut ends);
        }
        while ends.try_join_next().is_some() {}
        app.metrics.streams.set(app.streams.served().into());
        app.metrics
            .buffered_bytes
            .set(i64::try_from(app.budget.used()).unwrap_or(i64::MAX));
        app.metrics.over_share(app.budget.parts_refused());
        if draining.is_cancelled() && app.streams.active() == 0 {
            break;
        }
    }
    while ends.join_next().await.is_some() {}
}

/// The last steps: work in flight ends, orchestrators learn that it is over.
async fn end(app: &App, stop: &CancellationToken) {
    app.tasks.close();
    tokio::select! {
        () = app.tasks.wait() => {}
        () = stop.cancelled() => {}
    }
    let mut ends = JoinSet::new();
    for stream in app.streams.all() {
        stream.end(Instant::now());
        end_sessions(&stream, |_| true, &mut ends);
    }
    while ends.join_next().await.is_some() {}
}

/// Tells those orchestrators for which `leave` says so that this stream needs them no
/// more.
fn end_sessions(stream: &Stream, leave: fn(&Orchestrator) -> bool, ends: &mut JoinSet<()>) {
    for (orchestrator, token) in stream.sessions.drain(leave) {
        if let Some(token) = token {
            ends.spawn(async move { orchestrator.end_session(token).await });
        }
    }
}
