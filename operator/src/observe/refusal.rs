//! Pods that the API server refuses to whoever makes them: there is none to look at, and
//! the words are elsewhere. Changes nothing.
//!
//! A Deployment has them in its status. A StatefulSet's controller only puts them into an
//! Event, which says nothing of now; so the pod is asked for once more, dry: what keeps one
//! from us keeps one from the controller. (Not seen is a claim that is refused.)

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::PodReport;
use crate::apply::{self, Owner};
use crate::names::{Component, Part};

/// What the API server said when a pod of `owner` was to be made; `None` when as many of the
/// newest template are there as wanted, or nothing was said.
pub async fn fetch(
    client: &Client,
    owner: &Owner,
    component: Component,
    wanted: usize,
    pods: &[PodReport],
) -> Result<Option<String>, kube::Error> {
    let newest = pods.iter().filter(|pod| pod.current && !pod.terminating);
    if newest.count() >= wanted {
        return Ok(None);
    }
    let name = component.child(&owner.reference.name, Part::Main);
    match component {
        Component::Pool | Component::Gateway => {
            let api: Api<Deployment> = Api::namespaced(client.clone(), &owner.namespace);
            let found = api.get_opt(&name).await?;
            Ok(found.as_ref().and_then(of_deployment))
        }
        // the next one is made when the last has gone
        Component::Orchestrator if !pods.is_empty() => Ok(None),
        Component::Orchestrator => of_set(client, owner, &name).await,
    }
}

/// What its ReplicaSets met, if it knows of the newest spec.
fn of_deployment(deployment: &Deployment) -> Option<String> {
    let status = deployment.status.as_ref()?;
    if status.observed_generation != deployment.metadata.generation {
        return None;
    }
    let mut conditions = status.conditions.iter().flatten();
    conditions
        .find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True")?
        .message
        .clone()
}

