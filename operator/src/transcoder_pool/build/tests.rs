//! The children of a pool.

use serde_json::{Value, json};

use super::build;
use crate::api::TranscoderPool;
use crate::api::reference::SecretKeyRef;
use crate::apply::child::ChildKind;
use crate::build::Built;
use crate::build::tests::{check_all, child, owner, pod_spec, settings_file, surroundings};
use crate::transcoder_pool::fetch::{Credential, Fetched};
use crate::transcoder_pool::validate::validate;

/// A pool called `fast`.
pub(crate) fn pool(spec: Value) -> TranscoderPool {
    serde_json::from_value(
        json!({"apiVersion": "livepeer.org/v1alpha1", "kind": "TranscoderPool",
        "metadata": {"name": "fast", "namespace": "ns", "uid": "u-1"}, "spec": spec}),
    )
    .unwrap()
}

fn made(spec: Value, credential: Credential, left: &[&str]) -> Built {
    let pool = pool(spec);
    let owner = owner("TranscoderPool", "fast");
    let valid = validate(&pool, &owner).unwrap();
    let (elsewhere, left): (Vec<&str>, Vec<&str>) =
        left.iter().partition(|left| left.contains("://"));
    let fetched = Fetched {
        credential,
        left: left
            .iter()
            .map(|name| ((*name).to_owned(), format!("secret of {name}")))
            .collect(),
        left_elsewhere: elsewhere.iter().map(|at| at.parse().unwrap()).collect(),
    };
    build(&owner, &valid, &fetched, &surroundings())
}

fn with_ref(spec: Value) -> Built {
    moved(spec, "video", &[])
}

/// For the Orchestrator called `to`, with pods that work for those in `left`.
fn moved(mut spec: Value, to: &str, left: &[&str]) -> Built {
    spec["orchestrator"] = json!({"ref": {"name": to}});
    let credential = Credential::Derived {
        orchestrator: to.into(),
        secret: format!("secret of {to}"),
    };
    made(spec, credential, left)
}

fn external(address: &str, left: &[&str]) -> Built {
    let reference = SecretKeyRef {
        name: "theirs".into(),
        key: "k".into(),
    };
    let spec = json!({"orchestrator": {"external": {"address": address, "credentialSecretRef": reference}}});
    made(
        spec,
        Credential::External {
            secret: reference,
            hash: "h".into(),
        },
        left,
    )
}

#[test]
fn it_makes_everything_restricted_and_matching() {
    let built = with_ref(json!({"replicas": 3}));
    check_all(&built);
    let deployment = child(&built, ChildKind::Deployment, "fast-pool");
    assert_eq!(deployment["spec"]["replicas"], 3);
    let pod = pod_spec(deployment);
    assert_eq!(
        pod["volumes"][2]["secret"]["secretName"],
        "fast-pool-credentials"
    );
    let settings = livepeer_settings::parse("f", settings_file(&built)).unwrap();
    let settings = settings.transcoder;
    assert_eq!(
        settings.orchestrator.as_str(),
        "https://video-orchestrator.ns.svc:8935/"
    );
    assert_eq!(
        settings.credential_file.unwrap().to_str(),
        Some("/etc/livepeer/credentials/video")
    );
}

