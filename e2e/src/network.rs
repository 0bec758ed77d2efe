//! A Livepeer network under test: resources in a namespace of their own, and what a
//! test asks of them. Waits for conditions, never for time.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
};
use livepeer_operator::names::FIELD_MANAGER;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cluster::{Cluster, Forward, health};
use crate::install;
use crate::stream::Pusher;

/// Pods start, images are there: on two busy cores.
pub const STARTS: Duration = Duration::from_secs(120);
/// Anything that the operator does by itself once it knows.
pub const REACTS: Duration = Duration::from_secs(20);
/// Short, so that no test waits for a drain that is not its subject.
const DRAIN: &str = "10s";

/// The resources of one namespace.
pub struct Network {
    pub cluster: Cluster,
    pub namespace: String,
}

impl Network {
    /// Applies one resource, with a short drain unless it says otherwise.
    pub async fn apply(&self, kind: &str, name: &str, mut spec: Value) -> Result<()> {
        if spec["drain"].is_null() {
            spec["drain"] = json!({ "deadline": DRAIN });
        }
        let object = json!({
            "apiVersion": "livepeer.org/v1alpha1", "kind": kind,
            "metadata": {"name": name}, "spec": spec,
        });
        self.api(kind)
            .patch(
                name,
                &PatchParams::apply("test").force(),
                &Patch::Apply(object),
            )
            .await
            .with_context(|| format!("cannot apply {kind} {name}"))?;
        Ok(())
    }

    /// An orchestrator with a pool of `replicas`, and a gateway, all of one name.
    pub async fn smallest(&self, name: &str, replicas: u32) -> Result<()> {
        self.apply("Orchestrator", name, json!({})).await?;
        let pool = json!({"orchestrator": {"ref": {"name": name}}, "replicas": replicas});
        self.apply("TranscoderPool", name, pool).await?;
        self.apply("Gateway", name, gateway(&[name])).await?;
        install::ready(&self.cluster, &self.namespace, STARTS).await
    }

    /// A merge patch of the spec.
    pub async fn edit(&self, kind: &str, name: &str, spec: Value) -> Result<()> {
        let patch = Patch::Merge(json!({ "spec": spec }));
        self.api(kind)
            .patch(name, &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }

    pub async fn delete(&self, kind: &str, name: &str) -> Result<()> {
        self.api(kind)
            .delete(name, &DeleteParams::default())
            .await?;
        Ok(())
    }

    /// Objects of one of our kinds, without their types.
    #[must_use]
    pub fn api(&self, kind: &str) -> Api<DynamicObject> {
        install::resources(&self.cluster, &self.namespace, kind)
    }

    /// Children of a kind, without their types.
    #[must_use]
    pub fn child(&self, kind: &str, version: &str) -> Api<DynamicObject> {
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Api::namespaced_with(self.cluster.client(), &self.namespace, &resource)
    }

    /// Waits until a condition of a resource has this status and reason; gives its message.
    pub async fn condition(
        &self,
        (kind, name): (&str, &str),
        (condition, status, reason): (&str, &str, &str),
        patience: Duration,
    ) -> Result<String> {
        let what = format!("{kind} {name}: {condition}={status} {reason}");
        health::until(Instant::now() + patience, &what, || async {
            let object = self.api(kind).get(name).await?;
            let found = install::condition(&object, condition);
            ensure!(
                found["status"] == status && found["reason"] == reason,
                "{condition} is {found}"
            );
            Ok(found["message"].as_str().unwrap_or_default().to_owned())
        })
        .await
    }

    /// Waits until the operator has put an Event of this type and reason on a resource; gives
    /// its note.
    pub async fn event(
        &self,
        (kind, name): (&str, &str),
        (weight, reason): (&str, &str),
        patience: Duration,
    ) -> Result<String> {
        let events: Api<Event> = Api::namespaced(self.cluster.client(), &self.namespace);
        let what = format!("an Event of {kind} {name}: {weight} {reason}");
        health::until(Instant::now() + patience, &what, || async {
            let there = events.list(&ListParams::default()).await?;
            let event = there.into_iter().find(|event| {
                let on = event.regarding.as_ref();
                on.and_then(|on| on.kind.as_deref()) == Some(kind)
                    && on.and_then(|on| on.name.as_deref()) == Some(name)
                    && event.type_.as_deref() == Some(weight)
                    && event.reason.as_deref() == Some(reason)
                    && event.reporting_controller.as_deref() == Some(FIELD_MANAGER)
            });
            let event = event.context("there is none")?;
            Ok(event.note.unwrap_or_default())
        })
        .await
    }

    /// Pods of a resource that are not on their way out.
    pub async fn pods(&self, component: &str, name: &str) -> Result<Vec<Pod>> {
        let labels = format!(
            "app.kubernetes.io/name=livepeer,app.kubernetes.io/component={component},app.kubernetes.io/instance={name}"
        );
        let all = Api::<Pod>::namespaced(self.cluster.client(), &self.namespace)
            .list(&ListParams::default().labels(&labels))
            .await?;
        Ok(all
            .items
            .into_iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none())
            .collect())
    }

    /// Name and UID of every pod, for "nothing was restarted".
    pub async fn pod_identities(&self) -> Result<Vec<(String, String, i32)>> {
        let pods = Api::<Pod>::namespaced(self.cluster.client(), &self.namespace);
        let mut identities: Vec<_> = pods
            .list(&ListParams::default())
            .await?
            .into_iter()
            .map(|pod| {
                let restarts = pod
                    .status
                    .and_then(|status| status.container_statuses)
                    .into_iter()
                    .flatten()
                    .map(|container| container.restart_count)
                    .sum();
                let meta = pod.metadata;
                (
                    meta.name.unwrap_or_default(),
                    meta.uid.unwrap_or_default(),
                    restarts,
                )
            })
            .collect();
        identities.sort();
        Ok(identities)
    }

    /// A pusher to a gateway, and the forward that it goes through.
    pub async fn pusher(&self, gateway: &str) -> Result<(Pusher, Forward)> {
        let service = format!("svc/{gateway}-gateway");
        let forward = self
            .cluster
            .forward(&self.namespace, &service, 9935)
            .await?;
        Ok((
            Pusher::new(&format!("http://{}", forward.address))?,
            forward,
        ))
    }

    /// The first pod's name of a resource.
    pub async fn pod(&self, component: &str, name: &str) -> Result<String> {
        let pods = self.pods(component, name).await?;
        match pods.into_iter().next().and_then(|pod| pod.metadata.name) {
            Some(pod) => Ok(pod),
            None => bail!("no pod of {component} {name}"),
        }
    }
}

/// Spec of a gateway that anyone may push to.
#[must_use]
pub fn gateway(orchestrators: &[&str]) -> Value {
    let refs: Vec<Value> = orchestrators
        .iter()
        .map(|name| json!({ "name": name }))
        .collect();
    json!({
        "orchestrators": {"refs": refs},
        "ingest": {"http": {"allowUnauthenticated": true}},
    })
}
