//! The children of an orchestrator.

use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use super::build;
use crate::api::Orchestrator;
use crate::apply::child::ChildKind;
use crate::build::Built;
use crate::build::tests::{check_all, child, owner, pod_spec, settings_file, surroundings};
use crate::credential::PoolIdentity;
use crate::kind::ReconcileError;
use crate::orchestrator::fetch::Fetched;
use crate::orchestrator::validate::validate;
use crate::reason::Reason;

fn orchestrator(spec: Value) -> Orchestrator {
    serde_json::from_value(
        json!({"apiVersion": "livepeer.org/v1alpha1", "kind": "Orchestrator",
        "metadata": {"name": "video", "namespace": "ns", "uid": "u-1"}, "spec": spec}),
    )
    .unwrap()
}

fn fetched(pools: &[&str]) -> Fetched {
    let identity = |name: &&str| PoolIdentity {
        name: (*name).to_owned(),
        uid: format!("uid-of-{name}"),
        epoch: "0".into(),
    };
    Fetched {
        key: vec![7; 32],
        key_is_new: false,
        pools: pools.iter().map(identity).collect(),
        service: None,
        announced: None,
    }
}

pub(crate) fn made(spec: Value, pools: &[&str]) -> Built {
    made_of(spec, &fetched(pools))
}

fn made_of(spec: Value, fetched: &Fetched) -> Built {
    let orchestrator = orchestrator(spec);
    let owner = owner("Orchestrator", "video");
    let valid = validate(&orchestrator, &owner, fetched).unwrap();
    build(&owner, &valid, fetched, &surroundings())
}

fn settings(built: &Built) -> livepeer_settings::Settings {
    livepeer_settings::parse("f", settings_file(built)).unwrap()
}

#[test]
fn with_pools_it_makes_everything_restricted_and_matching() {
    let built = made(json!({}), &["a"]);
    check_all(&built);
    let names: Vec<_> = built
        .children
        .iter()
        .map(|child| child.name.as_str())
        .collect();
    assert!(names.contains(&"video-orchestrator-credentials"));
    let set = child(&built, ChildKind::StatefulSet, "video-orchestrator");
    assert_eq!(
        set["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"],
        "Retain"
    );
    assert_eq!(pod_spec(set)["terminationGracePeriodSeconds"], 320);
    assert_eq!(pod_spec(set)["containers"][0]["image"], "example/node:1");
}

#[test]
fn the_node_is_told_the_address_inside_and_the_one_for_gateways() {
    let built = made(
        json!({"serviceUri": "https://o.example:443", "maxSessions": 9}),
        &[],
    );
    let settings = settings(&built).orchestrator;
    assert_eq!(settings.service_uri.unwrap().as_str(), "https://o.example/");
    assert_eq!(
        settings.transcoder_uri.unwrap().as_str(),
        "https://video-orchestrator.ns.svc:8935/"
    );
    assert_eq!(settings.max_sessions, Some(9));
}

#[test]
fn a_load_balancer_that_lost_its_address_replaces_no_pod() {
    let inside = "https://video-orchestrator.ns.svc:8935/";
    let outside = "https://192.0.2.1:8935/";
    let addressed = json!({"spec": {"ports": [{"port": 8935}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}});
    let addressed = serde_json::from_value(addressed).unwrap();
    let with = |service, announced: Option<&str>| {
        let fetched = Fetched {
            service,
            announced: announced.map(|uri| uri.parse().unwrap()),
            ..fetched(&[])
        };
        let built = made_of(json!({"exposure": {"type": "LoadBalancer"}}), &fetched);
        let uri = settings(&built).orchestrator.service_uri.unwrap();
        (uri.to_string(), built.template_hash)
    };
    let there = with(Some(addressed), Some(inside));
    assert_eq!(there.0, outside);
    for lost in [None, Some(Service::default())] {
        assert_eq!(with(lost, Some(outside)), there);
    }
    assert_eq!(with(None, None).0, inside, "there never was one");
}

#[test]
fn each_pool_has_one_credential_and_losing_one_replaces_no_pod() {
    let two = made(json!({}), &["a", "b"]);
    let one = made(json!({}), &["a"]);
    let data = |built| {
        child(built, ChildKind::Secret, "-credentials")["data"]
            .as_object()
            .unwrap()
            .clone()
    };
    assert_eq!(data(&two).keys().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(data(&one).keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(two.template_hash, one.template_hash);
    assert_ne!(
        two.mounted_hash, one.mounted_hash,
        "the kubelet must hear of it"
    );
}

#[test]
fn live_fields_keep_the_template_and_others_change_it() {
    let plain = made(json!({}), &[]);
    for live in [
        json!({"logLevel": "debug"}),
        json!({"maxSessions": 3}),
        json!({"exposure": {"type": "NodePort"}}),
    ] {
        assert_eq!(
            made(live.clone(), &[]).template_hash,
            plain.template_hash,
            "{live}"
        );
    }
    for rolls in [
        json!({"image": "x"}),
        json!({"serviceUri": "https://o:1"}),
        json!({"drain": {"deadline": "1m"}}),
        json!({"podTemplate": {"nodeSelector": {"a": "b"}}}),
        json!({"transcoding": "Embedded"}),
    ] {
        assert_ne!(
            made(rolls.clone(), &[]).template_hash,
            plain.template_hash,
            "{rolls}"
        );
    }
}

#[test]
fn an_embedded_engine_mounts_no_credentials_and_may_have_a_gpu() {
    let built = made(
        json!({"transcoding": "Embedded", "gpu": {"count": 1}}),
        &["a"],
    );
    check_all(&built);
    let set = child(&built, ChildKind::StatefulSet, "");
    let volumes = pod_spec(set)["volumes"].as_array().unwrap();
    assert!(volumes.iter().all(|volume| volume.get("secret").is_none()));
    assert_eq!(
        settings(&built).engine.device,
        livepeer_settings::DeviceKind::Nvidia
    );
}

#[test]
fn what_an_older_pod_mounts_follows_its_pools_also_when_an_engine_is_to_come() {
    let secret = |transcoding: &str, pools: &[&str]| {
        let built = made(json!({ "transcoding": transcoding }), pools);
        child(&built, ChildKind::Secret, "-credentials").clone()
    };
    for pools in [&["a", "b"][..], &["a"]] {
        assert_eq!(secret("Embedded", pools), secret("Pools", pools));
    }
}

#[test]
fn a_gpu_without_an_engine_is_told_as_an_invalid_spec() {
    let orchestrator = orchestrator(json!({"gpu": {"count": 1}}));
    let refused = validate(
        &orchestrator,
        &owner("Orchestrator", "video"),
        &fetched(&[]),
    );
    assert!(matches!(
        refused,
        Err(ReconcileError::Told {
            reason: Reason::InvalidSpec,
            ..
        })
    ));
}
