//! The orchestrator role: sells transcoding to gateways, off-chain.
//!
//! One TLS port carries everything. The parts:
//!
//! * [`server`]: connections; [`rpc`]: gRPC; [`segment`], [`stream`]: HTTP
//! * [`checks`], [`tokens`], [`sessions`]: who may
//! * [`backend`]: who does the work: its own engine, or [`transcoders`]
//! * [`store`]: results until they are fetched
//! * [`identity`]: certificate and keys; [`shared`]: what all of them share

mod backend;
mod checks;
mod identity;
mod metrics;
mod refusal;
mod rpc;
mod segment;
mod server;
mod sessions;
mod shared;
mod store;
mod stream;
mod tokens;
mod transcoders;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::routing::{any, get};
use livepeer_media::{Engine, EngineError};
use livepeer_proto::net::orchestrator_server::OrchestratorServer;
use livepeer_proto::net::transcoder_server::TranscoderServer;
use livepeer_settings::{OrchestratorSettings, Role, Transcoding};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::engine_config;
use crate::lifecycle::Phase;
use crate::listen::{self, ListenError, Setting};
use crate::process::Process;

use backend::Backend;
use identity::{Identity, IdentityError};
use metrics::Metrics;
use server::Server;
pub(crate) use shared::Shared;
use transcoders::Transcoders;
use transcoders::credentials::Credentials;

/// A gRPC request is a few hundred bytes; what is read of one is in no budget.
const MAX_MESSAGE_BYTES: usize = 64 << 10;
/// How often idle sessions are looked for, and metrics brought up to date.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Results wait for their gateway so long after the last session has ended: it may
/// still be fetching the last segment's.
const LAST_FETCH: Duration = Duration::from_secs(1);
/// A draining orchestrator waits so long for a transcoder when the last one has left: one
/// that reconnects is back in a second or two, and a segment waits no longer either. Then
/// its sessions are kept from those who could do their segments.
const DESERTED: Duration = Duration::from_secs(5);

