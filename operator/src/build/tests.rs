//! What every builder's tests need, and what must hold for the children of all kinds.

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, PodSpec, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Built, Surroundings, settings};
use crate::apply::Owner;
use crate::apply::child::{Child, ChildKind};
use crate::apply::compare;

/// The owner of a resource called `name`, which is called differently from any kind.
pub fn owner(kind: &str, name: &str) -> Owner {
    Owner {
        namespace: "ns".into(),
        reference: OwnerReference {
            api_version: "livepeer.org/v1alpha1".into(),
            kind: kind.into(),
            name: name.into(),
            uid: "u-1".into(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        },
        selector: String::new(),
    }
}

pub fn surroundings() -> Surroundings {
    Surroundings {
        node_image: "example/node:1".into(),
        operator_namespace: "livepeer-system".into(),
        scrape_from: vec![json!({"namespaceSelector": {"matchLabels": {"team": "watch"}}})],
    }
}

/// The child of a kind; `end` tells apart two of one kind.
pub fn child<'a>(built: &'a Built, kind: ChildKind, end: &str) -> &'a Value {
    let child = built
        .children
        .iter()
        .find(|child| child.kind == kind && child.name.ends_with(end))
        .unwrap_or_else(|| panic!("no {kind:?} {end}"));
    &child.object
}

/// The pod's spec in a workload.
pub fn pod_spec(workload: &Value) -> &Value {
    &workload["spec"]["template"]["spec"]
}

/// The settings file that the pods read.
pub fn settings_file(built: &Built) -> &str {
    let pod: PodSpec = serde_json::from_value(pod_spec(workload(built)).clone()).unwrap();
    let key = settings::key_read(&pod).unwrap();
    let file = &child(built, ChildKind::ConfigMap, "-settings")["data"][key];
    file.as_str().unwrap()
}

fn workload(built: &Built) -> &Value {
    let mut children = built.children.iter();
    let workload = children.find(|child| child.kind.makes_pods());
    &workload.expect("every kind has a workload").object
}

/// What must hold for the children of every kind.
pub fn check_all(built: &Built) {
    for child in &built.children {
        assert!(child.name.len() <= 63, "{}", child.name);
        assert_eq!(child.object["metadata"]["ownerReferences"][0]["uid"], "u-1");
        assert_eq!(
            child.object["metadata"]["labels"]["app.kubernetes.io/managed-by"],
            "livepeer-operator"
        );
        check_fields(child);
    }
    let workload = workload(built);
    check_restricted(pod_spec(workload));
    check_selected(built, workload);
    assert_eq!(settings_file(built), settings::render(&built.settings));
}

/// A misspelt field is lost on the way through the typed API.
fn check_fields(child: &Child) {
    match child.kind {
        ChildKind::Secret => read_back::<Secret>(child),
        ChildKind::ConfigMap => read_back::<ConfigMap>(child),
        ChildKind::Service => read_back::<Service>(child),
        ChildKind::NetworkPolicy => read_back::<NetworkPolicy>(child),
        ChildKind::PodDisruptionBudget => read_back::<PodDisruptionBudget>(child),
        ChildKind::StatefulSet => read_back::<StatefulSet>(child),
        ChildKind::Deployment => read_back::<Deployment>(child),
    }
}

fn read_back<K: DeserializeOwned + Serialize>(child: &Child) {
    let typed: K = serde_json::from_value(child.object.clone()).unwrap();
    let typed = serde_json::to_value(typed).unwrap();
    assert_eq!(
        compare::difference(&child.object, &typed),
        None,
        "{}",
        child.name
    );
}

/// The `restricted` Pod Security Standard, and what we promise beyond it.
fn check_restricted(pod: &Value) {
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["enableServiceLinks"], false);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_ne!(pod["securityContext"]["runAsUser"], 0);
    assert_eq!(
        pod["securityContext"]["seccompProfile"]["type"],
        "RuntimeDefault"
    );
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        assert!(pod.get(field).is_none());
    }
    for container in pod["containers"].as_array().unwrap() {
        let security = &container["securityContext"];
        assert_eq!(security["allowPrivilegeEscalation"], false);
        assert_eq!(security["readOnlyRootFilesystem"], true);
        assert_eq!(security["capabilities"]["drop"], json!(["ALL"]));
        assert!(container["resources"]["limits"]["memory"].is_string());
        assert!(container["resources"]["requests"]["memory"].is_string());
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            assert_eq!(container[probe]["httpGet"]["port"], "probe");
        }
    }
    for volume in pod["volumes"].as_array().unwrap() {
        assert!(volume.get("hostPath").is_none());
        if let Some(scratch) = volume.get("emptyDir") {
            assert!(scratch["sizeLimit"].is_string(), "scratch space is bounded");
        }
    }
}

/// Every selector finds the pods, and every named port of a Service is one of theirs.
fn check_selected(built: &Built, workload: &Value) {
    let labels = &workload["spec"]["template"]["metadata"]["labels"];
    let ports = &pod_spec(workload)["containers"][0]["ports"];
    let names: Vec<_> = ports
        .as_array()
        .unwrap()
        .iter()
        .map(|port| &port["name"])
        .collect();
    let selects = |selector: &Value| {
        selector
            .as_object()
            .unwrap()
            .iter()
            .all(|(key, value)| labels[key] == *value)
    };
    assert!(selects(&workload["spec"]["selector"]["matchLabels"]));
    for child in &built.children {
        let spec = &child.object["spec"];
        match child.kind {
            ChildKind::Service => {
                assert!(selects(&spec["selector"]));
                assert!(names.contains(&&spec["ports"][0]["targetPort"]));
            }
            ChildKind::PodDisruptionBudget => assert!(selects(&spec["selector"]["matchLabels"])),
            ChildKind::NetworkPolicy => assert!(selects(&spec["podSelector"]["matchLabels"])),
            ChildKind::Secret
            | ChildKind::ConfigMap
            | ChildKind::StatefulSet
            | ChildKind::Deployment => {}
        }
    }
}
