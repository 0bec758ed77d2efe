//! The queues of resources that are due, one a kind, and the ways into them.
//!
//! The applier behind each queue keeps one entry an object, so a burst of events costs
//! one reconcile.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DeserializeGuard;
use kube::runtime::controller::{ReconcileReason, ReconcileRequest};
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::api::{Gateway, Orchestrator, TranscoderPool};
use crate::context::Stores;
use crate::kind::Kind;
use crate::names::{Component, LABEL_COMPONENT, LABEL_INSTANCE};

/// Events that may wait for an applier, which takes them at once; a full queue holds
/// its watch back and loses nothing.
const QUEUE: usize = 256;

/// A request for one kind's applier.
pub type Request<K> = ReconcileRequest<DeserializeGuard<K>>;

/// The sending ends.
#[derive(Clone)]
pub struct Queues {
    orchestrators: Sender<Request<Orchestrator>>,
    pools: Sender<Request<TranscoderPool>>,
    gateways: Sender<Request<Gateway>>,
}

/// The receiving ends.
pub struct Receivers {
    pub orchestrators: Receiver<Request<Orchestrator>>,
    pub pools: Receiver<Request<TranscoderPool>>,
    pub gateways: Receiver<Request<Gateway>>,
}

/// A queue for each kind.
#[must_use]
pub fn queues() -> (Queues, Receivers) {
    let (orchestrators, due_orchestrators) = channel(QUEUE);
    let (pools, due_pools) = channel(QUEUE);
    let (gateways, due_gateways) = channel(QUEUE);
    let queues = Queues {
        orchestrators,
        pools,
        gateways,
    };
    let receivers = Receivers {
        orchestrators: due_orchestrators,
        pools: due_pools,
        gateways: due_gateways,
    };
    (queues, receivers)
}

impl Queues {
    /// One resource is due.
    pub async fn push(&self, component: Component, namespace: &str, name: &str) {
        // an applier that is gone is being stopped, and this watch with it
        let _gone = match component {
            Component::Orchestrator => self
                .orchestrators
                .send(request(namespace, name))
                .await
                .is_err(),
            Component::Pool => self.pools.send(request(namespace, name)).await.is_err(),
            Component::Gateway => self.gateways.send(request(namespace, name)).await.is_err(),
        };
    }

    /// The owners of a child are due; with `stores`, also who refers to it as a Secret.
    pub async fn owners(&self, child: &ObjectMeta, stores: Option<&Stores>) {
        let namespace = child.namespace.as_deref().unwrap_or_default();
        for owner in child.owner_references.iter().flatten() {
            if let Some(component) = component_of(&owner.kind) {
                self.push(component, namespace, &owner.name).await;
            }
        }
        let (Some(stores), Some(secret)) = (stores, child.name.as_deref()) else {
            return;
        };
        for (component, name) in referrers(stores, namespace, secret) {
            self.push(component, namespace, &name).await;
        }
    }

    /// The resource whose labels a pod carries is due. A pool's pods also say what their
    /// orchestrator offers, an orchestrator's what its gateways can use; those look for
    /// themselves every few seconds.
    pub async fn instance(&self, pod: &ObjectMeta) {
        let labels = pod.labels.as_ref();
        let label = |key: &str| labels.and_then(|labels| labels.get(key));
        let component = label(LABEL_COMPONENT).and_then(|word| Component::from_word(word));
        if let (Some(component), Some(name)) = (component, label(LABEL_INSTANCE)) {
            self.push(
                component,
                pod.namespace.as_deref().unwrap_or_default(),
                name,
            )
            .await;
        }
    }
}

fn request<K>(namespace: &str, name: &str) -> Request<K>
where
    K: Resource<DynamicType = ()>,
{
    ReconcileRequest {
        obj_ref: ObjectRef::new(name).within(namespace),
        reason: ReconcileReason::Unknown,
    }
}

fn component_of(kind: &str) -> Option<Component> {
    [
        (Orchestrator::kind(&()), Orchestrator::COMPONENT),
        (TranscoderPool::kind(&()), TranscoderPool::COMPONENT),
        (Gateway::kind(&()), Gateway::COMPONENT),
    ]
    .into_iter()
    .find_map(|(word, component)| (word == kind).then_some(component))
}

/// Resources whose spec names the Secret.
fn referrers(stores: &Stores, namespace: &str, secret: &str) -> Vec<(Component, String)> {
    let mut found = Vec::new();
    for pool in stores.pools.state() {
        if let Ok(pool) = &pool.0
            && pool.namespace().as_deref() == Some(namespace)
            && let Some(external) = &pool.spec.orchestrator.external
            && external.credential_secret_ref.name == secret
        {
            found.push((Component::Pool, pool.name_any()));
        }
    }
    for gateway in stores.gateways.state() {
        if let Ok(gateway) = &gateway.0
            && gateway.namespace().as_deref() == Some(namespace)
            && let Some(token) = &gateway.spec.ingest.http.token_secret_ref
            && token.name == secret
        {
            found.push((Component::Gateway, gateway.name_any()));
        }
    }
    found
}
