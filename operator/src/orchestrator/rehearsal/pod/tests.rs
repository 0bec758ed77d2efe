//! What a rehearsal has of the StatefulSet's pod, and what not.

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::{build, wants_no_more};
use crate::apply::child::ChildKind;
use crate::apply::compare;
use crate::build::tests::{child, owner, pod_spec};
use crate::orchestrator::build::tests::made;

/// The StatefulSet of an Orchestrator with this spec, and its rehearsal beside `running`.
fn rehearsal(spec: Value, running: Option<&Pod>) -> (Value, Value) {
    let made = made(spec, &["a"]);
    let set = child(&made, ChildKind::StatefulSet, "video-orchestrator");
    let pod = build(&owner("Orchestrator", "video"), set, running);
    let typed: Pod = serde_json::from_value(pod.clone()).unwrap();
    let typed = serde_json::to_value(typed).unwrap();
    assert_eq!(compare::difference(&pod, &typed), None, "misspelt");
    (set.clone(), pod)
}

fn running(requests: Value) -> Pod {
    serde_json::from_value(json!({"spec": {"containers": [
        {"name": "node", "resources": {"requests": requests}}]}}))
    .unwrap()
}

#[test]
fn it_reads_what_the_real_pod_reads_and_ends() {
    let (set, pod) = rehearsal(
        json!({"image": "x", "imagePullSecrets": [{"name": "s"}],
            "podTemplate": {"nodeSelector": {"a": "b"}, "priorityClassName": "high"}}),
        None,
    );
    let (real, tried) = (pod_spec(&set), &pod["spec"]);
    for same in [
        "securityContext",
        "imagePullSecrets",
        "nodeSelector",
        "priorityClassName",
        "automountServiceAccountToken",
    ] {
        assert!(!real[same].is_null(), "{same}");
        assert_eq!(tried[same], real[same], "{same}");
    }
    let (real, tried) = (&real["containers"][0], &tried["containers"][0]);
    for same in ["image", "volumeMounts", "securityContext"] {
        assert_eq!(tried[same], real[same], "{same}");
    }
    let mut arguments = real["args"].as_array().unwrap().clone();
    arguments.push("--print-settings".into());
    assert_eq!(tried["args"], Value::from(arguments));
    assert_eq!(pod["spec"]["restartPolicy"], "OnFailure");
}

#[test]
fn no_selector_finds_it_and_its_volume_is_its_own() {
    let (set, pod) = rehearsal(json!({}), None);
    let labels = &pod["metadata"]["labels"];
    let selector = set["spec"]["selector"]["matchLabels"].as_object().unwrap();
    assert!(selector.iter().any(|(key, value)| labels[key] != *value));
    assert_eq!(pod["metadata"]["name"], "video-orchestrator-rehearsal");
    assert_eq!(pod["metadata"]["ownerReferences"][0]["uid"], "u-1");
    assert_eq!(
        pod["metadata"]["annotations"],
        set["spec"]["template"]["metadata"]["annotations"]
    );
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    let data = volumes.iter().find(|volume| volume["name"] == "data");
    assert!(data.unwrap()["emptyDir"]["sizeLimit"].is_string());
    assert!(volumes.iter().any(|volume| volume["name"] == "credentials"));
}

#[test]
fn it_asks_for_what_the_running_pod_has_not_got() {
    let resources = |spec: &Value, running: Option<&Pod>| {
        let (_, pod) = rehearsal(spec.clone(), running);
        pod["spec"]["containers"][0]["resources"].clone()
    };
    let usual = running(json!({"cpu": "100m", "memory": "128Mi"}));
    assert_eq!(
        resources(&json!({}), Some(&usual)),
        json!({"requests": {"cpu": "1m", "memory": "1Mi"}, "limits": {"memory": "2Gi"}})
    );
    let large =
        json!({"podTemplate": {"resources": {"requests": {"cpu": "64", "memory": "1152Mi"}}}});
    assert_eq!(
        resources(&large, Some(&usual)),
        json!({"requests": {"cpu": "63900m", "memory": "1073741824"}, "limits": {"memory": "2Gi"}})
    );
    let bounded = json!({"podTemplate": {"resources": {"limits": {"cpu": "2"}}}});
    let resources = resources(&bounded, Some(&usual));
    assert_eq!(resources["requests"]["cpu"], "1900m");
    assert_eq!(resources["limits"]["cpu"], "2");
}

#[test]
fn what_has_room_for_the_running_pod_has_room_for_one_that_wants_no_more() {
    let beside = |requests: Value, limits: Value| {
        let resources = json!({"requests": requests, "limits": limits});
        let container = json!({"name": "node", "resources": resources});
        let pod = json!({"spec": {"containers": [container]}});
        serde_json::from_value::<Pod>(pod).unwrap()
    };
    let fits = |spec: Value, running: Option<&Pod>| {
        let (set, _) = rehearsal(spec, running);
        wants_no_more(&set, running)
    };
    let requests = json!({"cpu": "100m", "memory": "128Mi"});
    let usual = beside(requests.clone(), json!({"memory": "2Gi"}));
    assert!(fits(json!({"image": "x"}), Some(&usual)));
    assert!(!fits(json!({}), None), "nobody's room becomes free");
    let smaller = beside(requests, json!({"memory": "1Gi"}));
    assert!(!fits(json!({}), Some(&smaller)));
    let more = json!({"podTemplate": {"resources": {"requests": {"cpu": "1"}}}});
    assert!(!fits(more, Some(&usual)));
}

#[test]
fn it_asks_for_cards_only_where_the_running_pod_has_fewer() {
    let spec = json!({"transcoding": "Embedded", "gpu": {"count": 2}});
    for (has, asks) in [(2, Value::Null), (1, json!("1")), (0, json!("2"))] {
        let running = running(json!({"nvidia.com/gpu": has.to_string()}));
        let (_, pod) = rehearsal(spec.clone(), Some(&running));
        let resources = &pod["spec"]["containers"][0]["resources"];
        assert_eq!(resources["requests"]["nvidia.com/gpu"], asks, "{has}");
        assert_eq!(resources["limits"]["nvidia.com/gpu"], asks, "{has}");
    }
    let claim = json!({"transcoding": "Embedded", "gpu": {"claimTemplateName": "t"}});
    let (set, pod) = rehearsal(claim, None);
    assert!(pod_spec(&set).get("resourceClaims").is_some());
    assert!(pod["spec"].get("resourceClaims").is_none());
}

#[test]
fn the_pod_that_serves_is_not_in_its_way() {
    let apart = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname",
         "labelSelector": {"matchLabels": {"app.kubernetes.io/instance": "video"}}}]},
        "nodeAffinity": {}});
    let spread =
        json!([{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]);
    let template = json!({"affinity": apart, "topologySpreadConstraints": spread});
    let (_, pod) = rehearsal(json!({ "podTemplate": template }), None);
    assert_eq!(pod["spec"]["affinity"], json!({"nodeAffinity": {}}));
    assert!(pod["spec"].get("topologySpreadConstraints").is_none());
}
