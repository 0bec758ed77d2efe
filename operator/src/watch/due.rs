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
use crate::names::{APP_NAME, Component, LABEL_COMPONENT, LABEL_INSTANCE, LABEL_NAME, Part};

/// Events that may wait for an applier, which takes them at once when it has started; a full
/// queue holds its watch back and loses nothing.
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

    /// Whose child it is: those are due whom its owner references name, and whom its
    /// labels name, so that a hand that takes away the one or the other is noticed. A pod
    /// has the labels, a rehearsal the owner. (A pool's pods also say what their orchestrator
    /// offers, an orchestrator's what its gateways can use; those look for themselves every
    /// few seconds, and at once when such a pod goes: [`Self::bereaved`].)
    pub async fn child(&self, child: &ObjectMeta) {
        let namespace = child.namespace.as_deref().unwrap_or_default();
        for (component, name) in concerned(child) {
            self.push(component, namespace, &name).await;
        }
    }

    /// Those are due that read a Secret which is not theirs.
    pub async fn referrers(&self, secret: &ObjectMeta, stores: &Stores) {
        let namespace = secret.namespace.as_deref().unwrap_or_default();
        let name = secret.name.as_deref().unwrap_or_default();
        for (component, name) in referrers(stores, namespace, name) {
            self.push(component, namespace, &name).await;
        }
    }

    /// Those are due that stood on a pod which goes: they must not say that all is well
    /// until their next look.
    pub async fn bereaved(&self, pod: &ObjectMeta, stores: &Stores) {
        let namespace = pod.namespace.as_deref().unwrap_or_default();
        if let Some((component, name)) = labelled(pod) {
            for (component, name) in bereaved(stores, component, namespace, &name) {
                self.push(component, namespace, &name).await;
            }
        }
    }
}

/// Those that stand on the pods of a resource. Of a pool that is deleted nobody knows them
/// any more; its orchestrators are due when its credential is revoked.
fn bereaved(
    stores: &Stores,
    component: Component,
    namespace: &str,
    name: &str,
) -> Vec<(Component, String)> {
    match component {
        Component::Pool => {
            let found = stores.pools.get(&ObjectRef::new(name).within(namespace));
            let pool = found.as_ref().and_then(|found| found.0.as_ref().ok());
            let orchestrators = pool.into_iter().flat_map(TranscoderPool::orchestrators);
            orchestrators
                .map(|name| (Component::Orchestrator, name.to_owned()))
                .collect()
        }
        Component::Orchestrator => of_orchestrator(name, namespace, stores),
        Component::Gateway => Vec::new(),
    }
}

/// The pools and the gateways of an orchestrator.
pub(super) fn of_orchestrator(
    name: &str,
    namespace: &str,
    stores: &Stores,
) -> Vec<(Component, String)> {
    let mut found = Vec::new();
    for pool in stores.pools.state() {
        if let Ok(pool) = &pool.0
            && pool.namespace().as_deref() == Some(namespace)
            && pool.orchestrators().contains(name)
        {
            found.push((Component::Pool, pool.name_any()));
        }
    }
    for gateway in stores.gateways.state() {
        if let Ok(gateway) = &gateway.0
            && gateway.namespace().as_deref() == Some(namespace)
            && gateway
                .spec
                .orchestrators
                .refs
                .iter()
                .any(|reference| reference.name == name)
        {
            found.push((Component::Gateway, gateway.name_any()));
        }
    }
    found
}

/// The owners of a child, and the resource whose labels it carries.
fn concerned(child: &ObjectMeta) -> Vec<(Component, String)> {
    let owners = child.owner_references.iter().flatten();
    let mut found: Vec<_> = owners
        .filter_map(|owner| Some((component_of(&owner.kind)?, owner.name.clone())))
        .collect();
    found.extend(labelled(child));
    found.sort();
    found.dedup();
    found
}

