//! The transcoder role: works for one orchestrator, ours or go-livepeer's.
//!
//! * [`registration`]: the stream that tasks come on; [`backoff`]: between two of them
//! * [`tasks`]: one task; [`upload`]: its result; [`sessions`]: how many there are
//!
//! It never exits because an orchestrator is away or refuses it: it says so, is not
//! ready, and tries again.

mod backoff;
mod metrics;
mod registration;
mod sessions;
mod tasks;
mod upload;

use std::path::Path;
use std::sync::Arc;

use livepeer_media::{Engine, EngineError};
use livepeer_proto::capabilities;
use livepeer_settings::{Role, Settings};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::device;
use crate::engine_config;
use crate::fetch::Fetcher;
use crate::lifecycle::{Lifecycle, Phase};
use crate::process::Process;
use crate::segdata::WIRE_VERSION;
use backoff::{Backoff, Ended};
use livepeer_media::budget::Budget;
use metrics::Metrics;
use registration::{Ends, Offer, RegisterError, Registration};
use sessions::Sessions;
use tasks::Worker;
use upload::Uploader;

/// Why the role ended.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    #[error("cannot start the engine")]
    Engine(#[from] EngineError),
}

/// Runs the role until it is drained. A `secret` replaces the credential file: roles of
/// one process.
pub async fn run(process: Process, secret: Option<String>) -> Result<(), RoleError> {
    process.health.expect("engine");
    let settings = Arc::clone(&process.settings.borrow());
    let bodies = settings.transcoder.max_buffered_bytes;
    let config = engine_config::build(&settings.engine, None, bodies, process.beside);
    let engine = Engine::start(config, process.lifecycle.stop()).await?;
    process.health.metrics(|registry| {
        engine.register(registry.sub_registry_with_prefix(Role::Transcoder.name()));
    });
    serve(process, engine.clone(), secret).await;
    engine.stop().await;
    Ok(())
}

/// Registers and works with an engine that runs.
async fn serve(process: Process, engine: Engine, secret: Option<String>) {
    let settings = Arc::clone(&process.settings.borrow());
    let metrics = Metrics::new(&process.health);
    let sessions = Sessions::default();
    // before the engine is well, which alone makes nobody ready
    process.health.expect("registration");
    report(&process, &engine, &sessions);
    process.lifecycle.serving();
    if let Err(reason) = device::ready(&engine.device_status()) {
        // a card that cannot be used does not come back by itself: stay, say why
        process.health.set("registration", Err(reason));
        let draining = process.lifecycle.draining();
        return draining.cancelled().await;
    }
    process
        .health
        .set("registration", Err("not registered yet".to_owned()));
    let worker = Worker {
        fetcher: Fetcher::default(),
        uploader: Uploader::new(&settings.transcoder.orchestrator),
        budget: Budget::new(settings.transcoder.max_buffered_bytes),
        sessions,
        metrics,
        capabilities: Arc::new(capabilities::message(
            &capabilities::software(),
            1,
            WIRE_VERSION,
        )),
        stop: process.lifecycle.stop(),
        tasks: TaskTracker::new(),
        engine,
    };
    let mut draining = JoinSet::new();
    let follow = Follow {
        process: &process,
        worker: &worker,
        secret,
    };
    follow.register_again_and_again(&mut draining).await;
    while draining.join_next().await.is_some() {}
    worker.tasks.close();
    tokio::select! {
        () = worker.tasks.wait() => {}
        () = worker.stop.cancelled() => {}
    }
}

/// Fills in our part of `/status` and reports the engine.
fn report(process: &Process, engine: &Engine, sessions: &Sessions) {
    process
        .health
        .set("engine", device::ready(&engine.device_status()));
    let (engine, sessions) = (engine.clone(), sessions.clone());
    let settings = process.settings.clone();
    process.health.report(move |status| {
        status.sessions = sessions.count();
        status.capacity = capacity(&settings.borrow(), engine.capacity());
        status.device = Some(device::report(&engine.device_status()));
    });
}