#[test]
fn pods_of_before_a_move_keep_their_credential_and_their_way_to_the_orchestrator() {
    let built = moved(json!({}), "new", &["old", "https://192.0.2.7:8935"]);
    check_all(&built);
    let data = &child(&built, ChildKind::Secret, "-credentials")["data"];
    // printf 'secret of old' | base64
    assert_eq!(data["old"], "c2VjcmV0IG9mIG9sZA==");
    assert_eq!(data["new"], "c2VjcmV0IG9mIG5ldw==");
    let policy = &child(&built, ChildKind::NetworkPolicy, "")["spec"]["egress"];
    let to = |at: usize| {
        let labels = &policy[at]["to"][0]["podSelector"]["matchLabels"];
        labels["app.kubernetes.io/instance"].clone()
    };
    assert_eq!([to(1), to(2)], ["new", "old"]);
    assert_eq!(policy[3]["to"][0]["ipBlock"]["cidr"], "192.0.2.7/32");
    let after = moved(json!({}), "new", &[]);
    assert_eq!(after.template_hash, built.template_hash);
    let data = &child(&after, ChildKind::Secret, "-credentials")["data"];
    assert_eq!(data.as_object().unwrap().len(), 1);
    let elsewhere = external("https://192.0.2.7:8935", &["old"]);
    let data = &child(&elsewhere, ChildKind::Secret, "-credentials")["data"];
    assert_eq!(*data, json!({"old": "c2VjcmV0IG9mIG9sZA=="}));
}

#[test]
fn cpu_pools_surge_and_gpu_pools_free_the_card_first() {
    let strategy = |spec| {
        with_ref(spec)
            .children
            .iter()
            .find(|child| child.kind == ChildKind::Deployment)
            .unwrap()
            .object["spec"]["strategy"]["rollingUpdate"]
            .clone()
    };
    assert_eq!(
        strategy(json!({})),
        json!({"maxSurge": 1, "maxUnavailable": 0})
    );
    assert_eq!(
        strategy(json!({"gpu": {"count": 1}})),
        json!({"maxSurge": 0, "maxUnavailable": 1})
    );
}

#[test]
fn a_gpu_pool_tolerates_the_taint_of_its_resource_beside_the_persons_own() {
    let built = with_ref(
        json!({"gpu": {"resource": "example.com/card", "count": 2, "runtimeClassName": "nvidia"},
        "podTemplate": {"tolerations": [{"key": "mine", "operator": "Exists"}]}}),
    );
    check_all(&built);
    let pod = pod_spec(child(&built, ChildKind::Deployment, ""));
    assert_eq!(pod["runtimeClassName"], "nvidia");
    assert_eq!(pod["tolerations"][0]["key"], "example.com/card");
    assert_eq!(pod["tolerations"][1]["key"], "mine");
    assert_eq!(
        pod["containers"][0]["resources"]["limits"]["example.com/card"],
        "2"
    );
    assert_eq!(
        pod["containers"][0]["env"][0]["name"],
        "NVIDIA_DRIVER_CAPABILITIES"
    );
}

#[test]
fn a_part_of_an_nvidia_card_also_tolerates_the_taint_of_whole_ones() {
    let keys = |resource: &str| -> Vec<Value> {
        let built = with_ref(json!({"gpu": {"resource": resource, "count": 1}}));
        let pod = pod_spec(child(&built, ChildKind::Deployment, "")).clone();
        let list = pod["tolerations"].as_array().unwrap();
        assert!(list.iter().all(|one| one["effect"] == "NoSchedule"));
        list.iter().map(|one| one["key"].clone()).collect()
    };
    assert_eq!(
        keys("nvidia.com/mig-1g.10gb"),
        ["nvidia.com/mig-1g.10gb", "nvidia.com/gpu"]
    );
    assert_eq!(keys("nvidia.com/gpu"), ["nvidia.com/gpu"]);
    assert_eq!(keys("example.com/card"), ["example.com/card"]);
}

#[test]
fn a_claim_template_gives_each_pod_a_claim() {
    let built = with_ref(json!({"gpu": {"claimTemplateName": "one-card"}}));
    check_all(&built);
    let pod = pod_spec(child(&built, ChildKind::Deployment, ""));
    assert_eq!(
        pod["resourceClaims"][0]["resourceClaimTemplateName"],
        "one-card"
    );
    assert_eq!(
        pod["containers"][0]["resources"]["claims"][0]["name"],
        "gpu"
    );
}

