//! Watches of the custom resources: they fill the stores, and a change of one resource
//! makes those due that depend on it.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use super::due::{self, Queues};
use super::known::{Change, Known};
use super::{Scope, api, next};
use crate::api::orchestrator::Transcoding;
use crate::api::{Gateway, Orchestrator, TranscoderPool};
use crate::apply::verified::Verified;
use crate::backoff::Backoff;
use crate::context::Stores;
use crate::credential::PoolIdentity;
use crate::departed::Departed;
use crate::kind::Kind;
use crate::names::Component;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher;
use kube::runtime::{WatchStreamExt, reflector, watcher as watch};
use kube::{Api, Client, ResourceExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Who else is due when a resource of this kind changes.
pub trait Dependents: Kind {
    /// What of an object others depend on.
    type Face: Clone + PartialEq + Send;

    /// Nothing else about the object makes others due.
    fn face(&self) -> Self::Face;

    /// The orchestrators that a pool leaves when its face changes, and who it is there.
    fn parting(_before: &Self::Face, _after: Option<&Self::Face>) -> Vec<(String, PoolIdentity)> {
        Vec::new()
    }

    /// The names, in the same namespace, of those that depend on the object with this face.
    fn dependents(
        name: &str,
        face: &Self::Face,
        namespace: &str,
        stores: &Stores,
    ) -> Vec<(Component, String)>;
}

/// An orchestrator matters to its pools and gateways by being there, and to pools by
/// taking transcoders.
impl Dependents for Orchestrator {
    type Face = (Option<String>, Transcoding);

    fn face(&self) -> Self::Face {
        (self.uid(), self.spec.transcoding)
    }

    fn dependents(
        name: &str,
        _: &Self::Face,
        namespace: &str,
        stores: &Stores,
    ) -> Vec<(Component, String)> {
        due::of_orchestrator(name, namespace, stores)
    }
}

/// What orchestrators know of a pool: whose credential they have.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolFace {
    /// `None` for one that the API server has not given a UID.
    pool: Option<PoolIdentity>,
    orchestrators: BTreeSet<String>,
}

impl Dependents for TranscoderPool {
    type Face = PoolFace;

    fn face(&self) -> PoolFace {
        let orchestrators = self.orchestrators().into_iter();
        PoolFace {
            pool: PoolIdentity::of(self),
            orchestrators: orchestrators.map(str::to_owned).collect(),
        }
    }

    fn parting(before: &PoolFace, after: Option<&PoolFace>) -> Vec<(String, PoolIdentity)> {
        let stays = |left: &String| after.is_some_and(|after| after.orchestrators.contains(left));
        let left = before.orchestrators.iter().filter(|left| !stays(left));
        left.filter_map(|left| Some((left.clone(), before.pool.clone()?)))
            .collect()
    }

    fn dependents(_: &str, face: &PoolFace, _: &str, _: &Stores) -> Vec<(Component, String)> {
        let orchestrators = face.orchestrators.iter();
        orchestrators
            .map(|name| (Component::Orchestrator, name.clone()))
            .collect()
    }
}

/// Nobody depends on a gateway.
impl Dependents for Gateway {
    type Face = ();

    fn face(&self) {}

    fn dependents(_: &str, (): &(), _: &str, _: &Stores) -> Vec<(Component, String)> {
        Vec::new()
    }
}

/// What is remembered of resources beside their stores, and let go of with them: a
/// cluster that makes and deletes them for a year must not fill the operator.
#[derive(Clone)]
pub struct Memory {
    pub verified: Arc<Verified>,
    pub backoff: Arc<Backoff>,
    /// Let go of by itself, a moment later.
    pub departed: Arc<Departed>,
}

impl Memory {
    fn forget(&self, component: Component, namespace: &str, name: &str, uid: &str) {
        let key = (component, namespace.to_owned(), name.to_owned());
        self.backoff.succeeded(&key);
        self.verified.forget_owner(uid);
    }
}

/// Watches one kind until cancelled.
pub async fn watch_kind<K>(
    client: Client,
    scope: Scope,
    writer: Writer<DeserializeGuard<K>>,
    stores: Stores,
    queues: Queues,
    memory: Memory,
    cancel: CancellationToken,
) where
    K: Dependents + Debug,
{
    let api: Api<DeserializeGuard<K>> = api(&client, &scope);
    let stream = watch(api, watcher::Config::default())
        .default_backoff()
        .modify(|object| *object.managed_fields_mut() = Vec::new());
    let mut events = Box::pin(reflector(writer, stream));
    let mut known = Known::<K>::default();
    while let Some(event) = next(&mut events, &cancel, K::COMPONENT.word()).await {
        let changes = known.after(&event);
        // all of them before anybody is told to look
        for change in &changes {
            part(change, &memory.departed);
        }
        for change in changes {
            act(change, &stores, &queues, &memory).await;
        }
    }
}

/// Remembers who left.
fn part<K: Dependents>(change: &Change<K>, departed: &Departed) {
    let (namespace, _) = &change.place;
    let before = change.before.as_ref();
    if let Some(before) = before.filter(|_| change.concerns_others()) {
        for (orchestrator, pool) in K::parting(before, change.after.as_ref()) {
            departed.add(namespace, &orchestrator, pool, Instant::now());
        }
    }
}