/// Why the role ended.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("cannot tell which port was given")]
    Address(#[source] std::io::Error),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("cannot start the engine")]
    Engine(#[from] EngineError),
}

/// Runs the role until it is drained.
pub async fn run(process: Process) -> Result<(), RoleError> {
    Orchestrator::start(process, None).await?.serve().await;
    Ok(())
}

/// An orchestrator whose port is bound.
pub struct Orchestrator {
    process: Process,
    shared: Arc<Shared>,
    listener: TcpListener,
    addr: SocketAddr,
    tls: Arc<rustls::ServerConfig>,
    stop: CancellationToken,
}

impl Orchestrator {
    /// Binds the port and starts the engine, if it has one. A `secret` is accepted
    /// from transcoders in place of those in the folder: roles of one process.
    pub async fn start(process: Process, secret: Option<&str>) -> Result<Self, RoleError> {
        let settings = Arc::clone(&process.settings.borrow());
        let settings_of = &settings.orchestrator;
        process.health.expect("listener");
        let listener = listen::bind(Setting {
            key: "orchestrator.addr",
            addr: settings_of.addr,
            usual: OrchestratorSettings::default().addr,
            file: process.file.as_deref(),
        })
        .await?;
        let addr = listener.local_addr().map_err(RoleError::Address)?;
        let mut resolved = settings_of.clone();
        resolved.addr = addr;
        let service_uri = resolved.public_uri();
        let host = service_uri.host_str().unwrap_or("localhost").to_owned();
        let identity = Identity::load(&host, settings_of.data_dir.as_deref())?;
        let stop = process.lifecycle.stop().child_token();
        let metrics = Metrics::new(&process.health);
        let backend = match settings_of.transcoding {
            Transcoding::Embedded => {
                process.health.expect("engine");
                let config = engine_config::build(
                    &settings.engine,
                    settings_of.max_sessions,
                    settings_of.max_buffered_bytes,
                    process.beside,
                );
                let engine = Engine::start(config, stop.clone()).await?;
                process.health.metrics(|registry| {
                    engine.register(registry.sub_registry_with_prefix(Role::Orchestrator.name()));
                });
                Backend::Embedded(engine)
            }
            Transcoding::Pools => {
                let credentials = match (secret, &settings_of.credentials_dir) {
                    (Some(secret), _) => Credentials::single("local", secret),
                    (None, Some(folder)) => Credentials::in_folder(folder),
                    (None, None) => {
                        tracing::warn!(
                            "no orchestrator.credentials_dir: no transcoder can register"
                        );
                        Credentials::default()
                    }
                };
                Backend::Pools(Transcoders::new(credentials, metrics.clone()))
            }
        };
        let shared = Arc::new(Shared::new(
            &process,
            resolved,
            identity.token_key,
            backend,
            metrics,
            stop.clone(),
        ));
        Ok(Self {
            process,
            shared,
            listener,
            addr,
            tls: identity.tls,
            stop,
        })
    }

    /// Where it listens: of use when the settings said port 0.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until it is drained or stopped.
    pub async fn serve(self) {
        let Self {
            process,
            shared,
            listener,
            addr,
            tls,
            stop,
        } = self;
        shared.report(&process.health);
        tracing::info!(%addr, service_uri = shared.service_uri, "orchestrator listens");
        process.lifecycle.serving();
        let server = Server {
            listener,
            tls,
            grpc: grpc_routes(&shared),
            http: http_routes(&shared),
        };
        let mut tasks = JoinSet::new();
        let connections = shared.metrics.connections.clone();
        let closing = CancellationToken::new();
        tasks.spawn(server.serve(closing.clone(), move |count| {
            connections.set(count as u64);
        }));
        if let Backend::Pools(transcoders) = &shared.backend {
            let (transcoders, stop) = (transcoders.clone(), stop.clone());
            tasks.spawn(async move {
                let credentials = transcoders.credentials.clone();
                credentials
                    .follow(stop, || transcoders.drop_revoked())
                    .await;
            });
        }
        watch_sessions(&shared, &process).await;
        if let Backend::Pools(transcoders) = &shared.backend {
            transcoders.drop_all();
        }
        closing.cancel();
        stop.cancel();
        while tasks.join_next().await.is_some() {}
        if let Backend::Embedded(engine) = shared.backend.clone() {
            engine.stop().await;
        }
    }
}

/// Ends idle sessions; returns when drained or stopped. Drained is also who can do no
/// segment any more: the gateways find others.
async fn watch_sessions(shared: &Shared, process: &Process) {
    let stop = process.lifecycle.stop();
    let (mut empty_since, mut deserted_since) = (None, None);
    loop {
        shared.update_metrics();
        let draining = process.lifecycle.phase() >= Phase::Draining;
        let now = Instant::now();
        for session in shared.end_idle_sessions(now, draining) {
            tracing::info!(session_id = session, "idle session ended");
        }
        let empty = draining && shared.sessions.count() == 0;
        if held_for(&mut empty_since, empty, now) >= Some(LAST_FETCH) {
            tracing::info!("drained: no sessions left");
            return;
        }
        let deserted = draining && shared.backend.is_deserted();
        if held_for(&mut deserted_since, deserted, now) >= Some(DESERTED) {
            tracing::info!("drained: no transcoders left");
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(SWEEP_INTERVAL) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// How long something has been so without a break; none when it is not.
fn held_for(since: &mut Option<Instant>, holds: bool, now: Instant) -> Option<Duration> {
    *since = holds.then(|| since.unwrap_or(now));
    since.map(|since| now.duration_since(since))
}

fn grpc_routes(shared: &Arc<Shared>) -> Router {
    let rpc = rpc::Rpc(Arc::clone(shared));
    let orchestrator = OrchestratorServer::new(rpc.clone());
    let transcoder = TranscoderServer::new(rpc);
    tonic::service::Routes::new(orchestrator.max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(transcoder.max_decoding_message_size(MAX_MESSAGE_BYTES))
        .prepare()
        .into_axum_router()
}

/// No check of the method where go-livepeer has none.
fn http_routes(shared: &Arc<Shared>) -> Router {
    let mut routes = Router::new()
        .route("/segment", any(segment::segment))
        .route("/payment", any(segment::payment))
        .route("/stream/{*path}", get(stream::stream))
        .route("/healthz", any(async || "OK"));
    if let Backend::Pools(_) = shared.backend {
        routes = routes
            .route(
                "/transcodeResults",
                any(transcoders::results::transcode_results),
            )
            .route(
                "/transcoderDraining",
                axum::routing::post(transcoders::results::draining),
            );
    }
    routes.with_state(Arc::clone(shared))
}

/// Seconds since 1970, for tokens.
fn unix_now() -> i64 {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX)
}
