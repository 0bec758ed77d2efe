//! The settings that a resource's node has now: what no longer follows from anything else is
//! read from there. Also the specs of the pods that read them.

use k8s_openapi::api::core::v1::{ConfigMap, Pod, PodSpec};
use kube::api::DynamicObject;
use kube::{Api, Client};

use super::has_ended;
use crate::apply::child::ChildKind;
use crate::build::settings;
use crate::names::{Component, Part};

/// The settings of the resource called `name`; none where there is no such file.
pub async fn fetch(
    client: &Client,
    namespace: &str,
    component: Component,
    name: &str,
) -> Result<Option<toml::Table>, kube::Error> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let map = maps.get_opt(&component.child(name, Part::Settings)).await?;
    let mut files = map.and_then(|map| map.data).unwrap_or_default();
    // several while pods of several templates are there, or may be
    let key = if files.len() > 1 {
        let workload = workload(client, namespace, component, name).await?;
        let pod = workload.as_ref().and_then(pod_spec);
        pod.and_then(|pod| settings::key_read(&pod).map(str::to_owned))
    } else {
        None
    };
    let file = key.and_then(|key| files.remove(&key));
    let file = file.or_else(|| files.into_values().next());
    Ok(file.as_deref().and_then(parse))
}

/// A settings file as a table, since another version of the operator may have written it, or a
/// hand.
pub fn parse(file: &str) -> Option<toml::Table> {
    file.parse().ok()
}

/// What makes the pods of the resource called `name`.
pub async fn workload(
    client: &Client,
    namespace: &str,
    component: Component,
    name: &str,
) -> Result<Option<DynamicObject>, kube::Error> {
    let kind = match component {
        Component::Orchestrator => ChildKind::StatefulSet,
        Component::Pool | Component::Gateway => ChildKind::Deployment,
    };
    Api::namespaced_with(client.clone(), namespace, &kind.api_resource())
        .get_opt(&component.child(name, Part::Main))
        .await
}

/// What a workload makes its pods from.
fn pod_spec(workload: &DynamicObject) -> Option<PodSpec> {
    let spec = workload.data["spec"]["template"]["spec"].clone();
    serde_json::from_value(spec).ok()
}

/// The specs of a resource's pods: those that are there, and the one that its workload makes.
pub fn specs(workload: Option<&DynamicObject>, pods: &[Pod]) -> Vec<PodSpec> {
    let there = pods.iter().filter(|pod| !has_ended(pod));
    let there = there.filter_map(|pod| pod.spec.clone());
    there.chain(workload.and_then(pod_spec)).collect()
}