async fn of_set(client: &Client, owner: &Owner, name: &str) -> Result<Option<String>, kube::Error> {
    let sets: Api<StatefulSet> = Api::namespaced(client.clone(), &owner.namespace);
    let set = sets.get_opt(name).await?;
    let Some(pod) = set.as_ref().and_then(missing) else {
        return Ok(None);
    };
    // one that is going away refuses everything
    if !apply::is_alive(client, &owner.namespace).await? {
        return Ok(None);
    }
    let dry = PostParams {
        dry_run: true,
        field_manager: None,
    };
    let pod = serde_json::from_value(pod).expect("made as a pod in `missing`");
    let pods: Api<Pod> = Api::namespaced(client.clone(), &owner.namespace);
    match pods.create(&dry, &pod).await {
        // 500: a webhook that should have been asked does not answer
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 422 | 500) => {
            Ok(Some(status.message.clone()))
        }
        // there by now, or nothing that a dry request finds out
        Ok(_) | Err(kube::Error::Api(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The first pod of a StatefulSet that wants one, whose controller has looked, and that has
/// none. Pure.
fn missing(set: &StatefulSet) -> Option<Value> {
    let (spec, status) = (set.spec.as_ref()?, set.status.as_ref()?);
    let looked = status.observed_generation == set.metadata.generation;
    if !looked || status.replicas >= spec.replicas? {
        return None;
    }
    let name = format!("{}-0", set.metadata.name.as_ref()?);
    let template = serde_json::to_value(&spec.template).expect("what was read is plain JSON");
    let (mut metadata, mut pod) = (template["metadata"].clone(), template["spec"].clone());
    metadata["name"] = name.clone().into();
    if let Some(volumes) = pod["volumes"].as_array_mut() {
        let claims = spec.volume_claim_templates.iter().flatten();
        volumes.extend(claims.filter_map(|claim| {
            let volume = claim.metadata.name.as_ref()?;
            let claim = json!({"claimName": format!("{volume}-{name}")});
            Some(json!({"name": volume, "persistentVolumeClaim": claim}))
        }));
    }
    Some(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod}))
}

#[cfg(test)]
mod tests {
    use super::{fetch, missing};
    use crate::apply::child::ChildKind;
    use crate::apply::tests::Table;
    use crate::build::tests::{child, owner};
    use crate::names::Component;
    use crate::observe::rollout::tests::pod;
    use crate::orchestrator::build::tests::made;
    use http::StatusCode;
    use kube::Client;
    use serde_json::{Value, json};

    /// The StatefulSet of an Orchestrator, as its controller left it.
    fn set(status: Value) -> Value {
        let made = made(json!({}), &[]);
        let mut set = child(&made, ChildKind::StatefulSet, "video-orchestrator").clone();
        set["metadata"]["generation"] = 2.into();
        set["status"] = status;
        set
    }

    async fn said(component: Component, name: &str, object: Value, code: StatusCode) -> String {
        let table = Table::refusing(code, [(name, object)]);
        let client = Client::new(table.clone(), "ns");
        let owner = owner("Orchestrator", "video");
        let said = fetch(&client, &owner, component, 1, &[]).await.unwrap();
        let dry = table.asked("POST");
        let is_pod = |line: &String| line == "POST /api/v1/namespaces/ns/pods";
        assert!(dry.iter().all(is_pod), "{dry:?}");
        said.unwrap_or_else(|| format!("asked {}", dry.len()))
    }

    #[tokio::test]
    async fn a_deployment_says_itself_what_its_pods_met() {
        let failure = json!({"type": "ReplicaFailure", "status": "True", "message": "exceeded"});
        let deployment = |observed| {
            json!({"metadata": {"name": "video-pool", "generation": 2},
                "status": {"observedGeneration": observed, "conditions": [failure]}})
        };
        let of = |observed| {
            let refuses = StatusCode::FORBIDDEN;
            said(Component::Pool, "video-pool", deployment(observed), refuses)
        };
        assert_eq!(of(2).await, "exceeded");
        assert_eq!(of(1).await, "asked 0", "it has not seen the newest spec");
    }

    #[tokio::test]
    async fn the_pod_that_a_statefulset_lacks_is_asked_for_and_only_that() {
        let name = "video-orchestrator";
        let of = |status: Value, code| said(Component::Orchestrator, name, set(status), code);
        let none = json!({"observedGeneration": 2, "replicas": 0});
        for code in [StatusCode::FORBIDDEN, StatusCode::UNPROCESSABLE_ENTITY] {
            assert_eq!(of(none.clone(), code).await, "said so");
        }
        for code in [StatusCode::CONFLICT, StatusCode::BAD_REQUEST] {
            assert_eq!(of(none.clone(), code).await, "asked 1");
        }
        for enough in [
            json!({"observedGeneration": 2, "replicas": 1}),
            json!({"observedGeneration": 1, "replicas": 0}),
        ] {
            assert_eq!(of(enough, StatusCode::FORBIDDEN).await, "asked 0");
        }
    }

    #[tokio::test]
    async fn where_pods_are_as_wanted_nobody_is_asked() {
        let table = Table::refusing(StatusCode::FORBIDDEN, []);
        let client = Client::new(table.clone(), "ns");
        let owner = owner("Orchestrator", "video");
        let there = [pod("a", true, false)];
        for component in Component::ALL {
            let said = fetch(&client, &owner, component, 1, &there).await.unwrap();
            assert_eq!(said, None);
        }
        // an older one is to go first
        let older = [pod("a", false, true)];
        let said = fetch(&client, &owner, Component::Orchestrator, 1, &older).await;
        assert_eq!(said.unwrap(), None);
        assert_eq!(table.asked(""), Vec::<String>::new());
    }

    #[test]
    fn it_is_the_pod_that_the_statefulset_would_make() {
        let set = set(json!({"observedGeneration": 2, "replicas": 0}));
        let pod = missing(&serde_json::from_value(set.clone()).unwrap()).unwrap();
        let template = &set["spec"]["template"];
        assert_eq!(pod["metadata"]["name"], "video-orchestrator-0");
        assert_eq!(pod["metadata"]["labels"], template["metadata"]["labels"]);
        assert_eq!(
            pod["spec"]["containers"][0]["image"],
            template["spec"]["containers"][0]["image"]
        );
        let volumes = pod["spec"]["volumes"].as_array().unwrap();
        let data = volumes.iter().find(|volume| volume["name"] == "data");
        let claim = json!({"claimName": "data-video-orchestrator-0"});
        assert_eq!(data.unwrap()["persistentVolumeClaim"], claim);
    }
}