/// Sessions at once: as set, else what the engine measures.
fn capacity(settings: &Settings, measured: usize) -> u32 {
    let measured = u32::try_from(measured).unwrap_or(u32::MAX);
    settings.transcoder.max_sessions.unwrap_or(measured)
}

/// Keeps the transcoder registered.
struct Follow<'a> {
    process: &'a Process,
    worker: &'a Worker,
    secret: Option<String>,
}

impl Follow<'_> {
    /// Until told to stop. Registrations that drain go on in `draining`.
    async fn register_again_and_again(&self, draining: &mut JoinSet<()>) {
        let mut backoff = Backoff::default();
        let mut settings = self.process.settings.clone();
        let drain = self.process.lifecycle.draining();
        while !drain.is_cancelled() {
            let ended = tokio::select! {
                ended = self.register_once(&mut settings, draining) => ended,
                () = self.worker.stop.cancelled() => return,
            };
            let Some(ended) = ended else {
                continue;
            };
            let wait = backoff.after(ended, rand::random());
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = drain.cancelled() => return,
            }
        }
    }

    /// Registrations, each of which takes the place of the one before, until a stream ends;
    /// none when told to stop.
    async fn register_once(
        &self,
        settings: &mut watch::Receiver<Arc<Settings>>,
        draining: &mut JoinSet<()>,
    ) -> Option<Ended> {
        let first = tokio::select! {
            first = self.open_now(settings) => first,
            () = self.process.lifecycle.draining().cancelled_owned() => return None,
        };
        let mut next = match first {
            Ok(next) => next,
            Err(error) => {
                let health = &self.process.health;
                health.set("registration", Err(error.to_string()));
                return Some(error.ended());
            }
        };
        loop {
            let (registration, capacity) = next;
            tracing::info!(capacity, "registered");
            self.process.health.set("registration", Ok(()));
            self.worker.metrics.registered();
            let replaced = CancellationToken::new();
            let _over = replaced.clone().drop_guard();
            while draining.try_join_next().is_some() {}
            let ends = self.ends(&replaced, draining);
            let worker = self.worker.clone();
            let mut serving = Box::pin(async move { registration.serve(&worker, ends).await });
            tokio::select! {
                ended = &mut serving => return Some(self.ended(ended)),
                successor = self.successor(settings, capacity) => {
                    draining.spawn(async move {
                        let _ = serving.await;
                    });
                    next = successor;
                }
            }
        }
    }

    /// A registration's stream has ended.
    fn ended(&self, ended: Result<(), RegisterError>) -> Ended {
        self.worker.metrics.unregistered();
        if self.process.lifecycle.phase() < Phase::LameDuck {
            let reason = match &ended {
                Ok(()) => "the orchestrator ended the stream".to_owned(),
                Err(error) => error.to_string(),
            };
            self.process.health.set("registration", Err(reason));
        }
        match ended {
            Err(RegisterError::Refused(_)) => Ended::Refused,
            Ok(()) | Err(RegisterError::Dial(_) | RegisterError::Failed(_)) => Ended::Registered,
        }
    }

    /// What takes the place of a registration of `before` sessions when there are to be others.
    /// Until it stands, the one that there is serves on: the orchestrator may be one that is
    /// reached by no new connection, as while it is deleted.
    async fn successor(
        &self,
        settings: &mut watch::Receiver<Arc<Settings>>,
        before: u32,
    ) -> (Registration, u32) {
        changed(settings, self.worker.engine.follow_capacity(), before).await;
        tracing::info!("capacity changed: registering anew");
        let (mut backoff, drain) = (Backoff::default(), self.process.lifecycle.draining());
        while !drain.is_cancelled() {
            let error = match self.open_now(settings).await {
                Ok(successor) => return successor,
                Err(error) => error,
            };
            tracing::warn!(%error, "cannot register anew, the registration before stays");
            tokio::time::sleep(backoff.after(error.ended(), rand::random())).await;
        }
        // the one that there is ends by itself
        std::future::pending().await
    }

    /// Registers with what holds now, and tells with how many sessions.
    async fn open_now(
        &self,
        settings: &mut watch::Receiver<Arc<Settings>>,
    ) -> Result<(Registration, u32), RegisterError> {
        let current = Arc::clone(&settings.borrow_and_update());
        let capacity = capacity(&current, self.worker.engine.capacity());
        Ok((self.open(&current, capacity).await?, capacity))
    }

    async fn open(
        &self,
        settings: &Settings,
        capacity: u32,
    ) -> Result<Registration, RegisterError> {
        let secret = match (&self.secret, &settings.transcoder.credential_file) {
            (Some(secret), _) => secret.clone(),
            (None, Some(path)) => read_secret(path).await?,
            (None, None) => {
                return Err(RegisterError::Refused(
                    "no transcoder.credential_file".to_owned(),
                ));
            }
        };
        let offer = Offer {
            uri: settings
                .transcoder
                .orchestrator
                .as_str()
                .trim_end_matches('/'),
            secret: &secret,
            capacity,
            capabilities: &capabilities::message(&capabilities::software(), capacity, WIRE_VERSION),
        };
        let opened = Registration::open(offer);
        tokio::join!(opened, self.worker.uploader.connect()).0
    }

    /// When this registration ends: the process stops, or the next one replaces it.
    fn ends(&self, replaced: &CancellationToken, tasks: &mut JoinSet<()>) -> Ends {
        let lifecycle = &self.process.lifecycle;
        let (soon, now) = (CancellationToken::new(), CancellationToken::new());
        let ends = Ends {
            soon: soon.clone(),
            now: now.clone(),
            stop: lifecycle.stop(),
        };
        let (lifecycle, replaced) = (lifecycle.clone(), replaced.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = told_to_stop(&lifecycle) => soon.cancel(),
                () = replaced.cancelled() => {}
            }
            tokio::select! {
                () = lifecycle.draining().cancelled_owned() => {}
                () = replaced.cancelled() => {}
            }
            now.cancel();
        });
        ends
    }
}

