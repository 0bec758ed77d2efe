//! Everything that runs for one scope while this replica leads: watches, and an
//! applier for each kind.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Client;
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::apply::child::ChildKind;
use crate::apply::verified::Verified;
use crate::build::Surroundings;
use crate::context::{Context, Stores};
use crate::metrics::Metrics;
use crate::names::FIELD_MANAGER;
use crate::reconcile::{after_error, reconcile};
use crate::turns;
use crate::watch::due::{self, Queues};
use crate::watch::resources::{Memory, wait_for_stores, watch_kind};
use crate::watch::{self, Scope};

/// What every scope is given.
#[derive(Clone)]
pub struct Shared {
    pub client: Client,
    pub http: reqwest::Client,
    pub surroundings: Arc<Surroundings>,
    pub metrics: Arc<Metrics>,
}

/// Runs until `cancel`; returns when every watch and every reconcile has ended.
pub async fn run(scope: Scope, shared: Shared, cancel: CancellationToken) {
    let (orchestrators, orchestrators_writer) = reflector::store();
    let (pools, pools_writer) = reflector::store();
    let (gateways, gateways_writer) = reflector::store();
    let stores = Stores {
        orchestrators,
        pools,
        gateways,
    };
    let (queues, receivers) = due::queues();
    let client = &shared.client;
    let memory = Memory {
        verified: Arc::default(),
        backoff: Arc::default(),
        departed: Arc::default(),
    };
    let mut tasks = JoinSet::new();
    macro_rules! watch_resources {
        ($writer:expr) => {
            tasks.spawn(watch_kind(
                client.clone(),
                scope.clone(),
                $writer,
                stores.clone(),
                queues.clone(),
                memory.clone(),
                cancel.clone(),
            ));
        };
    }
    watch_resources!(orchestrators_writer);
    watch_resources!(pools_writer);
    watch_resources!(gateways_writer);

    let stopped = tokio::select! {
        ready = wait_for_stores(&stores) => !ready,
        () = cancel.cancelled() => true,
    };
    if stopped {
        // a watch that waits for room in a queue ends with it
        drop(receivers);
    } else {
        watch_children(
            &mut tasks,
            client,
            &scope,
            &memory.verified,
            &stores,
            &queues,
            &cancel,
        );
        let context = Arc::new(context(&shared, stores.clone(), memory));
        let due::Receivers {
            orchestrators,
            pools,
            gateways,
        } = receivers;
        tasks.spawn(turns::run(
            stores.orchestrators,
            orchestrators,
            Arc::clone(&context),
            cancel.clone(),
            reconcile,
            after_error,
        ));
        tasks.spawn(turns::run(
            stores.pools,
            pools,
            Arc::clone(&context),
            cancel.clone(),
            reconcile,
            after_error,
        ));
        tasks.spawn(turns::run(
            stores.gateways,
            gateways,
            context,
            cancel.clone(),
            reconcile,
            after_error,
        ));
    }
    drop(queues);
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "task of a scope failed");
            cancel.cancel();
        }
    }
}

fn context(shared: &Shared, stores: Stores, memory: Memory) -> Context {
    let Memory {
        verified,
        backoff,
        departed,
    } = memory;
    let reporter = Reporter {
        controller: FIELD_MANAGER.to_owned(),
        instance: None,
    };
    Context {
        client: shared.client.clone(),
        http: shared.http.clone(),
        surroundings: Arc::clone(&shared.surroundings),
        stores,
        verified,
        backoff,
        departed,
        recorder: Recorder::new(shared.client.clone(), reporter),
        metrics: Arc::clone(&shared.metrics),
    }
}

fn watch_children(
    tasks: &mut JoinSet<()>,
    client: &Client,
    scope: &Scope,
    verified: &Arc<Verified>,
    stores: &Stores,
    queues: &Queues,
    cancel: &CancellationToken,
) {
    macro_rules! watch_kind_of_child {
        ($type:ty, $kind:expr) => {
            tasks.spawn(watch::children::<$type>(
                client.clone(),
                scope.clone(),
                $kind,
                Arc::clone(verified),
                queues.clone(),
                cancel.clone(),
            ));
        };
    }
    watch_kind_of_child!(ConfigMap, ChildKind::ConfigMap);
    watch_kind_of_child!(Service, ChildKind::Service);
    watch_kind_of_child!(NetworkPolicy, ChildKind::NetworkPolicy);
    watch_kind_of_child!(PodDisruptionBudget, ChildKind::PodDisruptionBudget);
    watch_kind_of_child!(StatefulSet, ChildKind::StatefulSet);
    watch_kind_of_child!(Deployment, ChildKind::Deployment);
    tasks.spawn(watch::secrets(
        client.clone(),
        scope.clone(),
        Arc::clone(verified),
        stores.clone(),
        queues.clone(),
        cancel.clone(),
    ));
    tasks.spawn(watch::pods(
        client.clone(),
        scope.clone(),
        stores.clone(),
        queues.clone(),
        cancel.clone(),
    ));
}
