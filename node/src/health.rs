//! The plain listener of a process: `/livez /readyz /servingz /startupz /metrics /status`.
//!
//! | Path | Answers 200 when |
//! |---|---|
//! | `/livez` | the process answers at all |
//! | `/startupz` | every component has reported once |
//! | `/readyz` | every component is well, and the process was not told to stop |
//! | `/servingz` | it has met what it depends on, its own components are well, and it has not stopped |
//!
//! `/startupz` answers as soon as all are well and nothing is left to wait for, or when
//! [`STARTUP_HOLD`] is over: a kubelet calls every early no a warning, and asks for
//! readiness when the startup probe has succeeded.
//!
//! `/readyz` is for a load balancer that picks among many. A pod's readiness probe asks
//! `/servingz`, so that its Service still leads to what it holds (playlists, sessions)
//! when those it depends on are away, and while it drains: a pod that is deleted is no
//! ready endpoint whatever it answers, and is reached when there is no other (KEP-1669).
//!
//! A component is a fixed name that a role registers when it starts, such as
//! `engine` or `registration`. Anything else answers 503 with the reasons.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use livepeer_settings::Role;
use livepeer_settings::status::NodeStatus;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::lifecycle::{Lifecycle, Phase};

/// Longer than a start takes where all that it needs is there; the startup probe's timeout
/// (operator, `build/pod.rs`) is longer still.
pub const STARTUP_HOLD: Duration = Duration::from_secs(15);

/// What the components of a process say of themselves; cheap to clone.
#[derive(Clone)]
pub struct Health {
    role: Role,
    lifecycle: Lifecycle,
    inner: Arc<Mutex<Inner>>,
    /// Told when a component's state is another one.
    changed: watch::Sender<()>,
}

struct Inner {
    components: BTreeMap<&'static str, Component>,
    /// Components that tell of another process, and were well once or heard of it.
    met: BTreeSet<&'static str>,
    reporters: Vec<Reporter>,
    registry: Registry,
}

/// Fills in the part of the status that a role knows.
type Reporter = Box<dyn Fn(&mut NodeStatus) + Send>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Component {
    /// Registered, not heard of yet.
    Starting,
    Well,
    Failing(String),
}

impl Health {
    /// A process of `role` with nothing registered.
    #[must_use]
    pub fn new(role: Role, lifecycle: Lifecycle) -> Self {
        Self {
            role,
            lifecycle,
            inner: Arc::new(Mutex::new(Inner {
                components: BTreeMap::new(),
                met: BTreeSet::new(),
                reporters: Vec::new(),
                registry: Registry::with_prefix("livepeer"),
            })),
            changed: watch::Sender::new(()),
        }
    }

    /// Announces a component that must be well before the process is ready.
    pub fn expect(&self, component: &'static str) {
        self.with(|inner| {
            inner
                .components
                .entry(component)
                .or_insert(Component::Starting);
        });
    }

    /// Reports a component: well, or why not.
    pub fn set(&self, component: &'static str, state: Result<(), String>) {
        let state = match state {
            Ok(()) => Component::Well,
            Err(reason) => Component::Failing(reason),
        };
        let before = self.with(|inner| inner.components.insert(component, state.clone()));
        if before.as_ref() != Some(&state) {
            self.changed.send_replace(());
            match &state {
                Component::Failing(reason) => tracing::warn!(component, reason, "not ready"),
                Component::Well | Component::Starting => tracing::info!(component, "ready"),
            }
        }
    }

    /// Reports a component that tells of another process.
    pub fn set_dependency(&self, component: &'static str, state: Result<(), String>) {
        if state.is_ok() {
            self.meet(component);
        }
        self.set(component, state);
    }

    /// That other process is there, though it may not do its part yet: enough for this
    /// one to serve.
    pub fn meet(&self, component: &'static str) {
        self.with(|inner| inner.met.insert(component));
    }

    /// Adds a function that fills in its part of `/status`. It must not block.
    pub fn report(&self, reporter: impl Fn(&mut NodeStatus) + Send + 'static) {
        self.with(|inner| inner.reporters.push(Box::new(reporter)));
    }