/// Forgets what is gone; then those are due whom it concerns.
async fn act<K: Dependents>(change: Change<K>, stores: &Stores, queues: &Queues, memory: &Memory) {
    let changed = change.concerns_others();
    let Change {
        place: (namespace, name),
        before,
        after,
        gone,
    } = change;
    queues.push(K::COMPONENT, &namespace, &name).await;
    if let Some(uid) = gone {
        memory.forget(K::COMPONENT, &namespace, &name, &uid);
    }
    for face in before.into_iter().chain(after).filter(|_| changed) {
        for (component, name) in K::dependents(&name, &face, &namespace, stores) {
            queues.push(component, &namespace, &name).await;
        }
    }
}

/// Waits until an applier may start: each store has its first list.
pub async fn wait_for_stores(stores: &Stores) -> bool {
    let Stores {
        orchestrators,
        pools,
        gateways,
    } = stores;
    let ready = futures::join!(
        orchestrators.wait_until_ready(),
        pools.wait_until_ready(),
        gateways.wait_until_ready()
    );
    matches!(ready, (Ok(()), Ok(()), Ok(())))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Dependents, Memory, PoolFace, due, watch_kind};
    use crate::api::TranscoderPool;
    use crate::context::Stores;
    use crate::names::Component;
    use crate::transcoder_pool::build::tests::pool;
    use crate::watch::due::tests::store;
    use http::{Request, Response};
    use kube::client::{Body, Client};
    use kube::runtime::reflector;
    use serde_json::json;
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::task::JoinSet;
    use tokio_util::sync::CancellationToken;

    /// The face of a pool that works for these orchestrators.
    pub(crate) fn face(orchestrators: &[&str]) -> PoolFace {
        let Some((wanted, seen)) = orchestrators.split_first() else {
            let credential = json!({"name": "s", "key": "k"});
            let external = json!({"address": "https://o:1", "credentialSecretRef": credential});
            return pool(json!({"orchestrator": {"external": external}})).face();
        };
        let mut pool = pool(json!({"orchestrator": {"ref": {"name": wanted}}}));
        pool.status = serde_json::from_value(json!({ "orchestrators": seen })).unwrap();
        pool.face()
    }

    /// The orchestrators that a pool leaves.
    fn left(before: &PoolFace, after: Option<&PoolFace>) -> Vec<String> {
        let parting = TranscoderPool::parting(before, after);
        assert!(parting.iter().all(|(_, pool)| pool.epoch == "0"));
        parting.into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn a_pool_leaves_its_orchestrator_when_it_is_deleted_or_has_moved_and_not_with_a_new_epoch() {
        let before = face(&["o"]);
        for after in [None, Some(face(&["p"])), Some(face(&[]))] {
            assert_eq!(left(&before, after.as_ref()), ["o"]);
        }
        let mut raised = before.clone();
        raised.pool.as_mut().unwrap().epoch = "1".into();
        assert_eq!(left(&before, Some(&raised)), [""; 0]);
        assert_eq!(left(&face(&[]), None), [""; 0]);
    }

    #[test]
    fn a_pool_that_moves_leaves_when_its_pods_have_moved_and_a_deleted_one_leaves_both() {
        let moving = face(&["p", "o"]);
        assert_eq!(left(&face(&["o"]), Some(&moving)), [""; 0]);
        assert_eq!(left(&moving, Some(&face(&["p", "p"]))), ["o"]);
        assert_eq!(left(&moving, None), ["o", "p"]);
    }

    fn memory() -> Memory {
        Memory {
            verified: Arc::default(),
            backoff: Arc::default(),
            departed: Arc::default(),
        }
    }

    /// Appliers take nothing before all stores are full, and their queues have an end.
    #[tokio::test]
    async fn a_first_list_that_is_longer_than_a_queue_fills_its_store() {
        let pools: Vec<_> = (0..1000)
            .map(|number| {
                let mut pool = pool(json!({"orchestrator": {"ref": {"name": "o"}}}));
                pool.metadata.name = Some(format!("p{number}"));
                pool
            })
            .collect();
        let list = json!({"metadata": {"resourceVersion": "1"}, "items": pools}).to_string();
        let server = tower::service_fn(move |request: Request<Body>| {
            let list = list.clone();
            async move {
                let query = request.uri().query().unwrap_or_default();
                if query.contains("watch") {
                    std::future::pending::<()>().await;
                }
                Ok::<_, Infallible>(Response::new(Body::from(list.into_bytes())))
            }
        });
        let (pools, writer) = reflector::store();
        let stores = Stores {
            orchestrators: store(Vec::new()),
            pools: pools.clone(),
            gateways: store(Vec::new()),
        };
        let (queues, mut receivers) = due::queues();
        let cancel = CancellationToken::new();
        let mut watch = JoinSet::new();
        watch.spawn(watch_kind::<TranscoderPool>(
            Client::new(server, "ns"),
            Some("ns".to_owned()),
            writer,
            stores,
            queues,
            memory(),
            cancel.clone(),
        ));
        let ready = tokio::time::timeout(Duration::from_secs(10), pools.wait_until_ready()).await;
        ready.expect("the list is complete").unwrap();
        assert_eq!(pools.len(), 1000);
        for _ in 0..1000 {
            receivers.orchestrators.recv().await.unwrap();
            receivers.pools.recv().await.unwrap();
        }
        cancel.cancel();
        watch.join_next().await.unwrap().unwrap();
    }

    #[test]
    fn a_deleted_resource_leaves_nothing_behind() {
        let memory = memory();
        let key = (Component::Pool, "ns".to_owned(), "a".to_owned());
        let first = memory.backoff.failed(key.clone(), 0.0);
        memory.verified.found_swept("uid", "set".into());
        memory.forget(Component::Pool, "ns", "a", "uid");
        assert!(!memory.verified.is_swept("uid", "set"));
        assert_eq!(memory.backoff.failed(key, 0.0), first);
    }
}