#[test]
fn a_pool_reaches_dns_and_its_orchestrator_and_nothing_else() {
    let built = with_ref(json!({}));
    let policy = &child(&built, ChildKind::NetworkPolicy, "")["spec"];
    assert_eq!(policy["policyTypes"], json!(["Egress", "Ingress"]));
    let egress = policy["egress"].as_array().unwrap();
    assert_eq!(egress.len(), 2);
    assert_eq!(egress[0]["ports"][0]["port"], 53);
    let to = &egress[1]["to"][0]["podSelector"]["matchLabels"];
    assert_eq!(to["app.kubernetes.io/instance"], "video");
    assert_eq!(to["app.kubernetes.io/component"], "orchestrator");
    assert_eq!(
        egress[1]["ports"],
        json!([{"protocol": "TCP", "port": 8935}])
    );
    let ingress = policy["ingress"].as_array().unwrap();
    assert_eq!(ingress.len(), 1);
    assert_eq!(ingress[0]["ports"][0]["port"], 6936);
    assert_eq!(ingress[0]["from"].as_array().unwrap().len(), 2);
}

#[test]
fn a_pool_of_an_orchestrator_elsewhere_reaches_that_address_with_its_secret() {
    let built = external("https://192.0.2.7:8935", &[]);
    check_all(&built);
    let policy = &child(&built, ChildKind::NetworkPolicy, "")["spec"]["egress"][1];
    assert_eq!(policy["to"][0]["ipBlock"]["cidr"], "192.0.2.7/32");
    let volume = &pod_spec(child(&built, ChildKind::Deployment, ""))["volumes"][2]["secret"];
    assert_eq!(
        *volume,
        json!({"secretName": "theirs", "items": [{"key": "k", "path": "credential"}]})
    );
    assert!(
        !built
            .children
            .iter()
            .any(|child| child.kind == ChildKind::Secret)
    );
    let by_name = external("https://o.example:8935", &[]);
    let policy = &child(&by_name, ChildKind::NetworkPolicy, "")["spec"]["egress"][1];
    assert!(policy.get("to").is_none(), "a policy cannot name a host");
}

#[test]
fn what_a_person_adds_to_the_pods_cannot_take_the_selector_away() {
    let built = with_ref(json!({"podTemplate": {
        "metadata": {"labels": {"team": "video", "app.kubernetes.io/name": "other"}, "annotations": {"a": "b"}},
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}],
        "priorityClassName": "high"}}));
    check_all(&built);
    let template = &child(&built, ChildKind::Deployment, "")["spec"]["template"];
    assert_eq!(template["metadata"]["labels"]["team"], "video");
    assert_eq!(template["metadata"]["annotations"]["a"], "b");
    let spread = &template["spec"]["topologySpreadConstraints"][0];
    assert_eq!(
        spread["labelSelector"]["matchLabels"]["app.kubernetes.io/instance"],
        "fast"
    );
}

#[test]
fn live_fields_keep_the_template() {
    let plain = with_ref(json!({}));
    for live in [
        json!({"logLevel": "trace"}),
        json!({"maxSessions": 1}),
        json!({"replicas": 5}),
    ] {
        assert_eq!(
            with_ref(live.clone()).template_hash,
            plain.template_hash,
            "{live}"
        );
    }
}

#[test]
fn bodies_follow_the_memory_limit_and_a_restart_finds_the_self_test_again() {
    let spec = json!({"podTemplate": {"resources": {"limits": {"memory": "1Gi"}}}});
    let built = with_ref(spec);
    let settings = livepeer_settings::parse("f", settings_file(&built)).unwrap();
    assert_eq!(settings.transcoder.max_buffered_bytes, 128 << 20);
    let folder = settings.engine.cache_dir.unwrap();
    let container = &pod_spec(child(&built, ChildKind::Deployment, ""))["containers"][0];
    let mounts = container["volumeMounts"].as_array().unwrap();
    let scratch = json!({"name": "scratch", "mountPath": folder});
    assert!(mounts.contains(&scratch), "{mounts:?}");
}