async fn told_to_stop(lifecycle: &Lifecycle) {
    let mut phase = lifecycle.watch();
    // an error means that the lifecycle is gone, and so are we
    let _ = phase.wait_for(|phase| *phase >= Phase::LameDuck).await;
}

/// Waits until the settings, or the engine where they do not say, ask for another
/// capacity.
async fn changed(
    settings: &mut watch::Receiver<Arc<Settings>>,
    mut measured: watch::Receiver<usize>,
    before: u32,
) {
    while capacity(&settings.borrow_and_update(), *measured.borrow_and_update()) == before {
        tokio::select! {
            Ok(()) = settings.changed() => {}
            Ok(()) = measured.changed() => {}
            else => std::future::pending().await,
        }
    }
}

/// Read before each try: the secret may have been replaced meanwhile.
async fn read_secret(path: &Path) -> Result<String, RegisterError> {
    let read = tokio::fs::read_to_string(path).await;
    let text = read.map_err(|error| {
        RegisterError::Refused(format!(
            "the credential {} cannot be read: {error}",
            path.display()
        ))
    })?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::changed;
    use livepeer_settings::Settings;
    use tokio::sync::watch;
    use tokio::time::timeout;

    const WHILE: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_measured_capacity_counts_where_none_is_set() {
        let (settings, mut set) = watch::channel(Arc::new(Settings::default()));
        let (engine, measured) = watch::channel(4);
        let same = changed(&mut set, measured.clone(), 4);
        assert!(timeout(WHILE, same).await.is_err());
        engine.send_replace(3);
        changed(&mut set, measured.clone(), 4).await;

        let mut fixed = Settings::default();
        fixed.transcoder.max_sessions = Some(2);
        settings.send_replace(Arc::new(fixed));
        changed(&mut set, measured.clone(), 3).await;
        engine.send_replace(1);
        let same = changed(&mut set, measured, 2);
        assert!(timeout(WHILE, same).await.is_err());
    }
}