/// The resource that an object's labels name.
fn labelled(object: &ObjectMeta) -> Option<(Component, String)> {
    let labels = object.labels.as_ref()?;
    if labels.get(LABEL_NAME).is_none_or(|name| name != APP_NAME) {
        return None;
    }
    let component = Component::from_word(labels.get(LABEL_COMPONENT)?)?;
    Some((component, labels.get(LABEL_INSTANCE)?.clone()))
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

/// Resources that read the Secret: their spec names it, or it is the key from which their
/// orchestrator derives their credential.
fn referrers(stores: &Stores, namespace: &str, secret: &str) -> Vec<(Component, String)> {
    let mut found = Vec::new();
    for pool in stores.pools.state() {
        if let Ok(pool) = &pool.0
            && pool.namespace().as_deref() == Some(namespace)
            && reads(pool, secret)
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

/// A pool that waits for its orchestrator's key, or has a credential made from an older
/// one, is not to wait for its next look.
fn reads(pool: &TranscoderPool, secret: &str) -> bool {
    let external = pool.spec.orchestrator.external.as_ref();
    external.is_some_and(|external| external.credential_secret_ref.name == secret)
        || pool
            .orchestrators()
            .into_iter()
            .any(|name| Component::Orchestrator.child(name, Part::Key) == secret)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{bereaved, concerned, reads};
    use crate::context::Stores;
    use crate::gateway::build::tests::gateway;
    use crate::kind::Kind;
    use crate::names::Component;
    use crate::transcoder_pool::build::tests::pool;
    use kube::core::DeserializeGuard;
    use kube::runtime::reflector::Store;
    use kube::runtime::reflector::store::Writer;
    use kube::runtime::watcher::Event;
    use serde_json::{Value, json};

    /// A store with these objects.
    pub(crate) fn store<K: Kind>(objects: Vec<K>) -> Store<DeserializeGuard<K>> {
        let mut writer = Writer::default();
        writer.apply_watcher_event(&Event::Init);
        for object in objects {
            writer.apply_watcher_event(&Event::InitApply(DeserializeGuard(Ok(object))));
        }
        writer.apply_watcher_event(&Event::InitDone);
        writer.as_reader()
    }

    #[test]
    fn a_pod_that_goes_makes_those_due_that_stood_on_it() {
        let ingest = json!({"http": {"allowUnauthenticated": true}});
        let refs = json!({"refs": [{"name": "video"}]});
        let gateway = gateway(json!({"orchestrators": refs, "ingest": ingest}));
        let pool = pool(json!({"orchestrator": {"ref": {"name": "video"}}}));
        let (of_pool, of_gateway) = (pool.metadata.name.clone(), gateway.metadata.name.clone());
        let (of_pool, of_gateway) = (of_pool.unwrap(), of_gateway.unwrap());
        let stores = Stores {
            orchestrators: store(Vec::new()),
            pools: store(vec![pool]),
            gateways: store(vec![gateway]),
        };
        let due = |component, name: &str| bereaved(&stores, component, "ns", name);
        let video = (Component::Orchestrator, "video".to_owned());
        assert_eq!(due(Component::Pool, &of_pool), [video]);
        assert_eq!(due(Component::Pool, "deleted"), []);
        assert_eq!(
            due(Component::Orchestrator, "video"),
            [
                (Component::Pool, of_pool),
                (Component::Gateway, of_gateway.clone())
            ]
        );
        assert_eq!(due(Component::Gateway, &of_gateway), []);
    }

    fn child(metadata: Value) -> Vec<(Component, String)> {
        concerned(&serde_json::from_value(metadata).unwrap())
    }

    #[test]
    fn a_child_concerns_its_owner_once_and_also_when_a_hand_took_half_of_that_away() {
        let labels = json!({"app.kubernetes.io/name": "livepeer",
            "app.kubernetes.io/component": "pool", "app.kubernetes.io/instance": "a"});
        let owners = json!([{"apiVersion": "livepeer.org/v1alpha1", "kind": "TranscoderPool",
            "name": "a", "uid": "u"}]);
        let concerned = vec![(Component::Pool, "a".to_owned())];
        for metadata in [
            json!({"labels": labels, "ownerReferences": owners}),
            json!({"labels": labels}),
            json!({"ownerReferences": owners}),
        ] {
            assert_eq!(child(metadata.clone()), concerned, "{metadata}");
        }
        assert_eq!(
            child(json!({"labels": {"app.kubernetes.io/instance": "a"}})),
            []
        );
    }

    #[test]
    fn a_pool_is_due_when_the_key_of_its_orchestrator_appears_or_changes() {
        let of = |orchestrator| pool(json!({ "orchestrator": orchestrator }));
        let derived = of(json!({"ref": {"name": "video"}}));
        assert!(reads(&derived, "video-orchestrator-key"));
        assert!(!reads(&derived, "other-orchestrator-key"));
        let external =
            json!({"address": "https://o:1", "credentialSecretRef": {"name": "s", "key": "k"}});
        assert!(reads(&of(json!({ "external": external })), "s"));
    }
}
