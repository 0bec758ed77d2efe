//! Watches of the custom resources: they fill the stores, and a change of one resource
//! makes those due that depend on it.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use super::due::Queues;
use super::{Scope, api, next};
use crate::api::{Gateway, Orchestrator, TranscoderPool};
use crate::apply::verified::Verified;
use crate::backoff::Backoff;
use crate::context::Stores;
use crate::credential::PoolIdentity;
use crate::departed::Departed;
use crate::kind::Kind;
use crate::names::{ANNOTATION_CREDENTIAL_EPOCH, Component};
use kube::core::DeserializeGuard;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, reflector, watcher as watch};
use kube::{Api, Client, ResourceExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
/// Who else is due when a resource of this kind changes.
pub trait Dependents: Kind {
    /// What of the object others depend on; nothing else about it makes them due.
    fn face(&self) -> String;

    /// The orchestrators that a pool leaves when its face changes, and who it is there.
    fn parting(
        _name: &str,
        _uid: &str,
        _before: &str,
        _after: Option<&str>,
    ) -> Vec<(String, PoolIdentity)> {
        Vec::new()
    }

    /// The names, in the same namespace, of those that depend on the object with this face.
    fn dependents(
        name: &str,
        face: &str,
        namespace: &str,
        stores: &Stores,
    ) -> Vec<(Component, String)>;
}

/// An orchestrator matters to its pools and gateways by being there, and to pools by
/// taking transcoders.
impl Dependents for Orchestrator {
    fn face(&self) -> String {
        format!("{:?}", self.spec.transcoding)
    }

    fn dependents(
        name: &str,
        _: &str,
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
}

/// A pool matters to its orchestrators, which have its credential. Its face is their names
/// and the epoch, `a,b/1`.
impl Dependents for TranscoderPool {
    fn face(&self) -> String {
        let epoch = self.annotations().get(ANNOTATION_CREDENTIAL_EPOCH);
        let orchestrators: Vec<_> = self.orchestrators().into_iter().collect();
        let orchestrators = orchestrators.join(",");
        format!("{orchestrators}/{}", epoch.map_or("", String::as_str))
    }

    fn parting(
        name: &str,
        uid: &str,
        before: &str,
        after: Option<&str>,
    ) -> Vec<(String, PoolIdentity)> {
        let epoch = before.split_once('/').map_or("", |(_, epoch)| epoch);
        let pool = PoolIdentity {
            name: name.to_owned(),
            uid: uid.to_owned(),
            epoch: if epoch.is_empty() { "0" } else { epoch }.to_owned(),
        };
        let stays = |left: &str| after.is_some_and(|after| faced(after).any(|name| name == left));
        faced(before)
            .filter(|left| !stays(left))
            .map(|left| (left.to_owned(), pool.clone()))
            .collect()
    }

    fn dependents(_: &str, face: &str, _: &str, _: &Stores) -> Vec<(Component, String)> {
        faced(face)
            .map(|name| (Component::Orchestrator, name.to_owned()))
            .collect()
    }
}

/// The orchestrators in a pool's face.
fn faced(face: &str) -> impl Iterator<Item = &str> {
    let names = face.split('/').next().unwrap_or("");
    names.split(',').filter(|name| !name.is_empty())
}

/// Nobody depends on a gateway.
impl Dependents for Gateway {
    fn face(&self) -> String {
        String::new()
    }

    fn dependents(_: &str, _: &str, _: &str, _: &Stores) -> Vec<(Component, String)> {
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
    fn forget(&self, component: Component, namespace: &str, name: &str, uid: Option<&str>) {
        let key = (component, namespace.to_owned(), name.to_owned());
        self.backoff.succeeded(&key);
        if let Some(uid) = uid {
            self.verified.forget_owner(uid);
        }
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
    // faces of all objects, by namespace and name: a pool that moves to another
    // orchestrator makes both due
    let mut faces: HashMap<(String, String), (String, String)> = HashMap::new();
    while let Some(event) = next(&mut events, &cancel, K::COMPONENT.word()).await {
        let (object, deleted) = match event {
            Event::Init | Event::InitDone => continue,
            Event::InitApply(object) | Event::Apply(object) => (object, false),
            Event::Delete(object) => (object, true),
        };
        let namespace = object.namespace().unwrap_or_default();
        let name = object.name_any();
        queues.push(K::COMPONENT, &namespace, &name).await;
        if deleted {
            memory.forget(K::COMPONENT, &namespace, &name, object.uid().as_deref());
        }
        let key = (namespace.clone(), name.clone());
        let face = match (&object.0, deleted) {
            (Ok(read), false) => Some((object.uid().unwrap_or_default(), read.face())),
            (_, true) | (Err(_), _) => None,
        };
        let old = match &face {
            Some(face) => faces.insert(key, face.clone()),
            None => faces.remove(&key),
        };
        if old == face {
            continue;
        }
        if let Some((uid, before)) = &old {
            let after = face.as_ref().map(|(_, face)| face.as_str());
            for (orchestrator, pool) in K::parting(&name, uid, before, after) {
                let now = Instant::now();
                memory.departed.add(&namespace, &orchestrator, pool, now);
            }
        }
        for (_, face) in old.into_iter().chain(face) {
            for (component, name) in K::dependents(&name, &face, &namespace, &stores) {
                queues.push(component, &namespace, &name).await;
            }
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
mod tests {
    use super::{Dependents, Memory};
    use crate::api::TranscoderPool;
    use crate::names::Component;
    use crate::transcoder_pool::build::tests::pool;
    use serde_json::json;
    use std::sync::Arc;

    /// The orchestrators that a pool leaves.
    fn left(before: &str, after: Option<&str>) -> Vec<String> {
        let parting = TranscoderPool::parting("a", "u", before, after);
        assert!(parting.iter().all(|(_, pool)| pool.epoch == "0"));
        parting.into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn a_pool_leaves_its_orchestrator_when_it_is_deleted_or_has_moved_and_not_with_a_new_epoch() {
        for after in [None, Some("p/"), Some("/")] {
            assert_eq!(left("o/", after), ["o"]);
        }
        assert_eq!(left("o/", Some("o/1")), [""; 0]);
        assert_eq!(left("/", None), [""; 0]);
    }

    #[test]
    fn a_pool_that_moves_leaves_when_its_pods_have_moved_and_a_deleted_one_leaves_both() {
        let face = |seen| {
            let mut pool = pool(json!({"orchestrator": {"ref": {"name": "p"}}}));
            pool.status = serde_json::from_value(json!({ "orchestrators": seen })).unwrap();
            pool.face()
        };
        let before = pool(json!({"orchestrator": {"ref": {"name": "o"}}})).face();
        let moving = face(json!(["o"]));
        assert_eq!(left(&before, Some(&moving)), [""; 0]);
        assert_eq!(left(&moving, Some(&face(json!(["p"])))), ["o"]);
        assert_eq!(left(&moving, None), ["o", "p"]);
    }

    #[test]
    fn a_deleted_resource_leaves_nothing_behind() {
        let memory = Memory {
            verified: Arc::default(),
            backoff: Arc::default(),
            departed: Arc::default(),
        };
        let key = (Component::Pool, "ns".to_owned(), "a".to_owned());
        let first = memory.backoff.failed(key.clone(), 0.0);
        memory.verified.found_swept("uid", "set".into());
        memory.forget(Component::Pool, "ns", "a", Some("uid"));
        assert!(!memory.verified.is_swept("uid", "set"));
        assert_eq!(memory.backoff.failed(key, 0.0), first);
    }
}
