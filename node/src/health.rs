//! The plain listener of a process: `/livez /readyz /startupz /metrics /status`.
//!
//! | Path | Answers 200 when |
//! |---|---|
//! | `/livez` | the process answers at all |
//! | `/startupz` | every component has reported once |
//! | `/readyz` | every component is well, and the process was not told to stop |
//!
//! A component is a fixed name that a role registers when it starts, such as
//! `engine` or `registration`. Anything else answers 503 with the reasons.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use livepeer_settings::Role;
use livepeer_settings::status::NodeStatus;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::lifecycle::{Lifecycle, Phase};

/// What the components of a process say of themselves; cheap to clone.
#[derive(Clone)]
pub struct Health {
    role: Role,
    lifecycle: Lifecycle,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    components: BTreeMap<&'static str, Component>,
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
                reporters: Vec::new(),
                registry: Registry::with_prefix("livepeer"),
            })),
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
            match &state {
                Component::Failing(reason) => tracing::warn!(component, reason, "not ready"),
                Component::Well | Component::Starting => tracing::info!(component, "ready"),
            }
        }
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

    fn started(&self) -> bool {
        self.with(|inner| {
            !inner.components.is_empty()
                && !inner
                    .components
                    .values()
                    .any(|state| *state == Component::Starting)
        })
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
    verdict(health.started(), &health.reasons())
}

async fn readyz(State(health): State<Health>) -> Response {
    let reasons = health.reasons();
    verdict(reasons.is_empty(), &reasons)
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
    use super::Health;
    use crate::lifecycle::Lifecycle;
    use livepeer_settings::Role;

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
    }
}
