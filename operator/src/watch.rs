//! Watches of one scope: what changed, and whom to reconcile for it.
//!
//! Resources are kept in stores. Children, pods and Secrets are watched by metadata
//! only: a change marks the child as unverified ([`crate::apply::verified`]) and its
//! owner as due. Everything else is read when it is needed.

pub mod due;
pub mod known;
pub mod resources;

use std::fmt::Debug;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::PartialObjectMeta;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::apply::child::ChildKind;
use crate::apply::verified::{Key, Verified};
use crate::context::Stores;
use crate::names::{APP_NAME, LABEL_NAME};
use due::Queues;

/// A namespace, or all of them.
pub type Scope = Option<String>;

/// The API of `K` in a scope.
#[must_use]
pub fn api<K>(client: &Client, scope: &Scope) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match scope {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Watches children of one kind until cancelled.
pub async fn children<K>(
    client: Client,
    scope: Scope,
    kind: ChildKind,
    verified: Arc<Verified>,
    queues: Queues,
    cancel: CancellationToken,
) where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + 'static,
{
    let ours = watcher::Config::default().labels(&format!("{LABEL_NAME}={APP_NAME}"));
    let api: Api<PartialObjectMeta<K>> = api(&client, &scope);
    let mut events = Box::pin(watch(api, ours).default_backoff());
    while let Some(event) = next(&mut events, &cancel, kind).await {
        match event {
            // what was deleted while nobody watched is not reported: nothing is certain
            Event::Init => verified.doubt_all(kind),
            Event::InitDone => verified.forget_unseen(kind),
            Event::InitApply(child) | Event::Apply(child) => {
                verified.saw(
                    key(kind, &child),
                    child.metadata.resource_version.clone(),
                    false,
                );
                queues.child(&child.metadata).await;
            }
            Event::Delete(child) => {
                verified.saw(key(kind, &child), None, true);
                queues.child(&child.metadata).await;
            }
        }
    }
}

/// Watches pods until cancelled: readiness, problems, evictions. One that goes is also news
/// for those that stand on it.
pub async fn pods(
    client: Client,
    scope: Scope,
    stores: Stores,
    queues: Queues,
    cancel: CancellationToken,
) {
    let ours = watcher::Config::default().labels(&format!("{LABEL_NAME}={APP_NAME}"));
    let api: Api<PartialObjectMeta<Pod>> = api(&client, &scope);
    let mut events = Box::pin(watch(api, ours).default_backoff());
    while let Some(event) = next(&mut events, &cancel, "Pod").await {
        match event {
            Event::Init | Event::InitDone => {}
            Event::InitApply(pod) | Event::Apply(pod) => {
                queues.child(&pod.metadata).await;
                if pod.metadata.deletion_timestamp.is_some() {
                    queues.bereaved(&pod.metadata, &stores).await;
                }
            }
            Event::Delete(pod) => {
                queues.child(&pod.metadata).await;
                queues.bereaved(&pod.metadata, &stores).await;
            }
        }
    }
}

/// Watches all Secrets until cancelled: our own, and those that specs refer to. Only
/// metadata comes over the wire.
pub async fn secrets(
    client: Client,
    scope: Scope,
    verified: Arc<Verified>,
    stores: Stores,
    queues: Queues,
    cancel: CancellationToken,
) {
    let kind = ChildKind::Secret;
    let api: Api<PartialObjectMeta<Secret>> = api(&client, &scope);
    let mut events = Box::pin(watch(api, watcher::Config::default()).default_backoff());
    while let Some(event) = next(&mut events, &cancel, kind).await {
        match event {
            Event::Init => verified.doubt_all(kind),
            Event::InitDone => verified.forget_unseen(kind),
            Event::InitApply(secret) | Event::Apply(secret) => {
                verified.saw_secret(
                    key(kind, &secret),
                    secret.metadata.resource_version.clone(),
                    secret.metadata.owner_references.is_some(),
                );
                queues.child(&secret.metadata).await;
                queues.referrers(&secret.metadata, &stores).await;
            }
            Event::Delete(secret) => {
                verified.saw(key(kind, &secret), None, true);
                queues.child(&secret.metadata).await;
                queues.referrers(&secret.metadata, &stores).await;
            }
        }
    }
}

/// The next event; `None` when cancelled. Errors are logged: the watch backs off and
/// starts again by itself.
async fn next<K: Debug>(
    events: &mut (impl futures::Stream<Item = Result<Event<K>, watcher::Error>> + Unpin),
    cancel: &CancellationToken,
    what: impl Debug,
) -> Option<Event<K>> {
    loop {
        let event = tokio::select! {
            () = cancel.cancelled() => return None,
            event = events.next() => event?,
        };
        match event {
            Ok(event) => return Some(event),
            Err(error) => tracing::warn!(?what, %error, "watch failed and starts again"),
        }
    }
}

fn key<K>(kind: ChildKind, object: &PartialObjectMeta<K>) -> Key {
    Key {
        kind,
        namespace: object.metadata.namespace.clone().unwrap_or_default(),
        name: object.metadata.name.clone().unwrap_or_default(),
    }
}