    /// Registers metrics; each module has its own.
    pub fn metrics<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        self.with(|inner| register(&mut inner.registry))
    }

    /// Why the process is not ready; empty when it is.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let mut reasons: Vec<String> = match self.lifecycle.phase() {
            Phase::Starting | Phase::Serving => Vec::new(),
            Phase::LameDuck | Phase::Draining => vec!["draining: told to stop".to_owned()],
            Phase::Stopped => vec!["stopped".to_owned()],
        };
        self.with(|inner| {
            if inner.components.is_empty() {
                reasons.push("starting".to_owned());
            }
            reasons.extend(
                inner
                    .components
                    .iter()
                    .filter_map(|(name, state)| match state {
                        Component::Well => None,
                        Component::Starting => Some(format!("{name}: starting")),
                        Component::Failing(reason) => Some(format!("{name}: {reason}")),
                    }),
            );
        });
        reasons
    }

    /// What it holds is served, whether or not new work could be done.
    fn serves(&self) -> bool {
        match self.lifecycle.phase() {
            Phase::Starting | Phase::Serving => self.with(|inner| {
                let well = |(name, state): (&&'static str, &Component)| {
                    *state == Component::Well || inner.met.contains(*name)
                };
                !inner.components.is_empty() && inner.components.iter().all(well)
            }),
            Phase::LameDuck | Phase::Draining => true,
            Phase::Stopped => false,
        }
    }

    fn started(&self) -> bool {
        self.with(|inner| {
            !inner.components.is_empty()
                && !inner
                    .components
                    .values()
                    .any(|state| *state == Component::Starting)
        })
    }

    /// Waits until all is well, or will not be any more: the process was told to stop.
    async fn settled(&self) {
        let mut phase = self.lifecycle.watch();
        let mut changed = self.changed.subscribe();
        while self.lifecycle.phase() < Phase::LameDuck && !self.reasons().is_empty() {
            tokio::select! {
                _ = phase.changed() => {}
                _ = changed.changed() => {}
            }
        }
    }

    /// The whole status, as `/status` gives it.
    #[must_use]
    pub fn status(&self) -> NodeStatus {
        let mut status = NodeStatus::starting(self.role);
        status.reasons = self.reasons();
        status.ready = status.reasons.is_empty();
        status.draining = self.lifecycle.phase() >= Phase::LameDuck;
        self.with(|inner| {
            for reporter in &inner.reporters {
                reporter(&mut status);
            }
        });
        status
    }

    fn with<T>(&self, run: impl FnOnce(&mut Inner) -> T) -> T {
        run(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Serves the paths until `stop`.
pub async fn serve(
    listener: TcpListener,
    health: Health,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/startupz", get(startupz))
        .route("/readyz", get(readyz))
        .route("/servingz", get(servingz))
        .route("/metrics", get(metrics))
        .route(
            "/status",
            get(async |State(health): State<Health>| Json(health.status())),
        )
        .with_state(health);
    axum::serve(listener, routes)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

async fn startupz(State(health): State<Health>) -> Response {
    // in time or not, the answer is what is true then
    tokio::time::timeout(STARTUP_HOLD, health.settled())
        .await
        .ok();
    verdict(health.started(), &health.reasons())
}

async fn readyz(State(health): State<Health>) -> Response {
    let reasons = health.reasons();
    verdict(reasons.is_empty(), &reasons)
}

async fn servingz(State(health): State<Health>) -> Response {
    verdict(health.serves(), &health.reasons())
}

fn verdict(good: bool, reasons: &[String]) -> Response {
    if good {
        "ok\n".into_response()
    } else {
        let text = reasons.join("\n") + "\n";
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }
}

async fn metrics(State(health): State<Health>) -> Response {
    let mut text = String::new();
    let encoded =
        health.with(|inner| prometheus_client::encoding::text::encode(&mut text, &inner.registry));
    match encoded {
        Ok(()) => (
            [(
                header::CONTENT_TYPE,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            )],
            text,
        )
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Health, STARTUP_HOLD, startupz};
    use crate::lifecycle::Lifecycle;
    use axum::extract::State;
    use axum::http::StatusCode;
    use livepeer_settings::{Drain, Role};
    use tokio::time::Instant;

    #[test]
    fn ready_only_when_every_expected_component_is_well() {
        let health = Health::new(Role::Gateway, Lifecycle::default());
        assert!(!health.status().ready, "nothing has reported");
        health.expect("engine");
        health.set("listener", Ok(()));
        assert_eq!(health.reasons(), ["engine: starting"]);
        health.set("engine", Err("no worker".to_owned()));
        assert_eq!(health.reasons(), ["engine: no worker"]);
        assert!(health.started());
        health.set("engine", Ok(()));
        assert!(health.status().ready);
    }

    #[test]
    fn a_process_told_to_stop_is_not_ready() {
        let lifecycle = Lifecycle::default();
        let health = Health::new(Role::Gateway, lifecycle.clone());
        health.set("listener", Ok(()));
        lifecycle.stop_now();
        assert!(!health.status().ready && health.status().draining);
        assert!(!health.serves());
    }

    #[test]
    fn a_process_serves_once_it_has_met_what_it_depends_on_and_is_not_ready_by_that() {
        let health = Health::new(Role::Gateway, Lifecycle::default());
        health.set_dependency("orchestrators", Err("has no transcoder".to_owned()));
        assert!(!health.serves());
        health.meet("orchestrators");
        assert!(health.serves() && !health.status().ready);
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_drains_serves_though_nothing_new_could_be_done() {
        let lifecycle = Lifecycle::default();
        let health = Health::new(Role::Gateway, lifecycle.clone());
        health.set_dependency("orchestrators", Err("none answers".to_owned()));
        assert!(!health.serves(), "never was ready");
        health.set_dependency("orchestrators", Ok(()));
        health.set_dependency("orchestrators", Err("gone".to_owned()));
        assert!(!health.status().ready && health.serves());
        health.set("engine", Err("no worker".to_owned()));
        assert!(!health.serves());
        let drain = Drain::default();
        let later = drain.lame_duck + Duration::from_secs(1);
        let winding = lifecycle.wind_down(&drain);
        let look = async {
            tokio::task::yield_now().await;
            assert!(!health.status().ready && health.serves(), "lame duck");
            tokio::time::sleep(later).await;
            assert!(!health.status().ready && health.serves(), "draining");
        };
        tokio::join!(winding, look);
        assert!(!health.serves(), "stopped");
    }

    #[tokio::test(start_paused = true)]
    async fn the_startup_probe_is_answered_when_all_are_well_and_not_before() {
        let health = Health::new(Role::Transcoder, Lifecycle::default());
        health.expect("engine");
        let steps = async {
            for state in [Err("not registered yet".to_owned()), Ok(())] {
                tokio::time::sleep(Duration::from_secs(3)).await;
                health.set("engine", Ok(()));
                health.set("registration", state);
            }
        };
        let asked = Instant::now();
        let (answer, ()) = tokio::join!(startupz(State(health.clone())), steps);
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(asked.elapsed(), Duration::from_secs(6));
    }

    #[tokio::test(start_paused = true)]
    async fn the_startup_probe_of_a_start_that_takes_long_is_answered_in_time() {
        let health = Health::new(Role::Transcoder, Lifecycle::default());
        health.expect("engine");
        let asked = Instant::now();
        let answer = startupz(State(health.clone())).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        // others may be away for ever: it has started all the same
        health.set("engine", Ok(()));
        health.set("registration", Err("refused".to_owned()));
        let answer = startupz(State(health)).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(asked.elapsed(), 2 * STARTUP_HOLD);
    }

    #[tokio::test(start_paused = true)]
    async fn the_startup_probe_does_not_hold_up_the_end() {
        let lifecycle = Lifecycle::default();
        let health = Health::new(Role::Gateway, lifecycle.clone());
        let asked = Instant::now();
        let told = async { lifecycle.stop_now() };
        let (answer, ()) = tokio::join!(startupz(State(health)), told);
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(asked.elapsed(), Duration::ZERO);
    }
}
