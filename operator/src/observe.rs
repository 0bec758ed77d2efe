//! What is really there: pods, what the nodes in them say, whether Services answer.
//! Only reads.

pub mod ask;
pub mod refusal;
pub mod rollout;
pub mod written;

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use livepeer_settings::Role;
use livepeer_settings::status::NodeStatus;

use crate::build::service::authority;
use crate::names::{ANNOTATION_TEMPLATE, Component, Part};

/// One pod of a resource.
#[derive(Debug, Clone)]
pub struct PodReport {
    pub pod: Pod,
    /// Made from the newest template.
    pub current: bool,
    pub ready: bool,
    pub terminating: bool,
    /// What its node says; `None` when it does not answer.
    pub node: Option<NodeStatus>,
}

impl PodReport {
    #[must_use]
    pub fn name(&self) -> String {
        self.pod.name_any()
    }

    /// Address of the node that it runs on.
    #[must_use]
    pub fn host_ip(&self) -> Option<&str> {
        self.pod.status.as_ref()?.host_ip.as_deref()
    }
}

/// The pods of `owner`, each asked for its status. `template` is the hash of the newest.
pub async fn pods(
    client: &Client,
    http: &reqwest::Client,
    namespace: &str,
    component: Component,
    owner: &str,
    template: &str,
) -> Result<Vec<PodReport>, kube::Error> {
    let mut pods = list(client, namespace, component, owner).await?;
    pods.retain(|pod| !has_ended(pod));
    let addresses: Vec<_> = pods.iter().map(|pod| address(pod, component)).collect();
    let questions = addresses.into_iter().map(|address| {
        let http = http.clone();
        async move { ask::node(&http, &address?).await }
    });
    let nodes = ask::all(questions).await;
    let reports = pods.into_iter().zip(nodes);
    Ok(reports
        .map(|(pod, node)| report(pod, node, template))
        .collect())
}

/// The pods of `owner`, also those that have ended.
pub async fn list(
    client: &Client,
    namespace: &str,
    component: Component,
    owner: &str,
) -> Result<Vec<Pod>, kube::Error> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let labels = ListParams::default().labels(&selector(component, owner));
    Ok(api.list(&labels).await?.items)
}

/// The label selector of a resource's pods, as text.
#[must_use]
pub fn selector(component: Component, owner: &str) -> String {
    let pairs = component.selector(owner);
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    pairs.join(",")
}

/// The Service for clients of `owner`.
pub async fn service(
    client: &Client,
    namespace: &str,
    component: Component,
    owner: &str,
) -> Result<Option<Service>, kube::Error> {
    let name = component.child(owner, Part::Main);
    Api::namespaced(client.clone(), namespace)
        .get_opt(&name)
        .await
}

/// The role that pods of a component run.
#[must_use]
pub fn role(component: Component) -> Role {
    match component {
        Component::Orchestrator => Role::Orchestrator,
        Component::Pool => Role::Transcoder,
        Component::Gateway => Role::Gateway,
    }
}

/// Evicted and finished pods stay listed until they are collected; they say nothing.
fn has_ended(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Where the node in a pod answers, once it runs.
fn address(pod: &Pod, component: Component) -> Option<String> {
    let status = pod.status.as_ref()?;
    let ip = status.pod_ip.as_ref()?;
    let running = status.phase.as_deref() == Some("Running");
    running.then(|| authority(ip, role(component).probe_port()))
}

fn report(pod: Pod, node: Option<NodeStatus>, template: &str) -> PodReport {
    let ready = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref())
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    PodReport {
        current: pod
            .annotations()
            .get(ANNOTATION_TEMPLATE)
            .is_some_and(|hash| hash == template),
        ready,
        terminating: pod.metadata.deletion_timestamp.is_some(),
        node,
        pod,
    }
}
